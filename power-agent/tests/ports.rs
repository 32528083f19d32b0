//! Goal: a serial port that is wrong, taken, gone or two devices' is named with its place in the file and what to do,
//! and one that a reboot may give to another board is told with the name that stays. Method: pseudo-terminals under the
//! names that udev gives, each message a golden snapshot.

use std::fs::File;
use std::os::unix::fs::symlink;
use std::path::PathBuf;

use power_agent::config::{Config, Findings};
use rustix::fs::{FlockOperation, flock};
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use tempfile::TempDir;

/// A directory that stands for `/dev`, with a pseudo-terminal.
struct Dev {
    home: TempDir,
    real: PathBuf,
    _board: File,
}

fn dev() -> Dev {
    let board = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).expect("it is made");
    grantpt(&board).expect("it is made");
    unlockpt(&board).expect("it is made");
    let real =
        PathBuf::from(ptsname(&board, Vec::new()).expect("a name").into_string().expect("text"));
    Dev { home: tempfile::tempdir().expect("it is made"), real, _board: File::from(board) }
}

impl Dev {
    fn path(&self, name: &str) -> PathBuf {
        self.home.path().join(name)
    }

    fn link(&self, name: &str) {
        let link = self.path(name);
        std::fs::create_dir_all(link.parent().expect("it is made")).expect("it is made");
        symlink(&self.real, link).expect("it is made");
    }

    fn load(&self, text: &str) -> (bool, Findings) {
        let file = self.path("rack.toml");
        std::fs::write(&file, text).expect("it is made");
        match Config::load(&file) {
            Ok((_, warnings)) => (true, warnings),
            Err(errors) => (false, errors),
        }
    }

    /// What is told, without what is another's at each run.
    fn told(&self, text: &str) -> String {
        let own = format!("(process {})", std::process::id());
        let (taken, findings) = self.load(text);
        let told =
            findings.to_string().replace(self.home.path().to_str().expect("it is made"), "/dev");
        let told = told
            .replace(&self.real.display().to_string(), "/dev/pts/0")
            .replace(&own, "(process 7)");
        format!("{}\n{told}", if taken { "taken, with warnings" } else { "refused" })
    }
}

fn board(name: &str, keys: &str) -> String {
    format!("[devices.{name}]\ndriver = \"lcus\"\nchannels = 4\nstatus = \"none\"\n{keys}")
}

#[test]
fn a_numbered_name_is_warned_of_with_the_name_that_stays_and_a_soldered_one_is_not() {
    let dev = dev();
    // The pseudo-terminal itself has no number that udev would give: a link with such a name does.
    dev.link("ttyUSB0");
    insta::assert_snapshot!("numbered", dev.told(&board("a", "port = \"ttyUSB0\"\n")));
    dev.link("serial/by-path/pci-0000:00:14.0");
    insta::assert_snapshot!("numbered_with_a_name", dev.told(&board("a", "port = \"ttyUSB0\"\n")));
    assert!(dev.load(&board("a", "port = \"serial/by-path/pci-0000:00:14.0\"\n")).1.is_empty());
}

#[test]
fn a_port_that_never_can_be_one_refuses_the_file() {
    let dev = dev();
    std::fs::create_dir(dev.path("serial")).unwrap();
    insta::assert_snapshot!(dev.told(&board("a", "port = \"serial\"\n")));
    assert!(!dev.load(&board("a", "port = \"/dev/null\"\n")).0, "it is a device, and no port");
}

#[test]
fn an_adapter_that_can_not_be_proven_and_an_id_that_is_none_are_told() {
    let dev = dev();
    dev.link("board");
    insta::assert_snapshot!(
        dev.told(&board("a", "port = \"board\"\nusb = \"1a86:7523\"\nserial = \"A1\"\n"))
    );
    insta::assert_snapshot!(
        "no_usb_id",
        dev.told(&board("a", "port = \"board\"\nusb = \"CH340\"\n"))
    );
}

#[test]
fn a_port_that_another_process_has_locked_is_told_with_the_process() {
    let dev = dev();
    dev.link("board");
    let text = board("a", "port = \"board\"\n");
    assert!(dev.load(&text).1.is_empty());
    let holder = File::options().read(true).write(true).open(&dev.real).unwrap();
    flock(&holder, FlockOperation::LockExclusive).unwrap();
    let told = dev.told(&text);
    let name = std::fs::read_to_string("/proc/self/comm").unwrap();
    insta::assert_snapshot!(told.replace(name.trim(), "minicom"));
}

#[test]
fn two_devices_on_one_port_are_refused_and_so_are_two_machines_on_one_outlet() {
    let dev = dev();
    dev.link("one");
    dev.link("two");
    let machine = |name: &str, device: &str| {
        format!("[machines.{name}]\noutlets = [{{ device = \"{device}\", outlet = 1 }}]\n")
    };
    let devices = |one: &str, two: &str| {
        board("a", one) + &board("b", two) + &machine("node1", "a") + &machine("node2", "b")
    };
    insta::assert_snapshot!(
        "one_port_by_two_names",
        dev.told(&devices("port = \"one\"\n", "port = \"two\"\n"))
    );
    insta::assert_snapshot!(
        "one_outlet",
        dev.told(
            &(board("a", "port = \"one\"\n") + &machine("node1", "a") + &machine("node2", "a"))
        )
    );
}
