//! What an agent remembers beyond its own life: of each machine, of each operation, of each pool's plans.

use fleet::arbiter::{Holds, Wear};
use fleet::sequencer::Record;
use fleet::{
    Boot, Commanded, Fence, MachineName, Moment, OperationId, Order, Origin, PlanId, PoolName,
    Quarantine, Reason, Shape, Verb,
};

use crate::audit::Event;

/// How many plan lines are kept of one plan: a line per machine of the largest pool, and those of the whole pool.
pub(crate) const PLAN_LINES_MAX: usize = 1024;

/// How long one line of a plan may be, in bytes: a few sentences.
pub(crate) const PLAN_LINE_BYTES_MAX: usize = 1024;

/// How many plans are kept: two authors of more pools than one agent's machines are in.
pub(crate) const PLANS_MAX: usize = 128;

/// How long an author's name may be, in bytes: there are `target` and `apm`.
pub(crate) const AUTHOR_BYTES_MAX: usize = 64;

/// What is remembered of one machine.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct MachineMemory {
    /// The sequence that runs.
    pub running: Option<RunningOrder>,
    /// The last operation that has ended.
    pub last: Option<Operation>,
    /// The last state that was ordered and driven.
    pub commanded: Option<Commanded>,
    /// The locks of people.
    pub holds: Holds,
    /// How it was switched lately.
    pub wear: Wear,
    /// Its shape as its node last registered.
    pub last_seen: Option<Shape>,
    /// Why it is out of service, if it is.
    pub quarantine: Option<Quarantine>,
    /// How its last boots ended, oldest first; at most [`fleet::BOOTS_MAX`].
    pub boots: Vec<Boot>,
    /// An operation whose drain of its node could not be taken back yet.
    pub owed: Option<OperationId>,
}

/// A sequence that runs, with its order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct RunningOrder {
    /// The order's id.
    pub id: OperationId,
    /// Who ordered it.
    pub origin: Origin,
    /// Why.
    pub reason: Reason,
    /// The outlets that it moves, as `device/number`: it is not finished on others.
    pub outlets: Vec<String>,
    /// Where it is.
    pub record: Record,
}

/// An operation as its client is told of it: the answer that a repeated id gets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Operation {
    /// Its id.
    pub id: OperationId,
    /// The machine.
    pub machine: MachineName,
    /// What was ordered.
    pub verb: Verb,
    /// Who ordered it.
    pub origin: Origin,
    /// Why.
    pub reason: Reason,
    /// The plan that it is part of, if it is of one.
    pub plan: Option<PlanId>,
    /// When it was ordered.
    pub ordered: Moment,
    /// What became of it.
    pub outcome: Outcome,
}

/// What became of an operation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// It runs.
    Runs,
    /// The same ran already under this id, and its outcome is this one's.
    Joined(OperationId),
    /// It ended.
    Ended(Ended),
}

/// How an operation ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Ended {
    /// As ordered.
    pub well: bool,
    /// Whether anything moved.
    pub changed: bool,
    /// On what that rests, or what went wrong.
    pub evidence: String,
    /// When.
    pub at: Moment,
}

impl Operation {
    /// An order that begins now.
    #[must_use]
    pub(crate) fn begun(order: &Order, now: Moment) -> Self {
        Self {
            id: order.operation.clone(),
            machine: order.machine.clone(),
            verb: order.verb,
            origin: order.origin.clone(),
            reason: order.reason.clone(),
            plan: order.plan.clone(),
            ordered: now,
            outcome: Outcome::Runs,
        }
    }
}

/// What is written in one go: all of it or nothing is on the disk.
#[derive(Debug, Clone, Default)]
pub(crate) struct Change {
    /// A machine as it is from now on.
    pub machine: Option<(MachineName, MachineMemory)>,
    /// An operation, under the number of its place in the list.
    pub operation: Option<(u64, Operation)>,
    /// The place of an operation that is forgotten.
    pub forgotten: Option<u64>,
    /// A newer fence.
    pub fence: Option<Fence>,
    /// A fence that a person has reset.
    pub forgotten_fence: Option<Fence>,
    /// A pool's newest plan.
    pub plan: Option<KeptPlan>,
    /// The pool and author of a plan that is forgotten.
    pub forgotten_plan: Option<(PoolName, String)>,
    /// What the audit says of it.
    pub audit: Vec<Event>,
}

/// A plan with the moment at which it came.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct KeptPlan {
    /// The plan; its age is of no meaning here.
    pub plan: agent_api::Plan,
    /// When it came.
    pub at: Moment,
}
