//! What `--json` says. Fields are added, never changed: scripts read them.

mod boots;
pub(super) mod plan;

use agent_api::{Drift, Dwell, Hold, HoldEnds, Inventory, Machine, Operation};
use fleet::feeds::FeedSum;
use fleet::{Origin, PowerState};
use serde::Serialize;

use self::boots::{BootsJson, QuarantineJson};
pub(crate) use self::boots::{missed, times};

fn millis(span: std::time::Duration) -> u64 {
    fleet::moment::millis(span)
}

/// All machines that were asked for.
#[derive(Debug, Serialize)]
pub(crate) struct StatusJson {
    agent: String,
    version: String,
    machines: Vec<MachineJson>,
    feeds: Vec<FeedJson>,
}

/// A feed, as modelled.
#[derive(Debug, Serialize)]
pub(crate) struct FeedJson {
    name: String,
    budget_ma: u64,
    /// Of all that is on, may be on or was promised to be, running.
    committed_ma: u64,
    /// The largest start beyond that which is to come.
    reserve_ma: u64,
    current_ma: u64,
}

impl From<&FeedSum> for FeedJson {
    fn from(sum: &FeedSum) -> Self {
        Self {
            name: sum.feed.to_string(),
            budget_ma: sum.room.budget.get(),
            committed_ma: sum.room.committed.get(),
            reserve_ma: sum.room.reserve.get(),
            current_ma: sum.current.get(),
        }
    }
}

impl StatusJson {
    pub(crate) fn new(inventory: &Inventory, machines: &[&Machine]) -> Self {
        Self {
            agent: inventory.agent.clone(),
            version: inventory.version.clone(),
            machines: machines.iter().map(|machine| MachineJson::from(*machine)).collect(),
            feeds: inventory.feeds.iter().map(FeedJson::from).collect(),
        }
    }
}

/// One machine.
#[derive(Debug, Serialize)]
pub(crate) struct MachineJson {
    name: String,
    pool: Option<String>,
    node: String,
    /// As the table shows it: on, off, assumed on, assumed off, unknown, on (commanded off), off (commanded on).
    power: String,
    reading: Option<StateJson>,
    commanded: Option<CommandedJson>,
    hold: Option<HoldJson>,
    operation: Option<OperationJson>,
    outlets: Vec<OutletJson>,
    boot_deadline_ms: u64,
    soft_off: bool,
    quarantine: Option<QuarantineJson>,
    boots: BootsJson,
    /// All locks of people, also those that have expired; `hold` is the foremost that stands against policies.
    holds: Vec<HoldJson>,
    never_off: bool,
    /// It reads otherwise than it was last ordered.
    drift: Option<DriftJson>,
    /// The card that wakes it; power alone does not start it.
    wake: Option<WakeJson>,
    outlets_stay: bool,
    on_only: bool,
    life: Option<LifeJson>,
    /// How close it is to what its rack file allows of switching.
    dwell: Option<DwellJson>,
}

/// A path that wakes.
#[derive(Debug, Serialize)]
struct WakeJson {
    device: String,
    mac: String,
}

/// What was seen on the network.
#[derive(Debug, Serialize)]
struct LifeJson {
    alive: bool,
    text: String,
    age_ms: u64,
}

/// What may be when, from now; 0: now.
#[derive(Debug, Serialize)]
pub(crate) struct DwellJson {
    min_on_ms: u64,
    min_off_ms: u64,
    /// 0: without limit.
    cycles_per_hour: u32,
    cut_in_ms: u64,
    light_in_ms: u64,
    cycles: u32,
    cycle_in_ms: u64,
}

impl From<&Dwell> for DwellJson {
    fn from(dwell: &Dwell) -> Self {
        Self {
            min_on_ms: millis(dwell.limits.min_on),
            min_off_ms: millis(dwell.limits.min_off),
            cycles_per_hour: dwell.limits.cycles_per_hour,
            cut_in_ms: millis(dwell.cut_in),
            light_in_ms: millis(dwell.light_in),
            cycles: dwell.cycles,
            cycle_in_ms: millis(dwell.cycle_in),
        }
    }
}

/// A machine that reads otherwise than it was last ordered.
#[derive(Debug, Serialize)]
pub(crate) struct DriftJson {
    age_ms: u64,
    wanted: &'static str,
    read: &'static str,
    /// report, enforce.
    policy: &'static str,
    tries: u32,
    gave_up: bool,
}

impl From<&Drift> for DriftJson {
    fn from(drift: &Drift) -> Self {
        Self {
            age_ms: millis(drift.age),
            wanted: drift.wanted.as_str(),
            read: drift.read.as_str(),
            policy: drift.policy.as_str(),
            tries: drift.tries,
            gave_up: drift.gave_up,
        }
    }
}

#[derive(Debug, Serialize)]
struct StateJson {
    state: &'static str,
    age_ms: u64,
}

#[derive(Debug, Serialize)]
struct CommandedJson {
    state: &'static str,
    age_ms: u64,
    by: OriginJson,
    operation: String,
}

/// A person's lock.
#[derive(Debug, Serialize)]
pub(crate) struct HoldJson {
    /// off, hold, reserved, maintenance.
    kind: &'static str,
    by: String,
    reason: String,
    age_ms: u64,
    /// Until it expires; 0: it has. `null`: it stays until it is released.
    expires_in_ms: Option<u64>,
    expired: bool,
    /// Its span could not be measured over a reboot of the agent's host.
    end_lost: bool,
}

#[derive(Debug, Serialize)]
struct OutletJson {
    device: String,
    outlet: u32,
    can_read_back: bool,
    /// What the reading is of: `device`, `pin`, `written`, `unsaid`.
    source: &'static str,
    reading: Option<StateJson>,
    trouble: Option<String>,
}

