//! How memories look on the disk: JSON with names of its own, so that renaming a type changes no file.

mod boots;
mod hold;
mod sequence;
mod wear;

use std::collections::BTreeMap;

use fleet::{
    ClusterId, Commanded, Fence, FenceNumber, MachineName, Moment, NameError, OnSoftOffTimeout,
    OperationId, Origin, PlanId, PoolName, PowerState, Reason, Resources, Shape, Verb,
};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use self::boots::{BootDoc, QuarantineDoc};
use self::hold::HoldDoc;
use self::sequence::RecordDoc;
use self::wear::WearDoc;
use crate::clock::BootId;
use crate::memory::{Ended, KeptPlan, MachineMemory, Operation, Outcome, RunningOrder};

/// When something was written: in which boot, and what the wall clock said, for people.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Stamp {
    /// The boot; moments beside it are of its clock.
    pub(super) boot: String,
    /// Milliseconds since 1970, as far as the host knew.
    pub(super) wall_ms: u64,
}

/// Why a value can not be understood.
#[derive(Debug, thiserror::Error)]
pub(super) enum DocError {
    /// It is not the JSON that is expected.
    #[error("it is not the JSON that this agent writes")]
    Json(#[from] serde_json::Error),
    /// A name in it is none.
    #[error("a name in it is none")]
    Name(#[from] NameError),
}

#[derive(Serialize, Deserialize)]
struct Kept<T> {
    #[serde(flatten)]
    stamp: Stamp,
    value: T,
}

fn bytes<T: Serialize>(stamp: &Stamp, value: T) -> Vec<u8> {
    let kept = Kept { stamp: stamp.clone(), value };
    serde_json::to_vec(&kept).expect("values of numbers, texts and lists are always JSON")
}

fn value<T: DeserializeOwned>(bytes: &[u8], boot: &BootId) -> Result<(T, Epoch), DocError> {
    let kept: Kept<T> = serde_json::from_slice(bytes)?;
    Ok((kept.value, Epoch { same_boot: kept.stamp.boot == boot.as_str() }))
}

/// Whether moments still mean something.
#[derive(Clone, Copy)]
struct Epoch {
    same_boot: bool,
}

impl Epoch {
    fn at(self, millis: u64) -> Moment {
        if self.same_boot { Moment::from_millis(millis) } else { Moment::ZERO }
    }
}

#[derive(Clone, Copy, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum StateDoc {
    Off,
    On,
}

impl From<PowerState> for StateDoc {
    fn from(state: PowerState) -> Self {
        match state {
            PowerState::Off => Self::Off,
            PowerState::On => Self::On,
        }
    }
}

impl From<StateDoc> for PowerState {
    fn from(state: StateDoc) -> Self {
        match state {
            StateDoc::Off => Self::Off,
            StateDoc::On => Self::On,
        }
    }
}

#[derive(Clone, Copy, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum VerbDoc {
    On,
    Off,
    Cycle,
}

impl From<Verb> for VerbDoc {
    fn from(verb: Verb) -> Self {
        match verb {
            Verb::On => Self::On,
            Verb::Off => Self::Off,
            Verb::Cycle => Self::Cycle,
        }
    }
}

