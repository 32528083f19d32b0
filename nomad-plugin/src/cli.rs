//! What people ask of a pool: `status` and `why`, read from the agents alone, which keep all that outlives a plugin.

mod plan;
mod why;

use std::collections::BTreeMap;
use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;

use agent_api::{AgentAddress, Client, Credentials, Inventory, Machine, Plan, PlanLine};
use clap::Args;
use fleet::{Fence, PlanId, PoolName};
use serde_json::{Value, json};

use crate::pool::executor::chain;
use crate::settings::AGENTS_DEFAULT;

/// Exit code where everything was answered.
const EXIT_OK: u8 = 0;
/// Exit code where some agents did not answer.
const EXIT_PARTIAL: u8 = 1;
/// Exit code where no agent answered.
const EXIT_UNREACHABLE: u8 = 3;
/// Exit code where no agent knows the pool.
const EXIT_UNKNOWN: u8 = 2;
/// Exit code for what can not be understood.
const EXIT_USAGE: u8 = 64;

/// What both questions take.
#[derive(Debug, Args)]
pub struct Question {
    /// The pool; `why` takes a machine, too
    pool: String,
    /// The agents, as in the plugin's block: unix:/path,https://host:7420
    #[arg(long, env = "LAMPLIGHTER_AGENTS", default_value = AGENTS_DEFAULT)]
    agents: String,
    /// The authority of the agents' certificates, for https://
    #[arg(long, env = "LAMPLIGHTER_CACERT", value_name = "FILE")]
    ca_cert: Option<PathBuf>,
    /// Our own certificate, for https://
    #[arg(long, env = "LAMPLIGHTER_CLIENT_CERT", value_name = "FILE")]
    client_cert: Option<PathBuf>,
    /// Its key, for https://
    #[arg(long, env = "LAMPLIGHTER_CLIENT_KEY", value_name = "FILE")]
    client_key: Option<PathBuf>,
    /// Print JSON, for programs
    #[arg(long)]
    json: bool,
}

/// What `plan` takes.
#[derive(Debug, Args)]
pub struct PlanQuestion {
    #[command(flatten)]
    question: Question,
    /// The plan of this id, as history and audit name it, where an agent still keeps it [default: the newest]
    #[arg(long)]
    id: Option<String>,
}

/// What the agents answered about a pool.
struct Answers {
    pool: PoolName,
    machines: Vec<(AgentAddress, Machine)>,
    plans: Vec<Plan>,
    silent: Vec<(AgentAddress, String)>,
    heard: usize,
    clients: BTreeMap<AgentAddress, Client>,
    /// Those of the pool.
    fences: Vec<Fence>,
    /// Whether machines that go by the pool's name are asked for, too.
    machines_too: bool,
    /// Those.
    named: Vec<(AgentAddress, Machine)>,
}

/// What is asked beside the pool.
#[derive(Debug, Clone, Default)]
struct Asked {
    /// For the plan of this id; `None`: for the newest.
    id: Option<PlanId>,
    /// For machines that go by the pool's name, too.
    machines_too: bool,
}

fn is_named(machine: &Machine, name: &PoolName) -> bool {
    machine.name.as_str() == name.as_str()
}

/// `lamplighter status POOL`.
#[must_use]
pub fn status(question: &Question) -> ExitCode {
    answer(question, Asked::default(), async |answers| {
        if question.json {
            return format!("{:#}\n", status_json(answers));
        }
        status_text(answers)
    })
}

/// `lamplighter why POOL|MACHINE`.
#[must_use]
pub fn why(question: &Question) -> ExitCode {
    let asked = Asked { machines_too: true, ..Asked::default() };
    answer(question, asked, async |answers| {
        if question.json {
            return why::as_json(answers).await;
        }
        why::as_text(answers).await
    })
}

/// `lamplighter plan POOL`.
#[must_use]
pub fn plan(asked: &PlanQuestion) -> ExitCode {
    let PlanQuestion { question, id } = asked;
    let id = match id.as_ref().map(PlanId::new).transpose() {
        Ok(id) => id,
        Err(error) => return complain(EXIT_USAGE, &format!("--id: {}", chain(&error))),
    };
    let live = id.is_none();
    answer(question, Asked { id, machines_too: false }, async |answers| {
        if question.json {
            return plan::as_json(answers, live).await;
        }
        plan::as_text(answers, live).await
    })
}

