//! An agent's machines as it tells of them. Times are ages: the receiver subtracts them from its own clock.

use std::time::Duration;

use fleet::arbiter::Dwell;
use fleet::feeds::FeedSum;
use fleet::{
    BootEnd, Commanded, DeviceName, DriftPolicy, Fence, MachineName, Moment, Observed,
    OnSoftOffTimeout, OperationId, Origin, Phase, PlanId, PoolName, Power, PowerState,
    QuarantineCause, ReadSource, Reason, Shape, Supply, Verb,
};

use crate::{Hold, Locks};

/// All that one agent knows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Inventory {
    /// The agent's name.
    pub agent: String,
    /// The agent's version.
    pub version: String,
    /// Its machines, by name.
    pub machines: Vec<Machine>,
    /// The highest fence number that it has seen of each cluster and pool.
    pub fences: Vec<Fence>,
    /// How long its host has been up. `None`: an older agent, which does not say.
    pub host_up: Option<Duration>,
    /// How long it has been running. `None`: an older agent, which does not say.
    pub running: Option<Duration>,
    /// How its feeds are taken.
    pub feeds: Vec<FeedSum>,
}

/// One machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Machine {
    /// Its name.
    pub name: MachineName,
    /// Its pool, if it is in one.
    pub pool: Option<PoolName>,
    /// Its node's name in Nomad.
    pub node: String,
    /// What switches it.
    pub outlets: Vec<Outlet>,
    /// What the hardware says of the machine: on if one outlet is, off if all are; `None` where that can not be told.
    pub reading: Option<(PowerState, Duration)>,
    /// What was last driven.
    pub commanded: Option<CommandedAge>,
    /// The foremost lock that stands against policies.
    pub hold: Option<Hold>,
    /// The last operation, running or finished.
    pub operation: Option<Operation>,
    /// Its shape as declared in the rack file.
    pub declared: Option<Shape>,
    /// Its shape as its node last registered.
    pub last_seen: Option<Shape>,
    /// How long it may take from the relay to the ready node.
    pub boot_deadline: Duration,
    /// Whether it can be asked to shut down before it is cut.
    pub soft_off: bool,
    /// Why it is out of service, if it is.
    pub quarantine: Option<Quarantine>,
    /// How its last boots ended, oldest first.
    pub boots: Vec<Boot>,
    /// What stands against orders for it.
    pub locks: Locks,
    /// It reads otherwise than it was last ordered.
    pub drift: Option<Drift>,
    /// What it takes of its feeds.
    pub fed: Fed,
    /// By what it is switched beside its outlets, and its signs of life.
    pub paths: Paths,
    /// How close it is to what its rack file allows of switching. `None`: an older agent, which does not say.
    pub dwell: Option<Dwell>,
}

impl Machine {
    /// What may be said of its power.
    #[must_use]
    pub fn observed(&self) -> Observed {
        let commanded = self.commanded.as_ref().map(|commanded| Commanded {
            state: commanded.state,
            at: Moment::ZERO,
            origin: commanded.origin.clone(),
            operation: commanded.operation.clone(),
        });
        Power { reading: self.reading.map(|(state, _)| (state, Moment::ZERO)), commanded }
            .observed()
    }
}

/// The paths of a machine beside its outlets.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Paths {
    /// What wakes it: power alone does not start it.
    pub wake: Option<WakePath>,
    /// Whether its outlets open only where it does not go down by itself: closed, they say nothing of it.
    pub outlets_stay: bool,
    /// Whether nothing can switch it off.
    pub on_only: bool,
    /// What was seen of it on the network. `None`: nobody looks, or has not looked yet.
    pub life: Option<Life>,
}

/// A path that can wake, and neither cut nor tell.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WakePath {
    /// The device that sends.
    pub device: DeviceName,
    /// The network card that hears it.
    pub mac: String,
}

/// What was seen of a machine on the network.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Life {
    /// The signs that it gave: it is on. `Err`: those that were looked for, which says nothing of its power.
    pub seen: Result<String, String>,
    /// How long ago.
    pub age: Duration,
}

