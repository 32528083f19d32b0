//! From the `Scale` call to the relay's edge, beside the wire's own time and an order without the plugin.
//!
//! `cargo build --release --bins -p nomad-plugin -p power-agent -p virtual-rack`, then
//! `cargo bench -p testkit --bench scale_to_edge`; `-- N` for N rounds. The programs that were built are
//! driven as they are shipped: the plugin over its socket, beside a real Nomad server and a rack on
//! pseudo-terminals. Rounds with and without the plugin alternate, so that whatever else the machine does
//! hits both.
#![expect(clippy::print_stdout, reason = "a benchmark prints its result")]

mod host;
mod samples;

use std::time::{Duration, SystemTime};

use agent_api::{AgentAddress, Answer, Client as Agent, Order, Phase};
use anyhow::{Context as _, Result, bail, ensure};
use fleet::{
    MachineName, NodeCount, OnSoftOffTimeout, OperationId, Origin, PowerState, Reason, Verb,
};
use testkit::evidence::between;
use testkit::rig::{Rig, RigSpec};
use testkit::wait::{Probe, eventually};
use virtual_rack::edges::EdgeRecord;
use virtual_rack::relay::Power;

use host::Host;
use samples::Samples;

/// Enough for a steady median on a loaded machine, in half a minute a board.
const ROUNDS: u32 = 20;

/// Every round lights two machines and none goes dark: more rounds outlast the first ones' boot deadline
/// of a minute, and what has not booted by then no longer counts.
const ROUNDS_MAX: u32 = 40;

/// Machines that never get so far as to start their Nomad client: relays are measured, not boots.
const BOOT: Duration = Duration::from_secs(3600);

/// Longer than any step needs.
const PATIENCE: Duration = Duration::from_secs(30);

/// Four bytes at 9600 baud with a start and a stop bit each. A pseudo-terminal takes none of it, so on a real
/// line every edge is that much later.
const FRAME_ON_THE_WIRE: Duration = Duration::from_nanos(4 * 10 * 1_000_000_000 / 9600);

/// The question for the status is one byte, the answer of a board of four is forty.
const STATUS_ON_THE_WIRE: Duration = Duration::from_nanos(41 * 10 * 1_000_000_000 / 9600);

/// The driver's gap between two frames to one board, as it is without a word in the rack file.
const BOARD_GAP: Duration = Duration::from_millis(100);

/// After an edge a board is read back a gap later, and free again a gap after that: a round that began before
/// would measure the one before it.
const BOARD_REST: Duration = Duration::from_millis(250);

/// A rack, the agent and the plugin, and what was measured on them.
struct Course {
    host: Host,
    agent: Agent,
    lit: u32,
    scale: Times,
    order: Times,
    // Last, so that it outlives those who talk to it.
    rig: Rig,
}

/// One kind of round: from the call to its answer, and from the call to the edge.
#[derive(Default)]
struct Times {
    answered: Samples,
    edge: Samples,
}

impl Course {
    async fn build(board: &'static str, machines: usize) -> Result<Self> {
        let spec = RigSpec { board, boot: BOOT, ..RigSpec::dark(machines) };
        let mut rig = Rig::prepare(&spec).await?;
        rig.start_agent().await?;
        let host = Host::start(&rig).await.with_context(|| rig.logs())?;
        let agent = Agent::connect_lazy(&AgentAddress::socket(rig.dir.join("agent.sock")));
        let (scale, order) = (Times::default(), Times::default());
        Ok(Self { host, agent, lit: 0, scale, order, rig })
    }

    /// One more machine, asked for by a policy.
    async fn scale_round(&mut self) -> Result<()> {
        let sent = wall();
        self.host.scale(NodeCount(self.lit + 1)).await?;
        self.scale.answered.add(sent, wall());
        let edge = self.next_edge().await?;
        self.scale.edge.add(sent, Duration::from_micros(edge.wall_us));
        self.settled(&edge).await
    }

    /// One more machine, ordered on by a person.
    async fn order_round(&mut self, number: u32) -> Result<()> {
        let order = Order {
            operation: OperationId::new(format!("bench-{number}"))?,
            machine: self.dark_machine().await?,
            verb: Verb::On,
            reason: Reason::new("measured"),
            origin: Origin::Person("bench".to_owned()),
            valid_for: PATIENCE,
            on_soft_off_timeout: OnSoftOffTimeout::Cut,
            force: false,
            drain: false,
            plan: None,
        };
        let sent = wall();
        let answer = self.agent.set_power(&order).await?;
        self.order.answered.add(sent, wall());
        if let Answer::Refused(refusal) = answer {
            bail!("{} was refused: {}", order.machine, refusal.text);
        }
        let edge = self.next_edge().await?;
        self.order.edge.add(sent, Duration::from_micros(edge.wall_us));
        self.settled(&edge).await
    }

