//! What to start and stop now, and for everything that is not done, why not. Total and pure.

mod rooms;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::time::Duration;

use self::rooms::Rooms;
use crate::knobs::{Knobs, Selector};
use crate::view::{FleetView, MachineView, NodeStatus};
use crate::{
    AllocId, JobKind, MachineName, Moment, NoRoom, NodeCount, NodeView, Observed, OperationId,
    PoolName, PowerState, Progress, Verb,
};

/// How many machines whose power went away are lit again within [`RESTART_SPAN`], of those that hang on no feed with a
/// budget: nothing is known of their currents, and the inrush of four power supplies is what an ordinary 16 A circuit
/// takes while the rest of the rack runs. Where a feed says what it carries, the agent spaces the starts by that.
pub const RESTARTS_AT_ONCE_MAX: usize = 4;

/// How long such a group has the feed for itself: the inrush and the first, hungriest seconds of a boot.
pub const RESTART_SPAN: Duration = Duration::from_secs(15);

/// What is known of a machine beyond what can be observed now.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Memory {
    /// What we are doing to it.
    pub doing: Doing,
    /// Since when it has had no demand work, by what this process saw.
    pub idle_since: Option<Moment>,
    /// Since when it counts, by what this process saw.
    pub on_since: Option<Moment>,
    /// Not to be chosen until then, and why.
    pub rests: Option<(Moment, String)>,
    /// The work that held up its last drain: once some of it is gone, it may be chosen again.
    pub held_up_by: BTreeSet<AllocId>,
    /// It was on when the pool was born and has not been off since: its idle time is a gate.
    pub adopted: bool,
    /// It was lit and did not boot.
    pub missed: bool,
    /// The last order to light it that its agent could not do.
    pub failed: Option<OperationId>,
}

/// What we are doing to a machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Doing {
    /// Nothing.
    #[default]
    Nothing,
    /// It is on its way out, and can still be kept.
    Retiring,
    /// It was ordered on, and no inventory shows that yet.
    Lighting,
    /// It was told to shut down: there is no way back but through off.
    Leaving,
}

/// The pool as the planner takes it.
#[derive(Debug, Clone, Copy)]
pub struct Scene<'a> {
    /// The pool.
    pub pool: &'a PoolName,
    /// What is observed.
    pub view: &'a FleetView,
    /// What is remembered; machines without an entry have none.
    pub memory: &'a BTreeMap<MachineName, Memory>,
    /// The policy's knobs.
    pub knobs: &'a Knobs,
}

/// What to do now.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Plan {
    /// Machines to be lit.
    pub light: Vec<MachineName>,
    /// Machines whose way out begins or goes on.
    pub retire: Vec<MachineName>,
    /// Machines on their way out that are to be kept after all.
    pub keep: Vec<MachineName>,
    /// Groups to be resized, with the count they shall have.
    pub resize: Vec<(String, NodeCount)>,
    /// How many are wanted that nothing can supply.
    pub short: u32,
    /// How many are too many that nothing may take.
    pub surplus: u32,
    /// Why a machine that could have been taken was not.
    pub blocked: Vec<(MachineName, Blocked)>,
}

/// Why a machine is not lit or not retired.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Blocked {
    /// A person holds it.
    Held(String),
    /// Its rack file says that its power is never taken.
    NeverOff,
    /// Its agent does not answer.
    NoAgent,
    /// Nomad does not answer, and nothing goes dark unseen.
    NomadSilent,
    /// Nomad does not answer, and its board can not tell whether it is on already.
    NothingTells,
    /// The autoscaler runs on it.
    OwnNode,
    /// It is on its way through off and can be lit once it is there.
    Leaving,
    /// It was cut too short ago.
    MinOff(Duration),
    /// It was lit too short ago.
    MinOn(Duration),
    /// It was not lit by our orders and has not been idle for long enough.
    NotIdle(Duration),
    /// It boots.
    Booting,
    /// It is on and its node is down or not there: perhaps a partition.
    NodeSilent,
    /// Batch work runs on it.
    Batch(String),
    /// It has allocations, and the policy takes only empty machines.
    NotEmpty,
    /// Its node does not match the policy's class, pool or datacenter.
    NotSelected,
    /// Somebody else has made its node ineligible, or drains it.
    Ineligible,
    /// Something went wrong with it a while ago.
    Rests(Duration, String),
    /// It is out of service, and why.
    Quarantined(String),
    /// It was lit and did not boot.
    NoBoot,
    /// Its power went away with others', and others are lit first.
    Staggered(Duration),
    /// It has work, and an idle machine only has to wait.
    IdleFirst(Duration),
    /// What runs, or was promised to, leaves no room on its feed.
    FeedFull(NoRoom),
}

