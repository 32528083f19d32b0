//! The sequence before a cut, for one machine: ineligible → read → drain → read again → off.
//!
//! Sans IO: [`ScaleIn::next`] says what to do, [`ScaleIn::done`] takes what came of it. Nothing is cut
//! under work, and until the agent has taken the order to shut down there is a way back.

use std::collections::BTreeSet;
use std::time::Duration;

use crate::marks::Ownership;
use crate::reconciler::{Done, Effect};
use crate::{
    AllocId, Knobs, MachineName, MachineView, Moment, NodeId, NodeView, OperationId, Progress,
    Reason,
};

/// How long a call that failed rests before it is tried again: long enough not to beat on a server that
/// restarts, short enough to be unseen beside a drain.
pub const CALL_RETRY: Duration = Duration::from_secs(2);

/// How long a machine that is off may still have a node that heartbeats, before that is a contradiction:
/// Nomad's default heartbeat takes at most 10 s and its grace 10 s more; the rest is for a busy server.
pub const NODE_SILENCE_MAX: Duration = Duration::from_secs(120);

/// How long a machine that its agent refused to move is left alone: a hold or a running sequence
/// rarely ends sooner.
pub const REFUSAL_REST: Duration = Duration::from_secs(30);

/// How long an accepted order may be missing from its agent's inventory: the answer and the inventory
/// come by different streams.
pub const ORDER_UNSEEN_MAX: Duration = Duration::from_secs(10);

/// One machine on its way out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ScaleIn {
    /// The machine.
    pub machine: MachineName,
    /// Its node when it was chosen.
    pub node: NodeId,
    /// Where it is.
    pub stage: Stage,
    /// The work that it had when it was chosen; other work since means choosing again.
    expected: BTreeSet<AllocId>,
    /// A call is under way: nothing else begins.
    calling: bool,
    /// Not before then.
    retry_at: Moment,
    /// Our patience ends then.
    patience: Moment,
    /// Wanted back while a call is under way: what the call did must be known before it is undone.
    cancelled: Option<Keep>,
}

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
    /// This is to be done, then [`ScaleIn::done`] to be told.
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

impl ScaleIn {
    /// A machine that was chosen now.
    #[must_use]
    pub fn chosen(machine: MachineName, node: &NodeView, knobs: &Knobs, now: Moment) -> Self {
        Self::at(machine, node, Stage::Chosen, knobs, now)
    }

    /// A machine that an earlier process of ours had begun to retire: everything is read again.
    #[must_use]
    pub fn resumed(
        machine: MachineName,
        node: &NodeView,
        index: u64,
        knobs: &Knobs,
        now: Moment,
    ) -> Self {
        Self::at(machine, node, Stage::Confirming(index), knobs, now)
    }

    /// A machine whose node came back ineligible by our own mark: it is made eligible.
    #[must_use]
    pub fn back(machine: MachineName, node: &NodeView, knobs: &Knobs, now: Moment) -> Self {
        let keep = Keep::new("its node is back", Duration::ZERO);
        Self::at(machine, node, Stage::Cancelling(keep), knobs, now)
    }

    fn at(machine: MachineName, node: &NodeView, stage: Stage, knobs: &Knobs, now: Moment) -> Self {
        let patience = knobs.node_drain_deadline.unwrap_or_default().max(knobs.drain_patience);
        Self {
            machine,
            node: node.id.clone(),
            stage,
            expected: node.work().map(|alloc| alloc.id.clone()).collect(),
            calling: false,
            retry_at: now,
            patience: now + patience,
            cancelled: None,
        }
    }

    /// Whether it can still be kept.
    #[must_use]
    pub fn can_be_kept(&self) -> bool {
        match &self.stage {
            Stage::Chosen
            | Stage::Confirming(_)
            | Stage::Confirmed
            | Stage::Draining(_)
            | Stage::Proving(_)
            | Stage::Cancelling(_)
            | Stage::Kept(_) => true,
            // An order that may be on its way counts as taken.
            Stage::Proven(_) => !self.calling,
            Stage::Leaving(..) | Stage::Gone(_) | Stage::Stuck(_) => false,
        }
    }

    /// Keeps the machine after all, where that is still possible.
    pub fn cancel(&mut self, keep: Keep) {
        if self.can_be_kept() && !matches!(self.stage, Stage::Cancelling(_) | Stage::Kept(_)) {
            self.cancelled = Some(keep);
        }
    }

