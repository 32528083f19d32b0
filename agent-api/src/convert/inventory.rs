//! Inventories, machines, operations and events.

use std::time::Duration;

use fleet::moment::millis;
use fleet::{
    DeviceName, MachineName, OperationId, Phase, PoolName, PowerState, ReadSource, Reason,
};

use super::boots::boots;
use super::hold::wire_locks;
use super::{
    FieldError, each, name, optional, optional_name, required, span, state, state_number, verb,
    verb_number,
};
use crate::{
    CommandedAge, Event, Fed, Inventory, Life, Machine, Operation, Outlet, Paths, WakePath, wire,
};

/// A reading as a pair; a type of its own only so that the conversions can be written down.
struct Reading(PowerState, Duration);

impl TryFrom<wire::Reading> for Reading {
    type Error = FieldError;
    fn try_from(reading: wire::Reading) -> Result<Self, FieldError> {
        Ok(Self(state("state", reading.state)?, span(reading.age_ms)))
    }
}

fn reading(message: Option<wire::Reading>) -> Result<Option<(PowerState, Duration)>, FieldError> {
    Ok(optional::<_, Reading>("reading", message)?.map(|Reading(state, age)| (state, age)))
}

fn wire_reading(reading: Option<(PowerState, Duration)>) -> Option<wire::Reading> {
    reading.map(|(state, age)| wire::Reading { state: state_number(state), age_ms: millis(age) })
}

impl From<&CommandedAge> for wire::Commanded {
    fn from(commanded: &CommandedAge) -> Self {
        Self {
            state: state_number(commanded.state),
            age_ms: millis(commanded.age),
            origin: Some((&commanded.origin).into()),
            operation_id: commanded.operation.to_string(),
        }
    }
}

impl TryFrom<wire::Commanded> for CommandedAge {
    type Error = FieldError;
    fn try_from(commanded: wire::Commanded) -> Result<Self, FieldError> {
        Ok(Self {
            state: state("state", commanded.state)?,
            age: span(commanded.age_ms),
            origin: required("origin", commanded.origin)?,
            operation: name("operation_id", commanded.operation_id, OperationId::new)?,
        })
    }
}

impl From<&Outlet> for wire::Outlet {
    fn from(outlet: &Outlet) -> Self {
        Self {
            device: outlet.device.to_string(),
            number: outlet.number,
            can_read_back: outlet.can_read_back,
            reading: wire_reading(outlet.reading),
            trouble: outlet.trouble.clone().unwrap_or_default(),
            source: wire::ReadSource::from(outlet.source).into(),
        }
    }
}

impl TryFrom<wire::Outlet> for Outlet {
    type Error = FieldError;
    fn try_from(outlet: wire::Outlet) -> Result<Self, FieldError> {
        Ok(Self {
            device: name("device", outlet.device, DeviceName::new)?,
            number: outlet.number,
            can_read_back: outlet.can_read_back,
            reading: reading(outlet.reading)?,
            trouble: Some(outlet.trouble).filter(|trouble| !trouble.is_empty()),
            source: source(outlet.source),
        })
    }
}

impl From<ReadSource> for wire::ReadSource {
    fn from(source: ReadSource) -> Self {
        match source {
            ReadSource::Device => wire::ReadSource::Device,
            ReadSource::Pin => wire::ReadSource::Pin,
            ReadSource::Unsaid => wire::ReadSource::Unsaid,
            ReadSource::Written => wire::ReadSource::Written,
        }
    }
}

/// One that a later agent tells of is not known here.
fn source(number: i32) -> ReadSource {
    match wire::ReadSource::try_from(number) {
        Ok(wire::ReadSource::Device) => ReadSource::Device,
        Ok(wire::ReadSource::Pin) => ReadSource::Pin,
        Ok(wire::ReadSource::Written) => ReadSource::Written,
        Ok(wire::ReadSource::Unsaid) | Err(_) => ReadSource::Unsaid,
    }
}

