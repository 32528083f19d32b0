//! `history`: what was ordered, by whom, why, and what came of it, the newest last.

use std::time::Duration;

use agent_api::words::ended;
use agent_api::{Client, History, HistoryAsked, HistoryEntry};
use clap::Args;
use fleet::duration::parse_duration;
use fleet::moment::millis;
use serde::Serialize;

use super::exit::Exit;
use super::screen::Screen;
use super::{Failure, hosts, words};

/// How many operations are shown if nothing else is said: a few screens.
const LIMIT_DEFAULT: &str = "50";

#[derive(Debug, Args)]
pub(crate) struct HistoryArgs {
    /// Host lists like node[1-3,5]; all machines if none is named
    hosts: Vec<String>,
    /// Only what is not older, like 2h
    #[arg(long, value_name = "DURATION", value_parser = parse_duration)]
    since: Option<Duration>,
    /// How many at most, the newest; the agent gives no more than 500
    #[arg(long, value_name = "OPERATIONS", default_value = LIMIT_DEFAULT)]
    limit: u32,
}

#[derive(Debug, Serialize)]
struct HistoryJson<'a> {
    operations: Vec<EntryJson<'a>>,
    /// Older ones were left out.
    more: bool,
}

/// One operation.
#[derive(Debug, Serialize)]
pub(crate) struct EntryJson<'a> {
    machine: &'a str,
    verb: &'a str,
    operation: &'a str,
    by: &'a str,
    known: &'a str,
    reason: &'a str,
    age_ms: u64,
    time: &'a str,
    /// accepted (it runs, or its end is not known), well, failed, refused.
    outcome: &'a str,
    code: Option<&'a str>,
    text: &'a str,
    changed: bool,
    took_ms: Option<u64>,
    /// The plan that it was part of.
    plan: Option<&'a str>,
}

impl<'a> From<&'a HistoryEntry> for EntryJson<'a> {
    fn from(entry: &'a HistoryEntry) -> Self {
        Self {
            machine: &entry.machine,
            verb: &entry.verb,
            operation: &entry.operation,
            by: &entry.by,
            known: &entry.known,
            reason: &entry.reason,
            age_ms: millis(entry.age),
            time: &entry.time,
            outcome: &entry.outcome,
            code: (!entry.code.is_empty()).then_some(entry.code.as_str()),
            text: &entry.text,
            changed: entry.changed,
            took_ms: entry.took.map(millis),
            plan: (!entry.plan.is_empty()).then_some(entry.plan.as_str()),
        }
    }
}

pub(crate) async fn history(
    client: &Client,
    args: HistoryArgs,
    screen: &mut Screen,
) -> Result<Exit, Failure> {
    let inventory = client.inventory().await?;
    let machines = hosts::choose(&inventory, &args.hosts)?;
    // All are asked for by naming none: also those that the rack file no longer has.
    let named = if args.hosts.is_empty() { Vec::new() } else { machines };
    let asked = HistoryAsked {
        machines: named.iter().map(|machine| machine.name.clone()).collect(),
        since: args.since,
        limit: args.limit,
    };
    let History { entries, more } = client.history(&asked).await?;
    if screen.json {
        let operations = entries.iter().map(EntryJson::from).collect();
        screen.answer_json(&HistoryJson { operations, more })?;
        return Ok(Exit::Ok);
    }
    for entry in &entries {
        screen.answer(&sentence(entry))?;
    }
    if entries.is_empty() {
        screen.tell("nothing was ordered in that time")?;
    }
    if more {
        screen.tell(
            "note: older ones were left out; --limit shows more, and `power-agent audit show` all",
        )?;
    }
    Ok(Exit::Ok)
}

/// An operation as a person reads it.
fn sentence(entry: &HistoryEntry) -> String {
    let time = entry.time.get(..19).unwrap_or(&entry.time).replace('T', " ");
    let ago = words::ago(entry.age);
    format!("{time} ({ago} ago)  {} {}: {}", entry.verb, entry.machine, ended(entry))
}
