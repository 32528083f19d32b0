//! What it costs to watch 200 outlets of which none moves: memory, bytes written, processor time; beside powerman, which
//! is asked for the state of the same boards as often.
//!
//! `cargo build --release --bins -p power-agent`, then `cargo bench -p testkit --bench idle_agent`; `-- N` for N polls.
//! Both daemons run at once, each on a virtual rack of its own, so that whatever else the machine does hits both. After
//! `cargo xtask cross aarch64-unknown-linux-musl --with-rack` also for an hour on an emulated Raspberry Pi, with its state
//! on an SD card.
#![expect(clippy::print_stdout, reason = "a benchmark prints its result")]

mod cost;
mod on_a_pi;
mod powerman;

use std::fmt::Write as _;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use fleet::Verb;
use testkit::bench::{Bench, order, person};

use cost::Cost;
use powerman::Powerman;

/// What the issue of the Pi asks for: 200 outlets, every ten seconds.
const BOARDS: u8 = 25;
const CHANNELS: u8 = 8;
const POLL: Duration = Duration::from_secs(10);

/// A minute shows what each poll costs; more makes it steadier.
const POLLS: u32 = 6;

/// A day of polls.
const POLLS_MAX: u32 = 8640;

/// Orders after the quiet time, to tell what one writes.
const ORDERS: u32 = 20;

/// Fields of one device file differ by the board's number alone.
fn rack_file() -> String {
    let mut text = "socket = \"rack.sock\"\nedge_log = \"edges.jsonl\"\n".to_owned();
    for board in 1..=BOARDS {
        let _infallible = writeln!(
            text,
            "[boards.b{board}]\nkind = \"lcus-ascii\"\nchannels = {CHANNELS}\nlink = \"b{board}.tty\""
        );
    }
    text
}

fn agent_file() -> String {
    let mut text = format!(
        "[agent]\nname = \"idle\"\nsocket = \"agent.sock\"\nstate = \"state\"\npoll = \"{}s\"\n[pools.rack]\noff_dwell = \"100ms\"\ncycles_per_hour = 0\n",
        POLL.as_secs()
    );
    for board in 1..=BOARDS {
        let _infallible = writeln!(
            text,
            "[devices.b{board}]\ndriver = \"lcus\"\nport = \"b{board}.tty\"\nchannels = {CHANNELS}\nstatus = \"ascii\""
        );
        for channel in 1..=CHANNELS {
            let _infallible = writeln!(
                text,
                "[machines.b{board}m{channel}]\npool = \"rack\"\noutlets = [{{ device = \"b{board}\", outlet = {channel} }}]"
            );
        }
    }
    text
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<()> {
    let asked = std::env::args().skip(1).find_map(|word| word.parse().ok());
    let polls = asked.unwrap_or(POLLS).clamp(1, POLLS_MAX);
    let mut bench = Bench::new(&rack_file(), &agent_file()).await;
    bench.start_agent().await;
    let beside = Bench::new(&rack_file(), "").await;
    let powerman = Powerman::start(&beside, BOARDS, CHANNELS)?;
    if let Some(powerman) = &powerman {
        powerman.ask().await.context("powerman is asked")?;
    }
    let agent = bench.agent_id();
    let before = (Cost::of(agent)?, powerman.as_ref().map(Powerman::cost).transpose()?);
    let mut tick = tokio::time::interval(POLL);
    tick.tick().await;
    for poll in 1..=polls {
        if let Some(powerman) = &powerman {
            powerman.ask().await.context("powerman is asked")?;
        }
        tick.tick().await;
        println!("poll {poll} of {polls}");
    }
    let ours = Cost::of(agent)?.since(&before.0);
    let theirs = powerman.as_ref().map(Powerman::cost).transpose()?;
    let theirs = theirs.zip(before.1).map(|(after, before)| after.since(&before));
    tell(polls, &ours, theirs.as_ref());
    let quiet = Cost::of(agent)?;
    for number in 0..ORDERS {
        let verb = if number % 2 == 0 { Verb::On } else { Verb::Off };
        bench.done(&order(&format!("op-{number}"), "b1m1", verb, person())).await;
        bench.release("b1m1").await;
    }
    let ordered = Cost::of(agent)?.since(&quiet);
    println!(
        "an order, with its release: {} bytes written, {:.1} ms of the processor",
        ordered.written / u64::from(ORDERS),
        ordered.busy.as_secs_f64() * 1e3 / f64::from(ORDERS)
    );
    ensure!(!bench.moves().await.is_empty(), "the orders moved a relay");
    drop((bench, beside, powerman));
    on_a_pi::measure().await
}

fn tell(polls: u32, ours: &Cost, theirs: Option<&Cost>) {
    let outlets = u32::from(BOARDS) * u32::from(CHANNELS);
    println!("{outlets} outlets on {BOARDS} boards, {polls} polls, one each {} s", POLL.as_secs());
    head();
    row("power-agent", polls, ours);
    match theirs {
        None => println!("powerman is not installed; `apt-get install powerman` brings it"),
        Some(theirs) => {
            row("powermand", polls, theirs);
            let parts = (ours.resident_ratio(theirs), ours.busy_ratio(theirs));
            println!("power-agent to powermand: resident {:.2}, processor {:.2}", parts.0, parts.1);
        }
    }
}

fn head() {
    println!(
        "{:<12}{:>14}{:>14}{:>18}{:>20}",
        "", "resident", "most", "bytes per hour", "processor per poll"
    );
}

fn row(name: &str, polls: u32, cost: &Cost) {
    println!(
        "{name:<12}{:>10.1} MiB{:>10.1} MiB{:>18}{:>17.2} ms",
        mebibytes(cost.resident),
        mebibytes(cost.most),
        cost.written * (3600 / POLL.as_secs()) / u64::from(polls),
        cost.busy.as_secs_f64() * 1e3 / f64::from(polls)
    );
}

fn mebibytes(kibibytes: u32) -> f64 {
    f64::from(kibibytes) / 1024.0
}
