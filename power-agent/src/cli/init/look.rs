//! What this host has that could switch machines. Opens no port and takes no line: names and tables are read.

use std::collections::BTreeSet;
use std::path::Path;

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
    pub(super) interfaces: Vec<String>,
    pub(super) neighbours: Vec<String>,
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
    pub(super) lines: Vec<Line>,
}

/// A line of a chip.
#[derive(Debug)]
pub(super) struct Line {
    pub(super) offset: u32,
    pub(super) name: String,
    /// Who has it; `None`: nobody.
    pub(super) user: Option<String>,
}

/// Looks at the files below `root`, and at the GPIO chips of this host.
pub(super) fn look(root: &Path) -> Found {
    let chips = gpiocdev::chip::chips().unwrap_or_default();
    Found {
        ports: ports(root),
        chips: chips.iter().take(LISTED_MAX).filter_map(|path| chip(path)).collect(),
        interfaces: names(&root.join("sys/class/net"))
            .into_iter()
            .filter(|name| name != "lo")
            .take(LISTED_MAX)
            .collect(),
        neighbours: neighbours(root),
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
        let named = is_plain(&info.name);
        let user = if is_plain(&info.consumer) { info.consumer } else { "the kernel".to_owned() };
        Line {
            offset: info.offset,
            name: if named { info.name } else { info.offset.to_string() },
            user: info.used.then_some(user),
        }
    });
    let lines = lines.collect();
    is_plain(&label).then(|| Chip { now: chip.name(), label, lines })
}

/// Who has answered on the network, from the kernel's table.
fn neighbours(root: &Path) -> Vec<String> {
    let table = std::fs::read_to_string(root.join("proc/net/arp")).unwrap_or_default();
    let neighbour = |line: &str| {
        let mut fields = line.split_whitespace();
        let (address, mac) = (fields.next()?, fields.nth(2)?);
        let interface = fields.nth(1)?;
        (mac != "00:00:00:00:00:00").then(|| format!("{address} is {mac} on {interface}"))
    };
    table.lines().skip(1).filter_map(neighbour).take(LISTED_MAX).collect()
}
