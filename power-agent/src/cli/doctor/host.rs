//! What the host says: ports and who holds them, the state directory, clock, USB, ssh. Reads only.

use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::Path;

use rustix::fs::{Access, access, statvfs};

use super::{Grade, Looked};
use crate::config::{Config, SoftOffWay, SshConfig};
use serial_port::PortSettings;
use serial_port::processes::Process;

/// Programs that open serial ports that are not theirs, and what stops them.
const GRABBERS: &[(&str, &str)] = &[
    (
        "ModemManager",
        "tell udev to leave the board alone (ENV{ID_MM_DEVICE_IGNORE}=\"1\"), or `systemctl disable --now ModemManager`",
    ),
    (
        "brltty",
        "it takes CH340 adapters for braille displays: `apt-get remove brltty`, or mask its udev rule",
    ),
];

/// Less than this left and the journal may fail soon, in bytes: the audit alone keeps 32 MiB.
const FREE_WARN: u64 = 256 << 20;

/// With less than this left it fails now, in bytes.
const FREE_FAIL: u64 = 8 << 20;

/// File systems that forget.
const FORGETFUL: &[&str] = &["tmpfs", "ramfs", "overlay"];

/// Who runs this, and in which groups.
pub(super) fn user() -> Looked {
    let uid = rustix::process::geteuid().as_raw();
    // The first group need not be among the others, as for root in a container.
    let mut ids = vec![rustix::process::getegid().as_raw()];
    for group in rustix::process::getgroups().unwrap_or_default() {
        if !ids.contains(&group.as_raw()) {
            ids.push(group.as_raw());
        }
    }
    let groups: Vec<String> = ids.into_iter().map(group_name).collect();
    Looked::ok("user", format!("uid {uid}, in groups {}", groups.join(", ")))
}

fn group_name(gid: u32) -> String {
    let groups = std::fs::read_to_string("/etc/group").unwrap_or_default();
    let found = groups.lines().find_map(|line| {
        let mut fields = line.split(':');
        let name = fields.next()?;
        (fields.nth(1)?.parse() == Ok(gid)).then(|| name.to_owned())
    });
    found.unwrap_or_else(|| format!("gid {gid}"))
}

/// Whether a port is there, may be used, and is nobody else's.
pub(super) fn port(device: &str, path: &Path, processes: &[Process]) -> Looked {
    let what = format!("port {} of {device}", path.display());
    let found = match std::fs::metadata(path) {
        Ok(found) => found,
        Err(error) => {
            let remedy = "look with `ls -l /dev/serial/by-path` where the board is, and plug it in";
            return Looked::bad(Grade::Fail, what, error.to_string(), remedy);
        }
    };
    if !found.file_type().is_char_device() {
        let remedy = "name the board's own device, like /dev/serial/by-path/…";
        return Looked::bad(Grade::Fail, what, "it is no character device", remedy);
    }
    if access(path, Access::READ_OK | Access::WRITE_OK).is_err() {
        let group = group_name(found.gid());
        let told = format!("this user may not read and write it; it belongs to group {group}");
        let remedy =
            format!("`usermod -aG {group} USER`, then log in again, or give it by a udev rule");
        return Looked::bad(Grade::Fail, what, told, remedy);
    }
    let real = std::fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
    let holders = processes.iter().filter(|process| process.open.contains(&real));
    let (ours, others): (Vec<_>, Vec<_>) =
        holders.partition(|process| process.name == "power-agent");
    match (others.first(), ours.first()) {
        (Some(other), _) => {
            let told = format!("{other} has it open");
            let remedy =
                "two readers take each other's answers: end that program, or keep it off this port";
            Looked::bad(Grade::Fail, what, told, remedy)
        }
        (None, Some(ours)) => {
            Looked::ok(what, format!("the agent (process {}) has it open", ours.id))
        }
        (None, None) => Looked::ok(what, "there, and nobody that could be seen has it open"),
    }
}

/// Which adapter a port is on, whether it is the one that the file means, and what opening it does to the board.
pub(super) fn adapter(device: &str, port: &PortSettings) -> Vec<Looked> {
    let what = format!("adapter of {device}");
    let seen = port.path.canonicalize().ok().and_then(|real| serial_port::adapter(port, &real));
    let found = match seen {
        None => return Vec::new(),
        Some(Err(found)) => {
            let remedy = "plug the board in there, or correct `port`, `usb` or `serial`; nothing is sent to any other";
            return vec![Looked::bad(Grade::Fail, what, found, remedy)];
        }
        Some(Ok(found)) => found,
    };
    let dtr = "stays raised when the agent closes the port. A board that starts anew by it does so when the port is \
        opened for the first time after it was plugged in: a rule of udev with \
        RUN+=\"/bin/stty -F $devnode -hupcl\" does that at once, before anything is on";
    vec![Looked::ok(what, found.to_string()), Looked::ok(format!("DTR of {device}"), dtr)]
}

/// Programs that are known to take serial ports.
pub(super) fn grabbers(processes: &[Process]) -> Vec<Looked> {
    let found = GRABBERS.iter().filter_map(|(name, remedy)| {
        let process = processes.iter().find(|process| process.name == *name)?;
        let told = format!("runs (process {}), and opens serial ports that appear", process.id);
        Some(Looked::bad(Grade::Warn, *name, told, *remedy))
    });
    found.collect()
}

