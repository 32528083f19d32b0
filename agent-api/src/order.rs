//! What an agent answers to an order, which is a word of the decisions, [`fleet::Order`]; and the order that moves
//! nothing: whether a machine is in service.

use fleet::{MachineName, Origin, QuarantineCause, Reason, Refusal};

use crate::Operation;

/// What an agent answers to an order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    /// The intent is on disk, or the same operation was known already.
    Accepted {
        /// The operation as it is now.
        operation: Operation,
        /// Whether the id was known: then this is the first answer again.
        repeated: bool,
    },
    /// Refused; nothing moved.
    Refused(Refusal),
}

/// Whether a machine is to be in service. Moves nothing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Service {
    /// The machine.
    pub machine: MachineName,
    /// Who says so.
    pub origin: Origin,
    /// Why it goes into quarantine. `None`: it returns to service.
    pub quarantine: Option<QuarantineCause>,
    /// Why, as a sentence.
    pub reason: Reason,
}