impl fmt::Display for Blocked {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let seconds = |span: &Duration| format!("{} s", span.as_secs().max(1));
        match self {
            Blocked::Held(by) => write!(f, "held by {by}; `power-agent release` frees it"),
            Blocked::NeverOff => write!(f, "its rack file says `never_off`"),
            Blocked::NoAgent => write!(f, "its agent does not answer"),
            Blocked::NomadSilent => write!(f, "Nomad does not answer, so nothing goes dark"),
            Blocked::NothingTells => {
                write!(f, "Nomad does not answer, and its board can not tell whether it is on")
            }
            Blocked::OwnNode => write!(f, "the autoscaler runs on it"),
            Blocked::Leaving => write!(f, "is on its way through off"),
            Blocked::MinOff(left) => write!(f, "was cut too short ago: {} left", seconds(left)),
            Blocked::MinOn(left) => write!(f, "was lit too short ago: {} left", seconds(left)),
            Blocked::NotIdle(left) => {
                write!(f, "was not lit by our orders and has to be idle for {} more", seconds(left))
            }
            Blocked::Booting => write!(f, "boots"),
            Blocked::NodeSilent => {
                write!(
                    f,
                    "is on, but its node is down or not there: nothing proves that it is empty"
                )
            }
            Blocked::Batch(what) => write!(f, "batch work runs on it: {what}"),
            Blocked::NotEmpty => {
                write!(f, "has allocations, and the selector takes empty ones only")
            }
            Blocked::NotSelected => {
                write!(f, "its node does not match node_class, node_pool or datacenter")
            }
            Blocked::Ineligible => {
                write!(f, "somebody else has made its node ineligible, or drains it")
            }
            Blocked::Rests(left, why) => write!(f, "{why}; left alone for {} more", seconds(left)),
            Blocked::Quarantined(why) => write!(f, "is in quarantine: {why}"),
            Blocked::NoBoot => write!(f, "was lit and did not boot"),
            Blocked::Staggered(left) => {
                write!(f, "lost its power and is lit again after others, in {}", seconds(left))
            }
            Blocked::FeedFull(full) => write!(f, "{full}"),
            Blocked::IdleFirst(left) => {
                write!(f, "has work, and an idle machine may be stopped in {}", seconds(left))
            }
        }
    }
}

/// Plans the way from what is observed to what is desired. Planning again changes nothing.
#[must_use]
pub fn plan(desired: NodeCount, scene: Scene<'_>, now: Moment) -> Plan {
    let doing = |name: &MachineName| scene.remembered(name).doing;
    let counted = || scene.view.machines.iter().filter(|(_, machine)| machine.counts(now));
    let staying = counted().filter(|(name, _)| doing(name).stays()).count();
    let retiring: Vec<&MachineName> =
        counted().map(|(name, _)| name).filter(|name| doing(name) == Doing::Retiring).collect();
    let grouped: u32 = scene.view.groups.iter().map(|group| group.count.0).sum();
    let staying = u32::try_from(staying).unwrap_or(u32::MAX);

    let mut plan = Plan::default();
    let wanted = i64::from(desired.0) - i64::from(staying) - i64::from(grouped);
    if wanted > 0 {
        plan_more(&mut plan, u32::try_from(wanted).unwrap_or(u32::MAX), &retiring, scene, now);
    } else {
        plan.retire = retiring.into_iter().cloned().collect();
        // Machines whose nodes are silent stand for themselves and push nobody out: they may come back, or not.
        let silent =
            counted().filter(|(name, machine)| doing(name).stays() && machine.is_silent(now));
        let silent = i64::try_from(silent.count()).unwrap_or(i64::MAX);
        let surplus = u32::try_from(-wanted - silent).unwrap_or(0);
        plan_fewer(&mut plan, surplus, scene, now);
    }
    plan
}