fn phase(number: i32) -> Result<Phase, FieldError> {
    match wire::Phase::try_from(number) {
        Ok(wire::Phase::Accepted) => Ok(Phase::Accepted),
        Ok(wire::Phase::Draining) => Ok(Phase::Draining),
        Ok(wire::Phase::Waiting) => Ok(Phase::Waiting),
        Ok(wire::Phase::SoftOff) => Ok(Phase::SoftOff),
        Ok(wire::Phase::Settling) => Ok(Phase::Settling),
        Ok(wire::Phase::Cutting) => Ok(Phase::Cutting),
        Ok(wire::Phase::Dwelling) => Ok(Phase::Dwelling),
        Ok(wire::Phase::Energizing) => Ok(Phase::Energizing),
        Ok(wire::Phase::Waking) => Ok(Phase::Waking),
        Ok(wire::Phase::Done) => Ok(Phase::Done),
        Ok(wire::Phase::Failed) => Ok(Phase::Failed),
        Ok(wire::Phase::Unspecified) => Err(FieldError::unknown("phase", number, "phase")),
        // A newer agent has more of them: who reads it is to know all else of its machines.
        Err(_) => Ok(Phase::Unknown),
    }
}

fn phase_number(phase: Phase) -> i32 {
    match phase {
        Phase::Accepted => wire::Phase::Accepted,
        Phase::Draining => wire::Phase::Draining,
        Phase::Waiting => wire::Phase::Waiting,
        Phase::SoftOff => wire::Phase::SoftOff,
        Phase::Settling => wire::Phase::Settling,
        Phase::Cutting => wire::Phase::Cutting,
        Phase::Dwelling => wire::Phase::Dwelling,
        Phase::Energizing => wire::Phase::Energizing,
        Phase::Waking => wire::Phase::Waking,
        Phase::Done => wire::Phase::Done,
        Phase::Failed => wire::Phase::Failed,
        // Nobody sends it: no sequence is in it.
        Phase::Unknown => wire::Phase::Unspecified,
    }
    .into()
}

impl From<&Operation> for wire::Operation {
    fn from(operation: &Operation) -> Self {
        Self {
            id: operation.id.to_string(),
            verb: verb_number(operation.verb),
            origin: Some((&operation.origin).into()),
            reason: operation.reason.to_string(),
            phase: phase_number(operation.phase),
            age_ms: millis(operation.age),
            deadline_in_ms: operation.deadline_in.map(millis),
            changed: operation.changed,
            evidence: operation.evidence.clone(),
            took_ms: millis(operation.took),
            progress: operation.progress.clone(),
        }
    }
}

impl TryFrom<wire::Operation> for Operation {
    type Error = FieldError;
    fn try_from(operation: wire::Operation) -> Result<Self, FieldError> {
        Ok(Self {
            id: name("id", operation.id, OperationId::new)?,
            verb: verb("verb", operation.verb)?,
            origin: required("origin", operation.origin)?,
            reason: Reason::new(&operation.reason),
            phase: phase(operation.phase)?,
            age: span(operation.age_ms),
            deadline_in: operation.deadline_in_ms.map(span),
            changed: operation.changed,
            evidence: operation.evidence,
            took: span(operation.took_ms),
            progress: operation.progress,
        })
    }
}

impl From<&Machine> for wire::Machine {
    fn from(machine: &Machine) -> Self {
        Self {
            name: machine.name.to_string(),
            pool: machine.pool.as_ref().map(ToString::to_string).unwrap_or_default(),
            node: machine.node.clone(),
            outlets: machine.outlets.iter().map(Into::into).collect(),
            reading: wire_reading(machine.reading),
            commanded: machine.commanded.as_ref().map(Into::into),
            hold: machine.hold.as_ref().map(Into::into),
            operation: machine.operation.as_ref().map(Into::into),
            declared: machine.declared.as_ref().map(Into::into),
            last_seen: machine.last_seen.as_ref().map(Into::into),
            boot_deadline_ms: millis(machine.boot_deadline),
            soft_off: machine.soft_off,
            quarantine: machine.quarantine.as_ref().map(Into::into),
            drift: machine.drift.as_ref().map(Into::into),
            boots: boots(&machine.boots),
            locks: wire_locks(&machine.locks),
            supplies: machine.fed.supplies.iter().map(Into::into).collect(),
            counted: machine.fed.counted,
            starts: machine.fed.starts,
            paths: wire_paths(&machine.paths),
            dwell: machine.dwell.as_ref().map(Into::into),
        }
    }
}

