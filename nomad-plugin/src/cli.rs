//! What people ask of a pool: `status` and `why`, read from the agents alone, which keep all that outlives a plugin.

mod plan;

use std::collections::BTreeMap;
use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;

use agent_api::{AgentAddress, Client, Credentials, Inventory, Machine, Plan, PlanLine};
use clap::Args;
use fleet::{Commanded, Fence, Moment, Observed, PlanId, PoolName, Power};
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
    /// The pool
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
}

/// `lamplighter status POOL`.
#[must_use]
pub fn status(question: &Question) -> ExitCode {
    answer(question, None, async |answers| {
        if question.json {
            return format!("{:#}\n", status_json(answers));
        }
        status_text(answers)
    })
}

/// `lamplighter why POOL`.
#[must_use]
pub fn why(question: &Question) -> ExitCode {
    answer(question, None, async |answers| {
        if question.json {
            return format!("{:#}\n", plans_json(answers));
        }
        why_text(answers)
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
    answer(question, id, async |answers| {
        if question.json {
            return plan::as_json(answers, live).await;
        }
        plan::as_text(answers, live).await
    })
}

fn answer(
    question: &Question,
    id: Option<PlanId>,
    render: impl AsyncFn(&Answers) -> String,
) -> ExitCode {
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
    let answers = runtime.block_on(gather((pool, id), agents, credentials));
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
    if answers.machines.is_empty() && answers.plans.is_empty() {
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
    (pool, id): (PoolName, Option<PlanId>),
    agents: Vec<AgentAddress>,
    credentials: Option<Credentials>,
) -> Answers {
    let mut asked = tokio::task::JoinSet::new();
    let mut clients = BTreeMap::new();
    for address in agents {
        let (pool, id) = (pool.clone(), id.clone());
        let client = Client::connect_lazy_with(&address, credentials.as_ref());
        clients.insert(address.clone(), client.clone());
        asked.spawn(async move {
            let found = async {
                let inventory = client.inventory().await?;
                let plans = match &id {
                    Some(id) => client.plan(&pool, id).await?,
                    None => client.plans(&pool).await?,
                };
                Ok::<_, agent_api::AgentError>((inventory, plans))
            };
            // It names agent and problem; its causes are the transport's.
            (address, found.await.map_err(|error| error.to_string()))
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

impl Answers {
    fn take(&mut self, address: AgentAddress, inventory: Inventory, plans: Vec<Plan>) {
        self.heard += 1;
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

/// What may be said of a machine's power.
fn observed(machine: &Machine) -> Observed {
    let commanded = machine.commanded.as_ref().map(|commanded| Commanded {
        state: commanded.state,
        at: Moment::ZERO,
        origin: commanded.origin.clone(),
        operation: commanded.operation.clone(),
    });
    Power { reading: machine.reading.map(|(state, _)| (state, Moment::ZERO)), commanded }.observed()
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
        let power = observed(machine).to_string();
        text.push_str(&format!("{:<20} {power:<22} {since:<12} {operation}\n", machine.name));
    }
    if let Some(plan) = answers.merged().get("target")
        && let Some(first) = plan.lines.iter().find(|line| line.machine.is_none())
    {
        text.push_str(&format!("\n{}: {} ({} ago)\n", answers.pool, first.text, age(plan.age)));
    }
    text
}

fn why_text(answers: &Answers) -> String {
    let mut text = String::new();
    for (author, plan) in answers.merged() {
        let what = if author == "apm" { "work that waits" } else { "machines" };
        text.push_str(&format!("{} ({what}, {} ago)\n", answers.pool, age(plan.age)));
        for line in plan.lines {
            match line.machine {
                Some(machine) => text.push_str(&format!("  {machine}: {}\n", line.text)),
                None => text.push_str(&format!("  {}\n", line.text)),
            }
        }
    }
    if text.is_empty() {
        text.push_str("no plugin has told the agents anything about this pool yet\n");
    }
    text
}

fn status_json(answers: &Answers) -> Value {
    let machines = answers.machines.iter().map(|(agent, machine)| {
        json!({
            "name": machine.name.as_str(),
            "agent": agent.to_string(),
            "node": machine.node,
            "power": observed(machine).to_string(),
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

fn plans_json(answers: &Answers) -> Value {
    let plans = answers.merged().into_values().map(|plan| {
        let lines = plan.lines.iter().map(|line| {
            json!({ "machine": line.machine.as_ref().map(|name| name.as_str()), "text": line.text })
        });
        json!({
            "id": plan.id.as_str(),
            "author": plan.author,
            "age_ms": fleet::moment::millis(plan.age),
            "lines": lines.collect::<Vec<_>>(),
        })
    });
    json!({ "pool": answers.pool.as_str(), "plans": plans.collect::<Vec<_>>() })
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
