//! `audit verify` and `audit show`: the files are read here; the agent is asked only for their head and their place.

use std::collections::VecDeque;
use std::path::{Path, PathBuf};
use std::time::Duration;

use agent_api::{AgentError, Client};
use clap::Subcommand;
use fleet::duration::parse_duration;
use fleet::moment::millis;
use serde::Serialize;

use super::exit::Exit;
use super::screen::Screen;
use super::{Failure, words};
use crate::audit::{AuditLine, Break, Head, Span, check_directory, check_file, each_line};
use crate::clock::Clock;
use crate::config::STATE_DEFAULT;
use crate::node::chain;
use crate::store::{StoreError, kept_head};

/// How many lines are shown at most: more than anybody reads at once.
const SHOWN_MAX: usize = 10_000;

/// How many lines are shown if nothing else is said: a few screens.
const SHOWN_DEFAULT: &str = "200";

/// What is asked of the audit.
#[derive(Debug, Subcommand)]
pub(crate) enum Question {
    /// Walk the chain of hashes, and hold it against the journal's head: exit 0 where it holds, else the line where not
    Verify {
        /// The agent's state directory [default: the running agent's, else /var/lib/lamplighter]
        #[arg(long, value_name = "DIR", conflicts_with = "file")]
        state: Option<PathBuf>,
        /// One file for itself, like a copy that was kept
        #[arg(long, value_name = "FILE")]
        file: Option<PathBuf>,
        /// A line that was noted elsewhere, like 812:9f86d0…: the chain must still hold it
        #[arg(long, value_name = "NUMBER:HASH", value_parser = parse_head)]
        head: Option<Head>,
    },
    /// The newest lines, newest last
    Show {
        /// The agent's state directory [default: the running agent's, else /var/lib/lamplighter]
        #[arg(long, value_name = "DIR")]
        state: Option<PathBuf>,
        /// Only what is about this machine
        #[arg(long)]
        machine: Option<String>,
        /// Only what is not older, like 2h, by the host's wall clock
        #[arg(long, value_name = "DURATION", value_parser = parse_duration)]
        since: Option<Duration>,
        /// How many lines at most
        #[arg(long, value_name = "LINES", default_value = SHOWN_DEFAULT)]
        limit: usize,
    },
}

/// What the chain is held against.
struct Against {
    head: Option<Head>,
    /// Why there is no head, for a person.
    without: Option<String>,
}

pub(crate) async fn audit(
    client: &Client,
    question: Question,
    screen: &mut Screen,
) -> Result<Exit, Failure> {
    match question {
        Question::Verify { file: Some(file), head, .. } => {
            let why = "one file for itself: what was cut off at its ends does not show";
            let without = head.is_none().then(|| why.to_owned());
            let against = Against { head, without };
            let checked = check_file(&file, against.head.as_ref());
            verified(&file, checked, &against, screen)
        }
        Question::Verify { state, head, .. } => {
            let (directory, mut against) = place(client, state).await?;
            if head.is_some() {
                // Both are to hold; the journal's is looked at first.
                if let Err(broken) = check_directory(&directory, against.head.as_ref()) {
                    return verified(&directory, Err(broken), &against, screen);
                }
                against = Against { head, without: None };
            }
            let checked = check_directory(&directory, against.head.as_ref());
            verified(&directory, checked, &against, screen)
        }
        Question::Show { state, machine, since, limit } => {
            let (directory, _) = place(client, state).await?;
            let oldest = since.map(|since| Clock.wall_ms().saturating_sub(millis(since)));
            show(&directory, machine.as_deref(), oldest, limit.min(SHOWN_MAX), screen)
        }
    }
}

/// Where the files are, and what their chain must end with: the running agent knows, else its journal.
async fn place(client: &Client, state: Option<PathBuf>) -> Result<(PathBuf, Against), Failure> {
    let said = match client.audit_head().await {
        Ok(said) => Some(said),
        Err(AgentError::Unreachable { .. }) => None,
        Err(error) if state.is_none() => return Err(error.into()),
        Err(_) => None,
    };
    let directory = match (&state, &said) {
        (Some(directory), _) => directory.clone(),
        (None, Some(said)) => said.directory.clone(),
        (None, None) => PathBuf::from(STATE_DEFAULT),
    };
    if !directory.is_dir() {
        let text =
            format!("{}: there is no such directory; name it with --state", directory.display());
        return Err(Failure::Usage(text));
    }
    let same = |said: &agent_api::AuditHead| {
        std::fs::canonicalize(&said.directory).ok() == std::fs::canonicalize(&directory).ok()
    };
    if let Some(said) = said.filter(same) {
        let head = Some(Head { seq: said.seq, hash: said.hash });
        return Ok((directory, Against { head, without: None }));
    }
    let against = match kept_head(&directory) {
        Ok(Some(head)) => Against { head: Some(head), without: None },
        Ok(None) => {
            let why = "there is no journal with a head beside it: what was cut off at its end does not show";
            Against { head: None, without: Some(why.to_owned()) }
        }
        Err(StoreError::Locked { .. }) => {
            let why = "an agent has the journal open, and it is not the one that --agent names: \
                       what was cut off at its end does not show";
            Against { head: None, without: Some(why.to_owned()) }
        }
        Err(error) => Against { head: None, without: Some(chain(&error)) },
    };
    Ok((directory, against))
}

