//! Story 9. Goal: whoever is killed in the middle of a step, nothing moves by surprise, no work is cut, and the
//! pool becomes what was asked. Method: one SIGKILL of agent, autoscaler with plugin, or Nomad's server in a
//! scale-out and one in a scale-in, each as soon as a step that is drawn by a seed has been seen; then every
//! edge of the rack is compared with the agent's operations, and the tasks' diary with the cuts.
//!
//! `LAMPLIGHTER_SEED=N` repeats a run; `LAMPLIGHTER_RUNS=10` makes ten of each (figures/killed.md).

use std::collections::BTreeMap;
use std::io::Read as _;
use std::time::Duration;

use agent_api::{AgentAddress, Client, Event, Machine};
use anyhow::{Context as _, Result, ensure};
use fleet::sequencer::Phase as Doing;
use fleet::{MachineName, OperationId, Verb};
use nomad_api::{ClientStatus, Eligibility, NodeStatus, QueryOptions};
use testkit::diary::Diary;
use testkit::rig::{PATH_BOUND, Rig, RigSpec, fixed_policy};
use testkit::wait::{Probe, eventually};
use testkit::work::ShellJob;
use tokio::sync::watch;
use tokio::task::JoinSet;
use virtual_rack::machine::Phase;
use virtual_rack::relay::Power;

/// How long a task of the story takes to end once it is asked: some looks of everybody.
const STOP_TAKES: Duration = Duration::from_secs(1);

/// How long an agent that does not answer is left alone: short beside its start.
const LISTEN_AGAIN: Duration = Duration::from_millis(20);

/// Who is killed.
#[derive(Debug, Clone, Copy)]
enum Victim {
    Agent,
    Autoscaler,
    Nomad,
}

/// What a run was seen to do last before the kill.
#[derive(Debug, Clone, Copy)]
enum Step {
    Ordered,
    RelayClosed,
    Booted,
    NodeReady,
    Ineligible,
    Draining,
    SoftOff,
    Cut,
}

const OUT: [Step; 4] = [Step::Ordered, Step::RelayClosed, Step::Booted, Step::NodeReady];
const IN: [Step; 4] = [Step::Ineligible, Step::Draining, Step::SoftOff, Step::Cut];

#[test]
fn an_agent_that_is_killed_in_a_scale_out_and_in_a_scale_in_moves_nothing_by_surprise() {
    killed("agent", Victim::Agent);
}

#[test]
fn an_autoscaler_that_is_killed_with_its_plugin_loses_nothing_and_moves_nothing_by_surprise() {
    killed("autoscaler", Victim::Autoscaler);
}

#[test]
fn a_nomad_server_that_is_killed_and_comes_back_costs_no_work_and_no_surprise() {
    killed("Nomad", Victim::Nomad);
}

fn killed(name: &str, victim: Victim) {
    crate::story(&format!("{name} killed"), async move {
        let number = |name: &str| std::env::var(name).ok().map(|text| text.parse::<u64>());
        let seed = number("LAMPLIGHTER_SEED").transpose().context("LAMPLIGHTER_SEED")?;
        let first = seed.map_or_else(drawn_seed, Ok)?;
        let runs = number("LAMPLIGHTER_RUNS").transpose().context("LAMPLIGHTER_RUNS")?;
        for seed in (0..runs.unwrap_or(1)).map(|run| first.wrapping_add(run)) {
            let (out, back) = (draw(seed, 0, &OUT), draw(seed, 1, &IN));
            let what = format!("{name} killed at {out:?} and at {back:?}, LAMPLIGHTER_SEED={seed}");
            eprintln!("{what}");
            let edges = run(victim, out, back).await.with_context(|| what.clone())?;
            eprintln!("{what}: {edges} edges, each by its order; no work cut; converged");
        }
        Ok(())
    });
}

/// A seed of the system's.
fn drawn_seed() -> Result<u64> {
    let mut bytes = [0; 4];
    std::fs::File::open("/dev/urandom")?.read_exact(&mut bytes)?;
    Ok(u64::from(u32::from_ne_bytes(bytes)))
}

/// One of these, by seed and place (splitmix64).
fn draw(seed: u64, place: u64, from: &[Step; 4]) -> Step {
    let mut z = seed.wrapping_add((place + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15));
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    from[usize::try_from((z ^ (z >> 31)) % 4).expect("less than four")]
}

