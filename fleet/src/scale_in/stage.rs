//! Where a scale-in is, what it wants next, and how it ends. Plain data.

use std::time::Duration;

use crate::effect::Effect;
use crate::{Moment, OperationId};

/// Where a scale-in is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Stage {
    /// Chosen: its node is to be made ineligible.
    Chosen,
    /// Ineligible since this index: its allocations are to be read there.
    Confirming(u64),
    /// Confirmed: the drain is to be sent.
    Confirmed,
    /// Draining, by a write at this index, until nothing is left.
    Draining(u64),
    /// Drained: it is to be read once more that it is ineligible and empty.
    Proving(u64),
    /// Proven: the agent is to be told.
    Proven(OperationId),
    /// The agent has taken the order, then: no way back.
    Leaving(OperationId, Moment),
    /// Off; its node may still be thought alive since then.
    Gone(Moment),
    /// The agent could not finish: it stays as it is, and why.
    Stuck(String),
    /// Off, and its node is to be purged; how often that was tried.
    Purging(u32),
    /// Off, and nothing is left to do.
    Done,
    /// To be kept after all: its node is to be made eligible.
    Cancelling(Keep),
    /// Eligible again, or left as others made it.
    Kept(Keep),
}

/// Why a machine is kept, and for how long it is not chosen again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Keep {
    /// Why.
    pub why: String,
    /// For how long.
    pub rest: Duration,
}

/// What comes next.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Next {
    /// This is to be done, then [`super::ScaleIn::done`] to be told.
    Do(Effect),
    /// Nothing until something changes, or until then.
    Wait(Option<Moment>),
    /// It is over.
    Over(Ending),
}

/// How a scale-in ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Ending {
    /// The machine is off, and its node is not thought alive any more.
    Off,
    /// It stays.
    Kept(Keep),
}

impl Keep {
    /// Why, and for how long it is not chosen again.
    #[must_use]
    pub fn new(why: &str, rest: Duration) -> Self {
        Self { why: why.to_owned(), rest }
    }
}
