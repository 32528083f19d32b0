//! `plan POOL`: the plan told last, with what each agent foretells of each order in it; what is not ordered, with why.

use std::time::Duration;

use agent_api::{DryRun, Forecast, Foretold, Plan, PlanLine};
use fleet::{OperationId, Order, Origin, Reason};
use serde_json::{Value, json};

use super::{Answers, age};

/// Under which id is asked what an order would do: no order is given under it.
const DRY_RUN: &str = "dry-run";

/// How long an order would be valid: as long as the plugin's own.
const VALID_FOR: Duration = Duration::from_secs(30);

/// One line with what its order would lead to.
struct Foreseen<'a> {
    line: &'a PlanLine,
    /// Of a line that orders something: the agent's address, and what it foretells.
    agent: Option<(String, Result<DryRun, String>)>,
}

/// The answer for a person; a plan of the past (not `live`) is told as it was.
pub(super) async fn as_text(answers: &Answers, live: bool) -> String {
    let mut told = String::new();
    for plan in answers.merged().values() {
        told.push_str(&text(plan, &foresee(answers, plan, live).await));
    }
    if told.is_empty() {
        return "no plugin has told the agents such a plan, or it is kept no more\n".to_owned();
    }
    told
}

/// The same for a program.
pub(super) async fn as_json(answers: &Answers, live: bool) -> String {
    let mut plans = Vec::new();
    for plan in answers.merged().values() {
        plans.push(to_json(plan, &foresee(answers, plan, live).await));
    }
    format!("{:#}\n", json!({ "pool": answers.pool.as_str(), "plans": plans }))
}

async fn foresee<'a>(answers: &Answers, plan: &'a Plan, live: bool) -> Vec<Foreseen<'a>> {
    let mut lines = Vec::with_capacity(plan.lines.len());
    for line in &plan.lines {
        let agent = if live { foretell(answers, plan, line).await } else { None };
        lines.push(Foreseen { line, agent });
    }
    lines
}

/// Asks the machine's agent what the order would do, in the name of the pool's newest lease.
async fn foretell(
    answers: &Answers,
    plan: &Plan,
    line: &PlanLine,
) -> Option<(String, Result<DryRun, String>)> {
    let (name, verb) = (line.machine.as_ref()?, line.verb?);
    let (address, _) = answers.machines.iter().find(|(_, machine)| machine.name == *name)?;
    let client = answers.clients.get(address)?;
    let fence = answers.fences.iter().max_by_key(|fence| fence.number)?;
    let order = Order {
        operation: OperationId::new(DRY_RUN).ok()?,
        machine: name.clone(),
        verb,
        reason: Reason::new(&line.text),
        origin: Origin::Autoscaler(fence.clone()),
        valid_for: VALID_FOR,
        on_soft_off_timeout: plan.on_soft_off_timeout,
        force: false,
        drain: false,
        plan: Some(plan.id.clone()),
    };
    let run = client.dry_run(&order).await.map_err(|error| error.to_string());
    Some((address.to_string(), run))
}

fn text(plan: &Plan, lines: &[Foreseen<'_>]) -> String {
    let mut text =
        format!("{}: plan {} ({}, {} ago)\n", plan.pool, plan.id, plan.author, age(plan.age));
    for Foreseen { line, agent } in lines {
        let machine = line.machine.as_ref().map(|name| format!("{name}: ")).unwrap_or_default();
        text.push_str(&format!("  {machine}{}\n", line.text));
        let Some((address, run)) = agent else { continue };
        let verb = line.verb.map_or("", fleet::Verb::as_str);
        let (head, steps) = match run {
            Err(why) => (why.clone(), Vec::new()),
            Ok(run) => verdict(run),
        };
        text.push_str(&format!("    {verb} at {address}: {head}\n"));
        for (when, what) in steps {
            text.push_str(&format!("      {when}  {what}\n"));
        }
    }
    if !plan.inputs.is_empty() {
        text.push_str("  made from:\n");
    }
    for line in &plan.inputs {
        let machine = line.machine.as_ref().map(|name| format!("{name}: ")).unwrap_or_default();
        text.push_str(&format!("    {machine}{}\n", line.text));
    }
    text
}

fn verdict(run: &DryRun) -> (String, Vec<(String, String)>) {
    match &run.answer {
        Foretold::Refused(refusal) => {
            (format!("would be refused ({}): {}", refusal.code.as_str(), refusal.text), Vec::new())
        }
        Foretold::Begins(forecast) => ("would begin at once".to_owned(), forecast.lines()),
        Foretold::Joins(forecast) => (format!("runs ({})", forecast.operation), forecast.lines()),
        Foretold::Known => ("has just ended".to_owned(), Vec::new()),
    }
}

fn to_json(plan: &Plan, lines: &[Foreseen<'_>]) -> Value {
    let named = |line: &PlanLine| line.machine.as_ref().map(ToString::to_string);
    let lines = lines.iter().map(|Foreseen { line, agent }| {
        json!({
            "machine": named(line),
            "text": line.text,
            "verb": line.verb.map(fleet::Verb::as_str),
            "agent": agent.as_ref().map(|(address, _)| address),
            "foretold": agent.as_ref().map(|(_, run)| run_json(run)),
        })
    });
    let inputs =
        plan.inputs.iter().map(|line| json!({ "machine": named(line), "text": line.text }));
    json!({
        "id": plan.id.as_str(),
        "author": plan.author,
        "age_ms": fleet::moment::millis(plan.age),
        "lines": lines.collect::<Vec<_>>(),
        "inputs": inputs.collect::<Vec<_>>(),
    })
}

fn run_json(run: &Result<DryRun, String>) -> Value {
    let run = match run {
        Ok(run) => run,
        Err(why) => return json!({ "answer": "unreachable", "text": why }),
    };
    match &run.answer {
        Foretold::Refused(refusal) => {
            json!({ "answer": "refused", "code": refusal.code.as_str(), "text": refusal.text })
        }
        Foretold::Begins(forecast) => json!({ "answer": "begins", "steps": steps_json(forecast) }),
        Foretold::Joins(forecast) => json!({ "answer": "joins", "steps": steps_json(forecast) }),
        Foretold::Known => json!({ "answer": "known" }),
    }
}

fn steps_json(forecast: &Forecast) -> Value {
    let step = |step: &agent_api::ForecastStep| {
        json!({
            "doing": step.doing.as_str(),
            "from_ms": fleet::moment::millis(step.from),
            "by_ms": fleet::moment::millis(step.by),
            "outlets": step
                .outlets
                .iter()
                .map(|(device, outlet)| format!("{device}/{outlet}"))
                .collect::<Vec<_>>(),
            "text": step.texts(forecast.on_soft_off_timeout).join("; "),
        })
    };
    forecast.steps.iter().map(step).collect()
}