/// One run; returns how many edges the rack has seen.
async fn run(victim: Victim, out: Step, back: Step) -> Result<usize> {
    let spec = RigSpec { policy: fixed_policy(2, 2, ""), ..RigSpec::dark(2) };
    let mut rig = Rig::start(&spec).await?;
    let ledger = Ledger::follow(&rig);
    ledger.reached(&rig, out).await?;
    kill(&mut rig, victim).await?;
    rig.until(2, Phase::Up).await?;

    let diary = Diary::new(&rig.dir);
    for number in 1..=2 {
        let node = format!("node{number}");
        rig.server.node_ready(&node).await?;
        rig.server.run_job(&near(&diary, &format!("work{number}"), &node)).await?;
        diary.said_when(&format!("work{number}"), "begin", 1, PATH_BOUND).await?;
    }
    rig.stop_autoscaler().await?;
    rig.start_autoscaler_with(&fixed_policy(1, 2, "")).await?;
    ledger.reached(&rig, back).await?;
    kill(&mut rig, victim).await?;
    rig.until(1, Phase::Dark).await?;
    rig.until(1, Phase::Up).await?;
    for number in 1..=2 {
        let (job, running) = (format!("work{number}"), ClientStatus::Running);
        rig.server.allocations_when(&job, &running, 1, PATH_BOUND).await?;
    }
    rig.heartbeats(3).await?;
    ensure_no_work_cut(&rig, &diary).await?;
    ledger.ensure_ordered(&rig).await.with_context(|| rig.logs())
}

/// A service that would rather run on this node, and goes on elsewhere.
fn near(diary: &Diary, id: &str, node: &str) -> ShellJob {
    let affinity =
        format!("affinity {{\n  attribute = \"${{node.unique.name}}\"\n  value = {node:?}\n}}\n");
    ShellJob { in_job: affinity, ..diary.service(id, "", STOP_TAKES) }
}

/// Kills it, and starts it again at once.
async fn kill(rig: &mut Rig, victim: Victim) -> Result<()> {
    match victim {
        Victim::Agent => {
            rig.agent.take().context("an agent")?.kill().await?;
            rig.start_agent().await
        }
        Victim::Autoscaler => {
            rig.autoscaler.take().context("an autoscaler")?.kill().await?;
            rig.start_autoscaler().await
        }
        Victim::Nomad => {
            rig.server.kill().await?;
            rig.server.run().await
        }
    }
}

/// What ran on a machine has said that it ended before the machine was cut.
async fn ensure_no_work_cut(rig: &Rig, diary: &Diary) -> Result<()> {
    let entries = diary.entries()?;
    for cut in rig.all_edges().await?.iter().filter(|edge| edge.edge == Power::Off) {
        let begun = entries.iter().filter(|entry| {
            Some(&entry.node) == cut.machine.as_ref()
                && entry.what == "begin"
                && entry.wall_us < cut.wall_us
        });
        for begin in begun {
            let ended = entries.iter().any(|entry| {
                entry.alloc == begin.alloc && entry.what == "end" && entry.wall_us < cut.wall_us
            });
            ensure!(ended, "{begin:?} was cut by {cut:?}: {entries:?}");
        }
    }
    Ok(())
}

/// An operation as the agent has told of it.
#[derive(Debug, Clone)]
struct Told {
    id: OperationId,
    verb: Verb,
    phase: Doing,
}

/// The operations of each machine, oldest first.
type Book = BTreeMap<MachineName, Vec<Told>>;

/// What the agent tells of its operations, across its deaths.
struct Ledger {
    book: watch::Receiver<Book>,
    _ear: JoinSet<()>,
}

impl Ledger {
    fn follow(rig: &Rig) -> Self {
        let (sender, book) = watch::channel(Book::new());
        let client = Client::connect_lazy(&AgentAddress::socket(rig.dir.join("agent.sock")));
        let mut ear = JoinSet::new();
        ear.spawn(listen(client, sender));
        Self { book, _ear: ear }
    }

