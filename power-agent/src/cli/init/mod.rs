//! `init`: a rack file to begin with, from what this host has. All that would touch hardware stands in it as a comment,
//! because what hangs on a port nobody knows but its owner.

mod look;
#[cfg(test)]
mod tests;

use std::fs::OpenOptions;
use std::io::{ErrorKind, Write};
use std::path::Path;

use look::{Chip, Found, Neighbour};

use super::exit::Exit;
use super::screen::Screen;
use super::{Failure, check};

/// Lines of a Pi's header that neither the board nor its buses use, and that are low until somebody drives them; those in
/// the middle of the header first.
const RELAY_LINES: [u32; 8] = [17, 27, 22, 23, 24, 25, 16, 26];

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

/// Before the first machine.
const MACHINES: &str = "
# The machines: what each is called, and which outlets its power comes through.
#[pools.rack]
#[machines.node1]
#pool = \"rack\"                           # what a policy scales; without it only people switch the machine
";

/// Before what can be woken.
const WAKING: &str = "
# Machines that a magic packet wakes, where firmware and system allow it. `outlets` beside `wake` cut the power too.
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
    for (number, port) in (1..).zip(&found.ports) {
        let usb = port.usb.as_ref().map(|usb| format!(", USB {usb}")).unwrap_or_default();
        text.push_str(&format!(
            "# {} now{usb}\n#[devices.board-{number}]\n#driver = \"lcus\"\n#port = \"{}\"\n\
             #channels = 4                            # how many relays it has\n\
             #status = \"ascii\"                        # \"none\" for a board that does not answer\n",
            port.now, port.path,
        ));
    }
    text.push_str("\n# GPIO chips:\n");
    if found.chips.is_empty() {
        text.push_str("# none was found, or none that this user may look at.\n");
    }
    let mut device = (!found.ports.is_empty()).then(|| "board-1".to_owned());
    for (number, chip) in (1..).zip(&found.chips) {
        let name = format!("{}-{number}", if chip.is_header { "header" } else { "chip" });
        let lines = proposed(chip);
        text.push_str(&of_chip(&name, chip, &lines));
        device = device.or_else(|| (!lines.is_empty()).then_some(name));
    }
    text.push_str(MACHINES);
    let device = device.unwrap_or_else(|| "board-1".to_owned());
    text.push_str(&format!("#outlets = [{{ device = \"{device}\", outlet = 1 }}]\n"));
    text.push_str(WAKING);
    text.push_str(&waking(found));
    text
}

/// Interfaces that send magic packets, and neighbours that they may wake.
fn waking(found: &Found) -> String {
    let mut text = String::new();
    for (number, interface) in (1..).zip(&found.interfaces) {
        text.push_str(&format!(
            "#[devices.lan-{number}]\n#driver = \"wol\"\n#interface = \"{interface}\"\n"
        ));
    }
    if found.neighbours.is_empty() {
        text.push_str("# This host knows no neighbour yet: `ping` the machines and look again.\n");
    }
    // The first is the machine behind the first outlet.
    let mut machine = 1;
    for Neighbour { address, mac, interface, not_woken } in &found.neighbours {
        if let Some(why) = not_woken {
            text.push_str(&format!("# {address} on {interface}, {mac}: {why}.\n"));
            continue;
        }
        let Some(lan) = (1..).zip(&found.interfaces).find(|(_, name)| *name == interface) else {
            continue;
        };
        machine += 1;
        text.push_str(&format!(
            "# {address} on {interface}\n#[machines.node{machine}]\n\
             #wake = {{ device = \"lan-{}\", mac = \"{mac}\" }}\n\
             #presence = {{ address = \"{address}\", by = [\"ping\"] }}\n\
             #soft_off = {{ ssh = \"root@{address}\" }}\n",
            lan.0,
        ));
    }
    text
}

fn of_chip(name: &str, chip: &Chip, lines: &[String]) -> String {
    let used: Vec<String> = chip
        .lines
        .iter()
        .filter_map(|line| {
            let number = line.offset.to_string();
            let shown = if line.name.is_empty() { &number } else { &line.name };
            Some(format!("{shown} ({})", line.user.as_ref()?))
        })
        .collect();
    let used = if used.is_empty() { "none".to_owned() } else { used.join(", ") };
    let head = format!("# {}, {} now; taken: {used}\n", chip.label, chip.now);
    if lines.is_empty() {
        return format!(
            "{head}# none of its lines is known to be free for relays; `gpioinfo` shows them.\n"
        );
    }
    format!(
        "{head}#[devices.{name}]\n#driver = \"gpio\"\n#chip = \"{}\"\n\
         #lines = [{}]  # outlet 1 is the first; add active_low = true where low is on\n",
        chip.label,
        lines.join(", "),
    )
}

/// Lines that are free for relays, as they stand in the file: those of a Pi's header that are known to be, else those
/// without a name. A line that has one is wired to something.
fn proposed(chip: &Chip) -> Vec<String> {
    let free = || chip.lines.iter().filter(|line| line.user.is_none());
    let lines: Vec<_> = match chip.is_header {
        true => RELAY_LINES
            .iter()
            .filter_map(|offset| free().find(|line| line.offset == *offset))
            .collect(),
        false => free().filter(|line| line.name.is_empty()).collect(),
    };
    let named = |line: &look::Line| match line.name.as_str() {
        "" => line.offset.to_string(),
        name => format!("\"{name}\""),
    };
    lines.into_iter().take(PROPOSED_MAX).map(named).collect()
}
