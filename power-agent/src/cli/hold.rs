//! `hold`, `reserve`, `maintenance` and `release`: locks of people, machine by machine. Nothing here moves anything.

use std::time::Duration;

use agent_api::{Client, Machine, Release, TakeHold, Taken};
use fleet::{HoldKind, Origin, Reason};
use serde::Serialize;

use super::exit::Exit;
use super::json::HoldJson;
use super::screen::Screen;
use super::{Failure, act, hosts, words};

/// What a person wants held.
pub(crate) struct Holding {
    pub(crate) kind: HoldKind,
    pub(crate) hosts: Vec<String>,
    pub(crate) reason: Option<String>,
    pub(crate) span: Option<Duration>,
    pub(crate) force: bool,
}

/// What a person wants released.
pub(crate) struct Releasing {
    pub(crate) hosts: Vec<String>,
    pub(crate) kind: Option<HoldKind>,
    pub(crate) force: bool,
}

#[derive(Debug, Serialize)]
struct HeldJson {
    machine: String,
    /// held, or refused.
    outcome: &'static str,
    hold: Option<HoldJson>,
    /// Why it was refused, else empty.
    text: String,
}

#[derive(Debug, Serialize)]
struct ReleasedJson {
    machine: String,
    was_held: bool,
    was_quarantined: bool,
    ended: Vec<HoldJson>,
    /// Why another person's reservation stays, where one does.
    refused: Option<String>,
}

/// Holds machines, and tells of each who holds it now.
pub(crate) async fn take(
    client: &Client,
    holding: Holding,
    screen: &mut Screen,
) -> Result<Exit, Failure> {
    if holding.span.is_some_and(|span| span.is_zero()) {
        let text = "--for 0s would be over at once; say how long, like --for 2h, or leave it out";
        return Err(Failure::Usage(text.to_owned()));
    }
    let reason = act::reason(holding.reason, holding.kind.as_str(), screen)?;
    let inventory = client.inventory().await?;
    let by = act::user_name();
    let mut exits = Vec::new();
    let mut told = Vec::new();
    for machine in hosts::choose(&inventory, &holding.hosts)? {
        let asked = TakeHold {
            machine: machine.name.clone(),
            kind: holding.kind,
            by: by.clone(),
            reason: Reason::new(&reason),
            span: holding.span,
            force: holding.force,
        };
        let taken = client.take_hold(&asked).await?;
        let (exit, outcome, text, hold) = match &taken {
            Taken::Held(hold) => (Exit::Ok, "held", String::new(), Some(hold)),
            Taken::Refused(refusal) => (Exit::Refused, "refused", refusal.text.clone(), None),
        };
        if !screen.json {
            let text = match hold {
                Some(hold) => format!("{}{}", words::hold(hold), still_runs(machine)),
                None => format!("refused: {text}"),
            };
            screen.answer(&format!("{}: {text}", machine.name))?;
        }
        exits.push(exit);
        let (machine, hold) = (machine.name.to_string(), hold.map(HoldJson::from));
        told.push(HeldJson { machine, outcome, hold, text });
    }
    if screen.json {
        screen.answer_json(&told)?;
    }
    Ok(Exit::of_all(exits))
}

/// A lock stops no order that was taken before it.
fn still_runs(machine: &Machine) -> String {
    let running = machine.operation.as_ref().filter(|operation| {
        !operation.phase.is_finished() && matches!(operation.origin, Origin::Autoscaler(_))
    });
    running.map_or_else(String::new, |operation| {
        let by = words::who(&operation.origin);
        format!("; what {by} ordered before goes on: {}", words::running(operation))
    })
}

/// Ends locks, and tells of each machine which.
pub(crate) async fn release(
    client: &Client,
    releasing: Releasing,
    screen: &mut Screen,
) -> Result<Exit, Failure> {
    let inventory = client.inventory().await?;
    let by = act::user_name();
    let mut exits = Vec::new();
    let mut told = Vec::new();
    for machine in hosts::choose(&inventory, &releasing.hosts)? {
        let asked = Release {
            machine: machine.name.clone(),
            by: by.clone(),
            kind: releasing.kind,
            force: releasing.force,
        };
        let released = client.release(&asked).await?;
        let mut texts: Vec<String> = released
            .ended
            .iter()
            .map(|hold| format!("released; {} held it: {}", hold.by, hold.reason))
            .collect();
        if let Some(quarantine) = machine.quarantine.as_ref().filter(|_| released.was_quarantined) {
            texts.push(format!("it is in service again, and was not: {}", quarantine.reason));
        }
        texts.extend(released.refused.iter().map(|refusal| format!("refused: {}", refusal.text)));
        if texts.is_empty() {
            texts.push("was not held".to_owned());
        }
        if !screen.json {
            screen.answer(&format!("{}: {}", machine.name, texts.join("; ")))?;
        }
        exits.push(match (&released.refused, released.ended.is_empty()) {
            (None, _) => Exit::Ok,
            (Some(_), true) => Exit::Refused,
            (Some(_), false) => Exit::Partial,
        });
        told.push(ReleasedJson {
            machine: machine.name.to_string(),
            was_held: !released.ended.is_empty(),
            was_quarantined: released.was_quarantined,
            ended: released.ended.iter().map(HoldJson::from).collect(),
            refused: released.refused.map(|refusal| refusal.text),
        });
    }
    if screen.json {
        screen.answer_json(&told)?;
    }
    Ok(Exit::of_all(exits))
}
