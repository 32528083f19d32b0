//! `why MACHINE`: all that is known of how a machine stands and why, each with its source and age.

use agent_api::{Client, History, HistoryAsked, HistoryEntry, Machine, Plan};
use fleet::duration::show_duration;
use fleet::{BootEnd, MachineName, Milliamps, Supply};
use serde::Serialize;

use super::exit::Exit;
use super::history::{EntryJson, sentence};
use super::json::MachineJson;
use super::screen::Screen;
use super::{Failure, hosts, words};

/// How many of the last operations are told.
pub(crate) const OPERATIONS_SHOWN: u32 = 3;

#[derive(Debug, Serialize)]
struct WhyJson<'a> {
    machine: MachineJson,
    lines: Vec<String>,
    history: Vec<EntryJson<'a>>,
    plans: Vec<PlanJson<'a>>,
}

#[derive(Debug, Serialize)]
struct PlanJson<'a> {
    id: String,
    author: &'a str,
    age_ms: u64,
    lines: Vec<String>,
}

pub(crate) async fn why(client: &Client, node: &str, screen: &mut Screen) -> Result<Exit, Failure> {
    let inventory = client.inventory().await?;
    let mut exit = Exit::Usage;
    for machine in hosts::choose(&inventory, &[node.to_owned()])? {
        exit = of_machine(client, machine, screen).await?;
    }
    Ok(exit)
}

async fn of_machine(
    client: &Client,
    machine: &Machine,
    screen: &mut Screen,
) -> Result<Exit, Failure> {
    let machines = vec![machine.name.clone()];
    let asked = HistoryAsked { machines, since: None, limit: OPERATIONS_SHOWN };
    let History { entries, .. } = client.history(&asked).await?;
    let plans = match &machine.pool {
        Some(pool) => client.plans(pool).await?,
        None => Vec::new(),
    };
    let lines = stands(machine);
    if screen.json {
        let plan = |plan| PlanJson::of(plan, &machine.name);
        screen.answer_json(&WhyJson {
            machine: machine.into(),
            lines,
            history: entries.iter().map(EntryJson::from).collect(),
            plans: plans.iter().map(plan).collect(),
        })?;
        return Ok(Exit::Ok);
    }
    for line in told(machine, &entries, &plans) {
        screen.answer(&line)?;
    }
    Ok(Exit::Ok)
}

/// The whole answer, line by line.
pub(crate) fn told(machine: &Machine, entries: &[HistoryEntry], plans: &[Plan]) -> Vec<String> {
    let mut told = vec![format!("{}: {}", machine.name, words::observed(machine))];
    told.extend(stands(machine).iter().map(|line| format!("  {line}")));
    told.push("last operations:".to_owned());
    told.extend(entries.iter().map(|entry| format!("  {}", sentence(entry).replace('\n', "\n  "))));
    if entries.is_empty() {
        told.push("  none is remembered".to_owned());
    }
    for plan in plans {
        let (pool, age) = (&plan.pool, words::ago(plan.age));
        told.push(format!("plan {} of pool {pool} ({}, {age} ago):", plan.id, plan.author));
        told.extend(lines_of(plan, &machine.name).iter().map(|line| format!("  {line}")));
    }
    if machine.pool.is_some() && plans.is_empty() {
        told.push(
            "no plan of its pool has come to this agent: no autoscaler speaks of it".to_owned(),
        );
    }
    told
}

impl<'a> PlanJson<'a> {
    fn of(plan: &'a Plan, machine: &MachineName) -> Self {
        Self {
            id: plan.id.to_string(),
            author: &plan.author,
            age_ms: fleet::moment::millis(plan.age),
            lines: lines_of(plan, machine),
        }
    }
}

/// What a plan says of the whole pool and of this machine.
fn lines_of(plan: &Plan, machine: &MachineName) -> Vec<String> {
    let ours = plan.lines.iter().filter(|line| line.machine.as_ref().is_none_or(|m| m == machine));
    ours.map(|line| match &line.machine {
        Some(machine) => format!("{machine}: {}", line.text),
        None => line.text.clone(),
    })
    .collect()
}

/// How the machine stands, in sentences.
fn stands(machine: &Machine) -> Vec<String> {
    let mut lines = Vec::new();
    lines.push(match &machine.reading {
        Some((state, age)) => {
            let alive = machine.paths.life.as_ref().is_some_and(|life| life.seen.is_ok());
            let source = if alive { "signs of life" } else { "outlets" };
            format!("read {state} {} ago, from its {source}", words::ago(*age))
        }
        None => "nothing is read of it".to_owned(),
    });
    for outlet in &machine.outlets {
        let (device, number) = (&outlet.device, outlet.number);
        let said = match (&outlet.reading, &outlet.trouble, outlet.can_read_back) {
            (Some((state, age)), ..) => format!("{state}, {} ago", words::ago(*age)),
            (None, Some(trouble), _) => format!("unknown: {trouble}"),
            (None, None, false) => "can not be read: the board tells nothing".to_owned(),
            (None, None, true) => "unknown: it has not been read yet".to_owned(),
        };
        lines.push(format!("outlet {device}/{number}: {said}"));
    }
    lines.extend(words::paths(machine));
    lines.push(match &machine.commanded {
        Some(commanded) => format!(
            "commanded {} {} ago by {} ({})",
            commanded.state,
            words::ago(commanded.age),
            words::who(&commanded.origin),
            commanded.operation
        ),
        None => "never commanded by this agent".to_owned(),
    });
    if let Some(operation) = machine.operation.as_ref().filter(|last| !last.phase.is_finished()) {
        lines.push(format!("now: {}", words::running(operation)));
    }
    lines.extend(machine.locks.holds.iter().map(words::hold));
    if machine.locks.never_off {
        lines.push("the rack file says that its power is never taken".to_owned());
    }
    lines.extend(super::status::drift(machine));
    if let Some(out) = &machine.quarantine {
        lines.push(format!(
            "in quarantine since {} by {}: {}",
            words::ago(out.age),
            words::who(&out.by),
            out.reason
        ));
    }
    if let Some(boot) = machine.boots.last() {
        let took = boot.took.map_or_else(String::new, |took| format!(" in {}", words::span(took)));
        let end = match boot.end {
            BootEnd::Ready => "its node became ready",
            BootEnd::Missed => "its node was not ready in time",
        };
        lines.push(format!("last boot: {end}{took}, {} ago", words::ago(boot.age)));
    }
    for Supply { feed, draw } in &machine.fed.supplies {
        let start = if draw.extra() == Milliamps::ZERO {
            String::new()
        } else {
            format!(", {} for {} at its start", draw.inrush, show_duration(draw.inrush_for))
        };
        let counted = if machine.fed.counted { "that is counted" } else { "it is off" };
        lines.push(format!("takes {} of feed {feed}{start}: {counted} now", draw.running));
    }
    if let Some(pool) = &machine.pool {
        lines.push(format!("in pool {pool}; its node is {}", machine.node));
    } else {
        lines.push("in no pool: no policy moves it".to_owned());
    }
    lines
}
