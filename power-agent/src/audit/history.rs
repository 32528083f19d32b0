//! The audit's lines as operations: an order with its end, or with what stood against it.

use std::collections::VecDeque;
use std::time::Duration;

use agent_api::{History, HistoryAsked, HistoryEntry};

use super::line::AuditLine;
use crate::clock::Stamped;

/// How many operations one answer holds: with all their texts at their longest some 3 MB, which a message may have.
pub(crate) const HISTORY_MAX: usize = 500;

/// Operations as they are put together, the newest last.
#[derive(Debug)]
pub(crate) struct Past {
    asked: HistoryAsked,
    limit: usize,
    now: Stamped,
    entries: VecDeque<HistoryEntry>,
    more: bool,
}

impl Past {
    pub(crate) fn new(asked: HistoryAsked, now: Stamped) -> Self {
        let limit = usize::try_from(asked.limit).unwrap_or(HISTORY_MAX);
        let limit = if limit == 0 { HISTORY_MAX } else { limit.min(HISTORY_MAX) };
        Self { asked, limit, now, entries: VecDeque::new(), more: false }
    }

    /// Takes the next line, if it is about a machine that may be seen.
    pub(crate) fn take(&mut self, line: AuditLine, seen: impl Fn(&str) -> bool) {
        let (Some(machine), Some(operation)) = (&line.machine, &line.operation) else { return };
        if !matches!(line.what.as_str(), "on" | "off" | "cycle") || !self.asks(machine) {
            return;
        }
        if line.outcome == "ended" {
            let known = self.entries.iter_mut().rev().find(|entry| entry.operation == *operation);
            if let Some(entry) = known {
                end(entry, line);
            }
            return;
        }
        let age = age(&line, &self.now);
        if !seen(machine) || self.asked.since.is_some_and(|since| age > since) {
            return;
        }
        if self.entries.len() >= self.limit {
            self.entries.pop_front();
            self.more = true;
        }
        self.entries.push_back(HistoryEntry {
            machine: machine.clone(),
            verb: line.what,
            operation: operation.clone(),
            by: line.by,
            known: line.known,
            reason: line.reason.unwrap_or_default(),
            age,
            time: line.time,
            outcome: line.outcome,
            code: line.code.unwrap_or_default(),
            text: line.text.unwrap_or_default(),
            changed: false,
            took: None,
            plan: line.plan.unwrap_or_default(),
        });
    }

    fn asks(&self, machine: &str) -> bool {
        let machines = &self.asked.machines;
        machines.is_empty() || machines.iter().any(|asked| asked.as_str() == machine)
    }

    pub(crate) fn told(self) -> History {
        History { entries: self.entries.into(), more: self.more }
    }
}

fn end(entry: &mut HistoryEntry, line: AuditLine) {
    let word = if line.well == Some(true) { "well" } else { "failed" };
    word.clone_into(&mut entry.outcome);
    entry.text = line.text.unwrap_or_default();
    entry.changed = line.changed.unwrap_or_default();
    entry.took = line.took_ms.map(Duration::from_millis);
}

/// How long ago a line was written: within a boot by the clock that nobody can set; else by the wall clock, and at
/// least since this boot.
fn age(line: &AuditLine, now: &Stamped) -> Duration {
    let millis = if line.boot == now.boot.as_str() {
        now.up_ms.saturating_sub(line.up_ms)
    } else {
        now.wall_ms.saturating_sub(line.wall_ms).max(now.up_ms)
    };
    Duration::from_millis(millis)
}
