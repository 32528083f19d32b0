//! Which adapter a port is: what the kernel says of it, held against what was asked for and the port's own name say.
//!
//! udev makes its names a moment after the kernel has given out numbers, so a link may still lead to another board.

use std::fmt;
use std::path::Path;

use super::PortSettings;

/// From a port to the root of the devices: hubs can be nested five deep, with an interface and a bus each.
const DEPTH_MAX: usize = 48;

/// Vendor and product of a USB adapter.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct UsbId {
    vendor: u16,
    product: u16,
}

impl UsbId {
    /// Reads `1a86:7523`.
    pub fn parse(text: &str) -> Option<Self> {
        let (vendor, product) = text.split_once(':')?;
        Some(Self { vendor: hex(vendor)?, product: hex(product)? })
    }
}

impl fmt::Display for UsbId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:04x}:{:04x}", self.vendor, self.product)
    }
}

fn hex(word: &str) -> Option<u16> {
    let whole = word.len() == 4 && word.bytes().all(|byte| byte.is_ascii_hexdigit());
    whole.then(|| u16::from_str_radix(word, 16).ok()).flatten()
}

/// A USB adapter as the kernel tells of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Usb {
    /// Vendor and product.
    pub id: UsbId,
    /// Its serial number, where it has one.
    pub serial: Option<String>,
    /// Where it is plugged in, and which of its interfaces this is: `1.3:1.0`.
    pub place: Option<String>,
}

impl fmt::Display for Usb {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "USB {}", self.id)?;
        match &self.serial {
            Some(serial) => write!(f, " with serial number {serial}")?,
            None => f.write_str(" without a serial number")?,
        }
        self.place.as_ref().map_or(Ok(()), |place| write!(f, ", plugged in at {place}"))
    }
}

/// What the kernel says of a character device.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Seen {
    pub(crate) usb: Option<Usb>,
    /// Which of an adapter's several ports this is.
    port_number: Option<String>,
    /// The devices that it hangs on, by their names in the kernel, the nearest first.
    above: Vec<String>,
}

impl Seen {
    /// What `sys` says of the device with this number; `None`: nothing.
    pub(crate) fn of(sys: &Path, major: u32, minor: u32) -> Option<Self> {
        let real = sys.join(format!("dev/char/{major}:{minor}")).canonicalize().ok()?;
        let mut seen = Self::default();
        let mut below = None;
        for folder in real.ancestors().take(DEPTH_MAX) {
            let Some(name) = folder.file_name().and_then(|name| name.to_str()) else { break };
            seen.port_number = seen.port_number.or_else(|| text(folder, "port_number"));
            if seen.usb.is_none() {
                let id = |file| text(folder, file).as_deref().and_then(hex);
                let id = id("idVendor").zip(id("idProduct"));
                seen.usb = id.map(|(vendor, product)| Usb {
                    id: UsbId { vendor, product },
                    serial: text(folder, "serial"),
                    place: below.and_then(|below: &str| Some(below.split_once('-')?.1.to_owned())),
                });
            }
            seen.above.push(name.to_owned());
            below = Some(name);
        }
        Some(seen)
    }
}

/// One line of a file of the kernel's.
fn text(folder: &Path, file: &str) -> Option<String> {
    let text = std::fs::read_to_string(folder.join(file)).ok()?;
    let text = text.trim();
    (!text.is_empty()).then(|| text.to_owned())
}

/// Why a port is not the one that is meant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Mismatch {
    /// Another adapter is there.
    Other(String),
    /// The name leads astray, as it may for a moment after something was plugged in or out.
    Astray(String),
}

/// Holds what the kernel says of a port against what was asked for, and against the port's own name.
pub(crate) fn judge(wanted: &PortSettings, seen: Option<&Seen>) -> Result<(), Mismatch> {
    let usb = seen.and_then(|seen| seen.usb.as_ref());
    let asked = wanted.adapter();
    if !asked.is_empty() {
        let Some(seen) = seen else {
            let what = format!("the kernel does not say which adapter it is, expected {asked}");
            return Err(Mismatch::Astray(what));
        };
        let Some(usb) = &seen.usb else {
            return Err(Mismatch::Other(format!("it is no USB adapter, expected {asked}")));
        };
        let other_id = wanted.usb.is_some_and(|id| id != usb.id);
        let other_serial = wanted.serial.is_some() && wanted.serial != usb.serial;
        if other_id || other_serial {
            return Err(Mismatch::Other(format!("it is {usb}, expected {asked}")));
        }
    }
    let name = wanted.path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
    match (wanted.kind(), seen) {
        (NameKind::ByPath, Some(seen)) => leads_to_place(name, seen),
        (NameKind::ById, Some(_)) => leads_to_serial(name, usb),
        // It was gone in the moment in which it was opened: everything that is there has an entry.
        (NameKind::ByPath | NameKind::ById, None)
            if usb_place(name).is_some() || name.starts_with("usb-") =>
        {
            Err(Mismatch::Astray("it was gone again at once".to_owned()))
        }
        _ => Ok(()),
    }
}

