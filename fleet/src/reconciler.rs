//! One pool made so: observations and time in; orders, Nomad calls and deadlines out. It is a fixed
//! point: polled again with nothing changed, it asks for nothing.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::demand::{Demand, Direction};
use crate::marks::{Mark, Ownership};
use crate::planner::{Doing, Memory, Plan, Scene, plan};
use crate::scale_in::{
    CALL_RETRY, Ending, Keep, Next, ORDER_UNSEEN_MAX, REFUSAL_REST, ScaleIn, Stage,
};
use crate::{
    FleetView, Knobs, MachineName, MachineView, Moment, NodeCount, NodeId, NodeView,
    OnSoftOffTimeout, OperationId, PoolName, Progress, Reason, WhileStarting,
};

/// How long a machine that could not be lit is left alone: a board that does not answer is worth one
/// try a minute, and others may take its place meanwhile.
pub const LIGHT_REST: Duration = Duration::from_secs(60);

/// One thing to do; at most one at a time for a machine, and [`Reconciler::done`] tells what came of it.
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
    /// The machine that it is about.
    #[must_use]
    pub const fn machine(&self) -> &MachineName {
        match self {
            Effect::Light { machine, .. }
            | Effect::PowerOff { machine, .. }
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

/// A machine that is being lit.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Lighting {
    operation: OperationId,
    calling: bool,
    /// When the agent took the order.
    accepted: Option<Moment>,
    retry_at: Moment,
}

/// What must outlive this process, beside what can be observed again.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Standing {
    /// The level of each voice of the demand. Empty before birth.
    pub levels: BTreeMap<String, NodeCount>,
    /// Our marks on nodes, by machine.
    pub marks: BTreeMap<MachineName, Mark>,
}

/// What is told of a pool.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PoolStatus {
    /// Whether policies may act on the count.
    pub ready: bool,
    /// Machines on, and starting within their deadline.
    pub count: NodeCount,
    /// What is desired; `None` before birth.
    pub desired: Option<NodeCount>,
    /// Why it is not ready.
    pub not_ready: Option<String>,
}

/// The reconciler of one pool.
#[derive(Debug)]
pub struct Reconciler {
    pub(crate) pool: PoolName,
    pub(crate) knobs: Knobs,
    pub(crate) demand: Option<Demand>,
    pub(crate) view: FleetView,
    pub(crate) memory: BTreeMap<MachineName, Memory>,
    pub(crate) leaving: BTreeMap<MachineName, ScaleIn>,
    pub(crate) marks: BTreeMap<MachineName, Mark>,
    lighting: BTreeMap<MachineName, Lighting>,
    purging: BTreeMap<MachineName, NodeId>,
    pub(crate) last_plan: Plan,
    observed: bool,
    operations: OperationIds,
}

/// Ids of orders: the process's own prefix and a number.
#[derive(Debug)]
struct OperationIds {
    prefix: OperationId,
    next: u64,
}

impl OperationIds {
    fn take(&mut self) -> OperationId {
        self.next += 1;
        let text = format!("{}-{}", self.prefix, self.next);
        // The prefix is a valid id and shorter than the bound by far; should it not be, it alone will do.
        OperationId::new(text).unwrap_or_else(|_| self.prefix.clone())
    }
}

impl Reconciler {
    /// A pool whose record says `standing`, or has none. `prefix` is unique to this process: orders are
    /// named by it.
    #[must_use]
    pub fn new(
        pool: PoolName,
        knobs: Knobs,
        standing: Option<Standing>,
        prefix: OperationId,
    ) -> Self {
        let standing = standing.unwrap_or_default();
        let born = !standing.levels.is_empty();
        Self {
            pool,
            knobs,
            demand: born.then(|| Demand::standing(standing.levels)),
            view: FleetView::default(),
            memory: BTreeMap::new(),
            leaving: BTreeMap::new(),
            marks: standing.marks,
            lighting: BTreeMap::new(),
            purging: BTreeMap::new(),
            last_plan: Plan::default(),
            observed: false,
            operations: OperationIds { prefix, next: 0 },
        }
    }

