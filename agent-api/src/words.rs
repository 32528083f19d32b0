//! Pieces of sentences about machines, for every command that tells of them.

use std::time::Duration;

use fleet::Origin;
use fleet::arbiter::BEFORE_BOOT;
use fleet::duration::show_duration;

use crate::{HistoryEntry, Hold, HoldEnds, Operation};

/// Who gave an order.
#[must_use]
pub fn who(origin: &Origin) -> String {
    match origin {
        Origin::Person(name) => name.clone(),
        Origin::Autoscaler(fence) => format!("autoscaler {}", fence.pool),
        Origin::Agent => "the agent itself".to_owned(),
    }
}

/// An age as a person says it: one unit, rounded down.
#[must_use]
pub fn ago(age: Duration) -> String {
    match age.as_secs() {
        _ if age >= BEFORE_BOOT => "before boot".to_owned(),
        seconds @ 0..120 => format!("{seconds}s"),
        seconds @ 120..7200 => format!("{}m", seconds / 60),
        seconds @ 7200..172_800 => format!("{}h", seconds / 3600),
        seconds => format!("{}d", seconds / 86_400),
    }
}

/// A lock in a few words, its reason last: `reserved ada 5m, 115m left: course`.
#[must_use]
pub fn hold(hold: &Hold) -> String {
    let mut text = format!("{} {} {}", hold.kind.as_str(), hold.by, ago(hold.age));
    text.push_str(&match hold.ends {
        HoldEnds::Released => String::new(),
        HoldEnds::In(left) => format!(", {} left", ago(left)),
        HoldEnds::Expired => ", expired".to_owned(),
        HoldEnds::Lost => ", its span lost by a reboot".to_owned(),
    });
    format!("{text}: {}", hold.reason)
}

/// A span as exact as a person wants it: to the tenth of a second under a minute, finer only where that says nothing.
#[must_use]
pub fn span(span: Duration) -> String {
    if span < Duration::from_millis(100) {
        return format!("{}ms", span.as_millis());
    }
    let tenths = u64::try_from(span.as_millis() / 100).unwrap_or(u64::MAX);
    match tenths {
        0..600 => format!("{}.{}s", tenths / 10, tenths % 10),
        _ => show_duration(Duration::from_secs(tenths / 10)),
    }
}

/// A running operation's phase, with what it waits for and for how long at most.
#[must_use]
pub fn running(operation: &Operation) -> String {
    let mut text = format!("{}: {}", operation.verb.as_str(), operation.phase);
    if !operation.progress.is_empty() {
        text.push_str(&format!(", {}", operation.progress));
    }
    if let Some(left) = operation.deadline_in {
        text.push_str(&format!(", at most {} more", span(left)));
    }
    text
}

/// What came of an order as the audit tells it, and in a second line who gave it and why.
#[must_use]
pub fn ended(entry: &HistoryEntry) -> String {
    let mut text = match (entry.outcome.as_str(), entry.took) {
        ("accepted", _) => "taken, and not ended".to_owned(),
        ("refused", _) => format!("refused ({})", entry.code),
        (outcome, took) => {
            let word = if outcome == "well" { "done" } else { "FAILED" };
            let took = took.map(|took| format!(" in {}", span(took))).unwrap_or_default();
            format!("{word}{took}{}", if entry.changed { "" } else { ", nothing moved" })
        }
    };
    if !entry.text.is_empty() {
        text.push_str(&format!(": {}", entry.text));
    }
    text.push_str(&format!("\n    by {} [{}], because: {}", entry.by, entry.known, entry.reason));
    if !entry.plan.is_empty() {
        text.push_str(&format!(" (plan {})", entry.plan));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ages_have_one_unit_and_spans_keep_a_tenth() {
        assert_eq!(ago(Duration::from_secs(119)), "119s");
        assert_eq!(ago(Duration::from_secs(7199)), "119m");
        assert_eq!(ago(Duration::from_secs(90_000)), "25h");
        assert_eq!(ago(Duration::from_secs(800_000)), "9d");
        assert_eq!(ago(BEFORE_BOOT), "before boot");
        assert_eq!(span(Duration::from_millis(3_250)), "3.2s");
        assert_eq!(span(Duration::from_millis(90_400)), "1m30s");
        assert_eq!(span(Duration::from_millis(4)), "4ms");
    }
}
