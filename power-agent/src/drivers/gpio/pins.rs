//! What is known of the header of a Raspberry Pi: default pulls, and pins that the board itself uses.

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
}

/// Whether a chip's first lines are the header of a Pi.
pub(crate) fn is_header(label: &str) -> bool {
    HEADERS.contains(&label)
}

/// Whether a pin is pulled up by default; `None`: it is no pin of a header.
pub(super) fn pulled_up(label: &str, offset: u32) -> Option<bool> {
    (is_header(label) && offset <= HEADER_LAST).then(|| PULLED_UP.contains(&offset))
}

/// What the board uses a pin for; `None`: it is free for relays.
pub(super) fn used_for(label: &str, offset: u32) -> Option<Use> {
    if !is_header(label) {
        return None;
    }
    match offset {
        0 | 1 => Some(Use {
            what: "the board reads the memory of a HAT there at each start",
            sign: Some("/dev/i2c-0"),
            console: &[],
        }),
        2 | 3 => Some(Use {
            what: "I2C, with a pull-up of 1.8 kOhm on the board",
            sign: Some("/dev/i2c-1"),
            console: &[],
        }),
        14 | 15 => Some(Use {
            what: "the serial console, which talks there at each start",
            sign: None,
            console: &["ttyAMA0", "ttyS0", "ttyAMA10"],
        }),
        _ => None,
    }
}
