//! What is known of a machine's power: commanded and read are kept apart, each with its age.

use crate::{Fence, Moment, OperationId};

/// The state of an outlet or a machine. There is no toggle.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum PowerState {
    /// No power.
    Off,
    /// Power.
    On,
}

impl PowerState {
    /// `"on"` or `"off"`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            PowerState::Off => "off",
            PowerState::On => "on",
        }
    }
}

impl std::fmt::Display for PowerState {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(self.as_str())
    }
}

/// What may be ordered of a machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Verb {
    /// Give it power.
    On,
    /// Soft off, then cut its power.
    Off,
    /// Off, dwell, on: one sequence that is never split.
    Cycle,
}

impl Verb {
    /// `"on"`, `"off"` or `"cycle"`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Verb::On => "on",
            Verb::Off => "off",
            Verb::Cycle => "cycle",
        }
    }

    /// The state in which the verb leaves the machine.
    #[must_use]
    pub const fn leaves(self) -> PowerState {
        match self {
            Verb::Off => PowerState::Off,
            Verb::On | Verb::Cycle => PowerState::On,
        }
    }
}

/// Who ordered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Origin {
    /// An autoscaler that holds the pool's lease.
    Autoscaler(Fence),
    /// A person, by the name that the agent could establish.
    Person(String),
    /// The agent itself: it makes a machine that drifted what it was ordered to be. Nobody else may say so.
    Agent,
}

/// The last state that was ordered and driven, whether or not it was seen to arrive.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Commanded {
    /// The state.
    pub state: PowerState,
    /// When it was driven.
    pub at: Moment,
    /// Who ordered it.
    pub origin: Origin,
    /// The order's id.
    pub operation: OperationId,
}

/// What is commanded and what is read, kept apart; [`Power::observed`] says what may be shown.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Power {
    /// What the hardware said last, and when. `None`: it can not tell, or was not asked yet.
    pub reading: Option<(PowerState, Moment)>,
    /// What was last driven. `None`: nothing that is on record.
    pub commanded: Option<Commanded>,
}

/// What may be said of a machine's power. Unknown and assumed are never shown as off or on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Observed {
    /// Read, and nothing speaks against it.
    Read(PowerState),
    /// Read, and it is not what was commanded.
    Differs {
        /// What the hardware says.
        read: PowerState,
        /// What was commanded.
        commanded: PowerState,
    },
    /// Commanded on hardware that can not be read.
    Assumed(PowerState),
    /// Neither read nor commanded.
    Unknown,
}

impl Power {
    /// What may be shown: a reading first, an assumption second, else unknown.
    #[must_use]
    pub fn observed(&self) -> Observed {
        let commanded = self.commanded.as_ref().map(|commanded| commanded.state);
        match (self.reading, commanded) {
            (Some((read, _)), Some(commanded)) if read != commanded => {
                Observed::Differs { read, commanded }
            }
            (Some((read, _)), _) => Observed::Read(read),
            (None, Some(commanded)) => Observed::Assumed(commanded),
            (None, None) => Observed::Unknown,
        }
    }
}

impl std::fmt::Display for Observed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Observed::Read(state) => f.pad(state.as_str()),
            Observed::Differs { read, commanded } => {
                f.pad(&format!("{read} (commanded {commanded})"))
            }
            Observed::Assumed(state) => f.pad(&format!("assumed {state}")),
            Observed::Unknown => f.pad("unknown"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn commanded(state: PowerState) -> Option<Commanded> {
        Some(Commanded {
            state,
            at: Moment::ZERO,
            origin: Origin::Person("ada".to_owned()),
            operation: OperationId::new("op-1").unwrap(),
        })
    }

    #[test]
    fn unread_hardware_is_assumed_and_never_on_or_off() {
        let power = Power { reading: None, commanded: commanded(PowerState::Off) };
        assert_eq!(power.observed(), Observed::Assumed(PowerState::Off));
        assert_eq!(power.observed().to_string(), "assumed off");
        assert_eq!(Power::default().observed().to_string(), "unknown");
    }

    #[test]
    fn a_reading_against_the_command_is_a_state_of_its_own() {
        let power = Power {
            reading: Some((PowerState::Off, Moment::ZERO)),
            commanded: commanded(PowerState::On),
        };
        assert_eq!(power.observed().to_string(), "off (commanded on)");
    }
}
