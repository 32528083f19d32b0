//! The binary `virtual-rack`: runs a rack, or asks a running one.

use std::io::IsTerminal;
use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context;
use clap::Parser;
use clap::Subcommand;
use virtual_rack::card;
use virtual_rack::card::Card;
use virtual_rack::config;
use virtual_rack::control::Client;
use virtual_rack::control::Request;
use virtual_rack::ctl;
use virtual_rack::fault;
use virtual_rack::machine::Phase;
use virtual_rack::relay::Power;
use virtual_rack::script;
use virtual_rack::standby;
use virtual_rack::storm;
use virtual_rack::storm::Storm;
use virtual_rack::wiring;

/// A process that stands in for the hardware of a rack.
#[derive(Parser)]
#[command(version)]
struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Runs a rack until SIGTERM, Ctrl-C or `ctl quit`. Prints `ready SOCKET` when all boards exist
    /// and the control socket answers; the socket's appearance is the last step of the start.
    Run {
        /// The rack file.
        rack: PathBuf,
        /// Steps to play once the rack is ready, one a line: `[at TIME] VERB …`.
        #[arg(long)]
        script: Option<PathBuf>,
        #[command(flatten)]
        chance: Chance,
    },
    /// Stands in for the network card of a machine that is off: a magic packet for it starts the machine, which is a
    /// command, and whose end is its power-off. To be run as the command of a machine of the rack.
    Card {
        /// The network interface at which the card listens.
        #[arg(long)]
        interface: String,
        /// The card's address.
        #[arg(long, value_parser = card::six_bytes)]
        mac: [u8; 6],
        /// The SecureOn password, without which it does not wake.
        #[arg(long, value_parser = card::six_bytes)]
        password: Option<[u8; 6]>,
        /// How many packets are lost in each sleep before it hears one.
        #[arg(long, value_name = "PACKETS", default_value_t = 0)]
        deaf: u32,
        /// The machine.
        #[arg(last = true, required = true)]
        machine: Vec<String>,
    },
    /// Asks a running rack.
    Ctl {
        /// The rack's control socket.
        #[arg(long, env = "VIRTUAL_RACK_SOCKET")]
        socket: PathBuf,
        /// Print the answer as one line of JSON.
        #[arg(long, global = true)]
        json: bool,
        #[command(subcommand)]
        verb: Verb,
    },
}

/// Faults by chance, from the rack's start on.
#[derive(clap::Args)]
struct Chance {
    /// Play faults by chance: the same seed and rack file give the same faults at the same times.
    #[arg(long, value_name = "SEED")]
    fault_seed: Option<u64>,
    /// When all is healed and nothing more goes wrong.
    #[arg(long, value_name = "TIME", value_parser = script::duration, requires = "fault_seed")]
    fault_time: Option<Duration>,
    /// The mean time between two faults; at most three places are sick at once.
    #[arg(long, value_name = "TIME", default_value = "2s", value_parser = script::duration)]
    fault_every: Duration,
}

#[derive(Subcommand)]
enum Verb {
    /// Boards, machines, watts.
    State,
    /// All edges of all relays since the rack's start.
    Edges,
    /// Ask a machine to shut down, as `ssh MACHINE poweroff` would. Fails where it is not up.
    SoftOff {
        /// The machine.
        machine: String,
    },
    /// Return when a machine is in a state.
    Wait {
        /// The machine.
        machine: String,
        /// dark, booting, up, shutting-down or halted.
        state: Phase,
        /// Fail after this time.
        #[arg(long, default_value = "30s", value_parser = script::duration)]
        timeout: Duration,
    },
    /// From now on something is wrong; prints all that is.
    #[command(after_long_help = fault::WORDS)]
    Fault {
        /// Where: MACHINE, BOARD, BOARD:CHANNEL or FEED.
        place: String,
        /// What, with its figure; `fault --help` has them all.
        #[arg(required = true)]
        fault: Vec<String>,
    },
    /// From now on nothing is wrong at a place; prints what still is.
    Heal {
        /// A machine, a board with its relays, BOARD:CHANNEL, a feed, or all.
        place: String,
    },
    /// Move a relay past the agent, as a person at the board does.
    ByHand {
        /// BOARD:CHANNEL.
        relay: String,
        /// on or off.
        power: Power,
    },
    /// End the rack and everything that it started.
    Quit,
}

/// One thread, which is the main one: commands are tied to the life of the thread that starts them.
#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    let outcome = match Args::parse().command {
        Command::Run { rack, script, chance } => run(rack, script, chance).await,
        Command::Card { interface, mac, password, deaf, machine } => {
            logged();
            let password = password.map(Vec::from).unwrap_or_default();
            let card = Card::new(mac, password, deaf);
            standby::stand_by(card, &interface, &machine).await.map_err(anyhow::Error::from)
        }
        Command::Ctl { socket, json, verb } => ask(socket, json, verb).await,
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(err) => {
            writeln!(std::io::stderr(), "virtual-rack: {err:#}").ok();
            ExitCode::FAILURE
        }
    }
}

fn logged() {
    let filter = tracing_subscriber::EnvFilter::try_from_default_env()
        .unwrap_or_else(|_| tracing_subscriber::EnvFilter::new("info"));
    tracing_subscriber::fmt()
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal())
        .with_env_filter(filter)
        .init();
}

async fn run(rack: PathBuf, script: Option<PathBuf>, chance: Chance) -> anyhow::Result<()> {
    logged();
    let config = config::read(&rack)?;
    let script = script.map(|path| script::read(&path)).transpose()?;
    let length = chance.fault_time.unwrap_or(storm::LENGTH_DEFAULT);
    let storm = chance
        .fault_seed
        .map(|seed| Storm::new(seed, length, chance.fault_every).map_err(anyhow::Error::msg))
        .transpose()?;
    let announce = |config: &config::RackConfig| {
        let mut out = std::io::stdout();
        writeln!(out, "ready {}", config.socket.display())?;
        out.flush()
    };
    Ok(wiring::run_in(config, script, storm, announce).await?)
}

async fn ask(socket: PathBuf, json: bool, verb: Verb) -> anyhow::Result<()> {
    let request = match verb {
        Verb::State => Request::State,
        Verb::Edges => Request::Edges,
        Verb::SoftOff { machine } => Request::SoftOff { machine },
        Verb::Wait { machine, state, timeout } => Request::Wait {
            machine,
            state,
            timeout_ms: u64::try_from(timeout.as_millis()).unwrap_or(u64::MAX),
        },
        Verb::Fault { place, fault } => {
            let fault = format!("{place} {}", fault.join(" "));
            Request::Fault { fault: fault.parse().map_err(anyhow::Error::msg)? }
        }
        Verb::Heal { place } => Request::Heal { place },
        Verb::ByHand { relay, power } => Request::ByHand { relay, power },
        Verb::Quit => Request::Quit,
    };
    let reply = Client::new(socket).ask(&request).await?;
    let text = if json {
        format!("{}\n", serde_json::to_string(&reply).context("answer as JSON")?)
    } else {
        ctl::render(&reply)
    };
    std::io::stdout().write_all(text.as_bytes()).context("stdout")
}
