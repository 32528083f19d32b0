//! How host and device find out who the other one is. A greeting is read by its beginning, whatever the version: a newer
//! one appends fields, and an older reader leaves them.

use heapless::Vec;
use serde::{Deserialize, Serialize};

use crate::{DeviceTime, EventNumber, Generation, SessionId, Version, Versions};

/// The most capabilities of a device; there are fewer kinds.
pub const CAPABILITIES_MAX: usize = 16;

/// The host's first word after each opening of the line, and after each silence.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hello {
    /// This opening.
    pub session: SessionId,
    /// What the host speaks.
    pub versions: Versions,
}

/// The device's answer, in a frame with its epoch.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Welcome {
    /// The opening that it answers.
    pub session: SessionId,
    /// What the device speaks.
    pub versions: Versions,
    /// In which version they go on.
    pub speaks: Version,
    /// Which board it is.
    pub identity: Identity,
    /// What kind of board: an image is made for one.
    pub board: u16,
    /// Its firmware's version.
    pub firmware: u32,
    /// How many outlets it has, from the first on.
    pub outlets: u8,
    /// What else it has, by [`Capability::code`].
    pub capabilities: Vec<u8, CAPABILITIES_MAX>,
    /// Why it started.
    pub cause: ResetCause,
    /// Its clock.
    pub at: DeviceTime,
    /// The newest generation by which it did something: who orders goes on above it.
    pub generation: Generation,
    /// The newest event in its log.
    pub newest_event: EventNumber,
}

impl Welcome {
    /// Whether the device has something.
    #[must_use]
    pub fn has(&self, capability: Capability) -> bool {
        self.capabilities.contains(&capability.code())
    }
}

/// The answer to a greeting, or to a frame, of a version that the device does not speak.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Unspoken {
    /// What the device speaks.
    pub versions: Versions,
}

/// Which board: burnt into its chip, or given once.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Identity(pub [u8; 8]);

/// What a device may have beside relays.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Capability {
    /// It reads each contact, and not only what it drives.
    Contacts,
    /// It measures volts.
    Volts,
    /// It measures amperes.
    Amperes,
    /// It measures temperatures.
    Temperature,
    /// It sees a machine's button.
    Button,
    /// It sees a machine's power LED.
    Led,
    /// It counts a fan's turns.
    Tachometer,
    /// Its outlets stay as they are while it starts anew.
    HoldsOverReset,
    /// Its firmware can be replaced over the line.
    Updates,
}

impl Capability {
    /// Its number on the line. One that a reader does not know means nothing to it.
    #[must_use]
    pub const fn code(self) -> u8 {
        match self {
            Capability::Contacts => 1,
            Capability::Volts => 2,
            Capability::Amperes => 3,
            Capability::Temperature => 4,
            Capability::Button => 5,
            Capability::Led => 6,
            Capability::Tachometer => 7,
            Capability::HoldsOverReset => 8,
            Capability::Updates => 9,
        }
    }
}

/// Why a device started.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "u8", into = "u8")]
pub enum ResetCause {
    /// Its supply came.
    PowerUp,
    /// Its supply sagged.
    BrownOut,
    /// Its watchdog was not fed.
    Watchdog,
    /// It was asked to, or it asked itself.
    Software,
    /// Another one that only a newer device knows, by its number.
    Other(u8),
}

impl ResetCause {
    /// Whether the supply was gone: then nothing is known of what was before.
    #[must_use]
    pub const fn lost_power(self) -> bool {
        matches!(self, ResetCause::PowerUp | ResetCause::BrownOut | ResetCause::Other(_))
    }
}

impl From<u8> for ResetCause {
    fn from(code: u8) -> ResetCause {
        match code {
            1 => ResetCause::PowerUp,
            2 => ResetCause::BrownOut,
            3 => ResetCause::Watchdog,
            4 => ResetCause::Software,
            other => ResetCause::Other(other),
        }
    }
}

impl From<ResetCause> for u8 {
    fn from(cause: ResetCause) -> u8 {
        match cause {
            ResetCause::PowerUp => 1,
            ResetCause::BrownOut => 2,
            ResetCause::Watchdog => 3,
            ResetCause::Software => 4,
            ResetCause::Other(other) => other,
        }
    }
}
