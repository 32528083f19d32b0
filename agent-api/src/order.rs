//! What an agent answers to an order; the order itself is a word of the decisions, [`fleet::Order`].

use fleet::Refusal;

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
