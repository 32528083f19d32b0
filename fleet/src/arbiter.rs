//! Who may move a machine: fences, holds, running sequences, expiry and repeated orders. Pure.

use std::time::Duration;

use crate::{MachineName, OnSoftOffTimeout, OperationId, Origin, Reason, Verb};

/// One order for one machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Order {
    /// Its id; repeating it returns the first answer.
    pub operation: OperationId,
    /// The machine.
    pub machine: MachineName,
    /// What to do.
    pub verb: Verb,
    /// Why.
    pub reason: Reason,
    /// Who orders.
    pub origin: Origin,
    /// Begun later than this after its arrival, it is void.
    pub valid_for: Duration,
    /// What happens when the machine does not go down by itself.
    pub on_soft_off_timeout: OnSoftOffTimeout,
    /// A person's: do not ask whether the node is empty.
    pub force: bool,
    /// A person's: drain the node first.
    pub drain: bool,
}

/// Why an order is not obeyed. Nothing has moved.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RefusalCode {
    /// A person holds the machine.
    Held,
    /// A newer lease has ordered.
    StaleFence,
    /// Another sequence runs.
    Busy,
    /// Its node has work, or nobody could say that it has none.
    NotEmpty,
    /// The fence's pool is not the machine's.
    WrongPool,
    /// It arrived, or would have begun, too late.
    Expired,
}

/// A refusal with its sentence for a person.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// The class.
    pub code: RefusalCode,
    /// What stands against it and what to do.
    pub text: String,
}
