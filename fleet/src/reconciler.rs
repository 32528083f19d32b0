//! One pool made so: observations and time in; orders, Nomad calls and deadlines out. It is a fixed
//! point: polled again with nothing changed, it asks for nothing.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use crate::demand::{Caller, Demand, Direction};
pub use crate::effect::{Done, Effect};
use crate::marks::{Mark, Ownership};
use crate::planner::{Doing, Memory, Plan, Scene, plan};
use crate::scale_in::{
    CALL_RETRY, Ending, Keep, Next, ORDER_UNSEEN_MAX, REFUSAL_REST, ScaleIn, Sight, Stage,
};
use crate::{
    AllocId, FleetView, JobKind, Knobs, MachineName, MachineView, Moment, NodeCount, NodeStatus,
    NodeView, OperationFacts, OperationId, PoolName, PowerState, Progress, Reason, Verb,
    WhileStarting,
};

/// How long a machine that could not be lit is left alone: a board that does not answer is worth one
/// try a minute, and others may take its place meanwhile.
pub const LIGHT_REST: Duration = Duration::from_secs(60);

/// How long an idle node must have been ineligible by other hands before its machine is left out of the
/// count: a view may lag behind our own write, and one wrong count moves machines.
pub const ASIDE_AFTER: Duration = Duration::from_secs(5);

/// How long after the end of a person's order its last write to the node may be seen: agent and Nomad tell by
/// different streams, and Nomad is read up to five times a second.
pub const SHARED_FOR: Duration = Duration::from_secs(5);

