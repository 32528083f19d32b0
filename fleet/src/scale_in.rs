//! The sequence before a cut, for one machine: ineligible → read → drain → read again → off.
//!
//! Sans IO: [`ScaleIn::next`] says what to do, [`ScaleIn::done`] takes what came of it. Nothing is cut
//! under work, and until the agent has taken the order to shut down there is a way back.

mod stage;

use std::collections::BTreeSet;
use std::time::Duration;

pub use self::stage::{Ending, Keep, Next, Stage};
use crate::effect::{Done, Effect};
use crate::marks::{Mark, Ownership};
use crate::{
    AllocId, Knobs, MachineName, MachineView, Moment, NodeId, NodeStatus, NodeView, OperationId,
    Progress, Reason,
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

/// How long a machine that could not be switched off rests before that is tried again: its board or its
/// shutdown command is broken, which rarely heals sooner.
pub const OFF_RETRY: Duration = Duration::from_secs(60);

/// How long an accepted order may be missing from its agent's inventory: the answer and the inventory
/// come by different streams.
pub const ORDER_UNSEEN_MAX: Duration = Duration::from_secs(10);

/// Purges that are tried before the node is left to Nomad's own collection, which takes a day: the
/// machine can not be lit meanwhile.
pub const PURGE_TRIES_MAX: u32 = 3;

/// Stages that one observation may pass: from stuck over gone to done is the longest way.
const STAGES_MAX: usize = 4;

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
    /// The node's ineligibility was written without an answer: it may be our own already.
    unsure: bool,
    /// An order to shut down that had no answer, and since when: it may have been taken.
    unanswered: Option<(OperationId, Moment)>,
    /// An order to shut down was taken: there is no way back.
    taken: bool,
    /// Nomad's index at which it was proven empty.
    proven_at: u64,
    /// Not before then.
    retry_at: Moment,
    /// Our patience ends then.
    patience: Moment,
    /// Wanted back while a call is under way: what the call did must be known before it is undone.
    cancelled: Option<Keep>,
}

/// What a scale-in looks at.
#[derive(Debug, Clone, Copy)]
pub struct Sight<'a> {
    /// The machine as observed now.
    pub machine: &'a MachineView,
    /// Our mark on its node, if we have one.
    pub mark: Option<&'a Mark>,
    /// Whether Nomad answers: where not, nothing of what it said is built on.
    pub nomad_answers: bool,
}