/// The state directory: whether it can be written, outlives a reboot, and has room.
pub(super) fn state(path: &Path) -> Vec<Looked> {
    let what = format!("state directory {}", path.display());
    let there = path.ancestors().find(|ancestor| ancestor.is_dir()).unwrap_or(Path::new("/"));
    if access(there, Access::WRITE_OK).is_err() {
        let told = format!("{} can not be written by this user", there.display());
        let remedy = "create it for the agent's user, or name another as `agent.state`";
        return vec![Looked::bad(Grade::Fail, what, told, remedy)];
    }
    let kind = file_system(there);
    let mut looked = vec![if FORGETFUL.contains(&kind.as_str()) {
        let told = format!(
            "lies on {kind}, which forgets at a reboot: holds, fences and the audit with it"
        );
        let remedy =
            "name a directory on a disk or card as `agent.state`; in a container, a host path";
        Looked::bad(Grade::Warn, what.clone(), told, remedy)
    } else {
        Looked::ok(what.clone(), format!("can be written, and lies on {kind}"))
    }];
    if let Ok(room) = statvfs(there) {
        let free = room.f_bavail.saturating_mul(room.f_frsize);
        let told = format!("{} MiB are free", free >> 20);
        let remedy = "make room: nothing moves while the journal can not be written";
        looked.push(match free {
            0..FREE_FAIL => Looked::bad(Grade::Fail, what, told, remedy),
            FREE_FAIL..FREE_WARN => Looked::bad(Grade::Warn, what, told, remedy),
            FREE_WARN.. => Looked::ok(what, told),
        });
    }
    looked
}

/// The kind of file system on which a directory lies: the longest mount point above it.
fn file_system(path: &Path) -> String {
    let mounts = std::fs::read_to_string("/proc/self/mounts").unwrap_or_default();
    let real = std::fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
    let above = mounts.lines().filter_map(|line| {
        let mut fields = line.split(' ').skip(1);
        let point = fields.next().filter(|point| real.starts_with(point))?;
        Some((point.len(), fields.next()?.to_owned()))
    });
    // Of mounts on one point the last one is seen.
    above
        .max_by_key(|(length, _)| *length)
        .map_or_else(|| "an unknown file system".to_owned(), |(_, kind)| kind)
}

/// Whether somebody keeps the clock. No decision reads it; people do.
pub(super) fn clock() -> Looked {
    let synced = Path::new("/run/systemd/timesync/synchronized").exists();
    let chrony = Path::new("/run/chrony/chronyd.pid").exists();
    if synced || chrony {
        return Looked::ok("clock", "is kept by the network");
    }
    let told =
        "nobody that is known here keeps it: times in the audit may be wrong, switching is not";
    Looked::bad(Grade::Warn, "clock", told, "enable systemd-timesyncd or chrony")
}

/// Whether the kernel sends USB adapters to sleep.
pub(super) fn usb() -> Option<Looked> {
    let file = "/sys/module/usbcore/parameters/autosuspend";
    let seconds: i64 = std::fs::read_to_string(file).ok()?.trim().parse().ok()?;
    let what = "kernel setting usbcore.autosuspend";
    Some(if seconds < 0 {
        Looked::ok(what, "off")
    } else {
        let told = format!(
            "{seconds}: where a board's adapter is allowed to sleep, its answers come late"
        );
        Looked::bad(
            Grade::Warn,
            what,
            told,
            "boot with usbcore.autosuspend=-1, or leave power/control of the board at `on`",
        )
    })
}

/// What soft off by ssh needs.
pub(super) fn ssh(config: &Config) -> Vec<Looked> {
    let ways =
        config.machines.values().filter_map(|machine| match &machine.soft_off.as_ref()?.way {
            SoftOffWay::Ssh(ssh) => Some(ssh),
            SoftOffWay::Exec { .. } => None,
        });
    let ways: Vec<&SshConfig> = ways.collect();
    if ways.is_empty() {
        return Vec::new();
    }
    let path = std::env::var_os("PATH").unwrap_or_default();
    let client =
        std::env::split_paths(&path).map(|folder| folder.join("ssh")).find(|ssh| ssh.is_file());
    let mut looked = vec![match client {
        Some(ssh) => Looked::ok("ssh", ssh.display().to_string()),
        None => Looked::bad(Grade::Fail, "ssh", "there is none in PATH", "install openssh-client"),
    }];
    let mut files: Vec<(&Path, bool)> = Vec::new();
    for ssh in ways {
        files.extend(ssh.identity_file.as_deref().map(|file| (file, true)));
        files.extend(ssh.known_hosts.as_deref().map(|file| (file, false)));
    }
    files.sort_unstable();
    files.dedup();
    looked.extend(files.into_iter().map(|(file, secret)| super::reach::file(file, secret)));
    looked
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::*;

    #[test]
    fn the_user_is_in_one_group_at_least() {
        let looked = user();
        let own = group_name(rustix::process::getegid().as_raw());
        assert!(looked.found.contains(&format!("in groups {own}")), "{looked:?}");
    }

    #[test]
    fn a_port_is_well_with_nobody_or_the_agent_on_it_and_not_with_a_stranger() {
        let port_of = |names: &[&str]| {
            let process = |name: &&str| Process {
                id: "7".to_owned(),
                name: (*name).to_owned(),
                open: vec![PathBuf::from("/dev/null")],
            };
            let processes: Vec<Process> = names.iter().map(process).collect();
            port("a", Path::new("/dev/null"), &processes)
        };
        for (names, grade, found) in [
            (&[][..], Grade::Ok, "nobody"),
            (&["power-agent"][..], Grade::Ok, "the agent (process 7)"),
            (&["power-agent", "minicom"][..], Grade::Fail, "minicom (process 7) has it open"),
        ] {
            let looked = port_of(names);
            assert_eq!(looked.grade, grade, "{looked:?}");
            assert!(looked.found.contains(found), "{looked:?}");
        }
        assert_eq!(port("a", Path::new("/dev/none"), &[]).grade, Grade::Fail);
        assert_eq!(port("a", Path::new("/proc/self/comm"), &[]).grade, Grade::Fail);
    }
}
