//! One relay: the coil that the board drives, and the contact that carries the machine's current.
//! They are two things, because a contact can weld and a board can not see it.

use std::fmt;
use std::ops::Not;

use serde::Deserialize;
use serde::Serialize;

use crate::fault::Weld;

/// On or off, of a coil, a contact, or an edge to it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Power {
    /// The coil is not driven, the contact is open.
    Off,
    /// The coil is driven, the contact is closed.
    On,
}

impl Not for Power {
    type Output = Power;

    fn not(self) -> Power {
        match self {
            Power::Off => Power::On,
            Power::On => Power::Off,
        }
    }
}

impl fmt::Display for Power {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Power::Off => "off",
            Power::On => "on",
        })
    }
}

impl std::str::FromStr for Power {
    type Err = String;

    fn from_str(word: &str) -> Result<Self, String> {
        match word {
            "off" => Ok(Power::Off),
            "on" => Ok(Power::On),
            _ => Err(format!("found {word:?}, expected on or off")),
        }
    }
}

/// A relay of a board.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Relay {
    coil: Power,
    contact: Power,
    weld: Option<Weld>,
}

impl Relay {
    /// A relay at rest in `power`.
    #[must_use]
    pub fn at_rest(power: Power) -> Self {
        Self { coil: power, contact: power, weld: None }
    }

    /// What the board drives, and all that its status reply can know.
    #[must_use]
    pub fn coil(&self) -> Power {
        self.coil
    }

    /// What the machine gets.
    #[must_use]
    pub fn contact(&self) -> Power {
        self.contact
    }

    /// How the contact is stuck, if it is.
    #[must_use]
    pub fn weld(&self) -> Option<Weld> {
        self.weld
    }

    /// Drives the coil; returns the contact's edge where it moved.
    pub fn drive(&mut self, coil: Power) -> Option<Power> {
        self.coil = coil;
        self.settle()
    }

    /// Makes the contact stick, or heals it: it then follows its coil at once. Returns its edge.
    pub fn stick(&mut self, weld: Option<Weld>) -> Option<Power> {
        self.weld = weld;
        self.settle()
    }

    fn settle(&mut self) -> Option<Power> {
        let wanted = match (self.weld, self.contact) {
            (Some(Weld::Closed), Power::On) => Power::On,
            (Some(Weld::Open), _) => Power::Off,
            (Some(Weld::Closed), Power::Off) | (None, _) => self.coil,
        };
        if self.contact == wanted {
            return None;
        }
        self.contact = wanted;
        Some(wanted)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_welded_contact_stays_while_its_coil_moves_and_follows_it_when_healed() {
        let mut relay = Relay::at_rest(Power::Off);
        assert_eq!(relay.stick(Some(Weld::Closed)), None, "it welds when it closes, not before");
        assert_eq!(relay.drive(Power::On), Some(Power::On));
        assert_eq!((relay.drive(Power::Off), relay.coil()), (None, Power::Off));
        assert_eq!(relay.contact(), Power::On);
        assert_eq!(relay.stick(None), Some(Power::Off));
        relay.drive(Power::On);
        assert_eq!(relay.stick(Some(Weld::Open)), Some(Power::Off), "burnt: open at once");
        assert_eq!((relay.drive(Power::On), relay.coil()), (None, Power::On));
    }
}