/// What kind of name a port has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NameKind {
    /// `/dev/serial/by-path/…`: the place where it is plugged in.
    ByPath,
    /// `/dev/serial/by-id/…`: vendor, product and serial number.
    ById,
    /// `/dev/ttyUSB0`, `/dev/ttyACM0`: given out in the order in which they appear.
    Numbered,
    /// Anything else: a name of the board's own, a port that is soldered on.
    Own,
}

impl NameKind {
    /// The kind of a name.
    #[must_use]
    pub fn of(path: &Path) -> Self {
        let folder = path.parent().unwrap_or(Path::new(""));
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        let numbered = |kind| {
            let number = name.strip_prefix(kind);
            number.is_some_and(|n| !n.is_empty() && n.bytes().all(|byte| byte.is_ascii_digit()))
        };
        if folder.ends_with("serial/by-path") {
            Self::ByPath
        } else if folder.ends_with("serial/by-id") {
            Self::ById
        } else if numbered("ttyUSB") || numbered("ttyACM") {
            Self::Numbered
        } else {
            Self::Own
        }
    }
}

/// What a by-path name says of a USB adapter: what it hangs on, its place, and which of its ports.
fn usb_place(name: &str) -> Option<(&str, &str, Option<&str>)> {
    let (above, place) =
        ["-usb-0:", "-usbv2-0:", "-usbv3-0:"].iter().find_map(|mark| name.split_once(mark))?;
    Some(match place.split_once("-port") {
        Some((place, port)) => (above, place, Some(port)),
        None => (above, place, None),
    })
}

fn leads_to_place(name: &str, seen: &Seen) -> Result<(), Mismatch> {
    let Some((above, place, port)) = usb_place(name) else { return Ok(()) };
    let astray = |found: String| {
        let what = format!(
            "its name stands for what is plugged in at {place} of {above}, and leads to {found}"
        );
        Err(Mismatch::Astray(what))
    };
    let Some(usb) = &seen.usb else { return astray("no USB adapter".to_owned()) };
    // The last device of the name is the controller: `platform-fd500000.pcie-pci-0000:01:00.0`.
    let controller = ["pci-", "platform-"].iter().find_map(|mark| Some(above.rsplit_once(mark)?.1));
    let hangs_there =
        controller.is_none_or(|controller| seen.above.iter().any(|name| name == controller));
    let same_port =
        port.is_none() || seen.port_number.is_none() || seen.port_number.as_deref() == port;
    if usb.place.as_deref() == Some(place) && hangs_there && same_port {
        return Ok(());
    }
    astray(usb.to_string())
}

fn leads_to_serial(name: &str, usb: Option<&Usb>) -> Result<(), Mismatch> {
    let Some(serial) = usb.and_then(|usb| usb.serial.as_deref()) else { return Ok(()) };
    if says_serial(name, serial) {
        return Ok(());
    }
    let usb = usb.map(ToString::to_string).unwrap_or_default();
    Err(Mismatch::Astray(format!("its name stands for another adapter, and leads to {usb}")))
}

/// Whether a by-id name ends with this serial number, as udev writes it: `usb-1a86_USB_Serial_A50285BI-if00-port0`.
fn says_serial(name: &str, serial: &str) -> bool {
    let stem = name.rsplit_once("-if").map_or(name, |(stem, _)| stem);
    let kept = |byte: u8| byte.is_ascii_alphanumeric() || b"#+-.:=@_".contains(&byte);
    let written: String =
        serial.bytes().map(|byte| if kept(byte) { char::from(byte) } else { '_' }).collect();
    stem.ends_with(&format!("_{written}"))
}

#[cfg(test)]
pub(super) mod tests {
    use std::os::unix::fs::symlink;
    use std::path::PathBuf;

    use super::*;

    /// A kernel's tree with one adapter behind a hub, as a Raspberry Pi 4 shows it.
    pub(crate) fn plugged_in(
        sys: &Path,
        number: &str,
        place: &str,
        id: &str,
        serial: Option<&str>,
    ) {
        let usb = sys.join("devices/platform/scb/fd500000.pcie/0000:01:00.0/usb1/1-1");
        let device = usb.join(format!("1-{place}"));
        let tty = device.join(format!("1-{place}:1.0/ttyUSB0/tty/ttyUSB0"));
        std::fs::create_dir_all(&tty).unwrap();
        std::fs::create_dir_all(sys.join("dev/char")).unwrap();
        let (vendor, product) = id.split_once(':').unwrap();
        std::fs::write(device.join("idVendor"), format!("{vendor}\n")).unwrap();
        std::fs::write(device.join("idProduct"), format!("{product}\n")).unwrap();
        std::fs::write(tty.join("../../port_number"), "0\n").unwrap();
        if let Some(serial) = serial {
            std::fs::write(device.join("serial"), format!("{serial}\n")).unwrap();
        }
        symlink(&tty, sys.join("dev/char").join(number)).unwrap();
    }

