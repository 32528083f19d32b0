//! Serial ports of a rack file: one device each, and what can be said of them only by looking at this host.

use std::collections::BTreeMap;
use std::ops::Range;
use std::path::{Path, PathBuf};

use super::finding::{Finding, Report};
use super::read::DeviceDraft;
use serial_port::{Sight, look};

/// Two devices by one name of a port. One serial number is no proof: adapters with several ports have one for all.
pub(crate) fn check(devices: &[DeviceDraft], report: &Report) {
    let mut owners: BTreeMap<&Path, &DeviceDraft> = BTreeMap::new();
    for device in devices {
        let Some(port) = device.config.as_ref().and_then(|config| config.serial_port()) else {
            continue;
        };
        let Some(owner) = owners.insert(&port.path, device) else { continue };
        report.tell(shared_port(owner, device));
    }
}

fn shared_port(owner: &DeviceDraft, device: &DeviceDraft) -> Finding {
    let (one, other) = (&owner.name.value, &device.name.value);
    Finding::error(format!("devices {one} and {other} have the same port"), device.port.clone())
        .found("the second device on this port")
        .also(owner.port.clone(), "the first")
        .expected("one device for each port: one task owns a line")
        .remedy("a board with several outlets is one device; list its outlets by number")
}

/// What this host says of the ports: two names of one port are an error, and so is what never can be a port. One that is
/// not there, is another or is taken is a warning, because a board may be plugged in later, and an agent starts without it.
pub(crate) fn look_at(devices: &[DeviceDraft]) -> Vec<Finding> {
    let mut findings = Vec::new();
    let mut owners: BTreeMap<PathBuf, &DeviceDraft> = BTreeMap::new();
    for device in devices {
        let Some(port) = device.config.as_ref().and_then(|config| config.serial_port()) else {
            continue;
        };
        let place = || device.port.clone();
        let Ok(real) = port.path.canonicalize() else {
            findings.push(missing(&port.path, place()));
            continue;
        };
        if let Some(owner) = owners.insert(real.clone(), device) {
            findings.push(shared_port(owner, device));
            continue;
        }
        let seen = look(port, &real, env!("CARGO_PKG_NAME")).into_iter();
        findings.extend(seen.map(|sight| told(&port.path, sight, place())));
    }
    findings
}

fn missing(port: &Path, place: Range<usize>) -> Finding {
    Finding::error(format!("port {} does not exist", port.display()), place)
        .into_warning()
        .found("there is no such file")
        .expected("the board's serial port; until it appears the device is unreachable")
        .remedy("look with `ls -l /dev/serial/by-path` where the board is, and plug it in")
}

fn told(port: &Path, sight: Sight, place: Range<usize>) -> Finding {
    let port = port.display();
    match sight {
        Sight::NoPort(found) => Finding::error(format!("port {port} is no serial port"), place)
            .found(found)
            .expected("the board's serial port, like /dev/serial/by-path/…")
            .remedy("look with `ls -l /dev/serial/by-path` where the board is"),
        Sight::Other(found) => Finding::error(format!("port {port} is not the board's"), place)
            .into_warning()
            .found(found)
            .expected("the adapter that the file names; nothing is sent to any other")
            .remedy("plug the board in there, or correct `port`, `usb` or `serial`"),
        Sight::Taken(found) => Finding::error(format!("port {port} is taken"), place)
            .into_warning()
            .found(found)
            .expected("a port that is the agent's alone: two readers take each other's answers")
            .remedy("end that program, or keep it off this port"),
        Sight::Numbered { stable } => {
            let finding =
                Finding::error(format!("port {port} may be another board tomorrow"), place)
                    .into_warning()
                    .found("numbers are given out in the order in which boards appear")
                    .expected("a name that stays with the place, or with the adapter");
            match stable {
                Some(stable) => {
                    finding.remedy(format!("write it like `port = \"{}\"`", stable.display()))
                }
                None => finding
                    .remedy("look with `ls -l /dev/serial/by-path` for the name that leads there"),
            }
        }
        Sight::Twins => Finding::error(
            format!("port {port} is the same name for every board of its kind"),
            place,
        )
        .into_warning()
        .found("this adapter has no serial number")
        .expected("a name by path, which tells equal boards apart by where they are plugged in")
        .remedy("look with `ls -l /dev/serial/by-path` for the name that leads there"),
        Sight::Console => Finding::error(format!("port {port} is the kernel's console"), place)
            .into_warning()
            .found("the kernel writes its messages there, into the midst of frames")
            .expected("a port that is the agent's alone")
            .remedy("take `console=` with this port out of the kernel's command line"),
    }
}
