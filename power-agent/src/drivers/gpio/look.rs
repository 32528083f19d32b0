//! What a look at this host says of GPIO devices: whether chip and lines are there and free, and what lines do when
//! the agent is not there. Takes no line.

use std::path::Path;

use super::super::OwnerGone;
use super::chip::{self, ChipError, Found};
use super::kernel::CONSUMER_PREFIX;
use super::pins;
use super::settings::{Config, Line};
use crate::config::Finding;
use crate::descriptors::Descriptors;

/// Where the kernel's modules tell their parameters.
const MODULES: &str = "/sys/module";

/// Modules of a Pi's pins, with the labels of their chips.
const PERSISTENT: &[(&str, &[&str])] = &[
    ("pinctrl_bcm2835", &["pinctrl-bcm2835", "pinctrl-bcm2711"]),
    ("pinctrl_rp1", &["pinctrl-rp1"]),
];

/// Set for every task of Nomad's.
const IN_NOMAD: &str = "NOMAD_ALLOC_ID";

/// What a person should know of a GPIO device.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Looked {
    /// Whether its lines can be used, and what they are.
    pub lines: Vec<(Standing, String)>,
    /// What they do when the agent ends, in a sentence.
    pub owner_gone: String,
    /// Whether they stay as they are then, or at least while the agent is started anew.
    pub stays: bool,
    /// Lines that are on whenever nobody drives them, with what to do about it.
    pub on_by_default: Vec<String>,
}

/// Whether a line can be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Standing {
    /// It is free, or ours.
    Free,
    /// It can be used, and something should be known.
    Doubtful,
    /// It can not be used now.
    Unusable,
}

/// What becomes of the lines when the agent ends.
pub(super) fn owner_gone(config: &Config) -> OwnerGone {
    let label = chip::find(&config.chip).map(|found| found.label);
    after(&label.unwrap_or_else(|_| config.chip.clone()))
}

fn after(label: &str) -> OwnerGone {
    if persists(Path::new(MODULES), label) {
        OwnerGone::Stays
    } else if Descriptors::survive_restart() {
        OwnerGone::StaysOverRestart
    } else {
        OwnerGone::FallsBack
    }
}

/// Whether the kernel leaves outputs as they are when they are let go.
fn persists(modules: &Path, label: &str) -> bool {
    let module = PERSISTENT.iter().find(|(_, labels)| labels.contains(&label));
    let said = module.and_then(|(module, _)| {
        std::fs::read_to_string(modules.join(module).join("parameters/persist_gpio_outputs")).ok()
    });
    said.is_some_and(|said| said.trim() == "Y")
}

/// What is wrong with a device on this host, with the places in the file.
pub(super) fn findings(config: &Config) -> Vec<Finding> {
    let mut told: Vec<Finding> = nomad(config).into_iter().collect();
    let found = match chip::find(&config.chip) {
        Ok(found) => found,
        Err(error) => {
            told.push(no_chip(config, &error));
            return told;
        }
    };
    match found.offsets(&config.lines) {
        Ok(offsets) => {
            for (line, offset) in config.lines.iter().zip(offsets) {
                told.extend(taken(&found, line, offset));
                told.extend(used(&found, line, offset));
            }
        }
        Err(error) => {
            let place = config.lines.get(error.index).map_or(0..0, |line| line.place.0.clone());
            let remedy = match error.nearest {
                Some(nearest) => format!("did you mean {nearest:?}?"),
                None => "look with `gpioinfo` which lines there are".to_owned(),
            };
            told.push(
                Finding::error(error.what, place)
                    .found("no line of this chip")
                    .expected(error.expected)
                    .remedy(remedy),
            );
        }
    }
    told
}

/// In a Nomad job the agent is started anew without its descriptors: lines that need an owner would fall.
fn nomad(config: &Config) -> Option<Finding> {
    let falls = std::env::var_os(IN_NOMAD).is_some() && owner_gone(config) == OwnerGone::FallsBack;
    falls.then(|| {
        Finding::error(
            "in a Nomad job no GPIO line survives the agent",
            config.chip_place.0.clone(),
        )
        .found("lines of this chip fall back to their pulls whenever the agent ends")
        .expected("lines that stay: by the kernel's persist_gpio_outputs, or kept by systemd")
        .remedy(
            "run the agent as a service of systemd, whose unit keeps its descriptors, or boot a kernel with \
             `pinctrl_rp1.persist_gpio_outputs=Y` (`pinctrl_bcm2835` before the Pi 5)",
        )
    })
}

fn no_chip(config: &Config, error: &ChipError) -> Finding {
    // An agent can live with all of these: it has other devices, and looks again at each poll.
    let finding = Finding::error(error.to_string(), config.chip_place.0.clone()).into_warning();
    match error {
        ChipError::Several { .. } => finding
            .found("not one chip")
            .expected("one chip of that label; as long as there are more the device is unreachable")
            .remedy("write it like `chip = \"/dev/gpiochip1\"`"),
        ChipError::Absent { .. } => finding
            .found("no chip of this label, name or path")
            .expected("a chip that is there; until it appears the device is unreachable")
            .remedy("look with `gpiodetect`, and name it by its label: numbers move"),
        ChipError::Closed { .. } => finding
            .found("can not be looked at")
            .expected("a chip that this user may open; until then the device is unreachable")
            .remedy("`usermod -aG gpio USER` and log in again, or give it by a udev rule"),
    }
}