/// The cheapest machine is the one still on; then the dark ones; then the groups.
fn plan_more(
    plan: &mut Plan,
    wanted: u32,
    retiring: &[&MachineName],
    scene: Scene<'_>,
    now: Moment,
) {
    let mut wanted = usize::try_from(wanted).unwrap_or(usize::MAX);
    let kept = retiring.len().min(wanted);
    plan.keep = retiring.iter().take(kept).copied().cloned().collect();
    plan.retire = retiring.iter().skip(kept).copied().cloned().collect();
    wanted -= kept;

    let mut dark = Vec::new();
    for (name, machine) in &scene.view.machines {
        if machine.counts(now) && scene.remembered(name).doing != Doing::Leaving {
            continue;
        }
        match scene.lights(name, machine, now) {
            Ok(rank) => dark.push((rank, name, machine)),
            Err(why) if wanted > 0 => plan.blocked.push((name.clone(), why)),
            Err(_) => {}
        }
    }
    dark.sort_by_key(|(rank, name, _)| (*rank, *name));
    let mut rooms = Rooms::of(scene, now);
    for (_, name, machine) in dark {
        if wanted == 0 {
            break;
        }
        match rooms.take(machine) {
            Ok(()) => plan.light.push(name.clone()),
            Err(full @ Blocked::FeedFull(..)) => {
                // No waiting helps: a machine of another feed, or of a group, takes its place.
                plan.blocked.push((name.clone(), full));
                continue;
            }
            Err(why) => plan.blocked.push((name.clone(), why)),
        }
        wanted -= 1;
    }

    let mut wanted = u32::try_from(wanted).unwrap_or(u32::MAX);
    for group in &scene.view.groups {
        let more = wanted.min(group.max.0.saturating_sub(group.count.0));
        if more > 0 {
            plan.resize.push((group.name.clone(), NodeCount(group.count.0 + more)));
            wanted -= more;
        }
    }
    plan.short = wanted;
}

/// The last overflow goes first; then machines, in the order of the selector.
fn plan_fewer(plan: &mut Plan, surplus: u32, scene: Scene<'_>, now: Moment) {
    let mut surplus = surplus;
    let groups = scene.view.groups.iter().filter(|_| scene.view.nomad_answers);
    for group in groups.rev() {
        let fewer = surplus.min(group.count.0);
        if fewer > 0 {
            plan.resize.push((group.name.clone(), NodeCount(group.count.0 - fewer)));
            surplus -= fewer;
        }
    }
    if surplus == 0 {
        return;
    }
    let mut candidates = Vec::new();
    for (name, machine) in &scene.view.machines {
        if !machine.counts(now) || !scene.remembered(name).doing.stays() {
            continue;
        }
        match scene.retires(name, machine, now) {
            Ok(rank) => candidates.push((rank, name)),
            Err(why) => plan.blocked.push((name.clone(), why)),
        }
    }
    candidates.sort();
    let (waiting, shortest) = idle_soon(plan, scene);
    for (rank, name) in candidates {
        if surplus == 0 {
            break;
        }
        if rank.has_work && surplus <= waiting {
            // Moving work is worse than waiting for a machine that has none.
            plan.blocked.push((name.clone(), Blocked::IdleFirst(shortest)));
        } else {
            plan.retire.push(name.clone());
            surplus -= 1;
        }
    }
    plan.surplus = surplus;
}

