//! Goal: what a host has stands in the file, `check` takes it, and nothing is in force yet. Method: a folder that stands for
//! the host's files, and chips as the kernel tells them.

use std::os::unix::fs::symlink;

use rustix::io::Errno;
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use tempfile::TempDir;

use super::look::Line;
use super::*;
use crate::config::Config;
use crate::drivers::DriverConfig;

/// A host's files: two adapters, one of which has two names, neighbours, two interfaces.
fn host() -> TempDir {
    let root = tempfile::tempdir().expect("a folder");
    let at = |path: &str| root.path().join(path);
    for folder in ["dev/serial/by-path", "proc/net", "sys/class/net/lo", "sys/class/net/docker0"] {
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
    for card in ["sys/class/net/eth0/device", "sys/class/net/enp1s0.12"] {
        std::fs::create_dir_all(at(card)).expect("a folder");
    }
    let arp = "IP address HW type Flags HW address Mask Device\n\
               10.0.0.1 0x1 0x2 52:54:00:00:00:01 * eth0\n\
               10.0.0.20 0x1 0x2 dc:a6:32:00:00:01 * eth0\n\
               10.0.0.21 0x1 0x2 52:54:00:00:00:21 * eth0\n\
               10.0.0.121 0x1 0x2 52:54:00:00:00:21 * eth0\n\
               10.0.0.22 0x1 0x0 00:00:00:00:00:00 * eth0\n\
               10.0.12.23 0x1 0x2 52:54:00:00:00:23 * enp1s0.12\n";
    std::fs::write(at("proc/net/arp"), arp).expect("a file");
    let gateway = u32::from_ne_bytes([10, 0, 0, 1]);
    let route = format!(
        "Iface Destination Gateway Flags\neth0 00000000 {gateway:08X} 0003\neth0 0000000A 00000000 0001\n"
    );
    std::fs::write(at("proc/net/route"), route).expect("a file");
    root
}

fn chip(label: &str, is_header: bool, lines: &[(u32, &str, Option<&str>)]) -> Chip {
    let line = |(offset, name, user): &(u32, &str, Option<&str>)| Line {
        offset: *offset,
        name: (*name).to_owned(),
        user: user.map(str::to_owned),
    };
    let lines = lines.iter().map(line).collect();
    Chip { now: "gpiochip0".to_owned(), label: label.to_owned(), is_header, lines }
}

/// What `look` finds there, with chips: a header, the lines by which a Pi switches its own radio, an expander.
fn found() -> Found {
    let header = [
        (2, "GPIO2", None),
        (17, "GPIO17", Some("fan")),
        (22, "GPIO22", None),
        (27, "GPIO27", None),
    ];
    let own = [(0, "BT_ON", None), (1, "WL_ON", None)];
    let expander = [(0, "", Some("the kernel")), (1, "", None), (2, "", None)];
    let mut found = look::look(host().path());
    found.chips = vec![
        chip("pinctrl-bcm2711", true, &header),
        chip("raspberrypi-exp-gpio", false, &own),
        chip("pcf8574", false, &expander),
    ];
    found
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
    let text = rack_file(&found());
    let config = checked(&text).unwrap_or_else(|told| panic!("{told}\n{text}"));
    assert!(config.devices.is_empty() && config.machines.is_empty(), "{text}");
    assert!(text.contains("\n# ttyUSB0 now\n#[devices.board-1]\n"), "{text}");
    assert!(text.contains("\n#port = \"/dev/serial/by-path/platform-fd5-usb-0:1.2:1.0-port0\"\n"));
    assert_eq!(text.matches("driver = \"lcus\"").count(), 2, "each adapter once: {text}");
    assert!(text.contains("taken: GPIO17 (fan)\n"), "{text}");
    assert!(text.contains("#lines = [\"GPIO27\", \"GPIO22\"] "), "no bus, nothing taken: {text}");
    assert!(text.contains("\n#[devices.chip-3]\n") && text.contains("#lines = [1, 2] "), "{text}");
    assert!(!text.contains("[devices.chip-2]"), "lines with names are the board's own: {text}");
}

#[test]
fn neighbours_are_proposed_to_be_woken_but_for_those_that_no_packet_wakes() {
    let text = rack_file(&found());
    for (address, mac, lan) in [("10.0.0.21", "00:21", 2), ("10.0.12.23", "00:23", 1)] {
        let wake = format!("#wake = {{ device = \"lan-{lan}\", mac = \"52:54:00:00:{mac}\" }}\n");
        let presence = format!("#presence = {{ address = \"{address}\", by = [\"ping\"] }}\n");
        assert!(text.contains(&wake) && text.contains(&presence), "{text}");
    }
    for told in [
        "# 10.0.0.1 on eth0, 52:54:00:00:00:01: the way to other networks.\n",
        "# 10.0.0.20 on eth0, dc:a6:32:00:00:01: a Raspberry Pi, which no packet wakes.\n",
        "#[devices.lan-2]\n#driver = \"wol\"\n#interface = \"eth0\"\n",
    ] {
        assert!(text.contains(told), "{told:?} is not in\n{text}");
    }
    for absent in ["10.0.0.22", "10.0.0.121", "docker0", "\"lo\""] {
        assert!(!text.contains(absent), "{absent} is in\n{text}");
    }
}

#[test]
fn with_every_setting_taken_as_proposed_check_takes_it_too() {
    let text = taken_as_proposed(&rack_file(&found()));
    let config = checked(&text).unwrap_or_else(|told| panic!("{told}\n{text}"));
    assert_eq!((config.devices.len(), config.machines.len()), (6, 3), "{text}");
    let wol = |device: &&DriverConfig| matches!(device, DriverConfig::Wol(_));
    assert_eq!(config.devices.values().filter(wol).count(), 2, "{text}");
    let woken = config.machines.values().filter(|machine| machine.wake.is_some());
    assert_eq!(woken.count(), 2, "{text}");
}

#[test]
fn no_port_is_opened_for_it() {
    let root = host();
    let board = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).expect("a line");
    grantpt(&board).expect("its other end");
    unlockpt(&board).expect("its other end");
    let port = ptsname(&board, Vec::new()).expect("its name").into_string().expect("a path");
    symlink(port, root.path().join("dev/ttyUSB0")).expect("a link");
    rustix::io::ioctl_fionbio(&board, true).expect("a line that does not wait");
    assert_eq!(look::look(root.path()).ports.len(), 2);
    // Once its other end was open and is not any more, the kernel calls the line broken.
    let heard = rustix::io::read(&board, &mut [0_u8; 1]);
    assert_eq!(heard.expect_err("nobody has sent anything"), Errno::AGAIN);
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