/// Who ordered: exactly one of the two stands there.
#[derive(Debug, Serialize)]
#[serde(rename_all = "snake_case")]
enum OriginJson {
    Person(String),
    Autoscaler { cluster: String, pool: String, fence: u64 },
    Agent,
}

/// One operation.
#[derive(Debug, Serialize)]
pub(crate) struct OperationJson {
    id: String,
    verb: &'static str,
    by: OriginJson,
    reason: String,
    phase: &'static str,
    age_ms: u64,
    deadline_in_ms: Option<u64>,
    progress: String,
    finished: bool,
    changed: bool,
    evidence: String,
    took_ms: u64,
}

impl From<&Machine> for MachineJson {
    fn from(machine: &Machine) -> Self {
        Self {
            name: machine.name.to_string(),
            pool: machine.pool.as_ref().map(ToString::to_string),
            node: machine.node.clone(),
            power: machine.observed().to_string(),
            reading: machine.reading.map(StateJson::from),
            commanded: machine.commanded.as_ref().map(|commanded| CommandedJson {
                state: commanded.state.as_str(),
                age_ms: millis(commanded.age),
                by: OriginJson::from(&commanded.origin),
                operation: commanded.operation.to_string(),
            }),
            hold: machine.hold.as_ref().map(HoldJson::from),
            operation: machine.operation.as_ref().map(OperationJson::from),
            outlets: machine
                .outlets
                .iter()
                .map(|outlet| OutletJson {
                    device: outlet.device.to_string(),
                    outlet: outlet.number,
                    can_read_back: outlet.can_read_back,
                    source: outlet.source.as_str(),
                    reading: outlet.reading.map(StateJson::from),
                    trouble: outlet.trouble.clone(),
                })
                .collect(),
            boot_deadline_ms: millis(machine.boot_deadline),
            soft_off: machine.soft_off,
            holds: machine.locks.holds.iter().map(HoldJson::from).collect(),
            never_off: machine.locks.never_off,
            quarantine: machine.quarantine.as_ref().map(QuarantineJson::from),
            drift: machine.drift.as_ref().map(DriftJson::from),
            wake: machine
                .paths
                .wake
                .as_ref()
                .map(|wake| WakeJson { device: wake.device.to_string(), mac: wake.mac.clone() }),
            outlets_stay: machine.paths.outlets_stay,
            on_only: machine.paths.on_only,
            life: machine.paths.life.as_ref().map(|life| LifeJson {
                alive: life.seen.is_ok(),
                text: life.seen.clone().unwrap_or_else(|missing| missing),
                age_ms: millis(life.age),
            }),
            dwell: machine.dwell.as_ref().map(DwellJson::from),
            boots: BootsJson::of(machine),
        }
    }
}

impl From<&Hold> for HoldJson {
    fn from(hold: &Hold) -> Self {
        Self {
            kind: hold.kind.as_str(),
            by: hold.by.clone(),
            reason: hold.reason.to_string(),
            age_ms: millis(hold.age),
            expires_in_ms: match hold.ends {
                HoldEnds::In(left) => Some(millis(left)),
                HoldEnds::Expired => Some(0),
                HoldEnds::Released | HoldEnds::Lost => None,
            },
            expired: hold.ends == HoldEnds::Expired,
            end_lost: hold.ends == HoldEnds::Lost,
        }
    }
}

impl From<(PowerState, std::time::Duration)> for StateJson {
    fn from((state, age): (PowerState, std::time::Duration)) -> Self {
        Self { state: state.as_str(), age_ms: millis(age) }
    }
}

impl From<&Origin> for OriginJson {
    fn from(origin: &Origin) -> Self {
        match origin {
            Origin::Person(name) => OriginJson::Person(name.clone()),
            Origin::Agent => OriginJson::Agent,
            Origin::Autoscaler(fence) => OriginJson::Autoscaler {
                cluster: fence.cluster.to_string(),
                pool: fence.pool.to_string(),
                fence: fence.number.0,
            },
        }
    }
}

impl From<&Operation> for OperationJson {
    fn from(operation: &Operation) -> Self {
        Self {
            id: operation.id.to_string(),
            verb: operation.verb.as_str(),
            by: OriginJson::from(&operation.origin),
            reason: operation.reason.to_string(),
            phase: operation.phase.as_str(),
            age_ms: millis(operation.age),
            deadline_in_ms: operation.deadline_in.map(millis),
            progress: operation.progress.clone(),
            finished: operation.phase.is_finished(),
            changed: operation.changed,
            evidence: operation.evidence.clone(),
            took_ms: millis(operation.took),
        }
    }
}

/// What became of an order for one machine.
#[derive(Debug, Serialize)]
pub(crate) struct OutcomeJson {
    pub(crate) machine: String,
    /// done, unverified, refused, failed, pending, unreachable.
    pub(crate) outcome: &'static str,
    /// As in the status, where it is known.
    pub(crate) power: Option<String>,
    /// A sentence: on what the outcome rests, or what stands against it.
    pub(crate) text: String,
    pub(crate) operation: Option<OperationJson>,
}

/// What became of orders.
#[derive(Debug, Serialize)]
pub(crate) struct OutcomesJson {
    pub(crate) verb: &'static str,
    pub(crate) exit: u8,
    pub(crate) machines: Vec<OutcomeJson>,
}

/// One line of `watch --json`.
#[derive(Debug, Serialize)]
pub(crate) struct WatchJson<'a> {
    /// snapshot: how it stands at the beginning; changed.
    pub(crate) event: &'static str,
    #[serde(flatten)]
    pub(crate) machine: &'a MachineJson,
}