/// A machine that was ordered on, until its agent's inventory shows the order.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Lighting {
    operation: OperationId,
    calling: bool,
    accepted: bool,
    /// Since when the agent answers and does not show it.
    unseen: Moment,
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
    /// Machines that an earlier process of ours has marked and that this one has not looked at yet.
    inherited: BTreeSet<MachineName>,
    pub(crate) last_plan: Plan,
    /// Idle machines whose nodes are ineligible and not by us, and since when that is seen.
    aside_since: BTreeMap<MachineName, Moment>,
    /// Until when what is done to a node counts as ours, because a person's order runs or ran just now.
    shared_until: BTreeMap<MachineName, Moment>,
    /// Nomad and an agent have answered once: before that nothing is known, and nothing is done.
    nomad_heard: bool,
    agent_heard: bool,
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
            inherited: standing.marks.keys().cloned().collect(),
            marks: standing.marks,
            lighting: BTreeMap::new(),
            last_plan: Plan::default(),
            aside_since: BTreeMap::new(),
            shared_until: BTreeMap::new(),
            nomad_heard: false,
            agent_heard: false,
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
    /// it has no record: desired is the number of its machines that are on. A pool of nothing is not
    /// born: its name is mistyped somewhere.
    pub fn observe(&mut self, mut view: FleetView, voice: &str, now: Moment) {
        if !view.nomad_answers {
            // What Nomad said last holds until it answers again; it only never proves anything.
            for (name, machine) in &mut view.machines {
                let last = self.view.machines.get(name).and_then(|last| last.node.as_ref());
                machine.node = machine.node.take().or_else(|| last.cloned());
            }
        }
        self.view = view;
        self.share_marks(now);
        self.set_aside(now);
        self.nomad_heard |= self.view.nomad_answers;
        self.agent_heard |= self.view.agents_heard > 0;
        let all = self.view.nomad_answers
            && self.view.agents_heard > 0
            && self.view.agents_missing.is_empty();
        let birth = self.demand.is_none() && all && !self.view.is_empty();
        if birth {
            let count = self.view.count(now);
            self.demand = Some(Demand::standing([(voice.to_owned(), count)]));
        }
        for (name, machine) in &self.view.machines {
            let memory = self.memory.entry(name.clone()).or_default();
            remember(memory, machine, birth, now);
        }
        self.follow_orders(now);
        self.adopt_marks(now);
    }

    /// What the agents' inventories show of the orders to light.
    fn follow_orders(&mut self, now: Moment) {
        let (view, memory) = (&self.view, &mut self.memory);
        self.lighting.retain(|name, lighting| {
            let agent = view.machines.get(name).and_then(|machine| machine.agent.as_ref());
            let Some(agent) = agent else {
                lighting.unseen = now;
                return true;
            };
            let shown = agent.operation.as_ref().is_some_and(|op| op.id == lighting.operation);
            if shown || lighting.calling || now.since(lighting.unseen) < ORDER_UNSEEN_MAX {
                return lighting.calling || !shown;
            }
            let why = if lighting.accepted {
                "its agent took the order to light it and does not show it"
            } else {
                "its agent does not answer the order to light it"
            };
            memory.entry(name.clone()).or_default().rests =
                Some((now + REFUSAL_REST, why.to_owned()));
            false
        });
    }

    /// What a person's order does to a node that we had made ineligible is no other's hand: our own agent does it. What
    /// it does last may be seen a little after its end.
    fn share_marks(&mut self, now: Moment) {
        for (name, mark) in &mut self.marks {
            let Some(machine) = self.view.machines.get(name) else { continue };
            if machine.is_in_hand() {
                self.shared_until.insert(name.clone(), now + SHARED_FOR);
            }
            let shared = self.shared_until.get(name).is_some_and(|until| now < *until);
            if let (true, Some(node)) = (shared, &machine.node) {
                mark.share(node);
            }
        }
        self.shared_until.retain(|_, until| now < *until);
    }

    /// Marks the machines whose idle nodes somebody else has taken out of scheduling, once that has
    /// stood for [`ASIDE_AFTER`].
    fn set_aside(&mut self, now: Moment) {
        let (leaving, marks) = (&self.leaving, &self.marks);
        let mut aside = BTreeMap::new();
        for (name, machine) in &mut self.view.machines {
            let Some(node) = &machine.node else { continue };
            let ours = marks.get(name).is_some_and(|mark| mark.judge(node) == Ownership::Ours);
            // Data that is still to be fetched from it does not make it one that works.
            let works = node.work().next().is_some();
            let out = node.status == NodeStatus::Ready && !node.eligible && !works;
            if !out || ours || leaving.contains_key(name) {
                continue;
            }
            let since = self.aside_since.get(name).copied().unwrap_or(now);
            machine.set_aside = now.since(since) >= ASIDE_AFTER;
            aside.insert(name.clone(), since);
        }
        self.aside_since = aside;
    }

    /// Nodes that are ineligible by our own mark: on the first look the work of an earlier process of
    /// ours, to be gone on with; later machines that have come back, to be made eligible.
    fn adopt_marks(&mut self, now: Moment) {
        if !self.view.nomad_answers {
            return;
        }
        let mut void = Vec::new();
        for (name, mark) in &mut self.marks {
            let Some(machine) = self.view.machines.get(name) else { continue };
            let Some(agent) = &machine.agent else { continue };
            let inherited = self.inherited.remove(name);
            let ordered_off = agent.operation.as_ref().filter(|op| op.verb == Verb::Off);
            let undone = ordered_off.filter(|op| inherited && op.progress != Progress::Done);
            let lives = |node: &&NodeView| node.vouches() || undone.is_some();
            let Some(node) = machine.node.as_ref().filter(lives) else { continue };
            mark.look(node);
            if self.leaving.contains_key(name) || node.index < mark.index {
                continue;
            }
            if node.id != mark.node || (node.eligible && !node.draining) {
                void.push(name.clone());
                continue;
            }
            if node.eligible || mark.judge(node) != Ownership::Ours {
                continue;
            }
            let (knobs, name) = (&self.knobs, name.clone());
            let running = ordered_off.filter(|op| op.progress == Progress::Running);
            let batch = node.work().any(|alloc| alloc.kind == JobKind::Batch);
            let scale_in = if let Some(running) = running.filter(|_| inherited) {
                let order = Some(running.id.clone());
                ScaleIn::leaving(name.clone(), node, order, knobs, now)
            } else if let Some(why) = failed(undone).filter(|_| node.is_idle()) {
                ScaleIn::stuck(name.clone(), node, why, knobs, now)
            } else if !node.vouches() {
                continue;
            } else if inherited && commanded(machine) == Some(PowerState::Off) {
                ScaleIn::leaving(name.clone(), node, None, knobs, now)
            } else if inherited && (node.draining || !batch || knobs.drain_batch) {
                ScaleIn::resumed(name.clone(), node, mark.index, knobs, now)
            } else if running.is_some() || machine.is_in_hand() {
                continue; // somebody has ordered it off: no work is to come there now
            } else {
                ScaleIn::back(name.clone(), node, knobs, now)
            };
            self.leaving.insert(name, scale_in);
        }
        for name in void {
            self.marks.remove(&name);
        }
    }

    /// A policy asked for a count.
    pub fn ask(&mut self, voice: &str, count: NodeCount, direction: Direction, now: Moment) {
        let damping = self.knobs.damping();
        if let Some(demand) = &mut self.demand {
            demand.ask(voice, count, direction, damping, now);
        }
    }

    /// A policy called Status, whatever it is answered.
    pub fn call(&mut self, voice: &str, now: Moment) {
        if let Some(demand) = &mut self.demand {
            demand.call(voice, now);
        }
    }

    /// The demands that have lapsed since this was asked last: their policies are gone.
    pub fn take_lapsed(&mut self) -> Vec<String> {
        self.demand.as_mut().map(Demand::take_lapsed).unwrap_or_default()
    }

    /// Status was answered ready with `count`.
    pub fn told(&mut self, caller: Caller<'_>, count: NodeCount, now: Moment) {
        let Caller { voice, tick, while_starting } = caller;
        let damping = self.knobs.damping();
        // The host's own APM fails while a node drains, so a utilisation policy is silent without being
        // content: taken for content, its silence would end every drain that outlasts a tick.
        let blind = while_starting == WhileStarting::Wait
            && self.leaving.values().any(|scale_in| !matches!(scale_in.stage, Stage::Stuck(_)));
        match &mut self.demand {
            Some(demand) if blind => demand.told_in_motion(voice, tick, damping, now),
            Some(demand) => demand.told(voice, count, tick, damping, now),
            None => {}
        }
    }

    /// What is told of the pool now.
    #[must_use]
    pub fn status(&self, now: Moment) -> PoolStatus {
        self.status_for(self.knobs.while_starting, now)
    }

    /// What is told to a policy that wants to be told this while machines start.
    #[must_use]
    pub fn status_for(&self, while_starting: WhileStarting, now: Moment) -> PoolStatus {
        let starting = self.view.starting(now).count();
        let waits = while_starting == WhileStarting::Wait && starting > 0;
        let not_ready = if !self.view.nomad_answers {
            Some("Nomad does not answer".to_owned())
        } else if self.view.agents_heard == 0 {
            Some(format!("no agent answers: {}", self.view.agents_missing.join(", ")))
        } else if self.view.is_empty() {
            Some(format!(
                "no agent that answers has a machine in pool {}; check `pool` in the policy and in \
                 the agents' rack files",
                self.pool
            ))
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
        let damping = self.knobs.damping();
        let Some(demand) = &mut self.demand else { return (Vec::new(), None) };
        demand.settle(damping, now);
        if !self.nomad_heard || !self.agent_heard {
            return (Vec::new(), None);
        }
        let desired = demand.desired();
        for (name, memory) in &mut self.memory {
            memory.doing = match self.leaving.get(name) {
                None if self.lighting.contains_key(name) => Doing::Lighting,
                None => Doing::Nothing,
                Some(scale_in) if scale_in.can_be_kept() => Doing::Retiring,
                Some(_) => Doing::Leaving,
            };
        }
        let scene =
            Scene { pool: &self.pool, view: &self.view, memory: &self.memory, knobs: &self.knobs };
        self.last_plan = plan(desired, scene, now);
        let mut effects = Vec::new();
        self.begin(now);
        self.light(desired, &mut effects, now);
        let (step, over) = self.advance(&mut effects, now);
        let wake = self.deadlines(now).chain(step).filter(|at| *at > now).min();
        // What ended may be chosen or kept otherwise at once.
        (effects, if over { Some(now) } else { wake })
    }

    /// When something changes though nobody says so.
    fn deadlines(&self, now: Moment) -> impl Iterator<Item = Moment> {
        let damping = self.knobs.damping();
        let lower = self.demand.iter().filter_map(move |demand| demand.next_change(damping));
        let blocked = self.last_plan.blocked.iter().filter_map(|(_, why)| why.left());
        let orders = self.lighting.values().filter(|lighting| !lighting.calling);
        let orders = orders.flat_map(|order| [order.retry_at, order.unseen + ORDER_UNSEEN_MAX]);
        let boots = self.view.machines.values().filter_map(|machine| {
            let driven = machine.agent.as_ref()?.power.commanded.as_ref()?;
            Some(driven.at + machine.boot_deadline)
        });
        lower.chain(blocked.map(move |left| now + left)).chain(orders).chain(boots)
    }

    /// Begins the ways out that the plan wants begun, and keeps what it wants kept.
    fn begin(&mut self, now: Moment) {
        for name in &self.last_plan.keep {
            if let Some(scale_in) = self.leaving.get_mut(name) {
                scale_in.cancel(Keep::new("it is wanted again", Duration::ZERO));
            }
        }
        for (name, scale_in) in &mut self.leaving {
            let Some(machine) = self.view.machines.get(name) else { continue };
            let holder = machine.agent.as_ref().and_then(|agent| agent.held_by.as_ref());
            if let Some(holder) = holder {
                scale_in.cancel(Keep::new(&format!("{holder} holds it"), Duration::ZERO));
            } else if machine.own {
                scale_in.cancel(Keep::new("the autoscaler runs on it", Duration::ZERO));
            }
        }
        for name in &self.last_plan.retire {
            let node = self.view.machines.get(name).and_then(|machine| machine.node.as_ref());
            if let Some(node) = node.filter(|_| !self.leaving.contains_key(name)) {
                let chosen = ScaleIn::chosen(name.clone(), node, &self.knobs, now);
                self.leaving.insert(name.clone(), chosen);
            }
        }
    }

    /// Orders on what the plan wants lit.
    fn light(&mut self, desired: NodeCount, effects: &mut Vec<Effect>, now: Moment) {
        let count = self.view.count(now);
        let reason = Reason::new(&format!("the pool wants {desired} and counts {count}"));
        for name in &self.last_plan.light {
            let ids = &mut self.operations;
            let lighting = self.lighting.entry(name.clone()).or_insert_with(|| Lighting {
                operation: ids.take(),
                calling: false,
                accepted: false,
                unseen: now,
                retry_at: now,
            });
            if !lighting.calling && !lighting.accepted && lighting.retry_at <= now {
                lighting.calling = true;
                let operation = lighting.operation.clone();
                let (machine, reason) = (name.clone(), reason.clone());
                effects.push(Effect::Light { machine, operation, reason });
            }
        }
    }

    /// Takes each scale-in one step on: when each wants to be looked at again, and whether one ended.
    fn advance(&mut self, effects: &mut Vec<Effect>, now: Moment) -> (Vec<Moment>, bool) {
        let (mut wakes, mut over) = (Vec::new(), Vec::new());
        for (name, scale_in) in &mut self.leaving {
            let Some(machine) = self.view.machines.get(name) else { continue };
            let mark = self.marks.get(name).filter(|mark| mark.node == scale_in.node);
            let sight = Sight { machine, mark, nomad_answers: self.view.nomad_answers };
            scale_in.observe(sight, &self.knobs, now);
            match scale_in.next(sight, &self.knobs, now) {
                Next::Do(effect) => {
                    scale_in.begun(now);
                    intend(&mut self.marks, &effect, machine);
                    effects.push(effect);
                }
                Next::Wait(at) => wakes.extend(at),
                Next::Over(ending) => over.push((name.clone(), ending)),
            }
        }
        let ended = !over.is_empty();
        for (name, ending) in over {
            self.end(&name, ending, now);
        }
        (wakes, ended)
    }

    fn end(&mut self, name: &MachineName, ending: Ending, now: Moment) {
        self.leaving.remove(name);
        let Ending::Kept(keep) = ending else { return };
        let node = self.view.machines.get(name).and_then(|machine| machine.node.as_ref());
        if keep.rest > Duration::ZERO {
            let memory = self.memory.entry(name.clone()).or_default();
            let work = node.into_iter().flat_map(NodeView::work);
            memory.held_up_by = work.map(|alloc| alloc.id.clone()).collect();
            memory.rests = Some((now + keep.rest, keep.why));
        }
        let mark = self.marks.get(name);
        if mark.zip(node).is_some_and(|(mark, node)| mark.judge(node) != Ownership::Ours) {
            self.marks.remove(name);
        }
    }

    /// Takes what came of an effect.
    pub fn done(&mut self, effect: &Effect, done: Done, now: Moment) {
        let name = effect.machine();
        let unsure = self.leaving.get(name).is_some_and(ScaleIn::is_unsure);
        match (effect, &done) {
            (Effect::Light { .. }, _) => return self.lit(name, done, now),
            (
                Effect::MakeIneligible { node, .. } | Effect::Drain { node, .. },
                Done::Written { index },
            ) if *index > 0 => {
                self.marks.insert(name.clone(), Mark::new(node.clone(), *index));
            }
            // It was so already: by ours that had no answer, or by somebody else's hand.
            (Effect::MakeIneligible { .. }, Done::Written { .. }) if unsure => {}
            (
                Effect::MakeIneligible { .. } | Effect::MakeEligible { .. } | Effect::Purge { .. },
                Done::Written { .. },
            ) => {
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
            Done::Accepted => {
                lighting.accepted = true;
                lighting.unseen = now;
            }
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

/// What this process saw of a machine over time.
fn remember(memory: &mut Memory, machine: &MachineView, birth: bool, now: Moment) {
    let counts = machine.counts(now);
    // A machine that is off or boots is not idle yet: what a person cycled has its idle time anew.
    let idle = machine.node.as_ref().is_some_and(|node| node.vouches() && node.is_idle());
    memory.on_since = counts.then(|| memory.on_since.unwrap_or(now));
    memory.idle_since = (counts && idle).then(|| memory.idle_since.unwrap_or(now));
    memory.adopted = counts && (memory.adopted || birth);
    if birth {
        memory.on_since = counts.then_some(now);
        memory.idle_since = (counts && idle).then_some(now);
    }
    if let Some(node) = &machine.node {
        let lives = |id: &AllocId| node.work().any(|alloc| alloc.id == *id);
        if !memory.held_up_by.iter().all(lives) {
            memory.held_up_by.clear();
            memory.rests = None;
        }
    }
    let operation = machine.agent.as_ref().and_then(|agent| agent.operation.as_ref());
    if let Some(OperationFacts { id, verb: Verb::On | Verb::Cycle, progress, .. }) = operation
        && let Progress::Failed(why) = progress
        && memory.failed.as_ref() != Some(id)
    {
        memory.failed = Some(id.clone());
        memory.rests = Some((now + LIGHT_REST, why.clone()));
    }
}

fn failed(operation: Option<&OperationFacts>) -> Option<&String> {
    match &operation?.progress {
        Progress::Failed(why) => Some(why),
        Progress::Running | Progress::Done => None,
    }
}

fn commanded(machine: &MachineView) -> Option<PowerState> {
    let agent = machine.agent.as_ref()?;
    agent.power.commanded.as_ref().map(|commanded| commanded.state)
}

/// Writes the mark down before the write that it is about.
fn intend(marks: &mut BTreeMap<MachineName, Mark>, effect: &Effect, machine: &MachineView) {
    let newest = match effect {
        Effect::MakeIneligible { machine, node } | Effect::Drain { machine, node, .. } => {
            let mark = marks.get(machine).filter(|mark| mark.node == *node);
            if mark.is_some_and(Mark::is_intended) {
                return;
            }
            mark.map(|mark| mark.seen)
        }
        _ => return,
    };
    if let Some(node) = &machine.node {
        let newest = match effect {
            Effect::Drain { .. } => newest.unwrap_or(node.newest_event),
            _ => node.newest_event,
        };
        marks.insert(effect.machine().clone(), Mark::intended(node.id.clone(), newest));
    }
}
