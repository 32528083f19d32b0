//! Locks of people on a machine as they are told, asked for and ended. Times are spans from now.

use std::time::Duration;

use fleet::arbiter::HoldKind;
use fleet::{MachineName, Reason, Refusal};

/// A person's lock on a machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hold {
    /// Who holds it.
    pub by: String,
    /// Why.
    pub reason: Reason,
    /// Since how long.
    pub age: Duration,
    /// What kind of lock it is.
    pub kind: HoldKind,
    /// When it ends by itself.
    pub ends: HoldEnds,
}

/// When a lock ends by itself. Its end moves nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HoldEnds {
    /// Never: it is released.
    Released,
    /// Then, from now.
    In(Duration),
    /// It has ended, and is only told.
    Expired,
    /// It had a span, which could not be measured over a reboot of the agent's host: it is released.
    Lost,
}

/// What stands against orders for a machine, beside an operation that runs.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Locks {
    /// The locks of people, the foremost first; also those that have expired.
    pub holds: Vec<Hold>,
    /// Whether the rack file says that its power is never taken.
    pub never_off: bool,
}

/// A person asks for a lock.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TakeHold {
    /// The machine.
    pub machine: MachineName,
    /// What kind of lock.
    pub kind: HoldKind,
    /// Who asks, where the agent can not tell.
    pub by: String,
    /// Why.
    pub reason: Reason,
    /// How long; `None`: until it is released.
    pub span: Option<Duration>,
    /// Whether it takes the place of another person's reservation.
    pub force: bool,
}

/// What became of that.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Taken {
    /// The machine is held in that way: as asked, or by another person before.
    Held(Hold),
    /// It is another person's; nothing has changed.
    Refused(Refusal),
}

/// A person ends locks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Release {
    /// The machine.
    pub machine: MachineName,
    /// Who asks, where the agent can not tell.
    pub by: String,
    /// Which lock; `None`: all.
    pub kind: Option<HoldKind>,
    /// Whether another person's reservation ends too.
    pub force: bool,
}

/// What became of that.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Released {
    /// What has ended.
    pub ended: Vec<Hold>,
    /// Whether the machine was out of service, and is no more.
    pub was_quarantined: bool,
    /// Why something has not: it is another person's reservation.
    pub refused: Option<Refusal>,
}