/// A line that is somebody else's. An agent can live with it, as with a chip that is not there.
fn taken(found: &Found, line: &Line, offset: u32) -> Option<Finding> {
    let info = found.info(offset).ok()?;
    if !info.used || info.consumer.starts_with(CONSUMER_PREFIX) {
        return None;
    }
    let who = if info.consumer.is_empty() { "the kernel" } else { info.consumer.as_str() };
    Some(
        Finding::error(
            format!("line {} of {} is held by {who}", line.name, found.chip.name()),
            line.place.0.clone(),
        )
        .into_warning()
        .found(format!("{who} holds it"))
        .expected("a line that is free: one owner drives a relay; until it is, the device is unreachable")
        .remedy("end that program, or take its entry out of the board's description, or use another line"),
    )
}

/// A pin that the board itself uses.
fn used(found: &Found, line: &Line, offset: u32) -> Option<Finding> {
    let used = pins::used_for(&found.label, offset)?;
    let consoles = std::fs::read_to_string("/proc/consoles").unwrap_or_default();
    let talks = consoles
        .lines()
        .filter_map(|line| line.split_whitespace().next())
        .any(|console| used.console.contains(&console));
    let in_use = talks || used.sign.is_some_and(|sign| Path::new(sign).exists());
    let finding = Finding::error(
        format!("line {} of {} is a pin that the board uses", line.name, found.chip.name()),
        line.place.0.clone(),
    )
    .found(used.what)
    .expected("a pin that nothing else moves: GPIO 4 to 13 and 16 to 27")
    .remedy("wire the relay to another pin");
    Some(if in_use { finding } else { finding.into_warning() })
}

/// What a person should know of a device.
#[must_use]
pub fn look_at(config: &Config) -> Looked {
    let (label, lines, on_by_default) = match chip::find(&config.chip) {
        Ok(found) => {
            let (lines, on) = stand(&found, config);
            (found.label, lines, on)
        }
        Err(error) => {
            (config.chip.clone(), vec![(Standing::Unusable, error.to_string())], Vec::new())
        }
    };
    let gone = after(&label);
    let stays = matches!(gone, OwnerGone::Stays | OwnerGone::StaysOverRestart);
    let owner_gone = match gone {
        OwnerGone::Stays => "the kernel leaves its outputs as they are when the agent ends",
        OwnerGone::StaysOverRestart => {
            "systemd keeps its lines while it starts the agent anew; they fall back to their pulls when the service is \
             stopped"
        }
        OwnerGone::FallsBack | OwnerGone::Undefined => {
            "its lines fall back to their pulls whenever the agent ends, also by a crash"
        }
    };
    Looked { lines, owner_gone: owner_gone.to_owned(), stays, on_by_default }
}

fn stand(found: &Found, config: &Config) -> (Vec<(Standing, String)>, Vec<String>) {
    let offsets = match found.offsets(&config.lines) {
        Ok(offsets) => offsets,
        Err(error) => {
            let told = format!("{}; expected {}", error.what, error.expected);
            return (vec![(Standing::Unusable, told)], Vec::new());
        }
    };
    let (mut lines, mut on) = (Vec::new(), Vec::new());
    for (line, offset) in config.lines.iter().zip(offsets) {
        let name = &line.name;
        lines.push(match (taken(found, line, offset), pins::used_for(&found.label, offset)) {
            (Some(taken), _) => (Standing::Unusable, taken.title),
            (None, Some(used)) => (Standing::Doubtful, format!("line {name}: {}", used.what)),
            (None, None) => (Standing::Free, format!("line {name} of {}", found.shown())),
        });
        let pulled_up = pins::pulled_up(&found.label, offset);
        if pulled_up.is_some_and(|up| up != line.wiring.active_low) {
            let (pull, level) =
                if line.wiring.active_low { ("down", "low") } else { ("up", "high") };
            on.push(format!("{name} is pulled {pull} by default, and {level} is on"));
        }
    }
    (lines, on)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whether_lines_stay_is_what_the_kernel_s_parameter_says() {
        let modules = tempfile::tempdir().unwrap();
        let parameters = modules.path().join("pinctrl_rp1/parameters");
        std::fs::create_dir_all(&parameters).unwrap();
        for (said, stays) in [("Y\n", true), ("N\n", false)] {
            std::fs::write(parameters.join("persist_gpio_outputs"), said).unwrap();
            assert_eq!(persists(modules.path(), "pinctrl-rp1"), stays);
            assert!(!persists(modules.path(), "pinctrl-bcm2711"), "another module speaks for it");
            assert!(!persists(modules.path(), "relays"), "no module speaks for it");
        }
    }

    #[test]
    fn a_pin_is_on_by_default_where_its_pull_is_its_active_level() {
        for (pin, up) in [(2, true), (8, true), (9, false), (27, false)] {
            assert_eq!(pins::pulled_up("pinctrl-bcm2711", pin), Some(up));
        }
        assert_eq!(pins::pulled_up("pinctrl-bcm2711", 28), None);
        assert_eq!(pins::pulled_up("relays", 2), None);
    }
}
