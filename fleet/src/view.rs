//! What is observed of a pool: its machines as agents and Nomad see them. Facts only; decisions read it.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::scale_in::NODE_SILENCE_MAX;
use crate::{
    AllocId, Boot, FedView, FeedRooms, MachineName, Moment, NodeCount, NodeId, Observed,
    OperationId, Origin, PoolName, Power, PowerState, Quarantine, Resources, Verb,
};

/// A pool as observed at one moment.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct FleetView {
    /// Whether Nomad's part of this view is fresh. Where not, nothing is scaled in.
    pub nomad_answers: bool,
    /// Its machines, by name.
    pub machines: BTreeMap<MachineName, MachineView>,
    /// Its cloud groups, in the order in which they overflow.
    pub groups: Vec<GroupView>,
    /// Agents that have answered.
    pub agents_heard: u32,
    /// Agents that have not, by address.
    pub agents_missing: Vec<String>,
    /// Machines that several agents tell of, and which agents these are. Who switches them can not be
    /// told, so their agents' facts are in no view and nobody is ordered to move them.
    pub contested: BTreeMap<MachineName, Vec<String>>,
    /// How the feeds of its agents are taken, by machines of other pools too.
    pub feeds: FeedRooms,
}

/// A cloud group: a supply that is resized and names its members itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GroupView {
    /// Its name.
    pub name: String,
    /// How many members it has.
    pub count: NodeCount,
    /// How many it may have.
    pub max: NodeCount,
}

/// One machine of the pool.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct MachineView {
    /// What its agent says. `None`: the agent does not answer now.
    pub agent: Option<AgentFacts>,
    /// Its registration in Nomad, if it has one.
    pub node: Option<NodeView>,
    /// Whether this autoscaler itself runs on it.
    pub own: bool,
    /// Whether somebody else has taken its idle node out of scheduling: it is on, takes no work, and is
    /// not ours to stop. The reconciler says so, by its marks.
    pub set_aside: bool,
    /// Whether its boot still has time, or a second try. The reconciler says so, by what it has watched.
    pub expected: bool,
    /// How long it may take from the relay to the ready node.
    pub boot_deadline: Duration,
    /// What it takes of its feeds.
    pub fed: FedView,
}

/// What an agent says of a machine.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct AgentFacts {
    /// Commanded and read, apart.
    pub power: Power,
    /// Who holds it, if somebody does.
    pub held_by: Option<String>,
    /// Whether its power is never taken: it counts and may be lit, and is not stopped.
    pub never_off: bool,
    /// The operation that runs or ran last.
    pub operation: Option<OperationFacts>,
    /// Why it is out of service, if it is.
    pub quarantine: Option<Quarantine>,
    /// How its last boot ended, if one is on record.
    pub last_boot: Option<Boot>,
    /// When the agent's host booted. `None`: it does not say.
    pub host_booted: Option<Moment>,
}

/// An operation of the agent, as far as decisions need it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OperationFacts {
    /// Its id.
    pub id: OperationId,
    /// What was ordered.
    pub verb: Verb,
    /// Where it stands.
    pub progress: Progress,
    /// Whether a person ordered it: its agent then drains the node, and leaves it as it was before.
    pub by_hand: bool,
    /// Ended: whether an outlet was driven.
    pub changed: bool,
}

/// Where an operation stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Progress {
    /// It runs.
    Running,
    /// It ended as ordered.
    Done,
    /// It ended otherwise: what went wrong.
    Failed(String),
}

/// The registration of a machine in Nomad.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NodeView {
    /// Its id.
    pub id: NodeId,
    /// Nomad's index at which it was read.
    pub index: u64,
    /// Its status.
    pub status: NodeStatus,
    /// Whether work may be placed on it.
    pub eligible: bool,
    /// Whether it has a drain strategy. None is no proof that nothing runs.
    pub draining: bool,
    /// Nomad's index at which it registered first.
    pub create_index: u64,
    /// Whether it matches the policy's `node_class`, `node_pool` and `datacenter`.
    pub selected: bool,
    /// Drain and eligibility events, oldest first; a node's list keeps the last ten of all kinds.
    pub touches: Vec<Touch>,
    /// The index of the oldest event in the list where it is full, so that older ones may have rotated out.
    pub oldest_event: Option<u64>,
    /// The index of the newest event of any kind.
    pub newest_event: u64,
    /// Its total, less what it reserves.
    pub resources: Resources,
    /// Its allocations that are not garbage yet.
    pub allocs: Vec<AllocView>,
}