/// How many idle machines only have to wait until they may be retired, and the first of them how long.
fn idle_soon(plan: &Plan, scene: Scene<'_>) -> (u32, Duration) {
    let idle = |name: &MachineName| {
        let node = scene.view.machines.get(name).and_then(|machine| machine.node.as_ref());
        node.is_some_and(NodeView::is_idle)
    };
    let left: Vec<Duration> = plan
        .blocked
        .iter()
        .filter(|(name, why)| matches!(why, Blocked::NotIdle(_) | Blocked::MinOn(_)) && idle(name))
        .filter_map(|(_, why)| why.left())
        .collect();
    let shortest = left.iter().min().copied().unwrap_or_default();
    (u32::try_from(left.len()).unwrap_or(u32::MAX), shortest)
}

/// The order in which machines are retired: lowest first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Rank {
    batch: bool,
    not_idle_for_long: bool,
    has_work: bool,
    selector: u64,
}

impl Doing {
    /// Whether it is neither on its way out nor away.
    const fn stays(self) -> bool {
        matches!(self, Doing::Nothing | Doing::Lighting)
    }
}

impl Blocked {
    /// How long it lasts, where that is known.
    #[must_use]
    pub const fn left(&self) -> Option<Duration> {
        match self {
            Blocked::MinOff(left)
            | Blocked::MinOn(left)
            | Blocked::NotIdle(left)
            | Blocked::Staggered(left)
            | Blocked::IdleFirst(left)
            | Blocked::Rests(left, _) => Some(*left),
            Blocked::Held(_)
            | Blocked::NoAgent
            | Blocked::NomadSilent
            | Blocked::NothingTells
            | Blocked::OwnNode
            | Blocked::Leaving
            | Blocked::Booting
            | Blocked::NodeSilent
            | Blocked::Batch(_)
            | Blocked::NotEmpty
            | Blocked::NotSelected
            | Blocked::NeverOff
            | Blocked::Quarantined(_)
            | Blocked::NoBoot
            | Blocked::FeedFull(..)
            | Blocked::Ineligible => None,
        }
    }
}