impl Sight<'_> {
    fn ownership(&self) -> Option<Ownership> {
        let node = self.machine.node.as_ref();
        self.mark.zip(node).map(|(mark, node)| mark.judge(node))
    }

    fn vouches(&self) -> bool {
        self.machine.node.as_ref().is_some_and(NodeView::vouches)
    }

    /// Whether its agent would take an order.
    fn can_be_ordered(&self) -> bool {
        self.nomad_answers && self.machine.agent.is_some() && !self.machine.is_held()
    }

    /// How far the agent has come with an order, if it shows it.
    fn progress(&self, order: &OperationId) -> Option<&Progress> {
        let shown = self.machine.agent.as_ref().and_then(|agent| agent.operation.as_ref());
        shown.filter(|shown| shown.id == *order).map(|shown| &shown.progress)
    }
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

    /// A machine that an earlier process of ours has ordered off, by that order where it still runs.
    #[must_use]
    pub fn leaving(
        machine: MachineName,
        node: &NodeView,
        order: Option<OperationId>,
        knobs: &Knobs,
        now: Moment,
    ) -> Self {
        let stage = order.map_or(Stage::Gone(now), |order| Stage::Leaving(order, now));
        Self { taken: true, ..Self::at(machine, node, stage, knobs, now) }
    }

    /// A machine that an earlier process of ours has ordered off and whose agent could not finish, and
    /// why: it may have shut down already, and is cut as soon as it can be.
    #[must_use]
    pub fn stuck(
        machine: MachineName,
        node: &NodeView,
        why: &str,
        knobs: &Knobs,
        now: Moment,
    ) -> Self {
        let stage = Stage::Stuck(why.to_owned());
        let retry_at = now + OFF_RETRY;
        Self { taken: true, retry_at, ..Self::at(machine, node, stage, knobs, now) }
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
            unsure: false,
            unanswered: None,
            taken: false,
            proven_at: 0,
            retry_at: now,
            patience: now + patience,
            cancelled: None,
        }
    }

    /// Whether it can still be kept.
    #[must_use]
    pub fn can_be_kept(&self) -> bool {
        let told = self.taken || self.unanswered.is_some();
        match &self.stage {
            Stage::Cancelling(_) | Stage::Kept(_) => true,
            Stage::Chosen
            | Stage::Confirming(_)
            | Stage::Confirmed
            | Stage::Draining(_)
            | Stage::Proving(_)
            | Stage::Proven(_) => !told,
            Stage::Leaving(..)
            | Stage::Gone(_)
            | Stage::Stuck(_)
            | Stage::Purging(_)
            | Stage::Done => false,
        }
    }

    /// Whether a call is under way.
    #[must_use]
    pub const fn is_calling(&self) -> bool {
        self.calling
    }

    /// Whether the node may be ineligible by a write of ours that had no answer.
    #[must_use]
    pub const fn is_unsure(&self) -> bool {
        self.unsure
    }

    /// Keeps the machine after all, where that is still possible.
    pub fn cancel(&mut self, keep: Keep) {
        if self.can_be_kept() && !matches!(self.stage, Stage::Cancelling(_) | Stage::Kept(_)) {
            self.cancelled = Some(keep);
        }
    }

    /// What comes next, by what is observed now.
    #[must_use]
    pub fn next(&self, sight: Sight<'_>, knobs: &Knobs, now: Moment) -> Next {
        if self.calling {
            return Next::Wait(None);
        }
        if let Some(ending) = self.ending(sight, now) {
            return Next::Over(ending);
        }
        if self.retry_at > now {
            return Next::Wait(Some(self.retry_at));
        }
        let (name, node) = (self.machine.clone(), self.node.clone());
        match &self.stage {
            // Nothing of it is worth asking a Nomad that does not answer.
            Stage::Chosen | Stage::Confirming(_) | Stage::Confirmed | Stage::Cancelling(_)
                if !sight.nomad_answers =>
            {
                Next::Wait(None)
            }
            // The agent drains for a person, and leaves the node as we have made it.
            Stage::Cancelling(_) if sight.machine.is_in_hand() => Next::Wait(None),
            Stage::Proving(_) | Stage::Proven(_) if !sight.can_be_ordered() => Next::Wait(None),
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
            Stage::Purging(_) => Next::Do(Effect::Purge { machine: name, node }),
            Stage::Gone(since) => Next::Wait(Some(*since + NODE_SILENCE_MAX)),
            Stage::Leaving(_, since) => Next::Wait(Some(*since + ORDER_UNSEEN_MAX)),
            Stage::Stuck(_) | Stage::Done | Stage::Kept(_) => Next::Wait(None),
        }
    }

    /// Whether what is observed ends the sequence.
    fn ending(&self, sight: Sight<'_>, now: Moment) -> Option<Ending> {
        let vouches = sight.vouches();
        match &self.stage {
            Stage::Kept(keep) => Some(Ending::Kept(keep.clone())),
            Stage::Done => Some(Ending::Off),
            _ if !sight.nomad_answers => None,
            Stage::Cancelling(keep) => cancelling_ends(keep, sight),
            Stage::Gone(since) if vouches && now.since(*since) >= NODE_SILENCE_MAX => {
                let why = "it was switched off, but its node still heartbeats";
                Some(Ending::Kept(Keep::new(why, NODE_SILENCE_MAX)))
            }
            // Others switched it off, or the mains are gone: there is nothing to drain.
            Stage::Chosen
            | Stage::Confirming(_)
            | Stage::Confirmed
            | Stage::Draining(_)
            | Stage::Proving(_)
            | Stage::Proven(_)
                if sight.machine.is_off() && !vouches =>
            {
                Some(Ending::Off)
            }
            _ => None,
        }
    }

    /// Takes what is observed of a machine that drains or leaves.
    pub fn observe(&mut self, sight: Sight<'_>, knobs: &Knobs, now: Moment) {
        if self.calling {
            return;
        }
        if let Some(keep) = self.cancelled.take() {
            self.stage = Stage::Cancelling(keep);
        }
        for _ in 0..STAGES_MAX {
            let before = self.stage.clone();
            self.look_for_order(sight, now);
            self.look_at_node(sight, knobs, now);
            self.look_at_machine(sight, knobs, now);
            if self.stage == before {
                break;
            }
        }
    }

    /// How far its way through off is.
    fn look_at_machine(&mut self, sight: Sight<'_>, knobs: &Knobs, now: Moment) {
        match &self.stage {
            Stage::Leaving(ordered, since) => match sight.progress(ordered) {
                Some(Progress::Running) => {}
                Some(Progress::Done) => self.stage = Stage::Gone(now),
                Some(Progress::Failed(why)) => {
                    self.stage = Stage::Stuck(why.clone());
                    self.retry_at = now + OFF_RETRY;
                }
                None if now.since(*since) >= ORDER_UNSEEN_MAX && sight.machine.agent.is_some() => {
                    let why = "somebody has ordered it about since";
                    self.stage = Stage::Kept(Keep::new(why, REFUSAL_REST));
                }
                None => {}
            },
            Stage::Stuck(_) if sight.machine.is_off() => self.stage = Stage::Gone(now),
            // It may have work again only if somebody gave it some: that is proven once more.
            Stage::Stuck(_) if self.retry_at <= now => {
                self.stage = Stage::Proving(self.proven_at);
            }
            Stage::Gone(_) if sight.nomad_answers && !sight.vouches() => {
                let purge = knobs.node_purge && sight.machine.node.is_some();
                self.stage = if purge { Stage::Purging(0) } else { Stage::Done };
            }
            Stage::Purging(_) if sight.vouches() => {
                self.stage = Stage::Kept(Keep::new("its node came back", Duration::ZERO));
            }
            _ => {}
        }
    }

    /// An order that had no answer: the agent's inventory tells whether it was taken.
    fn look_for_order(&mut self, sight: Sight<'_>, now: Moment) {
        let Some((order, since)) = &self.unanswered else { return };
        if sight.progress(order).is_some() {
            self.stage = Stage::Leaving(order.clone(), now);
            self.taken = true;
            self.unanswered = None;
        } else if sight.machine.agent.is_none() {
            self.unanswered = Some((order.clone(), now));
        } else if now.since(*since) >= ORDER_UNSEEN_MAX {
            self.unanswered = None;
        }
    }

    /// What other hands did to the node, and how far its drain is.
    fn look_at_node(&mut self, sight: Sight<'_>, knobs: &Knobs, now: Moment) {
        let on_the_way = matches!(
            self.stage,
            Stage::Confirming(_)
                | Stage::Confirmed
                | Stage::Draining(_)
                | Stage::Proving(_)
                | Stage::Proven(_)
        );
        if !on_the_way {
            return;
        }
        if !sight.can_be_ordered() && matches!(self.stage, Stage::Proven(_)) {
            self.stage = Stage::Proving(self.proven_at); // the proof will be old by then
        }
        if !sight.nomad_answers {
            return;
        }
        let node = sight.machine.node.as_ref();
        let (same, other) = (
            node.filter(|node| node.id == self.node),
            node.filter(|node| node.id != self.node && node.vouches()),
        );
        if other.is_some() {
            self.stage = Stage::Kept(Keep::new("its node has registered anew", Duration::ZERO));
            return;
        }
        if same.is_some()
            && matches!(
                sight.ownership(),
                Some(Ownership::Theirs(_) | Ownership::Lost | Ownership::Void)
            )
        {
            let why = "somebody drained its node or changed its eligibility";
            self.stage = Stage::Kept(Keep::new(why, knobs.drain_retry));
            return;
        }
        match &self.stage {
            // What was read before our write says nothing of our drain.
            Stage::Draining(index) => {
                let fresh = same.filter(|node| node.index >= *index);
                self.watch_drain(fresh, knobs, now);
            }
            Stage::Proven(_) => {
                let newer = same.filter(|node| node.index > self.proven_at);
                if let Some(node) = newer.filter(|node| !is_proof(node, knobs)) {
                    self.stage = Stage::Proving(node.index);
                }
            }
            _ => {}
        }
    }

    fn watch_drain(&mut self, node: Option<&NodeView>, knobs: &Knobs, now: Moment) {
        if let Some(node) = node.filter(|node| is_proof(node, knobs)) {
            self.stage = Stage::Proving(node.index);
        } else if node.is_some_and(|node| node.eligible && !node.draining) {
            self.stage = Stage::Kept(Keep::new("somebody ended its drain", knobs.drain_retry));
        } else if now >= self.patience && self.can_be_kept() {
            let why = "its drain took longer than drain_patience";
            self.stage = Stage::Cancelling(Keep::new(why, knobs.drain_retry));
        }
    }

    /// A call was begun: until [`ScaleIn::done`] nothing else is.
    pub fn begun(&mut self, now: Moment) {
        self.calling = true;
        if let Stage::Proven(order) = &self.stage {
            self.unanswered = Some((order.clone(), now));
        }
    }

    /// Takes what came of a call. `operation` is the id for an order that may follow.
    pub fn done(&mut self, done: Done, knobs: &Knobs, operation: OperationId, now: Moment) {
        self.calling = false;
        let stage = std::mem::replace(&mut self.stage, Stage::Chosen);
        self.stage = match (stage, done) {
            // Nomad writes nothing where it was ineligible already: that was somebody else's doing.
            (Stage::Chosen, Done::Written { index: 0 }) if !self.unsure => {
                Stage::Kept(Keep::new("somebody else made it ineligible", REFUSAL_REST))
            }
            (Stage::Chosen, Done::Written { index }) => Stage::Confirming(index),
            (Stage::Confirming(index), Done::Read(node)) => self.confirm(node.as_deref(), index),
            (Stage::Confirmed, Done::Written { index }) => Stage::Draining(index),
            (Stage::Proving(_), Done::Read(node)) => self.prove(node.as_deref(), knobs, operation),
            (Stage::Proven(order), Done::Accepted) => {
                self.unanswered = None;
                self.taken = true;
                Stage::Leaving(order, now)
            }
            (Stage::Proven(_), Done::Refused(why)) => {
                self.unanswered = None;
                self.retry_at = now + OFF_RETRY;
                if self.taken {
                    Stage::Stuck(why)
                } else {
                    Stage::Cancelling(Keep::new(&why, REFUSAL_REST))
                }
            }
            // Tried again under the same id, so that it can not be taken twice; and proven again.
            (Stage::Proven(_), _) => {
                self.retry_at = now + CALL_RETRY;
                Stage::Proving(self.proven_at)
            }
            (Stage::Cancelling(keep), Done::Written { .. }) => Stage::Kept(keep),
            (Stage::Purging(_), Done::Written { .. } | Done::Read(None)) => Stage::Done,
            (Stage::Purging(tries), _) if tries + 1 >= PURGE_TRIES_MAX => Stage::Done,
            (Stage::Purging(tries), _) => {
                self.retry_at = now + CALL_RETRY;
                Stage::Purging(tries + 1)
            }
            (stage, _) => {
                self.unsure |= stage == Stage::Chosen;
                self.retry_at = now + CALL_RETRY;
                stage
            }
        };
        if matches!(self.stage, Stage::Cancelling(_)) {
            self.retry_at = now;
        }
        if !self.can_be_kept() {
            self.cancelled = None;
        }
    }

    /// Drained and read once more: ordered off only if it is ineligible, empty and alive.
    fn prove(&mut self, node: Option<&NodeView>, knobs: &Knobs, operation: OperationId) -> Stage {
        let told = self.taken || self.unanswered.is_some();
        let same = self.unanswered.as_ref().map(|(order, _)| order.clone());
        let proven = Stage::Proven(same.unwrap_or(operation));
        let Some(node) = node else {
            let gone = Stage::Kept(Keep::new("its node is gone", REFUSAL_REST));
            return if self.taken { proven } else { gone };
        };
        if node.eligible {
            return Stage::Kept(Keep::new("somebody made it eligible", knobs.drain_retry));
        }
        if !is_proof(node, knobs) && (!told || node.vouches()) {
            return Stage::Draining(node.index);
        }
        self.proven_at = node.index;
        proven
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

/// Whether a node shows a drain that is through. A node that does not heartbeat proves nothing: its
/// work is called lost while it may run on behind a partition.
fn is_proof(node: &NodeView, knobs: &Knobs) -> bool {
    node.status == NodeStatus::Ready
        && !node.eligible
        && !node.draining
        && node.is_empty(knobs.node_drain_ignore_system_jobs)
}

/// Whether a node that is to be made eligible is so already, or is not ours to touch.
fn cancelling_ends(keep: &Keep, sight: Sight<'_>) -> Option<Ending> {
    let (Some(mark), Some(node)) = (sight.mark, sight.machine.node.as_ref()) else {
        return Some(Ending::Kept(keep.clone()));
    };
    let fresh = !mark.is_intended() && node.index > mark.index;
    if fresh && node.eligible && !node.draining {
        return Some(Ending::Kept(keep.clone()));
    }
    match mark.judge(node) {
        Ownership::Ours => None,
        Ownership::Theirs(_) | Ownership::Lost | Ownership::Void => {
            let why = format!("{}; its node is left as others made it", keep.why);
            Some(Ending::Kept(Keep { why, rest: keep.rest }))
        }
    }
}