impl From<VerbDoc> for Verb {
    fn from(verb: VerbDoc) -> Self {
        match verb {
            VerbDoc::On => Self::On,
            VerbDoc::Off => Self::Off,
            VerbDoc::Cycle => Self::Cycle,
        }
    }
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum OriginDoc {
    Person(String),
    Autoscaler { cluster: String, pool: String, number: u64 },
    Agent,
}

impl From<&Origin> for OriginDoc {
    fn from(origin: &Origin) -> Self {
        match origin {
            Origin::Person(name) => Self::Person(name.clone()),
            Origin::Agent => Self::Agent,
            Origin::Autoscaler(fence) => Self::Autoscaler {
                cluster: fence.cluster.to_string(),
                pool: fence.pool.to_string(),
                number: fence.number.0,
            },
        }
    }
}

impl TryFrom<OriginDoc> for Origin {
    type Error = NameError;
    fn try_from(origin: OriginDoc) -> Result<Self, NameError> {
        Ok(match origin {
            OriginDoc::Person(name) => Self::Person(name),
            OriginDoc::Agent => Self::Agent,
            OriginDoc::Autoscaler { cluster, pool, number } => Self::Autoscaler(Fence {
                cluster: ClusterId::new(cluster)?,
                pool: PoolName::new(pool)?,
                number: FenceNumber(number),
            }),
        })
    }
}

#[derive(Serialize, Deserialize)]
struct MachineDoc {
    running: Option<RunningDoc>,
    last: Option<OperationDoc>,
    commanded: Option<CommandedDoc>,
    /// As an agent wrote it that knew one hold only; read for ever, not written any more.
    #[serde(default, skip_serializing)]
    hold: Option<HoldDoc>,
    #[serde(default)]
    holds: Vec<HoldDoc>,
    #[serde(default)]
    wear: WearDoc,
    last_seen: Option<ShapeDoc>,
    #[serde(default)]
    quarantine: Option<QuarantineDoc>,
    #[serde(default)]
    boots: Vec<BootDoc>,
    owed: Option<String>,
}

#[derive(Serialize, Deserialize)]
struct RunningDoc {
    operation: String,
    origin: OriginDoc,
    reason: String,
    outlets: Vec<String>,
    record: RecordDoc,
}

#[derive(Serialize, Deserialize)]
struct CommandedDoc {
    state: StateDoc,
    at_ms: u64,
    origin: OriginDoc,
    operation: String,
}

#[derive(Serialize, Deserialize)]
struct ShapeDoc {
    cpu_mhz: u64,
    memory_mb: u64,
    disk_mb: u64,
    datacenter: String,
    node_pool: String,
    node_class: String,
    attributes: BTreeMap<String, String>,
}

#[derive(Serialize, Deserialize)]
struct OperationDoc {
    id: String,
    machine: String,
    verb: VerbDoc,
    origin: OriginDoc,
    reason: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    plan: Option<String>,
    ordered_ms: u64,
    outcome: OutcomeDoc,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum OutcomeDoc {
    Runs,
    Joined(String),
    Ended { well: bool, changed: bool, evidence: String, at_ms: u64 },
}

#[derive(Serialize, Deserialize)]
struct PlanDoc {
    id: String,
    pool: String,
    author: String,
    /// Each with its machine, if it has one.
    lines: Vec<(Option<String>, String)>,
    /// What each line orders, in the order of the lines.
    #[serde(default)]
    verbs: Vec<Option<VerbDoc>>,
    #[serde(default)]
    inputs: Vec<(Option<String>, String)>,
    #[serde(default)]
    quarantine_on_timeout: bool,
    at_ms: u64,
}

pub(super) fn machine_bytes(stamp: &Stamp, memory: &MachineMemory) -> Vec<u8> {
    let running = memory.running.as_ref().map(|running| RunningDoc {
        operation: running.id.to_string(),
        origin: (&running.origin).into(),
        reason: running.reason.to_string(),
        outlets: running.outlets.clone(),
        record: RecordDoc::of(&running.record),
    });
    let commanded = memory.commanded.as_ref().map(|commanded| CommandedDoc {
        state: commanded.state.into(),
        at_ms: commanded.at.as_millis(),
        origin: (&commanded.origin).into(),
        operation: commanded.operation.to_string(),
    });
    let doc = MachineDoc {
        running,
        last: memory.last.as_ref().map(OperationDoc::of),
        commanded,
        hold: None,
        holds: memory.holds.iter().filter_map(HoldDoc::of).collect(),
        wear: WearDoc::of(&memory.wear),
        last_seen: memory.last_seen.as_ref().map(shape_doc),
        quarantine: memory.quarantine.as_ref().map(QuarantineDoc::of),
        boots: memory.boots.iter().map(BootDoc::of).collect(),
        owed: memory.owed.as_ref().map(OperationId::to_string),
    };
    bytes(stamp, doc)
}

pub(super) fn machine_from(bytes: &[u8], boot: &BootId) -> Result<MachineMemory, DocError> {
    let (doc, epoch): (MachineDoc, Epoch) = value(bytes, boot)?;
    let running = |running: RunningDoc| -> Result<RunningOrder, DocError> {
        Ok(RunningOrder {
            id: OperationId::new(running.operation)?,
            origin: running.origin.try_into()?,
            reason: Reason::new(&running.reason),
            outlets: running.outlets,
            record: running.record.into_record(epoch),
        })
    };
    let commanded = |commanded: CommandedDoc| -> Result<Commanded, DocError> {
        Ok(Commanded {
            state: commanded.state.into(),
            at: epoch.at(commanded.at_ms),
            origin: commanded.origin.try_into()?,
            operation: OperationId::new(commanded.operation)?,
        })
    };
    let holds = doc.hold.into_iter().chain(doc.holds).map(|hold| hold.into_hold(epoch));
    Ok(MachineMemory {
        running: doc.running.map(running).transpose()?,
        last: doc.last.map(|last| last.into_operation(epoch)).transpose()?,
        commanded: doc.commanded.map(commanded).transpose()?,
        holds: holds.collect::<Result<_, _>>()?,
        wear: doc.wear.into_wear(epoch),
        last_seen: doc.last_seen.map(shape_from),
        quarantine: doc.quarantine.map(|kept| kept.into_quarantine(epoch)).transpose()?,
        boots: doc.boots.into_iter().map(|boot| boot.into_boot(epoch)).collect::<Result<_, _>>()?,
        owed: doc.owed.map(OperationId::new).transpose()?,
    })
}

pub(super) fn operation_bytes(stamp: &Stamp, operation: &Operation) -> Vec<u8> {
    bytes(stamp, OperationDoc::of(operation))
}

pub(super) fn operation_from(bytes: &[u8], boot: &BootId) -> Result<Operation, DocError> {
    let (doc, epoch): (OperationDoc, Epoch) = value(bytes, boot)?;
    doc.into_operation(epoch)
}

impl OperationDoc {
    fn of(operation: &Operation) -> Self {
        let outcome = match &operation.outcome {
            Outcome::Runs => OutcomeDoc::Runs,
            Outcome::Joined(id) => OutcomeDoc::Joined(id.to_string()),
            Outcome::Ended(ended) => OutcomeDoc::Ended {
                well: ended.well,
                changed: ended.changed,
                evidence: ended.evidence.clone(),
                at_ms: ended.at.as_millis(),
            },
        };
        Self {
            id: operation.id.to_string(),
            machine: operation.machine.to_string(),
            verb: operation.verb.into(),
            origin: (&operation.origin).into(),
            reason: operation.reason.to_string(),
            plan: operation.plan.as_ref().map(ToString::to_string),
            ordered_ms: operation.ordered.as_millis(),
            outcome,
        }
    }

