//! What a board is, as its maker writes it down once.

use bridge_protocol::greeting::CAPABILITIES_MAX;
use bridge_protocol::{Capability, Identity, OutletNumber, Versions};
use heapless::Vec;

/// What a board is.
#[derive(Debug, Clone)]
pub struct Facts {
    /// Which board.
    pub identity: Identity,
    /// What kind of board.
    pub board: u16,
    /// The firmware's version.
    pub firmware: u32,
    /// What it speaks.
    pub versions: Versions,
    /// How many outlets it has, from the first on.
    pub outlets: u8,
    /// What else it has.
    pub capabilities: Vec<Capability, CAPABILITIES_MAX>,
    /// What its relays and the power supplies behind them bear.
    pub limits: Limits,
}

/// Times that protect relays, power supplies and the feed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// An outlet stays on for so long before an order takes its power.
    pub min_on_ms: u32,
    /// An outlet stays off for so long before it gets power.
    pub min_off_ms: u32,
    /// Between two outlets that get power: the first one's inrush is over.
    pub start_gap_ms: u32,
}

impl Facts {
    /// The board's outlets.
    pub fn all(&self) -> impl Iterator<Item = OutletNumber> + use<> {
        let outlets = self.outlets;
        OutletNumber::all().take_while(move |outlet| outlet.get() <= outlets)
    }

    /// Whether the board has an outlet.
    #[must_use]
    pub fn has_outlet(&self, outlet: OutletNumber) -> bool {
        outlet.get() <= self.outlets
    }

    /// Whether the board has something.
    #[must_use]
    pub fn has(&self, capability: Capability) -> bool {
        self.capabilities.contains(&capability)
    }
}
