//! `why POOL|MACHINE`: what the plans say, and what the machines' agents know beside it, as one story of each machine.

use agent_api::story::lines;
use agent_api::{Client, HistoryAsked, Machine, Plan, Told, When, story};
use fleet::MachineName;
use fleet::moment::millis;
use serde_json::{Value, json};

use super::{Answers, age};

/// How many of its last operations are told of a machine.
const OPERATIONS_TOLD: u32 = 3;

/// Whose answer this is.
enum Subject {
    /// A pool: what the agents know of each of its machines beside the plans' own lines.
    Pool(Vec<(String, Machine, Vec<Told>)>),
    /// A machine, wherever an agent has it.
    Machines(Vec<(String, Machine, Vec<Told>)>),
}

/// The answer for a person.
pub(super) async fn as_text(answers: &Answers) -> String {
    match subject(answers).await {
        Subject::Machines(machines) => machines.iter().map(of_machine).collect(),
        Subject::Pool(machines) => {
            let mut text = of_pool(answers);
            if text.is_empty() {
                text.push_str("no plugin has told the agents anything about this pool yet\n");
            }
            text.extend(machines.iter().filter(|(.., told)| !told.is_empty()).map(of_machine));
            text
        }
    }
}

/// The same for a program.
pub(super) async fn as_json(answers: &Answers) -> String {
    let (plans, machines) = match subject(answers).await {
        Subject::Machines(machines) => (None, machines),
        Subject::Pool(machines) => {
            (Some(answers.merged().values().map(plan_json).collect::<Vec<_>>()), machines)
        }
    };
    let machines = machines.iter().map(|(agent, machine, told)| {
        json!({
            "name": machine.name.as_str(),
            "agent": agent,
            "power": machine.observed().to_string(),
            "story": told.iter().map(told_json).collect::<Vec<_>>(),
        })
    });
    let machines: Vec<Value> = machines.collect();
    let answer = match plans {
        Some(plans) => {
            json!({ "pool": answers.pool.as_str(), "plans": plans, "machines": machines })
        }
        None => json!({ "machines": machines }),
    };
    format!("{answer:#}\n")
}

async fn subject(answers: &Answers) -> Subject {
    if answers.machines.is_empty() && answers.plans.is_empty() {
        let mut machines = Vec::new();
        for (address, machine) in &answers.named {
            let told = match answers.clients.get(address) {
                Some(client) => whole_story(client, machine).await,
                None => story(machine, &[], &[]),
            };
            machines.push((address.to_string(), machine.clone(), told));
        }
        return Subject::Machines(machines);
    }
    let plans: Vec<Plan> = answers.merged().into_values().map(of_machines).collect();
    let machines = answers.machines.iter().map(|(address, machine)| {
        let mut told = story(machine, &[], &plans);
        // Of a whole pool only what is not as it should be: how each outlet reads fills screens.
        told.retain(|told| !told.ordinary);
        (address.to_string(), machine.clone(), told)
    });
    Subject::Pool(machines.collect())
}

/// With its last operations, and with its pool's plans where its agent keeps them and lets us see them.
async fn whole_story(client: &Client, machine: &Machine) -> Vec<Told> {
    let machines = vec![machine.name.clone()];
    let asked = HistoryAsked { machines, since: None, limit: OPERATIONS_TOLD };
    let history = client.history(&asked).await.map(|history| history.entries).unwrap_or_default();
    let plans = match &machine.pool {
        Some(pool) => client.plans(pool).await.unwrap_or_default(),
        None => Vec::new(),
    };
    story(machine, &history, &plans)
}

/// Without the lines of the whole pool, which are told once.
fn of_machines(plan: Plan) -> Plan {
    let lines = plan.lines.into_iter().filter(|line| line.machine.is_some()).collect();
    Plan { lines, ..plan }
}

fn of_machine((_, machine, told): &(String, Machine, Vec<Told>)) -> String {
    let mut text = format!("{}: {}\n", machine.name, machine.observed());
    for line in lines(told) {
        text.push_str(&format!("  {}\n", line.replace('\n', "\n  ")));
    }
    text
}

/// What the plans say of the pool, and of machines that no agent here has.
fn of_pool(answers: &Answers) -> String {
    let mut text = String::new();
    for (author, plan) in answers.merged() {
        let what = if author == "apm" { "work that waits" } else { "machines" };
        text.push_str(&format!("{} ({what}, {} ago)\n", answers.pool, age(plan.age)));
        for line in plan.lines {
            let is_told = |name: &MachineName| {
                answers.machines.iter().any(|(_, machine)| machine.name == *name)
            };
            match &line.machine {
                Some(name) if is_told(name) => {}
                Some(name) => text.push_str(&format!("  {name}: {}\n", line.text)),
                None => text.push_str(&format!("  {}\n", line.text)),
            }
        }
    }
    text
}

fn plan_json(plan: &Plan) -> Value {
    let lines = plan.lines.iter().map(|line| {
        json!({ "machine": line.machine.as_ref().map(|name| name.as_str()), "text": line.text })
    });
    json!({
        "id": plan.id.as_str(),
        "author": plan.author,
        "age_ms": millis(plan.age),
        "lines": lines.collect::<Vec<_>>(),
    })
}

fn told_json(told: &Told) -> Value {
    let (age, left) = match told.when {
        When::Ago(age) => (Some(millis(age)), None),
        When::Now => (None, None),
        When::In(left) => (None, Some(millis(left))),
    };
    json!({ "age_ms": age, "in_ms": left, "text": told.text })
}
