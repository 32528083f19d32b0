//! One pool made so: observations and time in; orders, Nomad calls and deadlines out. It is a fixed
//! point: polled again with nothing changed, it asks for nothing.

mod boots;
mod exits;
mod memory;
mod orders;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use crate::demand::{Answer, Caller, Demand, Direction};
pub use crate::effect::{Done, Effect};
use crate::marks::{Mark, Ownership, Restored, Unanswered};
use crate::planner::{Doing, Memory, Plan, Scene, plan};
use crate::scale_in::{NODE_SILENCE_MAX, ORDER_UNSEEN_MAX, ScaleIn, Stage};
use crate::{
    FleetView, Knobs, MachineName, MachineView, Moment, NodeCount, NodeStatus, OperationId,
    PoolName, WhileStarting,
};

pub(crate) use self::boots::BootState;
pub use self::boots::CYCLE_REFUSALS_MAX;
use self::boots::{Care, FromDark, Watch};
pub use self::memory::LIGHT_REST;
use self::memory::remember;
use self::orders::{Lighting, OperationIds};

/// How long an idle node must have been ineligible by other hands before its machine is left out of the
/// count: a view may lag behind our own write, and one wrong count moves machines.
pub const ASIDE_AFTER: Duration = Duration::from_secs(5);

/// How long after the end of a person's order its last write to the node may be seen: agent and Nomad tell by
/// different streams, and Nomad is read up to five times a second.
pub const SHARED_FOR: Duration = Duration::from_secs(5);

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
    /// The last boot of each machine, and what is done about it.
    watches: BTreeMap<MachineName, Watch>,
    cares: BTreeMap<MachineName, Care>,
    /// Orders of this process that found their machines dark, where the board can not tell.
    dark: FromDark,
    /// Machines on their way out that no agent names any more.
    removed: BTreeSet<MachineName>,
    /// Since when Nomad has been answering.
    nomad_since: Option<Moment>,
    /// Machines that an earlier process of ours has marked and that this one has not looked at yet.
    inherited: BTreeSet<MachineName>,
    pub(crate) last_plan: Plan,
    pub(crate) restored: Restored,
    unanswered: Unanswered,
    /// Idle machines whose nodes are ineligible and not by us, and since when that is seen.
    aside_since: BTreeMap<MachineName, Moment>,
    /// Until when what is done to a node counts as ours, because a person's order runs or ran just now.
    shared_until: BTreeMap<MachineName, Moment>,
    /// Since when a mark is seen to be overridden by somebody else's hand.
    theirs_since: BTreeMap<MachineName, Moment>,
    /// Nomad and an agent have answered once: before that nothing is known, and nothing is done.
    nomad_heard: bool,
    agent_heard: bool,
    operations: OperationIds,
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
            watches: BTreeMap::new(),
            cares: BTreeMap::new(),
            dark: FromDark::new(),
            removed: BTreeSet::new(),
            nomad_since: None,
            last_plan: Plan::default(),
            restored: Restored::default(),
            unanswered: Unanswered::default(),
            aside_since: BTreeMap::new(),
            shared_until: BTreeMap::new(),
            theirs_since: BTreeMap::new(),
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
        self.keep_removed(&mut view);
        self.view = view;
        self.share_marks(now);
        self.set_aside(now);
        self.watch_boots(now);
        self.judge_boots(now);
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

    /// A machine that no agent names any more stays in sight until its way out is ended: its node may be
    /// ineligible by our doing. It does not count meanwhile.
    fn keep_removed(&mut self, view: &mut FleetView) {
        let gone = |name: &&MachineName| !view.machines.contains_key(name);
        let known = view.agents_heard > 0;
        self.removed = self.leaving.keys().filter(gone).filter(|_| known).cloned().collect();
        for name in self.leaving.keys() {
            let Some(last) = self.view.machines.get(name) else { continue };
            view.machines.entry(name.clone()).or_insert_with(|| MachineView {
                agent: None,
                set_aside: true,
                ..last.clone()
            });
        }
        self.lighting.retain(|name, lighting| lighting.calling || view.machines.contains_key(name));
    }

    /// What a person's order does to a node that we had made ineligible is no other's hand: our own agent does it. What
    /// it does last may be seen a little after its end, and what it does first a little before it; what stood there
    /// longer somebody else has done.
    fn share_marks(&mut self, now: Moment) {
        for (name, mark) in &mut self.marks {
            let Some(machine) = self.view.machines.get(name) else { continue };
            if machine.is_in_hand() {
                self.shared_until.insert(name.clone(), now + SHARED_FOR);
            }
            let shared = self.shared_until.get(name).is_some_and(|until| now < *until);
            let Some(node) = &machine.node else { continue };
            let theirs = matches!(mark.judge(node), Ownership::Theirs(_));
            let since = *self.theirs_since.entry(name.clone()).or_insert(now);
            if shared && now.since(since) < SHARED_FOR {
                mark.share(node);
            }
            if !theirs || mark.judge(node) == Ownership::Ours {
                self.theirs_since.remove(name);
            }
        }
        self.shared_until.retain(|_, until| now < *until);
        self.theirs_since.retain(|name, _| self.marks.contains_key(name));
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

    /// Status was answered not ready.
    pub fn told_not_ready(&mut self, caller: Caller<'_>, now: Moment) {
        if let Some(demand) = &mut self.demand {
            demand.told_not_ready(caller.voice, caller.tick, now);
        }
    }

    /// Status was answered ready with `count`.
    pub fn told(&mut self, caller: Caller<'_>, count: NodeCount, now: Moment) {
        let Caller { voice, tick, while_starting } = caller;
        let damping = self.knobs.damping();
        // The host's own APM fails while a node drains, so a utilisation policy is silent without being
        // content: taken for content, its silence would end every drain that outlasts a tick.
        let falls =
            self.leaving.values().any(|scale_in| !matches!(scale_in.stage, Stage::Stuck(_)));
        let blind = while_starting == WhileStarting::Wait && falls;
        let answer = Answer { count, falls };
        match &mut self.demand {
            Some(demand) if blind => demand.told_in_motion(voice, tick, damping, now),
            Some(demand) => demand.told(voice, answer, tick, damping, now),
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
        self.judge_boots(now);
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
        let cares = self.tend(&mut effects, now);
        let (step, over) = self.advance(&mut effects, now);
        let wake = self.deadlines(now).chain(cares).chain(step).filter(|at| *at > now).min();
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
        let cuts = self.view.machines.values().filter_map(MachineView::cut_at);
        let cuts = cuts.map(|at| at + NODE_SILENCE_MAX);
        lower.chain(blocked.map(move |left| now + left)).chain(orders).chain(boots).chain(cuts)
    }

    /// Takes what came of an effect.
    pub fn done(&mut self, effect: &Effect, done: Done, now: Moment) {
        let name = effect.machine();
        let leaves = self.leaving.get(name);
        let unsure = leaves.is_some_and(ScaleIn::is_unsure)
            || self.cares.get(name).is_some_and(|care| care.unsure);
        let tended = self.is_tended(name);
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
        if tended {
            self.cared(effect, &done, now);
        } else if let Some(scale_in) = self.leaving.get_mut(name) {
            let operation = self.operations.take();
            scale_in.done(done, &self.knobs, operation, now);
        }
    }

    /// Where a machine's scale-in is.
    #[must_use]
    pub fn stage(&self, name: &MachineName) -> Option<&Stage> {
        self.leaving.get(name).map(|scale_in| &scale_in.stage)
    }
}