/// Nothing is said of a machine of outlets alone, as it was before there were others.
fn wire_paths(paths: &Paths) -> Option<wire::Paths> {
    (*paths != Paths::default()).then(|| wire::Paths {
        wake: paths
            .wake
            .as_ref()
            .map(|wake| wire::WakePath { device: wake.device.to_string(), mac: wake.mac.clone() }),
        outlets_stay: paths.outlets_stay,
        on_only: paths.on_only,
        life: paths.life.as_ref().map(|life| wire::Life {
            alive: life.seen.is_ok(),
            text: life.seen.clone().unwrap_or_else(|missing| missing),
            age_ms: millis(life.age),
        }),
    })
}

impl TryFrom<wire::Paths> for Paths {
    type Error = FieldError;
    fn try_from(paths: wire::Paths) -> Result<Self, FieldError> {
        let wake = |wake: wire::WakePath| {
            let device = name("device", wake.device, DeviceName::new)?;
            Ok(WakePath { device, mac: wake.mac })
        };
        Ok(Self {
            wake: paths.wake.map(wake).transpose()?,
            outlets_stay: paths.outlets_stay,
            on_only: paths.on_only,
            life: paths.life.map(|life| Life {
                seen: if life.alive { Ok(life.text) } else { Err(life.text) },
                age: span(life.age_ms),
            }),
        })
    }
}

impl TryFrom<wire::Machine> for Machine {
    type Error = FieldError;
    fn try_from(machine: wire::Machine) -> Result<Self, FieldError> {
        Ok(Self {
            name: name("name", machine.name, MachineName::new)?,
            pool: optional_name("pool", machine.pool, PoolName::new)?,
            node: machine.node,
            outlets: each("outlets", machine.outlets)?,
            reading: reading(machine.reading)?,
            commanded: optional("commanded", machine.commanded)?,
            hold: optional("hold", machine.hold)?,
            operation: optional("operation", machine.operation)?,
            declared: machine.declared.map(Into::into),
            last_seen: machine.last_seen.map(Into::into),
            boot_deadline: span(machine.boot_deadline_ms),
            soft_off: machine.soft_off,
            quarantine: optional("quarantine", machine.quarantine)?,
            drift: optional("drift", machine.drift)?,
            boots: each("boots", machine.boots.map(|boots| boots.last).unwrap_or_default())?,
            locks: optional("locks", machine.locks)?.unwrap_or_default(),
            fed: Fed {
                supplies: each("supplies", machine.supplies)?,
                counted: machine.counted,
                starts: machine.starts,
            },
            paths: optional("paths", machine.paths)?.unwrap_or_default(),
            dwell: machine.dwell.map(Into::into),
        })
    }
}

impl From<&Inventory> for wire::InventoryReply {
    fn from(inventory: &Inventory) -> Self {
        Self {
            agent: inventory.agent.clone(),
            version: inventory.version.clone(),
            machines: inventory.machines.iter().map(Into::into).collect(),
            fences: inventory.fences.iter().map(Into::into).collect(),
            host_up_ms: inventory.host_up.map(millis),
            running_ms: inventory.running.map(millis),
            feeds: inventory.feeds.iter().map(Into::into).collect(),
        }
    }
}

impl TryFrom<wire::InventoryReply> for Inventory {
    type Error = FieldError;
    fn try_from(reply: wire::InventoryReply) -> Result<Self, FieldError> {
        Ok(Self {
            agent: reply.agent,
            version: reply.version,
            machines: each("machines", reply.machines)?,
            fences: each("fences", reply.fences)?,
            host_up: reply.host_up_ms.map(span),
            running: reply.running_ms.map(span),
            feeds: each("feeds", reply.feeds)?,
        })
    }
}

impl From<&Event> for wire::WatchEvent {
    fn from(event: &Event) -> Self {
        let what = match event {
            Event::Snapshot(inventory) => wire::watch_event::What::Snapshot(inventory.into()),
            Event::Changed(machine) => wire::watch_event::What::Changed(machine.as_ref().into()),
        };
        Self { what: Some(what) }
    }
}

impl TryFrom<wire::WatchEvent> for Event {
    type Error = FieldError;
    fn try_from(event: wire::WatchEvent) -> Result<Self, FieldError> {
        match event.what {
            None => Err(FieldError::missing("what")),
            Some(wire::watch_event::What::Snapshot(reply)) => Inventory::try_from(reply)
                .map(Event::Snapshot)
                .map_err(|error| error.within("snapshot")),
            Some(wire::watch_event::What::Changed(machine)) => Machine::try_from(machine)
                .map(|machine| Event::Changed(Box::new(machine)))
                .map_err(|error| error.within("changed")),
        }
    }
}
