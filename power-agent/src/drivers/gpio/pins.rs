//! What is known of the header of a Raspberry Pi: default pulls, and pins that the board itself uses.

use super::settings::LineName;

/// Labels of the chips whose first 28 lines are the header.
const HEADERS: &[&str] = &["pinctrl-bcm2835", "pinctrl-bcm2711", "pinctrl-rp1"];

/// Pins that are pulled up from power-on until somebody says otherwise; the others of the header are pulled down.
const PULLED_UP: std::ops::RangeInclusive<u32> = 0..=8;

/// The last pin of the header.
const HEADER_LAST: u32 = 27;

/// What the board uses a pin for, and by what one sees that it does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Use {
    pub(super) what: &'static str,
    /// A node of /dev that is there while it is used.
    pub(super) sign: Option<&'static str>,
    /// A device that is among /proc/consoles while it is used.
    pub(super) console: &'static [&'static str],
    /// Whether the pin is better left alone also while nothing shows that it is used.
    pub(super) always: bool,
}

/// Whether a chip's first lines are the header of a Pi.
pub(crate) fn is_header(label: &str) -> bool {
    HEADERS.contains(&label)
}

/// Whether a pin is pulled up by default; `None`: it is no pin of a header.
pub(super) fn pulled_up(label: &str, offset: u32) -> Option<bool> {
    (is_header(label) && offset <= HEADER_LAST).then(|| PULLED_UP.contains(&offset))
}

/// What a line is called where it stands for itself: a pin of the header has one name, whichever chip and driver name it.
pub(super) fn named(chip: &str, line: &LineName) -> String {
    let pin = match line {
        LineName::Offset(offset) => Some(*offset),
        LineName::Name(name) => name.strip_prefix("GPIO").and_then(|number| number.parse().ok()),
    };
    match pin.filter(|pin| is_header(chip) && *pin <= HEADER_LAST) {
        Some(pin) => header_pin(pin),
        None => format!("line {line} of {chip}"),
    }
}

/// What a pin of the header is called.
pub(in crate::drivers) fn header_pin(pin: u32) -> String {
    format!("GPIO{pin} of the header")
}

/// What the board uses a pin for; `None`: it is free for relays.
pub(super) fn used_for(label: &str, offset: u32) -> Option<Use> {
    if !is_header(label) {
        return None;
    }
    let by = |what, sign, always| Some(Use { what, sign: Some(sign), console: &[], always });
    match offset {
        0 | 1 => by("the board reads the memory of a HAT there at each start", "/dev/i2c-0", true),
        2 | 3 => by("I2C, with a pull-up of 1.8 kOhm on the board", "/dev/i2c-1", true),
        7 => by("SPI, which selects its second device by it", "/dev/spidev0.1", false),
        8..=11 => by("SPI", "/dev/spidev0.0", false),
        14 | 15 => Some(Use {
            what: "the serial console, which talks there at each start",
            sign: None,
            console: &["ttyAMA0", "ttyS0", "ttyAMA10"],
            always: true,
        }),
        _ => None,
    }
}