impl Scene<'_> {
    fn remembered(&self, name: &MachineName) -> Memory {
        self.memory.get(name).cloned().unwrap_or_default()
    }

    /// Whether a machine that does not count can be lit: read off first, then assumed off, then unknown.
    fn lights(
        &self,
        name: &MachineName,
        machine: &MachineView,
        now: Moment,
    ) -> Result<u8, Blocked> {
        let memory = self.remembered(name);
        let agent = machine.agent.as_ref().ok_or(Blocked::NoAgent)?;
        if let Some(by) = &agent.held_by {
            return Err(Blocked::Held(by.clone()));
        }
        if let Some(quarantine) = &agent.quarantine {
            return Err(Blocked::Quarantined(quarantine.reason.to_string()));
        }
        if machine.set_aside {
            return Err(Blocked::Ineligible);
        }
        let shuts_down = agent.operation.as_ref().is_some_and(|operation| {
            operation.verb == Verb::Off && operation.progress == Progress::Running
        });
        if !memory.doing.stays() || shuts_down {
            return Err(Blocked::Leaving);
        }
        if !self.view.nomad_answers && machine.read() != Some(PowerState::Off) {
            return Err(Blocked::NothingTells);
        }
        if memory.doing == Doing::Lighting {
            return Ok(0); // its order may have been taken: none is lit in its place
        }
        if memory.missed {
            return Err(Blocked::NoBoot);
        }
        rests(&memory, now)?;
        if let Some(cut) = agent.power.commanded.as_ref().filter(|c| c.state == PowerState::Off) {
            within(now.since(cut.at), self.knobs.min_off).map_err(Blocked::MinOff)?;
        }
        Ok(match agent.power.observed() {
            Observed::Read(_) | Observed::Differs { .. } => 1,
            Observed::Assumed(PowerState::Off) => 2,
            Observed::Unknown => 3,
            // Its node has fallen silent: the mains were gone, or it is cut off. To order it on once more
            // moves nothing that is on.
            Observed::Assumed(PowerState::On) => 4,
        })
    }

    /// Whether a machine that counts may be retired, and how gladly.
    fn retires(
        &self,
        name: &MachineName,
        machine: &MachineView,
        now: Moment,
    ) -> Result<Rank, Blocked> {
        let memory = self.remembered(name);
        if !self.view.nomad_answers {
            return Err(Blocked::NomadSilent);
        }
        if machine.own {
            return Err(Blocked::OwnNode);
        }
        let agent = machine.agent.as_ref().ok_or(Blocked::NoAgent)?;
        if let Some(by) = &agent.held_by {
            return Err(Blocked::Held(by.clone()));
        }
        if agent.never_off {
            return Err(Blocked::NeverOff);
        }
        rests(&memory, now)?;
        if machine.is_starting(now) {
            return Err(Blocked::Booting);
        }
        let node = machine.node.as_ref().ok_or(Blocked::NodeSilent)?;
        match node.status {
            NodeStatus::Ready => {}
            NodeStatus::Initializing => return Err(Blocked::Booting),
            NodeStatus::Down | NodeStatus::Disconnected => return Err(Blocked::NodeSilent),
        }
        if !node.selected {
            return Err(Blocked::NotSelected);
        }
        if !node.eligible {
            return Err(Blocked::Ineligible);
        }
        let on_since = memory.on_since.unwrap_or(now);
        let driven = agent.power.commanded.as_ref().filter(|c| c.state == PowerState::On);
        let on_for = now.since(driven.map_or(on_since, |driven| driven.at));
        let idle_for = memory.idle_since.map_or(Duration::ZERO, |since| now.since(since));
        if machine.lit_by_autoscaler(self.pool) && !memory.adopted {
            within(on_for, self.knobs.min_on).map_err(Blocked::MinOn)?;
        } else {
            within(idle_for, self.knobs.idle_time).map_err(Blocked::NotIdle)?;
        }
        self.rank(node, idle_for)
    }

    fn rank(&self, node: &NodeView, idle_for: Duration) -> Result<Rank, Blocked> {
        let mut live = node.allocs.iter().filter(|alloc| alloc.live);
        let batch = |kind| matches!(kind, JobKind::Batch | JobKind::Sysbatch);
        let runs_batch = live.clone().find(|alloc| batch(alloc.kind));
        if let Some(alloc) = runs_batch.filter(|_| !self.knobs.drain_batch) {
            return Err(Blocked::Batch(alloc.what.clone()));
        }
        let selector = match self.knobs.selector {
            Selector::LeastBusy => node.busy_percent(),
            Selector::NewestCreateIndex => u64::MAX - node.create_index,
            Selector::OldestCreateIndex => node.create_index,
            Selector::Empty if live.next().is_some() => return Err(Blocked::NotEmpty),
            Selector::EmptyIgnoreSystem if live.any(|a| a.kind != JobKind::System) => {
                return Err(Blocked::NotEmpty);
            }
            Selector::Empty | Selector::EmptyIgnoreSystem => 0,
        };
        Ok(Rank {
            batch: runs_batch.is_some(),
            not_idle_for_long: !node.is_idle() || idle_for < self.knobs.idle_time,
            has_work: !node.is_idle(),
            selector,
        })
    }
}

fn rests(memory: &Memory, now: Moment) -> Result<(), Blocked> {
    match &memory.rests {
        Some((until, why)) if *until > now => Err(Blocked::Rests(until.since(now), why.clone())),
        _ => Ok(()),
    }
}

/// `Err(what is left)` while `span` is shorter than `least`.
fn within(span: Duration, least: Duration) -> Result<(), Duration> {
    match least.checked_sub(span) {
        Some(left) if left > Duration::ZERO => Err(left),
        _ => Ok(()),
    }
}
