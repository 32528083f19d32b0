//! What an agent tells of the past: of its audit, and of the operations that it remembers.

use std::path::PathBuf;
use std::time::Duration;

use fleet::MachineName;
use fleet::moment::millis;

use crate::wire;

/// The newest line of an agent's audit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AuditHead {
    /// The line's number; 0: there is none yet.
    pub seq: u64,
    /// Its hash.
    pub hash: String,
    /// Where the files are, on the agent's host.
    pub directory: PathBuf,
}

/// Which operations are asked for.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct HistoryAsked {
    /// Of which machines; none: of all.
    pub machines: Vec<MachineName>,
    /// Only what is not older.
    pub since: Option<Duration>,
    /// How many at most, the newest; 0: as many as one answer holds.
    pub limit: u32,
}

/// Operations, the newest last.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct History {
    /// The operations.
    pub entries: Vec<HistoryEntry>,
    /// Whether older ones were left out.
    pub more: bool,
}

/// One operation as the audit tells it: texts for people, as they were written down.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct HistoryEntry {
    /// The machine.
    pub machine: String,
    /// What was ordered.
    pub verb: String,
    /// The order's id.
    pub operation: String,
    /// Who ordered.
    pub by: String,
    /// How that is known.
    pub known: String,
    /// Why.
    pub reason: String,
    /// How long ago it was ordered; over a reboot of the agent's host by its wall clock.
    pub age: Duration,
    /// What the wall clock said.
    pub time: String,
    /// `accepted` where it runs or its end is not known, else `well`, `failed` or `refused`.
    pub outcome: String,
    /// Refused: the class.
    pub code: String,
    /// The evidence, or what stood against it.
    pub text: String,
    /// Whether anything moved.
    pub changed: bool,
    /// From order to end.
    pub took: Option<Duration>,
    /// The plan that it was part of; empty: of none.
    pub plan: String,
}

impl From<&HistoryEntry> for wire::HistoryEntry {
    fn from(entry: &HistoryEntry) -> Self {
        let HistoryEntry { machine, verb, operation, by, known, reason, .. } = entry.clone();
        let HistoryEntry { age, time, outcome, code, text, changed, took, plan, .. } =
            entry.clone();
        Self {
            machine,
            verb,
            operation_id: operation,
            by,
            known,
            reason,
            age_ms: millis(age),
            time,
            outcome,
            code,
            text,
            changed,
            took_ms: took.map(millis),
            plan,
        }
    }
}

impl From<wire::HistoryEntry> for HistoryEntry {
    fn from(entry: wire::HistoryEntry) -> Self {
        Self {
            machine: entry.machine,
            verb: entry.verb,
            operation: entry.operation_id,
            by: entry.by,
            known: entry.known,
            reason: entry.reason,
            age: Duration::from_millis(entry.age_ms),
            time: entry.time,
            outcome: entry.outcome,
            code: entry.code,
            text: entry.text,
            changed: entry.changed,
            took: entry.took_ms.map(Duration::from_millis),
            plan: entry.plan,
        }
    }
}
