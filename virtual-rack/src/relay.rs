//! One relay: the coil that the board drives, and the contact that carries the machine's current.
//! They are two things, because a contact can weld and a board can not see it.

use std::fmt;

use serde::Deserialize;
use serde::Serialize;

/// On or off, of a coil, a contact, or an edge to it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Power {
    /// The coil is not driven, the contact is open.
    Off,
    /// The coil is driven, the contact is closed.
    On,
}

impl fmt::Display for Power {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Power::Off => "off",
            Power::On => "on",
        })
    }
}

/// A relay of a board.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Relay {
    coil: Power,
    contact: Power,
}

impl Relay {
    /// A relay at rest in `power`.
    #[must_use]
    pub fn at_rest(power: Power) -> Self {
        Self { coil: power, contact: power }
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

    /// Drives the coil; returns the contact's edge where it moved.
    ///
    /// The place of the fault "welded contact": here the contact may stay while the coil moves.
    pub fn drive(&mut self, coil: Power) -> Option<Power> {
        self.coil = coil;
        if self.contact == coil {
            return None;
        }
        self.contact = coil;
        Some(coil)
    }
}