    /// What must outlive this process. To be on disk before an effect is executed.
    #[must_use]
    pub fn standing(&self) -> Standing {
        let levels = self.demand.iter().flat_map(Demand::levels);
        Standing {
            levels: levels.map(|(voice, level)| (voice.to_owned(), level)).collect(),
            marks: self.marks.clone(),
        }
    }

    /// Takes the policy's knobs as they are now.
    pub fn set_knobs(&mut self, knobs: Knobs) {
        self.knobs = knobs;
    }

    /// Takes an observation. The first one with Nomad and every agent in it is the pool's birth, where
    /// it has no record: desired is the number of its machines that are on.
    pub fn observe(&mut self, view: FleetView, voice: &str, now: Moment) {
        self.view = view;
        if self.demand.is_none() && self.view.nomad_answers && self.view.agents_missing.is_empty() {
            let count = self.view.count(now);
            self.demand = Some(Demand::standing([(voice.to_owned(), count)]));
        }
        for (name, machine) in &self.view.machines {
            let memory = self.memory.entry(name.clone()).or_default();
            let counts = machine.counts(now);
            let idle = machine.node.as_ref().is_some_and(NodeView::is_idle);
            memory.on_since = counts.then(|| memory.on_since.unwrap_or(now));
            memory.idle_since = (counts && idle).then(|| memory.idle_since.unwrap_or(now));
        }
        self.adopt_marks(now);
    }

    /// Nodes that are ineligible by our own mark: on the first look the work of an earlier process of
    /// ours, to be gone on with; later machines that have come back, to be made eligible.
    fn adopt_marks(&mut self, now: Moment) {
        if !self.view.nomad_answers {
            return;
        }
        let first = !std::mem::replace(&mut self.observed, true);
        for (name, mark) in &mut self.marks {
            let Some(machine) = self.view.machines.get(name) else { continue };
            let Some(node) = machine.node.as_ref().filter(|node| node.vouches()) else { continue };
            mark.look(node);
            let ours = mark.judge(node) == Ownership::Ours;
            if !ours || node.eligible || node.index < mark.index || self.leaving.contains_key(name)
            {
                continue;
            }
            let (knobs, name) = (&self.knobs, name.clone());
            let scale_in = if first {
                ScaleIn::resumed(name.clone(), node, mark.index, knobs, now)
            } else {
                ScaleIn::back(name.clone(), node, knobs, now)
            };
            self.leaving.insert(name, scale_in);
        }
    }

    /// A policy asked for a count.
    pub fn ask(&mut self, voice: &str, count: NodeCount, direction: Direction, now: Moment) {
        let window = self.knobs.scale_in_window;
        if let Some(demand) = &mut self.demand {
            demand.ask(voice, count, direction, window, now);
        }
    }

    /// Status was answered ready with `count`; `tick` is the policy's evaluation interval.
    pub fn told(&mut self, voice: &str, count: NodeCount, tick: Duration, now: Moment) {
        let window = self.knobs.scale_in_window;
        if let Some(demand) = &mut self.demand {
            demand.told(voice, count, tick, window, now);
        }
    }

    /// What is told of the pool now.
    #[must_use]
    pub fn status(&self, now: Moment) -> PoolStatus {
        let starting = self.view.starting(now).count();
        let waits = self.knobs.while_starting == WhileStarting::Wait && starting > 0;
        let not_ready = if !self.view.nomad_answers {
            Some("Nomad does not answer".to_owned())
        } else if self.view.agents_heard == 0 {
            Some(format!("no agent answers: {}", self.view.agents_missing.join(", ")))
        } else if self.demand.is_none() {
            let missing = self.view.agents_missing.join(", ");
            Some(format!("the pool has no record yet, and its birth waits for {missing}"))
        } else if waits {
            Some(format!("{starting} machines start, and while_starting is \"wait\""))
        } else {
            None
        };
        PoolStatus {
            ready: not_ready.is_none(),
            count: self.view.count(now),
            desired: self.demand.as_ref().map(Demand::desired),
            not_ready,
        }
    }

