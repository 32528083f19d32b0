//! What can be said of a port without opening it: to open one raises its DTR, and somebody may hold it.

use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};

use rustix::fs::{major, minor};

use super::identity::{Mismatch, NameKind, Seen, Usb, judge};
use crate::processes::{self, Process};
use crate::{PortSettings, SYS};

/// How many names of a folder are looked at: each port has two or three there.
const NAMES_MAX: usize = 1024;

/// What is to be said of a port.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Sight {
    /// It never can be one.
    NoPort(String),
    /// It is not the one that is meant, now.
    Other(String),
    /// Another process keeps others off it.
    Taken(String),
    /// Its name is a number, and this one would stay.
    Numbered {
        /// Where there is one.
        stable: Option<PathBuf>,
    },
    /// Its name does not tell it from its twins.
    Twins,
    /// The kernel writes its own messages there.
    Console,
}

/// Looks at a port that is there; `real` is its name without links. That a process named `own` holds it is as it should be.
#[must_use]
pub fn look(port: &PortSettings, real: &Path, own: &str) -> Vec<Sight> {
    look_in(Path::new(SYS), port, real, processes::locker(real), own)
}

fn look_in(
    sys: &Path,
    port: &PortSettings,
    real: &Path,
    holder: Option<Process>,
    own: &str,
) -> Vec<Sight> {
    if let Some(found) = no_port(sys, real) {
        return vec![Sight::NoPort(found)];
    }
    let seen = seen_in(sys, real);
    let mut sights = Vec::new();
    let hidden = seen.is_none() && port.adapter().is_empty();
    if !hidden
        && let Err(Mismatch::Other(found) | Mismatch::Astray(found)) = judge(port, seen.as_ref())
    {
        sights.push(Sight::Other(found));
    }
    let has_serial = seen.as_ref().and_then(|seen| seen.usb.as_ref()?.serial.as_ref()).is_some();
    match port.kind() {
        NameKind::Numbered => {
            sights.push(Sight::Numbered { stable: stable_name(&port.path, real) })
        }
        NameKind::ById if seen.is_some() && !has_serial => sights.push(Sight::Twins),
        _ => {}
    }
    let consoles = std::fs::read_to_string(sys.join("class/tty/console/active"));
    let name = real.file_name().and_then(|name| name.to_str()).unwrap_or_default();
    if consoles.is_ok_and(|active| active.split_whitespace().any(|console| console == name)) {
        sights.push(Sight::Console);
    }
    let other = holder.filter(|process| process.name != own);
    sights.extend(other.map(|other| Sight::Taken(format!("{other} has locked it"))));
    sights
}

/// Which adapter a port is on, and whether it is the one that is meant; `None`: on none, and none is asked for.
pub fn adapter(port: &PortSettings, real: &Path) -> Option<Result<Usb, String>> {
    let seen = seen_in(Path::new(SYS), real);
    match judge(port, seen.as_ref()) {
        Err(Mismatch::Other(found) | Mismatch::Astray(found)) => {
            let asked = seen.is_some() || !port.adapter().is_empty();
            asked.then_some(Err(found))
        }
        Ok(()) => seen?.usb.map(Ok),
    }
}

fn seen_in(sys: &Path, real: &Path) -> Option<Seen> {
    let number = std::fs::metadata(real).ok()?.rdev();
    Seen::of(sys, major(number), minor(number))
}

/// Why it never can be a port.
fn no_port(sys: &Path, real: &Path) -> Option<String> {
    let found = std::fs::metadata(real).ok()?;
    if found.is_dir() {
        return Some("it is a directory".to_owned());
    }
    if !found.file_type().is_char_device() {
        return Some("it is no character device".to_owned());
    }
    let number = format!("{}:{}", major(found.rdev()), minor(found.rdev()));
    let kind = std::fs::read_link(sys.join("dev/char").join(number).join("subsystem")).ok()?;
    let kind = kind.file_name()?.to_str()?.to_owned();
    (kind != "tty").then(|| format!("it is a device of the kernel's kind {kind:?}"))
}

