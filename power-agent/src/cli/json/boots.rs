//! What `--json` says of quarantine and boots.

use agent_api::{Boot, Machine, Quarantine};
use fleet::{BootEnd, BootTimes};
use serde::Serialize;

use super::{OriginJson, millis};

#[derive(Debug, Serialize)]
pub(super) struct QuarantineJson {
    /// no boot, no shutdown.
    cause: &'static str,
    reason: String,
    age_ms: u64,
    by: OriginJson,
}

impl From<&Quarantine> for QuarantineJson {
    fn from(quarantine: &Quarantine) -> Self {
        Self {
            cause: quarantine.cause.as_str(),
            reason: quarantine.reason.to_string(),
            age_ms: millis(quarantine.age),
            by: OriginJson::from(&quarantine.by),
        }
    }
}

/// From the relay to the ready node; the times are of the boots that were watched to their end.
#[derive(Debug, Serialize)]
pub(super) struct BootsJson {
    last_ms: Option<u64>,
    median_ms: Option<u64>,
    worst_ms: Option<u64>,
    missed: usize,
    /// Oldest first.
    boots: Vec<BootJson>,
}

#[derive(Debug, Serialize)]
struct BootJson {
    operation: String,
    /// ready, missed.
    end: &'static str,
    took_ms: Option<u64>,
    age_ms: u64,
}

impl BootsJson {
    pub(super) fn of(machine: &Machine) -> Self {
        let times = times(machine);
        Self {
            last_ms: times.map(|times| millis(times.last)),
            median_ms: times.map(|times| millis(times.median)),
            worst_ms: times.map(|times| millis(times.worst)),
            missed: missed(machine),
            boots: machine.boots.iter().map(BootJson::from).collect(),
        }
    }
}

impl From<&Boot> for BootJson {
    fn from(boot: &Boot) -> Self {
        Self {
            operation: boot.operation.to_string(),
            end: match boot.end {
                BootEnd::Ready => "ready",
                BootEnd::Missed => "missed",
            },
            took_ms: boot.took.map(millis),
            age_ms: millis(boot.age),
        }
    }
}

/// How long the boots took that ended with a ready node.
pub(crate) fn times(machine: &Machine) -> Option<BootTimes> {
    let ready = machine.boots.iter().filter(|boot| boot.end == BootEnd::Ready);
    BootTimes::of(ready.filter_map(|boot| boot.took))
}

/// How many boots missed their deadline.
pub(crate) fn missed(machine: &Machine) -> usize {
    machine.boots.iter().filter(|boot| boot.end == BootEnd::Missed).count()
}