    /// What to do now, and when to look again though nothing changes.
    pub fn poll(&mut self, now: Moment) -> (Vec<Effect>, Option<Moment>) {
        let window = self.knobs.scale_in_window;
        let Some(demand) = &mut self.demand else { return (Vec::new(), None) };
        demand.settle(window, now);
        let desired = demand.desired();
        let mut wake = demand.next_change(window);

        for (name, memory) in &mut self.memory {
            memory.doing = match self.leaving.get(name) {
                None => Doing::Nothing,
                Some(scale_in) if scale_in.can_be_kept() => Doing::Retiring,
                Some(_) => Doing::Leaving,
            };
        }
        let scene =
            Scene { pool: &self.pool, view: &self.view, memory: &self.memory, knobs: &self.knobs };
        let plan = plan(desired, scene, now);
        let mut effects = Vec::new();
        self.begin(&plan, desired, &mut effects, now);
        self.advance(&mut effects, &mut wake, now);
        self.last_plan = plan;
        (effects, wake)
    }

    /// Begins what the plan wants begun and keeps what it wants kept.
    fn begin(&mut self, plan: &Plan, desired: NodeCount, effects: &mut Vec<Effect>, now: Moment) {
        for name in &plan.keep {
            if let Some(scale_in) = self.leaving.get_mut(name) {
                scale_in.cancel(Keep::new("it is wanted again", Duration::ZERO));
            }
        }
        for name in &plan.retire {
            let node = self.view.machines.get(name).and_then(|machine| machine.node.as_ref());
            if let Some(node) = node.filter(|_| !self.leaving.contains_key(name)) {
                let chosen = ScaleIn::chosen(name.clone(), node, &self.knobs, now);
                self.leaving.insert(name.clone(), chosen);
            }
        }
        self.lighting.retain(|name, lighting| lighting.calling || plan.light.contains(name));
        let reason =
            Reason::new(&format!("the pool wants {desired} and counts {}", self.view.count(now)));
        for name in &plan.light {
            let Some(machine) = self.view.machines.get(name) else { continue };
            let ids = &mut self.operations;
            let lighting = self.lighting.entry(name.clone()).or_insert_with(|| Lighting {
                operation: ids.take(),
                calling: false,
                accepted: None,
                retry_at: now,
            });
            if let Some(why) = lighting.failure(machine) {
                let rests = Some((now + LIGHT_REST, why));
                self.memory.entry(name.clone()).or_default().rests = rests;
                self.lighting.remove(name);
            } else if lighting.is_due(now) {
                lighting.calling = true;
                let operation = lighting.operation.clone();
                let (machine, reason) = (name.clone(), reason.clone());
                effects.push(Effect::Light { machine, operation, reason });
            }
        }
    }

    /// Takes each scale-in one step on.
    fn advance(&mut self, effects: &mut Vec<Effect>, wake: &mut Option<Moment>, now: Moment) {
        let mut sooner = |at: Moment| *wake = Some(wake.map_or(at, |wake| wake.min(at)));
        for memory in self.memory.values() {
            if let Some((until, _)) = memory.rests.as_ref().filter(|(until, _)| *until > now) {
                sooner(*until);
            }
        }
        for lighting in self.lighting.values().filter(|lighting| !lighting.calling) {
            sooner(lighting.retry_at);
        }
        let mut over = Vec::new();
        for (name, scale_in) in &mut self.leaving {
            let Some(machine) = self.view.machines.get(name) else { continue };
            scale_in.observe(machine, &self.knobs, now);
            let node = machine.node.as_ref().filter(|node| node.id == scale_in.node);
            let mark = self.marks.get(name).filter(|mark| mark.node == scale_in.node);
            let ownership = match (mark, node) {
                (Some(mark), Some(node)) => Some(mark.judge(node)),
                (Some(_), None) => Some(Ownership::Lost),
                (None, _) => None,
            };
            match scale_in.next(machine, ownership, &self.knobs, now) {
                Next::Do(effect) => {
                    scale_in.begun();
                    effects.push(effect);
                }
                Next::Wait(Some(at)) => sooner(at),
                Next::Wait(None) => {}
                Next::Over(ending) => over.push((name.clone(), ending)),
            }
        }
        if !over.is_empty() {
            sooner(now); // what ended may be chosen or kept otherwise at once
        }
        for (name, ending) in over {
            self.end(&name, ending, effects, now);
        }
    }

