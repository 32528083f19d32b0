//! What this host has that could switch machines. Opens no port and takes no line: names and tables are read.

use std::collections::BTreeSet;
use std::net::Ipv4Addr;
use std::path::Path;

use crate::drivers::gpio::is_header;
use crate::drivers::wol::MacAddress;

/// How many ports, chips, interfaces and neighbours are listed each: more belong in no file that a person reads.
const LISTED_MAX: usize = 64;

/// How many lines of a chip are looked at: an expander has 64, the largest chips a few hundred.
const LINES_MAX: usize = 512;

/// How far above a port its USB device stands in sysfs: a driver's and an interface's folder lie between.
const USB_ABOVE_MAX: usize = 4;

/// What was found.
#[derive(Debug, Default)]
pub(super) struct Found {
    pub(super) ports: Vec<Port>,
    pub(super) chips: Vec<Chip>,
    /// Interfaces with a network card behind them, or with neighbours.
    pub(super) interfaces: Vec<String>,
    pub(super) neighbours: Vec<Neighbour>,
}

/// Who has answered on the network.
#[derive(Debug)]
pub(super) struct Neighbour {
    pub(super) address: Ipv4Addr,
    pub(super) mac: MacAddress,
    pub(super) interface: String,
    /// Why magic packets are nothing for it; `None`: it may be a machine of the rack.
    pub(super) not_woken: Option<&'static str>,
}

/// A serial port.
#[derive(Debug)]
pub(super) struct Port {
    /// The name that stays.
    pub(super) path: String,
    /// What it is called at present.
    pub(super) now: String,
    /// Vendor and product of its adapter.
    pub(super) usb: Option<String>,
}

/// A GPIO chip.
#[derive(Debug)]
pub(super) struct Chip {
    pub(super) now: String,
    pub(super) label: String,
    /// Whether it is the header of a Pi.
    pub(super) is_header: bool,
    pub(super) lines: Vec<Line>,
}

/// A line of a chip.
#[derive(Debug)]
pub(super) struct Line {
    pub(super) offset: u32,
    /// Empty where it has none.
    pub(super) name: String,
    /// Who has it; `None`: nobody.
    pub(super) user: Option<String>,
}

/// Looks at the files below `root`, and at the GPIO chips of this host.
pub(super) fn look(root: &Path) -> Found {
    let chips = gpiocdev::chip::chips().unwrap_or_default();
    let neighbours = neighbours(root);
    let folder = root.join("sys/class/net");
    let sends = |name: &String| {
        folder.join(name).join("device").exists()
            || neighbours.iter().any(|neighbour| neighbour.interface == *name)
    };
    Found {
        ports: ports(root),
        chips: chips.iter().take(LISTED_MAX).filter_map(|path| chip(path)).collect(),
        interfaces: names(&folder).into_iter().filter(sends).take(LISTED_MAX).collect(),
        neighbours,
    }
}

/// Names in a folder, in order, of those that can stand in quotes and comments as they are.
fn names(folder: &Path) -> BTreeSet<String> {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    entries
        .filter_map(|entry| entry.file_name().into_string().ok())
        .filter(|name| is_plain(name))
        .collect()
}

fn is_plain(name: &str) -> bool {
    let plain =
        |byte: u8| (byte.is_ascii_graphic() || byte == b' ') && byte != b'"' && byte != b'\\';
    !name.is_empty() && name.bytes().all(plain)
}

/// An adapter may have several names by path: the first stands for it.
fn ports(root: &Path) -> Vec<Port> {
    let mut seen = BTreeSet::new();
    let folder = root.join("dev/serial/by-path");
    let port = |name: String| {
        let target = std::fs::read_link(folder.join(&name)).ok()?;
        let now = target.file_name()?.to_str()?.to_owned();
        let usb = usb(root, &now);
        let path = format!("/dev/serial/by-path/{name}");
        (is_plain(&now) && seen.insert(now.clone())).then_some(Port { path, now, usb })
    };
    names(&folder).into_iter().filter_map(port).take(LISTED_MAX).collect()
}

fn usb(root: &Path, port: &str) -> Option<String> {
    let device =
        std::fs::canonicalize(root.join("sys/class/tty").join(port).join("device")).ok()?;
    device.ancestors().take(USB_ABOVE_MAX).find_map(|folder| {
        let read = |file: &str| std::fs::read_to_string(folder.join(file)).ok();
        let id = format!("{}:{}", read("idVendor")?.trim(), read("idProduct")?.trim());
        is_plain(&id).then_some(id)
    })
}

fn chip(path: &Path) -> Option<Chip> {
    let chip = gpiocdev::Chip::from_path(path).ok()?;
    let label = chip.info().ok()?.label;
    let lines = chip.line_info_iter().ok()?.take(LINES_MAX).flatten().map(|info| {
        let user = if is_plain(&info.consumer) { info.consumer } else { "the kernel".to_owned() };
        Line {
            offset: info.offset,
            name: if is_plain(&info.name) { info.name } else { String::new() },
            user: info.used.then_some(user),
        }
    });
    let lines = lines.collect();
    is_plain(&label).then(|| Chip { now: chip.name(), is_header: is_header(&label), label, lines })
}

/// What the network cards of Raspberry Pis begin with.
const PI: [&str; 7] =
    ["28:cd:c1", "2c:cf:67", "88:a2:9e", "b8:27:eb", "d8:3a:dd", "dc:a6:32", "e4:5f:01"];

/// Who has answered on the network, from the kernel's table; a card with several addresses once.
fn neighbours(root: &Path) -> Vec<Neighbour> {
    let read = |file: &str| std::fs::read_to_string(root.join("proc/net").join(file));
    let gateways = gateways(&read("route").unwrap_or_default());
    let mut seen = BTreeSet::new();
    let table = read("arp").unwrap_or_default();
    let neighbour = |line: &str| {
        let mut fields = line.split_whitespace();
        let (address, mac) = (fields.next()?.parse().ok()?, fields.nth(2)?.to_ascii_lowercase());
        let interface = fields.nth(1)?.to_owned();
        let not_woken = if gateways.contains(&address) {
            Some("the way to other networks")
        } else if PI.iter().any(|start| mac.starts_with(start)) {
            Some("a Raspberry Pi, which no packet wakes")
        } else {
            None
        };
        // Who did not answer stands there with zeros, which is no address.
        let mac = mac.parse().ok()?;
        let whole = is_plain(&interface) && seen.insert(mac);
        whole.then_some(Neighbour { address, mac, interface, not_woken })
    };
    table.lines().skip(1).filter_map(neighbour).take(LISTED_MAX).collect()
}

/// The gateways of the kernel's table, which tells addresses as the bytes of a number in the host's own order.
fn gateways(table: &str) -> BTreeSet<Ipv4Addr> {
    let gateway = |line: &str| {
        let field = line.split_whitespace().nth(2)?;
        let bytes = u32::from_str_radix(field, 16).ok()?.to_ne_bytes();
        Some(Ipv4Addr::from(bytes)).filter(|address| !address.is_unspecified())
    };
    table.lines().skip(1).filter_map(gateway).collect()
}