/// A node's status in Nomad.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NodeStatus {
    /// Registered, not fingerprinted yet.
    Initializing,
    /// Heartbeats.
    Ready,
    /// Missed its heartbeats.
    Down,
    /// Missed its heartbeats, and its work may outlive that.
    Disconnected,
}

/// An event by which somebody changed a node's drain or eligibility.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Touch {
    /// Nomad's index at which it was written.
    pub index: u64,
    /// What it did.
    pub kind: TouchKind,
}

/// What a drain or eligibility event did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TouchKind {
    /// A drain was set or changed.
    DrainSet,
    /// A drain was taken away.
    DrainUnset,
    /// Nomad found a drain complete: the end of what its DrainSet began, nobody's own act.
    DrainComplete,
    /// Marked eligible.
    Eligible,
    /// Marked ineligible.
    Ineligible,
}

/// One allocation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AllocView {
    /// Its id.
    pub id: AllocId,
    /// `job.group` for people.
    pub what: String,
    /// The kind of its job.
    pub kind: JobKind,
    /// Whether its client has not called it ended (complete, failed, lost).
    pub live: bool,
    /// Whether data that it keeps (a migrating ephemeral disk) has not arrived elsewhere yet.
    pub hands_over: bool,
    /// What it takes.
    pub used: Resources,
}

/// The kind of a job.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum JobKind {
    /// Runs until stopped; moves on a drain.
    Service,
    /// Runs to its end.
    Batch,
    /// One on every node.
    System,
    /// One on every node, to its end.
    Sysbatch,
}

impl JobKind {
    /// Whether it is placed by demand, and so keeps a machine busy.
    #[must_use]
    pub const fn is_demand(self) -> bool {
        matches!(self, JobKind::Service | JobKind::Batch)
    }
}

impl NodeView {
    /// Whether the node is proof that its machine runs.
    #[must_use]
    pub fn vouches(&self) -> bool {
        matches!(self.status, NodeStatus::Ready | NodeStatus::Initializing)
    }

    /// Live allocations that demand placed: neither system nor sysbatch.
    pub fn work(&self) -> impl Iterator<Item = &AllocView> {
        self.allocs.iter().filter(|alloc| alloc.live && alloc.kind.is_demand())
    }

    /// Whether no demand work lives on it and none of its data is still to arrive elsewhere.
    #[must_use]
    pub fn is_idle(&self) -> bool {
        self.work().next().is_none() && !self.allocs.iter().any(|alloc| alloc.hands_over)
    }

    /// Whether a drain is through: nothing lives but what the drain leaves alone, all data has arrived.
    #[must_use]
    pub fn is_empty(&self, ignore_system: bool) -> bool {
        let left = |alloc: &&AllocView| {
            alloc.hands_over || (alloc.live && !(ignore_system && alloc.kind == JobKind::System))
        };
        !self.allocs.iter().any(|alloc| left(&alloc))
    }

    /// How much of its CPU and memory is taken, in percent: `ceil((cpu + memory) / 2)` as the host's `least_busy`.
    #[must_use]
    pub fn busy_percent(&self) -> u64 {
        let live = self.allocs.iter().filter(|alloc| alloc.live);
        let used = live.fold(Resources::default(), |sum, alloc| sum.plus(&alloc.used));
        let share = |used: u64, of: u64| used.saturating_mul(100).checked_div(of).unwrap_or(0);
        let cpu = share(used.cpu_mhz, self.resources.cpu_mhz);
        let memory = share(used.memory_mb, self.resources.memory_mb);
        cpu.saturating_add(memory).div_ceil(2)
    }
}

impl AgentFacts {
    /// Whether the agent's host has booted since the last order: the mains were gone, or may have been.
    #[must_use]
    pub fn ordered_before_boot(&self) -> bool {
        let commanded = self.power.commanded.as_ref();
        commanded.zip(self.host_booted).is_some_and(|(commanded, booted)| booted > commanded.at)
    }