    fn end(&mut self, name: &MachineName, ending: Ending, effects: &mut Vec<Effect>, now: Moment) {
        let Some(scale_in) = self.leaving.remove(name) else { return };
        match ending {
            Ending::Kept(keep) => {
                if keep.rest > Duration::ZERO {
                    let rests = Some((now + keep.rest, keep.why));
                    self.memory.entry(name.clone()).or_default().rests = rests;
                }
                let mark = self.marks.get(name);
                let node = self.view.machines.get(name).and_then(|machine| machine.node.as_ref());
                let left = mark.zip(node).is_some_and(|(m, node)| m.judge(node) != Ownership::Ours);
                if left {
                    self.marks.remove(name);
                }
            }
            Ending::Off if self.knobs.node_purge => {
                self.marks.remove(name);
                self.purging.insert(name.clone(), scale_in.node.clone());
                let (machine, node) = (name.clone(), scale_in.node);
                effects.push(Effect::Purge { machine, node });
            }
            Ending::Off => {}
        }
    }

    /// Takes what came of an effect.
    pub fn done(&mut self, effect: &Effect, done: Done, now: Moment) {
        let name = effect.machine();
        match (effect, &done) {
            (Effect::Light { .. }, _) => return self.lit(name, done, now),
            (Effect::Purge { .. }, _) => {
                self.purging.remove(name);
                return;
            }
            (
                Effect::MakeIneligible { node, .. } | Effect::Drain { node, .. },
                Done::Written { index },
            ) if *index > 0 => {
                self.marks.insert(name.clone(), Mark::new(node.clone(), *index));
            }
            (Effect::MakeEligible { .. }, Done::Written { .. }) => {
                self.marks.remove(name);
            }
            _ => {}
        }
        if let Some(scale_in) = self.leaving.get_mut(name) {
            let operation = self.operations.take();
            scale_in.done(done, &self.knobs, operation, now);
        }
    }

    fn lit(&mut self, name: &MachineName, done: Done, now: Moment) {
        let Some(lighting) = self.lighting.get_mut(name) else { return };
        lighting.calling = false;
        lighting.retry_at = now + CALL_RETRY;
        match done {
            Done::Accepted => lighting.accepted = Some(now),
            Done::Refused(why) => {
                let memory = self.memory.entry(name.clone()).or_default();
                memory.rests = Some((now + REFUSAL_REST, why));
                self.lighting.remove(name);
            }
            // An order without an answer is asked again under the same id.
            Done::Failed(_) | Done::Written { .. } | Done::Read(_) => {}
        }
    }

    /// Where a machine's scale-in is.
    #[must_use]
    pub fn stage(&self, name: &MachineName) -> Option<&Stage> {
        self.leaving.get(name).map(|scale_in| &scale_in.stage)
    }
}

impl Lighting {
    /// Whether the order is to be sent, or sent again because no inventory has shown it for too long.
    fn is_due(&self, now: Moment) -> bool {
        let unseen = |at: Moment| now.since(at) > ORDER_UNSEEN_MAX;
        !self.calling && self.retry_at <= now && self.accepted.is_none_or(unseen)
    }

    /// Why the agent could not do it, where it says so.
    fn failure(&self, machine: &MachineView) -> Option<String> {
        let shown = machine.agent.as_ref()?.operation.as_ref()?;
        match &shown.progress {
            Progress::Failed(why) if shown.id == self.operation => Some(why.clone()),
            _ => None,
        }
    }
}
