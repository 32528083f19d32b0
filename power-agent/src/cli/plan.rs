//! `plan`: what an order would lead to, asked of the agent that would carry it out; and without an order, what is
//! pending now. Writes nothing, moves nothing.

use std::time::Duration;

use agent_api::{Client, DryRun, Forecast, Foretold, HoldEnds, Inventory, Machine, Pending, Plan};
use clap::Subcommand;
use fleet::PoolName;
use fleet::drift::TRIES_MAX;

use super::act::{Orders, given};
use super::exit::Exit;
use super::json::plan::{DryRunJson, DryRunsJson, PendingItemJson, PendingJson, PendingPlanJson};
use super::screen::Screen;
use super::{DownArgs, Failure, OnArgs, hosts, words};

/// Under what an order is asked about whose reason nobody said.
const REASON: &str = "what would happen";

/// The order that is asked about.
#[derive(Debug, Subcommand)]
pub(crate) enum Asked {
    /// What `on` would do
    On(OnArgs),
    /// What `off` would do
    Off(DownArgs),
    /// What `cycle` would do
    Cycle(DownArgs),
}

pub(crate) async fn plan(
    client: &Client,
    asked: Option<Asked>,
    screen: &mut Screen,
) -> Result<Exit, Failure> {
    match asked {
        None => pending(client, screen).await,
        Some(Asked::On(args)) => foretell(client, args.orders(), screen).await,
        Some(Asked::Off(args)) => foretell(client, args.orders(fleet::Verb::Off), screen).await,
        Some(Asked::Cycle(args)) => foretell(client, args.orders(fleet::Verb::Cycle), screen).await,
    }
}

async fn foretell(
    client: &Client,
    mut orders: Orders,
    screen: &mut Screen,
) -> Result<Exit, Failure> {
    let inventory = client.inventory().await?;
    let machines = hosts::choose(&inventory, &orders.hosts)?;
    let reason = orders.reason.take().unwrap_or_else(|| REASON.to_owned());
    let mut told = Vec::with_capacity(machines.len());
    for order in given(&orders, &reason, &machines)? {
        let run = client.dry_run(&order).await?;
        told.push((order.machine, run));
    }
    let exit = Exit::of_all(told.iter().map(|(_, run)| exit(run)));
    if screen.json {
        let machines = told.iter().map(|(machine, run)| DryRunJson::of(machine, run)).collect();
        let verb = orders.verb.as_str();
        screen.answer_json(&DryRunsJson { verb, exit: exit.code(), machines })?;
        return Ok(exit);
    }
    for (machine, run) in &told {
        for line in lines(machine.as_str(), orders.verb.as_str(), run) {
            screen.answer(&line)?;
        }
    }
    Ok(exit)
}

fn exit(run: &DryRun) -> Exit {
    match &run.answer {
        Foretold::Refused(_) => Exit::Refused,
        Foretold::Begins(forecast) | Foretold::Joins(forecast) if !forecast.well => Exit::Partial,
        Foretold::Begins(_) | Foretold::Joins(_) | Foretold::Known => Exit::Ok,
    }
}

/// A machine's dry run: the verdict, then a line for each step.
fn lines(machine: &str, verb: &str, run: &DryRun) -> Vec<String> {
    let mut lines = Vec::new();
    let (head, forecast) = match &run.answer {
        Foretold::Refused(refusal) => {
            (format!("would be refused ({}): {}", refusal.code.as_str(), refusal.text), None)
        }
        Foretold::Begins(forecast) => ("would begin at once".to_owned(), Some(forecast)),
        Foretold::Joins(forecast) => {
            (format!("runs already ({}), and goes on", forecast.operation), Some(forecast))
        }
        Foretold::Known => ("was answered before, or has just ended".to_owned(), None),
    };
    lines.push(format!("{machine}: {verb} {head}"));
    if let Some(work) = &run.work {
        lines.push(format!("  work on its node: {work}"));
    }
    if let Some(hold) = &run.hold {
        let (kind, by) = (hold.kind.as_str(), &hold.by);
        lines.push(format!(
            "  comes with the lock {kind} of {by}, until `power-agent release {machine}`"
        ));
    }
    if let Some(forecast) = &run.called_off {
        let (verb, id) = (forecast.verb.as_str(), &forecast.operation);
        lines.push(format!("  calls off the {verb} that runs ({id}):"));
        lines.extend(steps(forecast));
    }
    lines.extend(forecast.into_iter().flat_map(steps));
    lines
}

fn steps(forecast: &Forecast) -> Vec<String> {
    let lines = forecast.lines();
    let width = lines.iter().map(|(when, _)| when.chars().count()).max().unwrap_or_default();
    lines.into_iter().map(|(when, text)| format!("  {when:<width$}  {text}")).collect()
}

