//! `init`: a rack file to begin with, from what this host has. All that would touch hardware stands in it as a comment,
//! because what hangs on a port nobody knows but its owner.

mod look;

use std::fs::OpenOptions;
use std::io::{ErrorKind, Write};
use std::path::Path;

use look::{Chip, Found};

use super::exit::Exit;
use super::screen::Screen;
use super::{Failure, check};

/// Lines of a Pi's header that neither the board nor its buses use, those in the middle of the header first.
const RELAY_LINES: [&str; 8] =
    ["GPIO17", "GPIO27", "GPIO22", "GPIO23", "GPIO24", "GPIO25", "GPIO5", "GPIO6"];

/// How many lines of a chip are proposed: a relay board of the usual size.
const PROPOSED_MAX: usize = 4;

/// What comes before all that was found.
const HEAD: &str = "\
# A rack file to begin with, by `power-agent init`. Nothing was opened and nothing moved to write it.
# A line that begins with `#` and no space after it is a setting: take the `#` away where it is so. What hangs on a port
# can not be seen from here: name only your relay boards. `power-agent check FILE` tells every mistake with its line.

[agent]
#name = \"rack-a\"                         # default: the host's name

# With Nomad, `off` and `cycle` by hand are refused while a machine has work.
#[nomad]
#address = \"http://127.0.0.1:4646\"
";

/// What comes after.
const FOOT: &str = "
# The machines: what each is called, and which outlets its power comes through.
#[pools.rack]
#[machines.node1]
#pool = \"rack\"                           # what a policy scales; without it only people switch the machine
";

/// Writes the file, or to the screen where none is named.
pub(crate) fn init(output: Option<&Path>, screen: &mut Screen) -> Result<Exit, Failure> {
    let text = rack_file(&look::look(Path::new("/")));
    let Some(file) = output else {
        screen.answer(text.trim_end())?;
        return Ok(Exit::Ok);
    };
    write_new(file, &text)?;
    screen.tell(&format!(
        "{} is written. Next: say in it what hangs where, then `power-agent check {}`",
        file.display(),
        file.display()
    ))?;
    check::check(file, screen)
}

/// Writes a file that was not there before.
fn write_new(file: &Path, text: &str) -> Result<(), Failure> {
    let made = OpenOptions::new().write(true).create_new(true).open(file);
    let written = made.and_then(|mut made| {
        made.write_all(text.as_bytes())?;
        made.sync_all()
    });
    written.map_err(|error| {
        let why = match error.kind() {
            ErrorKind::AlreadyExists => {
                "is there already and is not written over; name another file as --output".to_owned()
            }
            _ => format!("can not be written: {error}"),
        };
        Failure::Usage(format!("{} {why}", file.display()))
    })
}

/// The file's text.
fn rack_file(found: &Found) -> String {
    let mut text = HEAD.to_owned();
    text.push_str("\n# Serial ports with a name that stays when others are plugged in:\n");
    if found.ports.is_empty() {
        text.push_str(
            "# none was found. Plug the board in and look with `ls -l /dev/serial/by-path`.\n",
        );
    }
    for (index, port) in found.ports.iter().enumerate() {
        let usb = port.usb.as_ref().map(|usb| format!(", USB {usb}")).unwrap_or_default();
        text.push_str(&format!(
            "# {} now{usb}\n#[devices.board-{}]\n#driver = \"lcus\"\n#port = \"{}\"\n\
             #channels = 4                            # how many relays it has\n\
             #status = \"ascii\"                        # \"none\" for a board that does not answer\n",
            port.now,
            index + 1,
            port.path,
        ));
    }
    text.push_str("\n# GPIO chips:\n");
    if found.chips.is_empty() {
        text.push_str("# none was found, or none that this user may look at.\n");
    }
    for (index, chip) in found.chips.iter().enumerate() {
        text.push_str(&of_chip(index + 1, chip));
    }
    let device = match (found.ports.is_empty(), found.chips.is_empty()) {
        (true, false) => "header-1",
        _ => "board-1",
    };
    text.push_str(FOOT);
    text.push_str(&format!("#outlets = [{{ device = \"{device}\", outlet = 1 }}]\n"));
    text.push_str("\n# Network interfaces: ");
    text.push_str(&listed(&found.interfaces));
    text.push_str(".\n# Neighbours that this host has spoken with, for magic packets to machines that are down later:\n");
    if found.neighbours.is_empty() {
        text.push_str("# none yet: `ping` the machines and look again.\n");
    }
    for neighbour in &found.neighbours {
        text.push_str(&format!("# {neighbour}\n"));
    }
    text
}

fn of_chip(number: usize, chip: &Chip) -> String {
    let used: Vec<String> = chip
        .lines
        .iter()
        .filter_map(|line| Some(format!("{} ({})", line.name, line.user.as_ref()?)))
        .collect();
    let mut lines = proposed(chip);
    // A file names a line by its number where it has no name.
    if lines.is_empty() {
        lines.push("0".to_owned());
    }
    format!(
        "# {} now; taken: {}\n#[devices.header-{number}]\n#driver = \"gpio\"\n#chip = \"{}\"\n\
         #lines = [{}]  # outlet 1 is the first; add active_low = true where low is on\n",
        chip.now,
        listed(&used),
        chip.label,
        lines.join(", "),
    )
}

