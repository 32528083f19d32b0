//! `why MACHINE`: all that is known of how a machine stands and why, in the order of time, each thing with its age.

use agent_api::{Client, History, HistoryAsked, HistoryEntry, Machine, Plan, Told, When, story};
use fleet::MachineName;
use fleet::moment::millis;
use serde::Serialize;

use super::exit::Exit;
use super::history::EntryJson;
use super::json::MachineJson;
use super::screen::Screen;
use super::{Failure, hosts};

/// How many of the last operations are told.
pub(crate) const OPERATIONS_SHOWN: u32 = 3;

#[derive(Debug, Serialize)]
struct WhyJson<'a> {
    machine: MachineJson,
    /// The story as a person reads it.
    lines: Vec<String>,
    /// All of it as sentences, in the order of time.
    story: Vec<ToldJson>,
    history: Vec<EntryJson<'a>>,
    plans: Vec<PlanJson<'a>>,
}

/// One sentence: of then (`age_ms`), of what is to come (`in_ms`), or of now.
#[derive(Debug, Serialize)]
struct ToldJson {
    age_ms: Option<u64>,
    in_ms: Option<u64>,
    text: String,
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
    if screen.json {
        let plan = |plan| PlanJson::of(plan, &machine.name);
        let story = story(machine, &entries, &plans);
        screen.answer_json(&WhyJson {
            machine: machine.into(),
            lines: story::lines(&story),
            story: story.into_iter().map(ToldJson::from).collect(),
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
    let mut told = vec![format!("{}: {}", machine.name, machine.observed())];
    let lines = story::lines(&story(machine, entries, plans));
    told.extend(lines.iter().map(|line| format!("  {}", line.replace('\n', "\n  "))));
    if machine.pool.is_some() && plans.is_empty() {
        let none = "no plan of its pool has come to this agent: no autoscaler speaks of it";
        told.push(none.to_owned());
    }
    told
}

impl From<Told> for ToldJson {
    fn from(told: Told) -> Self {
        let (age_ms, in_ms) = match told.when {
            When::Ago(age) => (Some(millis(age)), None),
            When::Now => (None, None),
            When::In(left) => (None, Some(millis(left))),
        };
        Self { age_ms, in_ms, text: told.text }
    }
}

impl<'a> PlanJson<'a> {
    fn of(plan: &'a Plan, machine: &MachineName) -> Self {
        Self {
            id: plan.id.to_string(),
            author: &plan.author,
            age_ms: millis(plan.age),
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