#[derive(Debug, Serialize)]
struct VerifyJson {
    holds: bool,
    lines: Option<u64>,
    first: Option<u64>,
    last: Option<u64>,
    last_hash: Option<String>,
    /// Whether it was held against a head that is kept elsewhere.
    against_head: bool,
    note: Option<String>,
    broken: Option<String>,
}

fn verified(
    place: &Path,
    checked: Result<Span, Break>,
    against: &Against,
    screen: &mut Screen,
) -> Result<Exit, Failure> {
    let (first, last) = checked.as_ref().ok().and_then(|span| span.ends.clone()).unzip();
    let torn = checked.as_ref().is_ok_and(|span| span.torn);
    let torn = torn.then(|| {
        "its last line was not written to its end; the next start of the agent mends it".to_owned()
    });
    let exit = if checked.is_ok() { Exit::Ok } else { Exit::Partial };
    let notes: Vec<String> = against.without.iter().cloned().chain(torn).collect();
    if screen.json {
        let json = VerifyJson {
            holds: checked.is_ok(),
            lines: checked.as_ref().ok().map(|span| span.count),
            first: first.as_ref().map(|line| line.seq),
            last: last.as_ref().map(|line| line.seq),
            last_hash: last.map(|line| line.hash),
            against_head: against.head.is_some(),
            note: (!notes.is_empty()).then(|| notes.join("; ")),
            broken: checked.err().map(|broken| chain(&broken)),
        };
        screen.answer_json(&json)?;
        return Ok(exit);
    }
    match (checked, first, last) {
        (Ok(span), Some(first), Some(last)) => {
            screen.answer(&format!(
                "the chain holds: {} lines, from {} ({}) to {} ({})",
                span.count, first.seq, first.time, last.seq, last.time
            ))?;
            let held =
                if against.head.is_some() { ", held against the journal's head" } else { "" };
            screen.answer(&format!("head {}:{}{held}", last.seq, last.hash))?;
        }
        (Ok(_), ..) => screen.answer(&format!("{}: no lines yet", place.display()))?,
        (Err(broken), ..) => screen.answer(&format!("THE CHAIN IS BROKEN: {}", chain(&broken)))?,
    }
    for note in notes {
        screen.tell(&format!("note: {note}"))?;
    }
    Ok(exit)
}

fn show(
    directory: &Path,
    machine: Option<&str>,
    oldest: Option<u64>,
    limit: usize,
    screen: &mut Screen,
) -> Result<Exit, Failure> {
    let mut shown: VecDeque<(AuditLine, String)> = VecDeque::new();
    let mut none = 0_u64;
    each_line(directory, |text, read| {
        let Ok(line) = read else {
            none += 1;
            return;
        };
        let ours = machine.is_none_or(|machine| line.machine.as_deref() == Some(machine));
        if ours && oldest.is_none_or(|oldest| line.wall_ms >= oldest) {
            if shown.len() >= limit.max(1) {
                shown.pop_front();
            }
            shown.push_back((line, text.to_owned()));
        }
    })?;
    for (line, text) in &shown {
        screen.answer(&if screen.json { text.clone() } else { sentence(line) })?;
    }
    if none > 0 {
        screen.tell(&format!(
            "note: {none} lines are none of an audit, or were changed; see `power-agent audit verify`"
        ))?;
    }
    Ok(Exit::Ok)
}

/// A line as a person reads it.
fn sentence(line: &AuditLine) -> String {
    let time = line.time.get(..19).unwrap_or(&line.time).replace('T', " ");
    let mut text = format!("{time}  {:>6}  {}", line.seq, line.what);
    if let Some(machine) = &line.machine {
        text.push_str(&format!(" {machine}"));
    }
    match (line.outcome.as_str(), line.well, line.changed) {
        ("ended", Some(well), changed) => {
            text.push_str(if well { " ended well" } else { " ended badly" });
            text.push_str(if changed == Some(true) { ", moved" } else { ", nothing moved" });
            if let Some(took) = line.took_ms {
                text.push_str(&format!(", {}", words::span(Duration::from_millis(took))));
            }
        }
        ("done", ..) => {}
        (outcome, ..) => text.push_str(&format!(" {outcome}")),
    }
    if let Some(code) = &line.code {
        text.push_str(&format!(" ({code})"));
    }
    text.push_str(&format!("  by {} [{}]", line.by, line.known));
    for (name, said) in [("why", &line.reason), ("", &line.text)] {
        match said {
            Some(said) if name.is_empty() => text.push_str(&format!("; {said}")),
            Some(said) => text.push_str(&format!("; {name}: {said}")),
            None => {}
        }
    }
    if let Some(operation) = &line.operation {
        text.push_str(&format!("; {operation}"));
    }
    text
}

fn parse_head(text: &str) -> Result<Head, String> {
    let wrong = || format!("found {text:?}, expected NUMBER:HASH as `audit verify` prints it");
    let (seq, hash) = text.split_once(':').ok_or_else(wrong)?;
    let seq = seq.parse().map_err(|_| wrong())?;
    Ok(Head { seq, hash: hash.to_owned() })
}
