//! What a device remembers of itself, so that a host that was gone learns what was.

use serde::{Deserialize, Serialize};

use crate::{DeviceTime, OutletNumber, PowerState, ResetCause};

/// The number of an event; it only grows within an epoch, and the first is 1.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, Default,
)]
pub struct EventNumber(pub u32);

impl EventNumber {
    /// The next one.
    #[must_use]
    pub fn next(self) -> EventNumber {
        EventNumber(self.0.saturating_add(1))
    }
}

/// Something that happened on the device.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Event {
    /// Its number.
    pub number: EventNumber,
    /// When.
    pub at: DeviceTime,
    /// What.
    pub what: What,
}

/// What happened. Only appended to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum What {
    /// The device started.
    Started(ResetCause),
    /// An outlet was driven.
    Driven {
        /// Which.
        outlet: OutletNumber,
        /// To what.
        state: PowerState,
        /// By whom.
        by: Cause,
    },
    /// A contact reads otherwise than its outlet is driven, or can not be read.
    Disagrees {
        /// Which.
        outlet: OutletNumber,
        /// What the contact reads.
        contact: Option<PowerState>,
    },
    /// The host's lease ended without a sign of it: the safe states were taken.
    LeaseEnded,
    /// The device lost its supply in the off of a cycle and left it off: nothing is given power by a supply that comes back.
    CycleLeftOff(OutletNumber),
    /// The storage failed: the device switches nothing that it could not remember.
    StorageFailed,
    /// A new firmware runs on trial.
    OnTrial,
    /// A firmware on trial was not kept: the one before runs again.
    FellBack,
}

/// By whom an outlet was driven.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Cause {
    /// An order of the host.
    Order,
    /// A cycle that the device times.
    Cycle,
    /// The end of the lease.
    Lease,
    /// The device's start.
    Start,
}