    /// Waits until a run has come as far as this.
    async fn reached(&self, rig: &Rig, step: Step) -> Result<()> {
        let what = format!("the step {step:?}");
        let book = |verb: Verb, at_least: Doing| {
            let mut book = self.book.clone();
            async move {
                let seen = book.wait_for(|book| {
                    let told = book.values().flatten();
                    told.filter(|told| told.verb == verb).any(|told| reaches(told.phase, at_least))
                });
                tokio::time::timeout(PATH_BOUND, seen).await.map(drop)
            }
        };
        match step {
            Step::Ordered => book(Verb::On, Doing::Accepted).await.context(what),
            Step::SoftOff => book(Verb::Off, Doing::SoftOff).await.context(what),
            Step::RelayClosed => edge(rig, &what, Power::On).await,
            Step::Cut => edge(rig, &what, Power::Off).await,
            Step::Booted => {
                eventually(&what, PATH_BOUND, || async {
                    let up = rig.machines_in(Phase::Up).await?;
                    Ok(Probe::of((up > 0).then_some(()), || "none is up".to_owned()))
                })
                .await
            }
            Step::NodeReady | Step::Ineligible | Step::Draining => {
                eventually(&what, PATH_BOUND, || async {
                    let (nodes, _) = rig.server.api().nodes(&QueryOptions::NOW).await?;
                    let met = nodes.iter().any(|node| match step {
                        // Or it has: nobody lingers for who looks.
                        Step::Draining => node.drain || node.last_drain.is_some(),
                        Step::Ineligible => node.eligibility == Eligibility::Ineligible,
                        _ => node.status == NodeStatus::Ready,
                    });
                    Ok(Probe::of(met.then_some(()), || format!("{nodes:?}")))
                })
                .await
            }
        }
        .with_context(|| rig.logs())
    }

    /// Each edge has an operation of its own that asked for it, in order; and the rack has seen no edge but
    /// those that the story wants. Returns how many there were.
    async fn ensure_ordered(&self, rig: &Rig) -> Result<usize> {
        let book = self.book.borrow().clone();
        let edges = rig.all_edges().await?;
        for number in 1..=2 {
            let name = format!("node{number}");
            let of_machine = rig.edges(&name).await?;
            let told = book.iter().find(|(machine, _)| machine.as_str() == name);
            let mut orders = told.map(|(_, told)| told.as_slice()).unwrap_or_default().iter();
            for edge in &of_machine {
                let verb = if *edge == Power::On { Verb::On } else { Verb::Off };
                let by = orders.any(|told| told.verb == verb);
                ensure!(by, "{name}: nobody ordered {edge:?} of {of_machine:?}: {book:?}");
            }
            let stays = of_machine == [Power::On];
            let goes = of_machine == [Power::On, Power::Off];
            ensure!(stays || goes, "{name} was switched otherwise: {of_machine:?}; {book:?}");
        }
        ensure!(edges.len() == 3, "three edges are wanted: {edges:?}");
        Ok(edges.len())
    }
}

/// Whether a phase is that one or a later one of its sequence.
fn reaches(phase: Doing, at_least: Doing) -> bool {
    const ORDER: [Doing; 6] = [
        Doing::Accepted,
        Doing::Draining,
        Doing::SoftOff,
        Doing::Settling,
        Doing::Cutting,
        Doing::Done,
    ];
    let place = |phase| ORDER.iter().position(|known| *known == phase);
    phase == at_least || at_least == Doing::Accepted || place(phase) > place(at_least)
}

async fn edge(rig: &Rig, what: &str, edge: Power) -> Result<()> {
    eventually(what, PATH_BOUND, || async {
        let edges = rig.all_edges().await?;
        let seen = edges.iter().any(|record| record.edge == edge);
        Ok(Probe::of(seen.then_some(()), || format!("{edges:?}")))
    })
    .await
}

/// Follows the agent for as long as the story goes; one that died is listened to again once it is back.
async fn listen(client: Client, book: watch::Sender<Book>) {
    loop {
        let Ok(mut watch) = client.watch().await else {
            tokio::time::sleep(LISTEN_AGAIN).await;
            continue;
        };
        while let Ok(Some(event)) = watch.next().await {
            let machines = match event {
                Event::Snapshot(inventory) => inventory.machines,
                Event::Changed(machine) => vec![*machine],
            };
            book.send_modify(|book| machines.iter().for_each(|machine| note(book, machine)));
        }
    }
}

fn note(book: &mut Book, machine: &Machine) {
    let Some(operation) = &machine.operation else { return };
    let told = book.entry(machine.name.clone()).or_default();
    match told.iter_mut().find(|told| told.id == operation.id) {
        Some(known) => known.phase = operation.phase,
        None => told.push(Told {
            id: operation.id.clone(),
            verb: operation.verb,
            phase: operation.phase,
        }),
    }
}
