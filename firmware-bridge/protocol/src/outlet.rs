//! The small words of the messages: outlets, their states, and the numbers by which an order is told from an old one.

use serde::{Deserialize, Serialize};

/// The most outlets of one device: relay boards with more are two devices. All of them fit into one message.
pub const OUTLETS_MAX: usize = 16;

/// The number of an outlet as printed on the board: 1 is the first, [`OUTLETS_MAX`] the last.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "u8", into = "u8")]
pub struct OutletNumber(u8);

impl OutletNumber {
    /// `None` where no outlet of any device has the number.
    #[must_use]
    pub const fn new(number: u8) -> Option<OutletNumber> {
        match number {
            1..=16 => Some(OutletNumber(number)),
            _ => None,
        }
    }

    /// All numbers that there may be, in order.
    pub fn all() -> impl Iterator<Item = OutletNumber> {
        (1..=16).map(OutletNumber)
    }

    /// The number.
    #[must_use]
    pub const fn get(self) -> u8 {
        self.0
    }

    /// Its place in a list that begins with the first outlet.
    #[must_use]
    pub fn index(self) -> usize {
        usize::from(self.0).saturating_sub(1)
    }
}

impl TryFrom<u8> for OutletNumber {
    type Error = &'static str;

    fn try_from(number: u8) -> Result<OutletNumber, &'static str> {
        OutletNumber::new(number).ok_or("an outlet's number is 1 to 16")
    }
}

impl From<OutletNumber> for u8 {
    fn from(outlet: OutletNumber) -> u8 {
        outlet.0
    }
}

/// The state of an outlet. There is no toggle.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum PowerState {
    /// No power.
    Off,
    /// Power.
    On,
}

/// What an outlet becomes when nobody is there to say: at the end of the host's lease.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum SafeState {
    /// It loses its power.
    Off,
    /// It gets power, in its turn.
    On,
    /// It stays as it is.
    Keep,
}

/// Milliseconds on the device's own clock, since its start. A host never compares it with its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct DeviceTime(pub u64);

impl DeviceTime {
    /// So many milliseconds later.
    #[must_use]
    pub fn after(self, milliseconds: u32) -> DeviceTime {
        DeviceTime(self.0.saturating_add(u64::from(milliseconds)))
    }

    /// Milliseconds since an earlier time; 0 where it lies ahead.
    #[must_use]
    pub fn since(self, earlier: DeviceTime) -> u32 {
        u32::try_from(self.0.saturating_sub(earlier.0)).unwrap_or(u32::MAX)
    }
}

/// Which start of the device: one more at each. Whoever sees another one than the last knows of a silent reset.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Epoch(pub u32);

impl Epoch {
    /// What a host says that knows of none yet; no device has it.
    pub const UNKNOWN: Epoch = Epoch(0);
}

/// A number that only grows, from order to order of one epoch: the device does nothing by an older one.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, Default,
)]
pub struct Generation(pub u32);

impl Generation {
    /// The next one.
    #[must_use]
    pub fn next(self) -> Generation {
        Generation(self.0.saturating_add(1))
    }
}

/// The number of a frame; it wraps. An answer has that of its request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Sequence(pub u16);

impl Sequence {
    /// The next one.
    #[must_use]
    pub fn next(self) -> Sequence {
        Sequence(self.0.wrapping_add(1))
    }

    /// Whether this one was given after another: by the shorter way round.
    #[must_use]
    pub fn is_after(self, other: Sequence) -> bool {
        let ahead = self.0.wrapping_sub(other.0);
        ahead != 0 && ahead < 0x8000
    }
}

/// One opening of the line by one host: a number that no other opening of these days has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct SessionId(pub u32);