    /// Whether it is to be on and reads off; or can not be read, and the order is from before its agent's
    /// host booted: what was assumed then is not assumed any more.
    #[must_use]
    pub fn lost_power(&self) -> bool {
        let on = self.power.commanded.as_ref().is_some_and(|c| c.state == PowerState::On);
        let gone = match self.power.reading {
            Some((state, _)) => state == PowerState::Off,
            None => self.ordered_before_boot(),
        };
        on && gone
    }
}

impl MachineView {
    /// Whether anything says that it is on: a node that is not down, or a reading.
    /// A ready node is proof whatever the agent says or does not say.
    #[must_use]
    pub fn is_on(&self, now: Moment) -> bool {
        self.is_vouched(now) || self.read() == Some(PowerState::On)
    }

    /// Whether its node is proof that it runs. Where its power was just cut by order and reads off, its
    /// node only has not missed its heartbeats yet.
    #[must_use]
    pub fn is_vouched(&self, now: Moment) -> bool {
        self.node.as_ref().is_some_and(NodeView::vouches)
            && self.cut_at().is_none_or(|at| now.since(at) >= NODE_SILENCE_MAX)
    }

    /// When its power was cut by order, where it reads off since.
    #[must_use]
    pub fn cut_at(&self) -> Option<Moment> {
        let commanded = self.agent.as_ref()?.power.commanded.as_ref()?;
        let is_cut = commanded.state == PowerState::Off && self.read() == Some(PowerState::Off);
        is_cut.then_some(commanded.at)
    }

    /// Why it is out of service, if it is.
    #[must_use]
    pub fn quarantine(&self) -> Option<&Quarantine> {
        self.agent.as_ref()?.quarantine.as_ref()
    }

    /// Whether it counts by what its hardware says alone: it is on, and its node is not there.
    #[must_use]
    pub fn is_silent(&self, now: Moment) -> bool {
        self.counts(now) && !self.is_vouched(now) && !self.is_starting(now)
    }

    /// Whether its power went away without an order: it is to be on, and is not.
    #[must_use]
    pub fn lost_power(&self, now: Moment) -> bool {
        !self.is_vouched(now) && self.agent.as_ref().is_some_and(AgentFacts::lost_power)
    }

    /// What its hardware says.
    #[must_use]
    pub fn read(&self) -> Option<PowerState> {
        self.agent.as_ref().and_then(|agent| agent.power.reading).map(|(state, _)| state)
    }

    /// Whether it was ordered on within its boot deadline and its node is not there yet.
    #[must_use]
    pub fn is_starting(&self, now: Moment) -> bool {
        let Some(agent) = &self.agent else { return false };
        let ready = self.node.as_ref().is_some_and(|node| node.status == NodeStatus::Ready);
        if ready && self.is_vouched(now) {
            return false;
        }
        let running = agent.operation.as_ref().filter(|op| op.progress == Progress::Running);
        if running.is_some_and(|operation| operation.verb == Verb::Off) {
            return false; // also one that was lit less than its boot deadline ago
        }
        let ordered = running.is_some();
        let driven = agent.power.commanded.as_ref().is_some_and(|commanded| {
            commanded.state == PowerState::On
                && now.since(commanded.at) < self.boot_deadline
                && self.read() != Some(PowerState::Off)
        });
        ordered || driven || self.expected
    }

    /// Whether an order of a person that takes its power runs: its agent drains the node meanwhile.
    #[must_use]
    pub fn is_in_hand(&self) -> bool {
        let operation = self.agent.as_ref().and_then(|agent| agent.operation.as_ref());
        operation.is_some_and(|operation| {
            operation.by_hand
                && operation.verb != Verb::On
                && operation.progress == Progress::Running
        })
    }

    /// Whether somebody holds it.
    #[must_use]
    pub fn is_held(&self) -> bool {
        self.agent.as_ref().is_some_and(|agent| agent.held_by.is_some())
    }

    /// Whether it counts: on, or starting within its deadline; never one that a person holds or has set
    /// aside in Nomad, and none in quarantine.
    #[must_use]
    pub fn counts(&self, now: Moment) -> bool {
        let serves = !self.is_held() && !self.set_aside && self.quarantine().is_none();
        serves && (self.is_on(now) || self.is_starting(now))
    }