/// The name by path that leads to a numbered port now; else the one by id.
fn stable_name(numbered: &Path, real: &Path) -> Option<PathBuf> {
    let names = numbered.parent()?.join("serial");
    ["by-path", "by-id"].iter().find_map(|folder| {
        let entries = std::fs::read_dir(names.join(folder)).ok()?.flatten().take(NAMES_MAX);
        let mut leading: Vec<PathBuf> = entries
            .map(|entry| entry.path())
            .filter(|name| name.canonicalize().is_ok_and(|leads_to| leads_to == real))
            .collect();
        leading.sort_unstable();
        leading.into_iter().next()
    })
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::super::identity::UsbId;
    use super::super::identity::tests::plugged_in;
    use super::*;

    fn port(path: &Path, usb: Option<&str>) -> PortSettings {
        let usb = usb.and_then(UsbId::parse);
        PortSettings { path: path.to_owned(), usb, serial: None, dtr: true }
    }

    #[test]
    fn a_numbered_port_is_told_with_the_name_that_stays_and_another_adapter_with_what_it_is() {
        let home = tempfile::tempdir().unwrap();
        let here = home.path();
        std::fs::create_dir_all(here.join("serial/by-path")).unwrap();
        // A character device that everybody may make a link to.
        let null = Path::new("/dev/null");
        let number = std::fs::metadata(null).unwrap().rdev();
        let sys = here.join("sys");
        let number = format!("{}:{}", major(number), minor(number));
        plugged_in(&sys, &number, "1.3", "1a86:7523", None);
        symlink(null, here.join("ttyUSB0")).unwrap();
        let sights = look_in(&sys, &port(&here.join("ttyUSB0"), None), null, None, "agent");
        assert_eq!(sights, [Sight::Numbered { stable: None }]);
        let by_id = here.join("serial/by-id/usb-1a86_USB_Serial-if00-port0");
        let sights = look_in(&sys, &port(&by_id, Some("0403:6001")), null, None, "agent");
        let found = "it is USB 1a86:7523 without a serial number, plugged in at 1.3:1.0, expected USB 0403:6001";
        assert_eq!(sights, [Sight::Other(found.to_owned()), Sight::Twins]);
        let reader = |name: &str| Process {
            id: "7".to_owned(),
            name: name.to_owned(),
            open: vec![null.to_owned()],
        };
        let looked =
            |holder| look_in(&sys, &port(&here.join("board"), None), null, holder, "agent");
        assert_eq!(looked(Some(reader("agent"))), []);
        assert_eq!(
            looked(Some(reader("cat"))),
            [Sight::Taken("cat (process 7) has locked it".to_owned())]
        );
        std::fs::create_dir_all(sys.join("class/tty/console")).unwrap();
        std::fs::write(sys.join("class/tty/console/active"), "tty0 null\n").unwrap();
        assert_eq!(looked(None), [Sight::Console]);
    }

    #[test]
    fn the_name_that_stays_is_the_one_by_path() {
        let home = tempfile::tempdir().unwrap();
        let here = home.path().canonicalize().unwrap();
        let real = here.join("ttyUSB0");
        std::fs::write(&real, "").unwrap();
        assert_eq!(stable_name(&real, &real), None);
        for name in ["by-id/usb-x-if00-port0", "by-path/pci-b", "by-path/pci-a", "by-path/gone"] {
            let name = here.join("serial").join(name);
            std::fs::create_dir_all(name.parent().unwrap()).unwrap();
            let target = if name.ends_with("gone") { here.join("ttyUSB9") } else { real.clone() };
            symlink(target, &name).unwrap();
        }
        assert_eq!(stable_name(&real, &real), Some(here.join("serial/by-path/pci-a")));
    }

    #[test]
    fn what_never_can_be_a_port_is_told_as_what_it_is() {
        let never = |path: &str| no_port(Path::new("/sys"), Path::new(path)).unwrap();
        assert_eq!(never("/proc"), "it is a directory");
        assert_eq!(never("/proc/self/comm"), "it is no character device");
        assert_eq!(never("/dev/null"), "it is a device of the kernel's kind \"mem\"");
        assert_eq!(no_port(Path::new("/sys"), Path::new("/dev/tty")), None);
    }
}