    fn into_operation(self, epoch: Epoch) -> Result<Operation, DocError> {
        let outcome = match self.outcome {
            OutcomeDoc::Runs => Outcome::Runs,
            OutcomeDoc::Joined(id) => Outcome::Joined(OperationId::new(id)?),
            OutcomeDoc::Ended { well, changed, evidence, at_ms } => {
                Outcome::Ended(Ended { well, changed, evidence, at: epoch.at(at_ms) })
            }
        };
        Ok(Operation {
            id: OperationId::new(self.id)?,
            machine: MachineName::new(self.machine)?,
            verb: self.verb.into(),
            origin: self.origin.try_into()?,
            reason: Reason::new(&self.reason),
            plan: self.plan.map(PlanId::new).transpose()?,
            ordered: epoch.at(self.ordered_ms),
            outcome,
        })
    }
}

pub(super) fn plan_bytes(stamp: &Stamp, kept: &KeptPlan) -> Vec<u8> {
    let line = |line: &agent_api::PlanLine| {
        (line.machine.as_ref().map(ToString::to_string), line.text.clone())
    };
    let doc = PlanDoc {
        id: kept.plan.id.to_string(),
        pool: kept.plan.pool.to_string(),
        author: kept.plan.author.clone(),
        lines: kept.plan.lines.iter().map(line).collect(),
        verbs: kept.plan.lines.iter().map(|line| line.verb.map(VerbDoc::from)).collect(),
        inputs: kept.plan.inputs.iter().map(line).collect(),
        quarantine_on_timeout: kept.plan.on_soft_off_timeout == OnSoftOffTimeout::Quarantine,
        at_ms: kept.at.as_millis(),
    };
    bytes(stamp, doc)
}

pub(super) fn plan_from(bytes: &[u8], boot: &BootId) -> Result<KeptPlan, DocError> {
    let (doc, epoch): (PlanDoc, Epoch) = value(bytes, boot)?;
    let line =
        |(machine, text): (Option<String>, String)| -> Result<agent_api::PlanLine, DocError> {
            let machine = machine.map(MachineName::new).transpose()?;
            Ok(agent_api::PlanLine { machine, text, verb: None })
        };
    let mut lines: Vec<_> = doc.lines.into_iter().map(line).collect::<Result<_, _>>()?;
    for (line, verb) in lines.iter_mut().zip(doc.verbs) {
        line.verb = verb.map(Verb::from);
    }
    let plan = agent_api::Plan {
        id: PlanId::new(doc.id)?,
        pool: PoolName::new(doc.pool)?,
        author: doc.author,
        lines,
        age: std::time::Duration::ZERO,
        inputs: doc.inputs.into_iter().map(line).collect::<Result<_, _>>()?,
        on_soft_off_timeout: if doc.quarantine_on_timeout {
            OnSoftOffTimeout::Quarantine
        } else {
            OnSoftOffTimeout::Cut
        },
    };
    Ok(KeptPlan { plan, at: epoch.at(doc.at_ms) })
}

fn shape_doc(shape: &Shape) -> ShapeDoc {
    ShapeDoc {
        cpu_mhz: shape.resources.cpu_mhz,
        memory_mb: shape.resources.memory_mb,
        disk_mb: shape.resources.disk_mb,
        datacenter: shape.datacenter.clone(),
        node_pool: shape.node_pool.clone(),
        node_class: shape.node_class.clone(),
        attributes: shape.attributes.clone(),
    }
}

fn shape_from(doc: ShapeDoc) -> Shape {
    Shape {
        resources: Resources {
            cpu_mhz: doc.cpu_mhz,
            memory_mb: doc.memory_mb,
            disk_mb: doc.disk_mb,
        },
        datacenter: doc.datacenter,
        node_pool: doc.node_pool,
        node_class: doc.node_class,
        attributes: doc.attributes,
    }
}