    /// Neither its agent nor Nomad vouches for it.
    #[must_use]
    pub fn is_unreachable(&self) -> bool {
        self.agent.is_none() && !self.node.as_ref().is_some_and(NodeView::vouches)
    }

    /// Whether an order of an autoscaler of this pool lit it.
    #[must_use]
    pub fn lit_by_autoscaler(&self, pool: &PoolName) -> bool {
        let commanded = self.agent.as_ref().and_then(|agent| agent.power.commanded.as_ref());
        commanded.is_some_and(|commanded| {
            commanded.state == PowerState::On
                && matches!(&commanded.origin, Origin::Autoscaler(fence) if fence.pool == *pool)
        })
    }

    /// Whether the agent says that it is off: read, or assumed where it can not be read and its node agrees.
    #[must_use]
    pub fn is_off(&self) -> bool {
        let Some(agent) = &self.agent else { return false };
        match agent.power.observed() {
            Observed::Read(state) | Observed::Differs { read: state, .. } => {
                state == PowerState::Off
            }
            Observed::Assumed(state) => {
                state == PowerState::Off && !self.node.as_ref().is_some_and(NodeView::vouches)
            }
            Observed::Unknown => false,
        }
    }
}

impl FleetView {
    /// Whether nothing is known that the pool could be made of.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.machines.is_empty() && self.groups.is_empty()
    }

    /// The machines that count now.
    #[must_use]
    pub fn count(&self, now: Moment) -> NodeCount {
        let machines = self.machines.values().filter(|machine| machine.counts(now)).count();
        let groups = self.groups.iter().map(|group| group.count.0).sum::<u32>();
        NodeCount(u32::try_from(machines).unwrap_or(u32::MAX).saturating_add(groups))
    }

    /// The machines that count but whose node is not ready yet.
    pub fn starting(&self, now: Moment) -> impl Iterator<Item = &MachineName> {
        let starts = move |machine: &MachineView| machine.counts(now) && machine.is_starting(now);
        self.machines.iter().filter(move |(_, machine)| starts(machine)).map(|(name, _)| name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Commanded;

    #[test]
    fn a_machine_that_shuts_down_soon_after_it_was_lit_does_not_start() {
        let now = Moment::from_millis(30_000);
        let commanded = Commanded {
            state: PowerState::On,
            at: Moment::from_millis(10_000),
            origin: Origin::Person("ada".to_owned()),
            operation: OperationId::new("on").unwrap(),
        };
        let operation = |verb| OperationFacts {
            id: OperationId::new("last").unwrap(),
            verb,
            progress: Progress::Running,
            by_hand: false,
            changed: false,
        };
        let machine = |verb| MachineView {
            agent: Some(AgentFacts {
                power: Power { reading: None, commanded: Some(commanded.clone()) },
                operation: Some(operation(verb)),
                ..AgentFacts::default()
            }),
            boot_deadline: Duration::from_secs(60),
            ..MachineView::default()
        };
        assert!(machine(Verb::On).is_starting(now));
        assert!(!machine(Verb::Off).is_starting(now));
    }

    #[test]
    fn a_machine_is_in_hand_while_an_order_of_a_person_that_takes_its_power_runs() {
        let machine = |by_hand, verb, progress| {
            let id = OperationId::new("last").unwrap();
            let operation = OperationFacts { id, verb, progress, by_hand, changed: false };
            let agent = AgentFacts { operation: Some(operation), ..AgentFacts::default() };
            MachineView { agent: Some(agent), ..MachineView::default() }
        };
        assert!(machine(true, Verb::Off, Progress::Running).is_in_hand());
        assert!(machine(true, Verb::Cycle, Progress::Running).is_in_hand());
        assert!(
            !machine(true, Verb::On, Progress::Running).is_in_hand(),
            "nothing is drained for it"
        );
        assert!(!machine(false, Verb::Off, Progress::Running).is_in_hand(), "the pool's own");
        for over in [Progress::Done, Progress::Failed(String::new())] {
            assert!(!machine(true, Verb::Off, over).is_in_hand(), "it is over");
        }
        assert!(!MachineView::default().is_in_hand());
    }
}
