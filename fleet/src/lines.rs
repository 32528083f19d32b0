//! What the outlets of one machine say together, and what it means for a wanted state.

use crate::PowerState;

/// What an outlet's reading is of. The later here, the less it says of the contact.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub enum ReadSource {
    /// The device's own answer.
    #[default]
    Device,
    /// The level at the pin, whoever makes it.
    Pin,
    /// The pin or what was written to it: the chip's driver is not known to us.
    Unsaid,
    /// What was written to the chip: it does not read its pin.
    Written,
}

impl ReadSource {
    /// The word in JSON; for ever.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            ReadSource::Device => "device",
            ReadSource::Pin => "pin",
            ReadSource::Unsaid => "unsaid",
            ReadSource::Written => "written",
        }
    }

    /// What is said of it after a state that was read.
    #[must_use]
    pub const fn told(self) -> &'static str {
        match self {
            ReadSource::Device => "",
            ReadSource::Pin => " at the pin",
            ReadSource::Unsaid => ", at the pin or as it was written: its chip does not say which",
            ReadSource::Written => " as it was written: its chip does not read the pin",
        }
    }
}

/// How many outlets of a machine read how.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct LinesSeen {
    /// Read on.
    pub on: u32,
    /// Read off.
    pub off: u32,
    /// Can not be told.
    pub untold: u32,
    /// What the readings are of; of several, the one that says least.
    pub source: ReadSource,
}

/// What outlets say to a wanted state.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Agreement {
    /// All of them read so.
    Confirmed,
    /// None reads otherwise, and not all can be told.
    CanNotTell,
    /// At least one reads otherwise.
    Contradicted,
}

impl LinesSeen {
    /// Adds one outlet.
    #[must_use]
    pub const fn and(mut self, reading: Option<PowerState>) -> Self {
        match reading {
            Some(PowerState::On) => self.on += 1,
            Some(PowerState::Off) => self.off += 1,
            None => self.untold += 1,
        }
        self
    }

    /// With what the reading of one outlet is of.
    #[must_use]
    pub fn read_from(mut self, source: ReadSource) -> Self {
        self.source = self.source.max(source);
        self
    }

    /// The machine's own reading: on if one outlet is, off if all are, else `None`.
    #[must_use]
    pub const fn machine(&self) -> Option<PowerState> {
        match self {
            LinesSeen { on: 1.., .. } => Some(PowerState::On),
            LinesSeen { off: 1.., untold: 0, .. } => Some(PowerState::Off),
            LinesSeen { .. } => None,
        }
    }

    /// What they say to `wanted`.
    #[must_use]
    pub const fn agreement(&self, wanted: PowerState) -> Agreement {
        let against = match wanted {
            PowerState::On => self.off,
            PowerState::Off => self.on,
        };
        match (against, self.untold, self.on + self.off) {
            (1.., _, _) => Agreement::Contradicted,
            (0, 0, 1..) => Agreement::Confirmed,
            (0, _, _) => Agreement::CanNotTell,
        }
    }
}

/// What a failed movement or reading means for trying again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FaultClass {
    /// Nothing was sent: trying again is harmless.
    Unreachable,
    /// Something may have been sent: read first.
    Indeterminate,
    /// The device said no.
    Rejected,
    /// It can not work as it is configured.
    Misconfigured,
}

/// A failed movement or reading.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    /// What it means for trying again.
    pub class: FaultClass,
    /// What happened, for a person.
    pub text: String,
}

impl Fault {
    /// Whether another attempt can help.
    #[must_use]
    pub const fn may_pass(&self) -> bool {
        matches!(self.class, FaultClass::Unreachable | FaultClass::Indeterminate)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_machine_with_two_outlets_is_off_when_both_are() {
        let one = LinesSeen::default().and(Some(PowerState::Off));
        let half = one.and(Some(PowerState::On));
        assert_eq!(half.machine(), Some(PowerState::On));
        assert_eq!(half.agreement(PowerState::On), Agreement::Contradicted);
        assert_eq!(half.agreement(PowerState::Off), Agreement::Contradicted);
        let dark = one.and(Some(PowerState::Off));
        assert_eq!(dark.machine(), Some(PowerState::Off));
        assert_eq!(dark.agreement(PowerState::Off), Agreement::Confirmed);
    }

    #[test]
    fn an_outlet_that_can_not_be_told_keeps_the_machine_from_being_off() {
        let half_told = LinesSeen::default().and(Some(PowerState::Off)).and(None);
        assert_eq!(half_told.machine(), None);
        assert_eq!(half_told.agreement(PowerState::Off), Agreement::CanNotTell);
        assert_eq!(LinesSeen::default().agreement(PowerState::Off), Agreement::CanNotTell);
    }
}