/// Lines that are free, as they stand in the file.
fn proposed(chip: &Chip) -> Vec<String> {
    let free = || chip.lines.iter().filter(|line| line.user.is_none());
    let known = RELAY_LINES.iter().filter(|name| free().any(|line| line.name == **name));
    let lines: Vec<String> = known.take(PROPOSED_MAX).map(|name| format!("\"{name}\"")).collect();
    if !lines.is_empty() {
        return lines;
    }
    free().take(PROPOSED_MAX).map(|line| line.offset.to_string()).collect()
}

fn listed(names: &[String]) -> String {
    if names.is_empty() { "none".to_owned() } else { names.join(", ") }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use tempfile::TempDir;

    use super::look::Line;
    use super::*;
    use crate::config::Config;

    /// A host's files: two adapters, one of which has two names, neighbours, an interface. No port can be opened,
    /// because there is none behind the links.
    fn host() -> TempDir {
        let root = tempfile::tempdir().expect("a folder");
        let at = |path: &str| root.path().join(path);
        for folder in ["dev/serial/by-path", "proc/net", "sys/class/net/lo", "sys/class/net/eth0"] {
            std::fs::create_dir_all(at(folder)).expect("a folder");
        }
        for (name, port) in [
            ("platform-fd5-usb-0:1.1:1.0-port0", "../../ttyUSB0"),
            ("platform-fd5-usbv2-0:1.1:1.0-port0", "../../ttyUSB0"),
            ("platform-fd5-usb-0:1.2:1.0-port0", "../../ttyUSB1"),
            ("bad\"name", "../../ttyUSB2"),
        ] {
            symlink(port, at("dev/serial/by-path").join(name)).expect("a link");
        }
        let arp = "IP address HW type Flags HW address Mask Device\n\
                   10.0.0.21 0x1 0x2 dc:a6:32:00:00:01 * eth0\n\
                   10.0.0.22 0x1 0x0 00:00:00:00:00:00 * eth0\n";
        std::fs::write(at("proc/net/arp"), arp).expect("a file");
        root
    }

    fn header() -> Chip {
        let line = |offset, name: &str, user: Option<&str>| Line {
            offset,
            name: name.to_owned(),
            user: user.map(str::to_owned),
        };
        Chip {
            now: "gpiochip0".to_owned(),
            label: "pinctrl-bcm2711".to_owned(),
            lines: vec![
                line(17, "GPIO17", Some("fan")),
                line(22, "GPIO22", None),
                line(27, "GPIO27", None),
            ],
        }
    }

    /// What `check` says of it, as it is and with every setting taken as proposed.
    fn checked(text: &str) -> Result<Config, String> {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("rack.toml");
        std::fs::write(&file, text).expect("a file");
        let plain = annotate_snippets::Renderer::plain();
        let loaded = Config::load(&file);
        loaded.map(|(config, _)| config).map_err(|findings| findings.render(&plain))
    }

    fn taken_as_proposed(text: &str) -> String {
        let setting = |line: &str| {
            line.strip_prefix('#').filter(|rest| !rest.starts_with(' ')).map(str::to_owned)
        };
        text.lines().map(|line| setting(line).unwrap_or_else(|| line.to_owned()) + "\n").collect()
    }

    #[test]
    fn what_a_host_has_stands_in_a_file_that_check_takes_and_in_which_nothing_is_in_force_yet() {
        let root = host();
        let mut found = look::look(root.path());
        found.chips = vec![header()];
        let text = rack_file(&found);
        let config = checked(&text).unwrap_or_else(|told| panic!("{told}\n{text}"));
        assert!(config.devices.is_empty() && config.machines.is_empty(), "{text}");
        assert!(text.contains("\n# ttyUSB0 now\n#[devices.board-1]\n"), "{text}");
        assert!(
            text.contains("\n#port = \"/dev/serial/by-path/platform-fd5-usb-0:1.2:1.0-port0\"\n")
        );
        assert_eq!(text.matches("driver = \"lcus\"").count(), 2, "each adapter once: {text}");
        assert!(text.contains("taken: GPIO17 (fan)\n"), "{text}");
        assert!(text.contains("#lines = [\"GPIO27\", \"GPIO22\"]"), "{text}");
        assert!(text.contains("\n# Network interfaces: eth0.\n"), "{text}");
        assert!(text.contains("\n# 10.0.0.21 is dc:a6:32:00:00:01 on eth0\n"), "{text}");
        assert!(!text.contains("10.0.0.22"), "who did not answer has no address: {text}");
    }

    #[test]
    fn with_every_setting_taken_as_proposed_check_takes_it_too() {
        let root = host();
        let mut found = look::look(root.path());
        found.chips = vec![header()];
        let text = taken_as_proposed(&rack_file(&found));
        let config = checked(&text).unwrap_or_else(|told| panic!("{told}\n{text}"));
        assert_eq!((config.devices.len(), config.machines.len()), (3, 1), "{text}");
    }

    #[test]
    fn a_host_with_nothing_gets_a_file_that_says_so_and_that_check_takes() {
        let text = rack_file(&Found::default());
        assert!(text.contains("# none was found."), "{text}");
        assert!(checked(&text).is_ok(), "{text}");
    }

    #[test]
    fn a_file_that_is_there_is_not_written_over() {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("rack.toml");
        std::fs::write(&file, "mine").expect("a file");
        let told = write_new(&file, "another").expect_err("it is there").to_string();
        assert!(told.contains("is there already"), "{told}");
        assert_eq!(std::fs::read_to_string(&file).expect("a file"), "mine");
    }
}