    /// The last machine of the rack that is dark; the plugin begins at the other end.
    async fn dark_machine(&self) -> Result<MachineName> {
        let inventory = self.agent.inventory().await?;
        let dark = inventory.machines.into_iter().rfind(|machine| machine.commanded.is_none());
        Ok(dark.context("no machine is dark any more")?.name)
    }

    /// The edge of this round, once the rack has seen it.
    async fn next_edge(&mut self) -> Result<EdgeRecord> {
        let seen = usize::try_from(self.lit)?;
        let mut edges = eventually("the edge", PATIENCE, async || {
            let edges = self.rig.all_edges().await?;
            Ok(Probe::of((edges.len() > seen).then_some(edges), || format!("{seen} edges")))
        })
        .await
        .with_context(|| self.rig.logs())?;
        ensure!(edges.len() == seen + 1, "one machine was asked for, and {edges:?} happened");
        self.lit += 1;
        let edge = edges.pop().context("it was counted")?;
        ensure!(edge.edge == Power::On, "instead of an on-edge: {edge:?}");
        Ok(edge)
    }

    /// Waits until the order has ended, the plugin knows and the board is free: rounds do not overlap.
    async fn settled(&mut self, edge: &EdgeRecord) -> Result<()> {
        let name = edge.machine.as_deref().context("every relay has its machine")?;
        eventually("the end of the order", PATIENCE, async || {
            let inventory = self.agent.inventory().await?;
            let machine = inventory.machines.into_iter().find(|m| m.name.as_str() == name);
            let machine = machine.context("the agent has it")?;
            let done = machine.operation.as_ref().is_some_and(|op| op.phase == Phase::Done);
            let on = machine.commanded.as_ref().is_some_and(|c| c.state == PowerState::On);
            let rested = between(edge.at_us, self.rig.now().await?) >= BOARD_REST;
            let over = done && on && rested;
            Ok(Probe::of(over.then_some(()), || format!("{:?}", machine.operation)))
        })
        .await?;
        self.host.counts(NodeCount(self.lit)).await.with_context(|| self.rig.logs())
    }
}

/// The clock of the edge log.
#[expect(clippy::disallowed_methods, reason = "a benchmark reads the clock")]
fn wall() -> Duration {
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default()
}

fn report(what: &str, course: &mut Course) -> Result<()> {
    let Course { scale, order, .. } = course;
    println!("\n{what}\n{:<44}{:>10}{:>10}{:>10}  ms", "", "median", "min", "max");
    for (name, samples) in [
        ("Scale -> answer (record durable in Nomad)", &mut scale.answered),
        ("Scale -> edge", &mut scale.edge),
        ("order -> answer (intent on the agent's disk)", &mut order.answered),
        ("order -> edge", &mut order.edge),
    ] {
        println!("{name:<44}{}", samples.row()?);
    }
    let (scale, order) = (scale.edge.median()?, order.edge.median()?);
    let times = |other: Duration| scale.as_secs_f64() / other.as_secs_f64();
    println!(
        "Scale -> edge is {:.2} x an order without the plugin, {:.1} x the frame's own {:.2} ms on the wire",
        times(order),
        times(FRAME_ON_THE_WIRE),
        samples::millis(FRAME_ON_THE_WIRE),
    );
    Ok(())
}

fn rounds() -> Result<u32> {
    let asked = std::env::args().skip(1).find_map(|word| word.parse().ok());
    let rounds = asked.unwrap_or(ROUNDS);
    ensure!(
        (1..=ROUNDS_MAX).contains(&rounds),
        "{rounds} rounds were asked for; expected a number from 1 to {ROUNDS_MAX}"
    );
    Ok(rounds)
}

async fn measure(rounds: u32) -> Result<()> {
    println!(
        "{rounds} rounds of each, interleaved; one machine is lit in each. The pseudo-terminal takes no time: a real\n\
         line adds {:.2} ms to every edge (4 bytes at 9600 8N1).",
        samples::millis(FRAME_ON_THE_WIRE)
    );
    let silent = "a silent board: nothing to read before the frame".to_owned();
    let read = format!(
        "a board with status: it is read first, then has its gap of {} ms (in which the {:.0} ms lie that question\n\
         and answer take on a real line), then comes the frame",
        BOARD_GAP.as_millis(),
        samples::millis(STATUS_ON_THE_WIRE),
    );
    for (board, what) in [("lcus-silent", silent), ("lcus-ascii", read)] {
        let mut course = Course::build(board, usize::try_from(rounds * 2)?).await?;
        for number in 0..rounds {
            course.scale_round().await.with_context(|| format!("Scale, round {number}"))?;
            course.order_round(number).await.with_context(|| format!("order, round {number}"))?;
        }
        report(&what, &mut course)?;
        course.host.end().await?;
    }
    Ok(())
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<()> {
    let rounds = rounds()?;
    tokio::select! {
        measured = measure(rounds) => measured,
        // What was started ends with what is dropped here.
        _ = tokio::signal::ctrl_c() => bail!("interrupted"),
    }
}