/// What a machine takes of its feeds, and how it stands towards them.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Fed {
    /// What it takes of which, each feed once; empty: of none that is counted.
    pub supplies: Vec<Supply>,
    /// Whether that is in the feeds' sums: it is on, may be on, or was promised to be.
    pub counted: bool,
    /// Whether its start is still to come, or in the midst.
    pub starts: bool,
}

/// A machine that reads otherwise than it was last ordered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Drift {
    /// How long ago it was read so first.
    pub age: Duration,
    /// What was ordered.
    pub wanted: PowerState,
    /// What at least one of its outlets reads.
    pub read: PowerState,
    /// What the rack file wants done.
    pub policy: DriftPolicy,
    /// How often the agent has lit it again.
    pub tries: u32,
    /// Whether it does so no more: a person must look.
    pub gave_up: bool,
}

/// What was last driven, with its age.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CommandedAge {
    /// The state.
    pub state: PowerState,
    /// How long ago it was driven.
    pub age: Duration,
    /// Who ordered it.
    pub origin: Origin,
    /// The order's id.
    pub operation: OperationId,
}

/// One switchable path of a machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outlet {
    /// The device that switches it.
    pub device: DeviceName,
    /// Its number on the device, as printed there.
    pub number: u32,
    /// Whether the device can say how it stands.
    pub can_read_back: bool,
    /// What the device said last, and how long ago.
    pub reading: Option<(PowerState, Duration)>,
    /// Why the device did not answer when it was last asked. `None`: it did.
    pub trouble: Option<String>,
    /// What its reading is of.
    pub source: ReadSource,
}

/// A machine's quarantine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Quarantine {
    /// The kind of reason.
    pub cause: QuarantineCause,
    /// The reason, as a sentence.
    pub reason: Reason,
    /// Since how long.
    pub age: Duration,
    /// Who put it there.
    pub by: Origin,
}

/// One boot, as it ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Boot {
    /// The order that had given it power.
    pub operation: OperationId,
    /// How it ended.
    pub end: BootEnd,
    /// From the relay to the ready node, or to the missed deadline. `None`: nobody watched it.
    pub took: Option<Duration>,
    /// How long ago it ended.
    pub age: Duration,
}

/// One order and what became of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Operation {
    /// Its id, given by the client.
    pub id: OperationId,
    /// What was ordered.
    pub verb: Verb,
    /// Who ordered it.
    pub origin: Origin,
    /// Why.
    pub reason: Reason,
    /// Where it is.
    pub phase: Phase,
    /// How long ago it was ordered.
    pub age: Duration,
    /// When the phase gives up, from now. `None` when finished.
    pub deadline_in: Option<Duration>,
    /// Finished: whether anything moved.
    pub changed: bool,
    /// Finished: on what the result rests, or what went wrong.
    pub evidence: String,
    /// Finished: from order to end.
    pub took: Duration,
    /// Running: what the phase waits for, as a sentence for a person; empty where there is nothing to add.
    pub progress: String,
}

/// What to start and stop now, and for everything that is not done, why not.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plan {
    /// Its id: plans of several agents are merged by it.
    pub id: PlanId,
    /// The pool it speaks of.
    pub pool: PoolName,
    /// Which kind of plugin wrote it: `target` or `apm`.
    pub author: String,
    /// Its lines, in the order in which they are to be read.
    pub lines: Vec<PlanLine>,
    /// How old it is.
    pub age: Duration,
    /// What it was made from.
    pub inputs: Vec<PlanLine>,
    /// What its orders to power off say of a machine that does not shut down in time.
    pub on_soft_off_timeout: OnSoftOffTimeout,
}

/// One line of a plan.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PlanLine {
    /// The machine it speaks of; `None`: of the whole pool.
    pub machine: Option<MachineName>,
    /// A sentence for a person.
    pub text: String,
    /// What is ordered of the machine, or will be. `None`: nothing.
    pub verb: Option<Verb>,
}

/// What an agent tells those who watch it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// Everything: first of all, and again to a watcher that fell behind.
    Snapshot(Inventory),
    /// One machine as it is now.
    Changed(Box<Machine>),
}