    /// What comes next, by what is observed now. `mark`: whose its node's ineligibility is, if we
    /// have a mark on it.
    #[must_use]
    pub fn next(
        &self,
        machine: &MachineView,
        mark: Option<Ownership>,
        knobs: &Knobs,
        now: Moment,
    ) -> Next {
        if self.calling {
            return Next::Wait(None);
        }
        if let Some(ending) = self.ending(machine, mark, now) {
            return Next::Over(ending);
        }
        if self.retry_at > now {
            return Next::Wait(Some(self.retry_at));
        }
        let (name, node) = (self.machine.clone(), self.node.clone());
        match &self.stage {
            Stage::Chosen => Next::Do(Effect::MakeIneligible { machine: name, node }),
            Stage::Confirming(index) | Stage::Proving(index) => {
                Next::Do(Effect::ReadNode { machine: name, node, at_least: *index })
            }
            Stage::Confirmed => Next::Do(Effect::Drain {
                machine: name,
                node,
                deadline: knobs.node_drain_deadline,
                ignore_system: knobs.node_drain_ignore_system_jobs,
            }),
            Stage::Draining(_) => Next::Wait(Some(self.patience)),
            Stage::Proven(operation) => Next::Do(Effect::PowerOff {
                machine: name,
                operation: operation.clone(),
                reason: Reason::new("drained and proven empty, and the pool wants fewer machines"),
                on_timeout: knobs.on_soft_off_timeout,
            }),
            Stage::Cancelling(_) => Next::Do(Effect::MakeEligible { machine: name, node }),
            Stage::Gone(since) => Next::Wait(Some(*since + NODE_SILENCE_MAX)),
            Stage::Leaving(..) | Stage::Stuck(_) | Stage::Kept(_) => Next::Wait(None),
        }
    }

    /// Whether what is observed ends the sequence.
    fn ending(
        &self,
        machine: &MachineView,
        mark: Option<Ownership>,
        now: Moment,
    ) -> Option<Ending> {
        let vouches = machine.node.as_ref().is_some_and(NodeView::vouches);
        match &self.stage {
            Stage::Kept(keep) => Some(Ending::Kept(keep.clone())),
            Stage::Cancelling(keep) => match mark {
                Some(Ownership::Ours) => None,
                None => Some(Ending::Kept(keep.clone())),
                Some(Ownership::Theirs(_) | Ownership::Lost) => {
                    let why = format!("{}; its node is left as others made it", keep.why);
                    Some(Ending::Kept(Keep { why, rest: keep.rest }))
                }
            },
            Stage::Gone(_) if !vouches => Some(Ending::Off),
            Stage::Gone(since) if now.since(*since) > NODE_SILENCE_MAX => {
                let why = "it was switched off, but its node still heartbeats";
                Some(Ending::Kept(Keep::new(why, NODE_SILENCE_MAX)))
            }
            Stage::Stuck(_) if machine.is_off() => Some(Ending::Off),
            // Others switched it off, or the mains are gone: there is nothing to drain.
            Stage::Chosen | Stage::Confirming(_) | Stage::Confirmed | Stage::Draining(_)
                if machine.is_off() && !vouches =>
            {
                Some(Ending::Off)
            }
            _ => None,
        }
    }

    /// Takes what is observed of a machine that drains or leaves.
    pub fn observe(&mut self, machine: &MachineView, knobs: &Knobs, now: Moment) {
        if self.calling {
            return;
        }
        if let Some(keep) = self.cancelled.take() {
            self.stage = Stage::Cancelling(keep);
        }
        match &self.stage {
            Stage::Draining(index) => {
                // What was read before our write says nothing of our drain.
                let fresh = |node: &&NodeView| node.id == self.node && node.index >= *index;
                let node = machine.node.as_ref().filter(fresh);
                if let Some(node) = node {
                    self.watch_drain(node, knobs, now);
                }
            }
            Stage::Leaving(ordered, since) => {
                let shown = machine.agent.as_ref().and_then(|agent| agent.operation.as_ref());
                match shown.filter(|shown| shown.id == *ordered).map(|shown| &shown.progress) {
                    Some(Progress::Running) => {}
                    Some(Progress::Done) => self.stage = Stage::Gone(now),
                    Some(Progress::Failed(why)) => self.stage = Stage::Stuck(why.clone()),
                    None if now.since(*since) > ORDER_UNSEEN_MAX && machine.agent.is_some() => {
                        let why = "somebody has ordered it about since";
                        self.stage = Stage::Kept(Keep::new(why, REFUSAL_REST));
                    }
                    None => {}
                }
            }
            Stage::Chosen
            | Stage::Confirming(_)
            | Stage::Confirmed
            | Stage::Proving(_)
            | Stage::Proven(_)
            | Stage::Gone(_)
            | Stage::Stuck(_)
            | Stage::Cancelling(_)
            | Stage::Kept(_) => {}
        }
    }

