//! What a reconciler asks for, and what may come of it.

use std::time::Duration;

use crate::{
    BootEnd, MachineName, NodeId, NodeView, OnSoftOffTimeout, OperationId, QuarantineCause, Reason,
};

/// One thing to do; at most one at a time for a machine, and [`crate::reconciler::Reconciler::done`] tells what came of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Effect {
    /// Order it on.
    Light {
        /// The machine.
        machine: MachineName,
        /// The order's id: the same when it is tried again.
        operation: OperationId,
        /// Why.
        reason: Reason,
    },
    /// Order it off.
    PowerOff {
        /// The machine.
        machine: MachineName,
        /// The order's id: the same when it is tried again.
        operation: OperationId,
        /// Why.
        reason: Reason,
        /// What happens when it does not go down by itself.
        on_timeout: OnSoftOffTimeout,
    },
    /// Order it off and on again, as one sequence.
    Cycle {
        /// The machine.
        machine: MachineName,
        /// The order's id: the same when it is tried again.
        operation: OperationId,
        /// Why.
        reason: Reason,
    },
    /// Take it out of service. Moves nothing.
    Quarantine {
        /// The machine.
        machine: MachineName,
        /// The kind of reason.
        cause: QuarantineCause,
        /// Why.
        reason: Reason,
    },
    /// Return it to service. Moves nothing.
    LiftQuarantine {
        /// The machine.
        machine: MachineName,
        /// Why.
        reason: Reason,
    },
    /// Have its agent keep how its boot ended.
    RecordBoot {
        /// The machine.
        machine: MachineName,
        /// The order that had given it power.
        operation: OperationId,
        /// How it ended.
        end: BootEnd,
        /// From the relay to the end. `None`: it was not watched.
        took: Option<Duration>,
    },
    /// Make its node ineligible.
    MakeIneligible {
        /// The machine.
        machine: MachineName,
        /// Its node.
        node: NodeId,
    },
    /// Make its node eligible, and end a drain of it.
    MakeEligible {
        /// The machine.
        machine: MachineName,
        /// Its node.
        node: NodeId,
    },
    /// Read its node and allocations, not before this index.
    ReadNode {
        /// The machine.
        machine: MachineName,
        /// Its node.
        node: NodeId,
        /// The lowest index that will do.
        at_least: u64,
    },
    /// Drain its node, leaving it ineligible.
    Drain {
        /// The machine.
        machine: MachineName,
        /// Its node.
        node: NodeId,
        /// After this Nomad kills what is left. `None`: never.
        deadline: Option<Duration>,
        /// Leave system jobs alone.
        ignore_system: bool,
    },
    /// Purge its node.
    Purge {
        /// The machine.
        machine: MachineName,
        /// Its node.
        node: NodeId,
    },
}

impl Effect {
    /// Whether it orders a machine's power.
    #[must_use]
    pub const fn is_order(&self) -> bool {
        matches!(self, Effect::Light { .. } | Effect::PowerOff { .. } | Effect::Cycle { .. })
    }

    /// The machine that it is about.
    #[must_use]
    pub const fn machine(&self) -> &MachineName {
        match self {
            Effect::Light { machine, .. }
            | Effect::PowerOff { machine, .. }
            | Effect::Cycle { machine, .. }
            | Effect::Quarantine { machine, .. }
            | Effect::LiftQuarantine { machine, .. }
            | Effect::RecordBoot { machine, .. }
            | Effect::MakeIneligible { machine, .. }
            | Effect::MakeEligible { machine, .. }
            | Effect::ReadNode { machine, .. }
            | Effect::Drain { machine, .. }
            | Effect::Purge { machine, .. } => machine,
        }
    }
}

/// What came of an effect.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Done {
    /// Nomad wrote it at this index.
    Written {
        /// The index.
        index: u64,
    },
    /// The node as read; `None`: it is not there any more.
    Read(Option<Box<NodeView>>),
    /// The agent has the intent on disk.
    Accepted,
    /// The agent refused, and why. Nothing moved.
    Refused(String),
    /// No answer, or an error: it may have happened or not.
    Failed(String),
}