/// One thing that is to come.
struct Item {
    /// When; `None`: as soon as it can be.
    at: Option<Duration>,
    when: String,
    machine: String,
    text: String,
}

async fn pending(client: &Client, screen: &mut Screen) -> Result<Exit, Failure> {
    let inventory = client.inventory().await?;
    let machines = hosts::choose(&inventory, &[])?;
    let pending = client.pending().await?;
    let mut plans = Vec::new();
    for pool in pools(&machines) {
        plans.extend(client.plans(&pool).await?);
    }
    let items = items(&inventory, &pending);
    if screen.json {
        let items = items.iter().map(|item| PendingItemJson {
            machine: &item.machine,
            in_ms: item.at.map(fleet::moment::millis),
            when: &item.when,
            text: &item.text,
        });
        let plans = plans.iter().map(PendingPlanJson::of).collect();
        let sequences = pending.iter().filter_map(|one| one.forecast.as_ref());
        screen.answer_json(&PendingJson::new(items.collect(), sequences, plans))?;
        return Ok(Exit::Ok);
    }
    let width = items.iter().map(|item| item.when.chars().count()).max().unwrap_or_default();
    for Item { when, machine, text, .. } in &items {
        screen.answer(&format!("{when:<width$}  {machine}: {text}"))?;
    }
    if items.is_empty() {
        screen.answer("nothing is pending: no sequence runs, and nothing is owed")?;
    }
    for plan in &plans {
        told(plan, screen)?;
    }
    Ok(Exit::Ok)
}

fn pools(machines: &[&Machine]) -> std::collections::BTreeSet<PoolName> {
    machines.iter().filter_map(|machine| machine.pool.clone()).collect()
}

fn told(plan: &Plan, screen: &mut Screen) -> Result<(), Failure> {
    let (id, pool, author, age) = (&plan.id, &plan.pool, &plan.author, words::ago(plan.age));
    screen.answer(&format!("plan {id} of pool {pool} ({author}, {age} ago):"))?;
    for line in &plan.lines {
        let machine = line.machine.as_ref().map(|name| format!("{name}: ")).unwrap_or_default();
        screen.answer(&format!("  {machine}{}", line.text))?;
    }
    Ok(())
}

/// What is to come, in the order of time; what waits for somebody else last.
fn items(inventory: &Inventory, pending: &[Pending]) -> Vec<Item> {
    let mut items = Vec::new();
    for machine in &inventory.machines {
        let own = pending.iter().find(|one| one.machine == machine.name);
        if let Some(own) = own {
            items.extend(running(machine, own));
        }
        for hold in &machine.locks.holds {
            let HoldEnds::In(left) = hold.ends else { continue };
            let (kind, by) = (hold.kind.as_str(), &hold.by);
            let text =
                format!("the lock {kind} of {by} ends ({}); that moves nothing", hold.reason);
            items.push(at(machine, left, text));
        }
    }
    // Steps of one machine stand in their order already.
    items.sort_by_key(|item| item.at.unwrap_or(Duration::MAX));
    items
}

fn running(machine: &Machine, own: &Pending) -> Vec<Item> {
    let mut items = Vec::new();
    if let Some(forecast) = &own.forecast {
        let operation = machine.operation.as_ref().filter(|op| op.id == forecast.operation);
        let text = operation.map_or_else(
            || format!("{} runs", forecast.verb.as_str()),
            |op| format!("{}, by {} ({})", words::running(op), words::who(&op.origin), op.reason),
        );
        items.push(at(machine, Duration::ZERO, text));
        for step in &forecast.steps {
            let item = |text| Item { when: step.when(), ..at(machine, step.from, text) };
            items.extend(step.texts(forecast.on_soft_off_timeout).into_iter().map(item));
        }
        let (when, text) = forecast.lines().pop().unwrap_or_default();
        items.push(Item { when, ..at(machine, forecast.from, text) });
    }
    if let Some(left) = own.relit_in {
        let tries = machine.drift.map_or(0, |drift| drift.tries).saturating_add(1);
        let text = format!(
            "is lit again (drift, try {tries} of {TRIES_MAX}): it reads otherwise than it was ordered"
        );
        items.push(at(machine, left, text));
    }
    if let Some(operation) = &own.owed {
        let text = format!(
            "the drain of its node by {operation} is taken back as soon as Nomad takes that"
        );
        items.push(Item { at: None, when: "owed".to_owned(), ..at(machine, Duration::ZERO, text) });
    }
    items
}

fn at(machine: &Machine, at: Duration, text: String) -> Item {
    let when = format!("+{}", words::span(at));
    Item { at: Some(at), when, machine: machine.name.to_string(), text }
}
