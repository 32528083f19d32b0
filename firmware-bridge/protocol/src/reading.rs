//! What a device reads, each with its age. What can not be read is not told, or told as nothing; never as off.

use serde::{Deserialize, Serialize};

use crate::{OutletNumber, PowerState};

/// The most samples of one message, so that it fits into a frame at its worst (`tests/bounds.rs`).
pub const SAMPLES_MAX: usize = 16;

/// An outlet as the device sees it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct OutletSeen {
    /// Which.
    pub outlet: OutletNumber,
    /// What the device drives it to.
    pub driven: PowerState,
    /// What its contact reads; `None`: it can not be told.
    pub contact: Option<PowerState>,
    /// In how many milliseconds the device will drive it otherwise by itself.
    pub changes_in_ms: Option<u32>,
}

/// One measurement.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sample {
    /// Of which outlet's machine.
    pub outlet: OutletNumber,
    /// What was measured.
    pub reading: Reading,
    /// How long ago, in milliseconds; longer ones say the longest.
    pub age_ms: u16,
}

/// What may be measured. Only appended to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Reading {
    /// The supply of the outlet, in millivolts.
    Millivolts(u32),
    /// The current through it, in milliamperes.
    Milliamps(u32),
    /// Hundredths of a degree Celsius.
    Temperature(i16),
    /// The machine's button: on is pressed.
    Button(PowerState),
    /// The machine's power LED.
    Led(PowerState),
    /// Turns of a fan per minute.
    TurnsPerMinute(u16),
}