    fn watch_drain(&mut self, node: &NodeView, knobs: &Knobs, now: Moment) {
        self.stage = if node.eligible && !node.draining {
            Stage::Kept(Keep::new("somebody ended its drain", knobs.drain_retry))
        } else if !node.draining && node.is_empty(knobs.node_drain_ignore_system_jobs) {
            Stage::Proving(node.newest_event)
        } else if now >= self.patience {
            let why = "its drain took longer than drain_patience";
            Stage::Cancelling(Keep::new(why, knobs.drain_retry))
        } else {
            return;
        };
    }

    /// A call was begun: until [`ScaleIn::done`] nothing else is.
    pub fn begun(&mut self) {
        self.calling = true;
    }

    /// Takes what came of a call. `operation` is the id for an order that may follow.
    pub fn done(&mut self, done: Done, knobs: &Knobs, operation: OperationId, now: Moment) {
        self.calling = false;
        let stage = std::mem::replace(&mut self.stage, Stage::Chosen);
        self.stage = match (stage, done) {
            // Nomad writes nothing where it was ineligible already: that was somebody else's doing.
            (Stage::Chosen, Done::Written { index: 0 }) => {
                Stage::Kept(Keep::new("somebody else made it ineligible", REFUSAL_REST))
            }
            (Stage::Chosen, Done::Written { index }) => Stage::Confirming(index),
            (Stage::Confirming(index), Done::Read(node)) => self.confirm(node.as_deref(), index),
            (Stage::Confirmed, Done::Written { index }) => Stage::Draining(index),
            (Stage::Proving(_), Done::Read(node)) => prove(node.as_deref(), knobs, operation),
            (Stage::Proven(operation), Done::Accepted) => Stage::Leaving(operation, now),
            (Stage::Proven(_), Done::Refused(why)) => {
                Stage::Cancelling(Keep::new(&why, REFUSAL_REST))
            }
            (Stage::Cancelling(keep), Done::Written { .. }) => Stage::Kept(keep),
            // A failed call is tried again, an order under the same id: it can not be taken twice.
            (stage, _) => {
                self.retry_at = now + CALL_RETRY;
                stage
            }
        };
        if !self.can_be_kept() {
            self.cancelled = None;
        }
    }

    /// Ineligible and read at that index: goes on only with the work that it was chosen with.
    fn confirm(&self, node: Option<&NodeView>, index: u64) -> Stage {
        let again = |why: String| Stage::Cancelling(Keep { why, rest: Duration::ZERO });
        let Some(node) = node else { return again("its node is gone".to_owned()) };
        let arrived = node.work().find(|alloc| !self.expected.contains(&alloc.id));
        match arrived {
            Some(alloc) => again(format!("{} was placed on it meanwhile", alloc.what)),
            None if node.eligible => again(format!("somebody made it eligible after {index}")),
            None => Stage::Confirmed,
        }
    }
}

impl Keep {
    /// Why, and for how long it is not chosen again.
    #[must_use]
    pub fn new(why: &str, rest: Duration) -> Self {
        Self { why: why.to_owned(), rest }
    }
}

/// Drained and read once more: ordered off only if it is ineligible and empty.
fn prove(node: Option<&NodeView>, knobs: &Knobs, operation: OperationId) -> Stage {
    let Some(node) = node else {
        return Stage::Cancelling(Keep::new("its node is gone", REFUSAL_REST));
    };
    if node.eligible {
        return Stage::Kept(Keep::new("somebody made it eligible", knobs.drain_retry));
    }
    if node.draining || !node.is_empty(knobs.node_drain_ignore_system_jobs) {
        return Stage::Draining(node.index);
    }
    Stage::Proven(operation)
}
