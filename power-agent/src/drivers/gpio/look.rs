//! What a look at this host says of GPIO devices: whether chip and lines are there and free, and what lines do when
//! the agent is not there. Takes no line.

use std::path::Path;

use fleet::ReadSource;

use super::super::OwnerGone;
use super::chip::{self, ChipError, Found};
use super::kernel::CONSUMER_PREFIX;
use super::pins;
use super::settings::{Config, Line};
use crate::config::Finding;
use crate::descriptors::{Descriptors, Kept};

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
    /// What becomes of them when the agent ends, as far as the kernel goes and what keeps descriptors for this process.
    pub gone: OwnerGone,
    /// On what that rests, in a sentence.
    pub because: String,
    /// What is read of them.
    pub reads: ReadSource,
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

/// What becomes of the lines when the agent ends, and what is read of them.
pub(super) fn of_chip(config: &Config) -> (OwnerGone, ReadSource) {
    match chip::find(&config.chip) {
        Ok(found) => (after(&found.label), found.source()),
        Err(_) => (after(&config.chip), ReadSource::Unsaid),
    }
}

fn after(label: &str) -> OwnerGone {
    if persists(Path::new(MODULES), label).0 {
        return OwnerGone::Stays;
    }
    match Descriptors::over_restart() {
        Kept::Yes => OwnerGone::StaysOverRestart,
        Kept::Unsaid => OwnerGone::Undefined,
        Kept::No => OwnerGone::FallsBack,
    }
}

/// Whether the kernel leaves outputs as they are when they are let go, and how it says so.
fn persists(modules: &Path, label: &str) -> (bool, String) {
    let Some((module, _)) = PERSISTENT.iter().find(|(_, labels)| labels.contains(&label)) else {
        return (false, "the kernel lets outputs of this chip go with their owner".to_owned());
    };
    let file = modules.join(module).join("parameters/persist_gpio_outputs");
    match std::fs::read_to_string(file).as_deref().map(str::trim) {
        Ok("Y") => (
            true,
            format!("{module}.persist_gpio_outputs=Y: the kernel leaves outputs as they are"),
        ),
        Ok(other) => (
            false,
            format!("{module}.persist_gpio_outputs={other}: the kernel makes outputs inputs again"),
        ),
        Err(_) => (
            false,
            format!(
                "this kernel's {module} has no persist_gpio_outputs and makes outputs inputs again"
            ),
        ),
    }
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
                told.extend(used(&found.label, line, offset));
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
    let falls = std::env::var_os(IN_NOMAD).is_some() && of_chip(config).0 == OwnerGone::FallsBack;
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
pub(in crate::drivers) fn taken(found: &Found, line: &Line, offset: u32) -> Option<Finding> {
    let who = found.holder(offset).filter(|who| !who.starts_with(CONSUMER_PREFIX))?;
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
pub(in crate::drivers) fn used(label: &str, line: &Line, offset: u32) -> Option<Finding> {
    let used = pins::used_for(label, offset)?;
    let consoles = std::fs::read_to_string("/proc/consoles").unwrap_or_default();
    let talks = consoles
        .lines()
        .filter_map(|line| line.split_whitespace().next())
        .any(|console| used.console.contains(&console));
    let in_use = talks || used.sign.is_some_and(|sign| Path::new(sign).exists());
    let finding = Finding::error(
        format!("line {} is a pin that the board uses", line.name),
        line.place.0.clone(),
    )
    .found(used.what)
    .expected("a pin that nothing else moves: GPIO 4 to 13 (7 to 11 not with SPI) and 16 to 27")
    .remedy("wire the relay to another pin, or switch off what uses this one");
    match (in_use, used.always) {
        (true, _) => Some(finding),
        (false, true) => Some(finding.into_warning()),
        (false, false) => None,
    }
}

/// A line that is on whenever nobody drives it.
pub(in crate::drivers) fn on_by_default(label: &str, line: &Line, offset: u32) -> Option<String> {
    let up = pins::pulled_up(label, offset)?;
    let (pull, level) = if up { ("up", "high") } else { ("down", "low") };
    (up != line.wiring.active_low)
        .then(|| format!("{} is pulled {pull} by default, and {level} is on", line.name))
}

/// What a person should know of a device.
#[must_use]
pub fn look_at(config: &Config) -> Looked {
    let (label, lines, on_by_default, reads) = match chip::find(&config.chip) {
        Ok(found) => {
            let (lines, on) = stand(&found, config);
            let reads = found.source();
            (found.label, lines, on, reads)
        }
        Err(error) => {
            let lines = vec![(Standing::Unusable, error.to_string())];
            (config.chip.clone(), lines, Vec::new(), ReadSource::Unsaid)
        }
    };
    let because = persists(Path::new(MODULES), &label).1;
    Looked { lines, gone: after(&label), because, reads, on_by_default }
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
        lines.push(match (taken(found, line, offset), used(&found.label, line, offset)) {
            (Some(taken), _) => (Standing::Unusable, taken.title),
            (None, Some(used)) => (Standing::Doubtful, format!("line {name}: {}", used.found)),
            (None, None) => (Standing::Free, format!("line {name} of {}", found.shown())),
        });
        on.extend(on_by_default(&found.label, line, offset));
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
            assert_eq!(persists(modules.path(), "pinctrl-rp1").0, stays);
            assert!(!persists(modules.path(), "pinctrl-bcm2711").0, "another module speaks for it");
            assert!(!persists(modules.path(), "relays").0, "no module speaks for it");
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