    fn port(path: &str, usb: Option<&str>, serial: Option<&str>) -> PortSettings {
        PortSettings {
            path: PathBuf::from(path),
            usb: usb.map(|usb| UsbId::parse(usb).unwrap()),
            serial: serial.map(str::to_owned),
            dtr: true,
        }
    }

    const HERE: &str =
        "/dev/serial/by-path/platform-fd500000.pcie-pci-0000:01:00.0-usb-0:1.3:1.0-port0";

    #[test]
    fn a_name_by_path_is_believed_only_where_the_kernel_says_the_same_place() {
        let sys = tempfile::tempdir().unwrap();
        plugged_in(sys.path(), "188:0", "1.3", "1a86:7523", None);
        let seen = Seen::of(sys.path(), 188, 0).unwrap();
        assert_eq!(
            seen.usb.as_ref().unwrap().to_string(),
            "USB 1a86:7523 without a serial number, plugged in at 1.3:1.0"
        );
        judge(&port(HERE, None, None), Some(&seen)).unwrap();
        judge(&port(&HERE.replace("-usb-", "-usbv2-"), None, None), Some(&seen)).unwrap();
        for other in [
            HERE.replace("1.3:1.0", "1.4:1.0"),
            HERE.replace("1.3:1.0", "1.3:1.1"),
            HERE.replace("0000:01:00.0", "0000:02:00.0"),
            HERE.replace("port0", "port1"),
        ] {
            let refused = judge(&port(&other, None, None), Some(&seen)).unwrap_err();
            assert!(
                matches!(&refused, Mismatch::Astray(what) if what.contains("leads to USB 1a86:7523")),
                "{other}: {refused:?}"
            );
        }
        assert!(judge(&port(HERE, None, None), None).is_err(), "it is gone again");
        for unproven in ["/dev/ttyUSB0", "/dev/board-a", "/dev/serial/by-path/platform-serial8250"]
        {
            judge(&port(unproven, None, None), None).unwrap();
            judge(&port(unproven, None, None), Some(&seen)).unwrap();
        }
    }

    #[test]
    fn another_adapter_than_the_file_names_is_refused_under_every_name() {
        let sys = tempfile::tempdir().unwrap();
        plugged_in(sys.path(), "188:0", "1.3", "1a86:7523", Some("A5 1/7"));
        let seen = Seen::of(sys.path(), 188, 0);
        for (usb, serial, right) in [
            (Some("1a86:7523"), None, true),
            (Some("1A86:7523"), Some("A5 1/7"), true),
            (Some("0403:6001"), None, false),
            (None, Some("A5 1/8"), false),
        ] {
            for path in ["/dev/ttyUSB0", HERE] {
                let judged = judge(&port(path, usb, serial), seen.as_ref());
                assert_eq!(judged.is_ok(), right, "{judged:?}");
                assert!(right || matches!(judged, Err(Mismatch::Other(_))), "{judged:?}");
            }
        }
        let nobody = judge(&port("/dev/ttyUSB0", None, Some("A5 1/7")), None).unwrap_err();
        assert!(matches!(nobody, Mismatch::Astray(_)), "{nobody:?}");
        let soldered =
            judge(&port("/dev/ttyAMA0", Some("1a86:7523"), None), Some(&Seen::default()));
        assert_eq!(
            soldered,
            Err(Mismatch::Other("it is no USB adapter, expected USB 1a86:7523".to_owned()))
        );
        let by_id = |serial: &str| {
            let name = format!("/dev/serial/by-id/usb-1a86_USB_Serial_{serial}-if00-port0");
            judge(&port(&name, None, None), seen.as_ref())
        };
        by_id("A5_1_7").unwrap();
        assert!(matches!(by_id("A5_1_8"), Err(Mismatch::Astray(_))));
    }

    #[test]
    fn a_usb_id_is_two_words_of_four_hexadecimal_digits() {
        assert_eq!(UsbId::parse("1a86:7523").unwrap().to_string(), "1a86:7523");
        for wrong in ["1a86", "1a86:752", "1a86:7523:1", "+a86:7523", "1a86-7523", ""] {
            assert_eq!(UsbId::parse(wrong), None, "{wrong}");
        }
    }
}