fn answer(question: &Question, asked: Asked, render: impl AsyncFn(&Answers) -> String) -> ExitCode {
    let parsed =
        (PoolName::new(question.pool.as_str()), AgentAddress::parse_list(&question.agents));
    let (pool, agents) = match parsed {
        (Ok(pool), Ok(agents)) => (pool, agents),
        (Err(error), _) => return complain(EXIT_USAGE, &chain(&error)),
        (_, Err(error)) => return complain(EXIT_USAGE, &format!("--agents: {}", chain(&error))),
    };
    let credentials = match credentials(question, &agents) {
        Ok(credentials) => credentials,
        Err(problem) => return complain(EXIT_USAGE, &problem),
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = match runtime {
        Ok(runtime) => runtime,
        Err(error) => return complain(EXIT_UNREACHABLE, &error.to_string()),
    };
    let answers = runtime.block_on(gather(pool, asked, agents, credentials));
    let silent: Vec<String> = answers.silent.iter().map(|(_, why)| why.clone()).collect();
    for why in &silent {
        complain(EXIT_PARTIAL, why);
    }
    if answers.heard == 0 {
        return complain(
            EXIT_UNREACHABLE,
            "no agent answered; is one running (power-agent serve --config FILE)? \
             --agents or LAMPLIGHTER_AGENTS name others",
        );
    }
    if answers.machines.is_empty() && answers.plans.is_empty() && answers.named.is_empty() {
        let text = format!("no agent has a machine in pool {}", answers.pool);
        return complain(EXIT_UNKNOWN, &text);
    }
    // A reader that has gone away (`| head`) wants no more.
    let text = runtime.block_on(render(&answers));
    std::io::stdout().write_all(text.as_bytes()).ok();
    ExitCode::from(if silent.is_empty() { EXIT_OK } else { EXIT_PARTIAL })
}

fn complain(code: u8, text: &str) -> ExitCode {
    // Where stderr is gone, there is nobody to tell.
    writeln!(std::io::stderr(), "lamplighter: {text}").ok();
    ExitCode::from(code)
}

/// What agents on the network want; none where there are none.
fn credentials(
    question: &Question,
    agents: &[AgentAddress],
) -> Result<Option<Credentials>, String> {
    let Some(network) = agents.iter().find(|agent| agent.is_network()) else { return Ok(None) };
    let Question { ca_cert, client_cert, client_key, .. } = question;
    match (ca_cert.clone(), client_cert.clone(), client_key.clone()) {
        (Some(ca_file), Some(cert_file), Some(key_file)) => {
            let credentials = Credentials { ca_file, cert_file, key_file };
            credentials.read().map_err(|error| error.to_string())?;
            Ok(Some(credentials))
        }
        _ => Err(format!(
            "{network} is on the network: --ca-cert, --client-cert and --client-key (or LAMPLIGHTER_CACERT, \
             LAMPLIGHTER_CLIENT_CERT and LAMPLIGHTER_CLIENT_KEY) name the files"
        )),
    }
}

async fn gather(
    pool: PoolName,
    what: Asked,
    agents: Vec<AgentAddress>,
    credentials: Option<Credentials>,
) -> Answers {
    let machines_too = what.machines_too;
    let mut asked = tokio::task::JoinSet::new();
    let mut clients = BTreeMap::new();
    for address in agents {
        let (pool, what) = (pool.clone(), what.clone());
        let client = Client::connect_lazy_with(&address, credentials.as_ref());
        clients.insert(address.clone(), client.clone());
        asked.spawn(async move {
            let found = ask(&client, &pool, &what).await;
            // It names agent and problem; its causes are the transport's.
            (address, found.map_err(|error| error.to_string()))
        });
    }
    let mut answers = Answers {
        pool,
        machines: Vec::new(),
        plans: Vec::new(),
        silent: Vec::new(),
        heard: 0,
        clients,
        fences: Vec::new(),
        machines_too,
        named: Vec::new(),
    };
    while let Some(Ok((address, found))) = asked.join_next().await {
        match found {
            Ok((inventory, plans)) => answers.take(address, inventory, plans),
            Err(why) => answers.silent.push((address, why)),
        }
    }
    answers.machines.sort_by(|(_, one), (_, other)| one.name.cmp(&other.name));
    answers.silent.sort();
    answers
}

/// What one agent knows.
async fn ask(
    client: &Client,
    pool: &PoolName,
    what: &Asked,
) -> Result<(Inventory, Vec<Plan>), agent_api::AgentError> {
    let inventory = client.inventory().await?;
    let mut machines = inventory.machines.iter();
    let is_machine = what.machines_too
        && machines.clone().any(|machine| is_named(machine, pool))
        && !machines.any(|machine| machine.pool.as_ref() == Some(pool));
    let plans = match &what.id {
        // Who may look at one machine may not ask for plans of a pool by its name.
        _ if is_machine => Vec::new(),
        Some(id) => client.plan(pool, id).await?,
        None => client.plans(pool).await?,
    };
    Ok((inventory, plans))
}

impl Answers {
    fn take(&mut self, address: AgentAddress, inventory: Inventory, plans: Vec<Plan>) {
        self.heard += 1;
        if self.machines_too {
            let named = inventory.machines.iter().filter(|machine| is_named(machine, &self.pool));
            self.named.extend(named.map(|machine| (address.clone(), machine.clone())));
        }
        let own = inventory.machines.into_iter();
        let own = own.filter(|machine| machine.pool.as_ref() == Some(&self.pool));
        self.machines.extend(own.map(|machine| (address.clone(), machine)));
        self.plans.extend(plans);
        self.fences.extend(inventory.fences.into_iter().filter(|fence| fence.pool == self.pool));
    }

    /// The newest plan of each author: its lines from all agents, each once, in their order.
    fn merged(&self) -> BTreeMap<&str, Plan> {
        let mut merged: BTreeMap<&str, Plan> = BTreeMap::new();
        let mut plans: Vec<&Plan> = self.plans.iter().collect();
        plans.sort_by_key(|plan| plan.age);
        for plan in plans {
            match merged.get_mut(plan.author.as_str()) {
                // What is said of the pool, and of a machine, counts down: who was told last has it right.
                Some(known) if known.id == plan.id => {
                    add(&mut known.lines, &plan.lines);
                    add(&mut known.inputs, &plan.inputs);
                }
                Some(_) => {}
                None => {
                    merged.insert(&plan.author, plan.clone());
                }
            }
        }
        merged
    }
}

/// Adds the lines of machines of which nothing is said yet.
fn add(lines: &mut Vec<PlanLine>, others: &[PlanLine]) {
    let is_new = |line: &&PlanLine| {
        line.machine.is_some() && !lines.iter().any(|known| known.machine == line.machine)
    };
    let new: Vec<PlanLine> = others.iter().filter(is_new).cloned().collect();
    lines.extend(new);
}

fn status_text(answers: &Answers) -> String {
    let mut text = format!("{:<20} {:<22} {:<12} {}\n", "MACHINE", "POWER", "SINCE", "OPERATION");
    for (_, machine) in &answers.machines {
        let since = machine.commanded.as_ref().map_or("-".to_owned(), |c| age(c.age));
        let mut operation = match &machine.operation {
            Some(operation) => {
                format!("{} {}: {}", operation.verb.as_str(), operation.phase, operation.reason)
            }
            None => "-".to_owned(),
        };
        if let Some(hold) = &machine.hold {
            operation = format!("held by {}: {}", hold.by, hold.reason);
        }
        let power = machine.observed().to_string();
        text.push_str(&format!("{:<20} {power:<22} {since:<12} {operation}\n", machine.name));
    }
    if let Some(plan) = answers.merged().get("target")
        && let Some(first) = plan.lines.iter().find(|line| line.machine.is_none())
    {
        text.push_str(&format!("\n{}: {} ({} ago)\n", answers.pool, first.text, age(plan.age)));
    }
    text
}

fn status_json(answers: &Answers) -> Value {
    let machines = answers.machines.iter().map(|(agent, machine)| {
        json!({
            "name": machine.name.as_str(),
            "agent": agent.to_string(),
            "node": machine.node,
            "power": machine.observed().to_string(),
            "reading": machine.reading.map(|(state, _)| state.as_str()),
            "reading_age_ms": machine.reading.map(|(_, age)| fleet::moment::millis(age)),
            "commanded": machine.commanded.as_ref().map(|commanded| commanded.state.as_str()),
            "held_by": machine.hold.as_ref().map(|hold| hold.by.as_str()),
            "operation": machine.operation.as_ref().map(|operation| json!({
                "id": operation.id.as_str(),
                "verb": operation.verb.as_str(),
                "phase": operation.phase.as_str(),
                "reason": operation.reason.as_str(),
                "evidence": operation.evidence,
            })),
        })
    });
    json!({ "pool": answers.pool.as_str(), "machines": machines.collect::<Vec<_>>() })
}

/// An age for people: two units at most.
fn age(age: std::time::Duration) -> String {
    let seconds = age.as_secs();
    match seconds {
        0..60 => format!("{seconds}s"),
        60..3_600 => format!("{}m{}s", seconds / 60, seconds % 60),
        3_600..86_400 => format!("{}h{}m", seconds / 3_600, seconds % 3_600 / 60),
        _ => format!("{}d{}h", seconds / 86_400, seconds % 86_400 / 3_600),
    }
}
