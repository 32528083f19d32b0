//! One word for each thing that a person may want of a bridge.
#![expect(clippy::print_stdout, clippy::print_stderr, reason = "a program for people's terminals")]

mod ask;
mod scan;
mod simulate;
mod update;

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Result;
use bridge_protocol::{Identity, OutletNumber, PowerState, message::Switch};
use clap::{Args, Parser, Subcommand};
use firmware_bridge::words;

const ARGUMENTS_WRONG: u8 = 1;

/// The firmware bridge: a microcontroller that switches and watches a rack, and keeps it safe alone.
#[derive(Debug, Parser)]
#[command(name = "firmware-bridge", version, max_term_width = 100)]
struct Cli {
    /// Answer for a program: one JSON document, or one JSON object per line from `watch`
    #[arg(long, global = true)]
    json: bool,
    #[command(subcommand)]
    command: Command,
}

/// Which device.
#[derive(Debug, Args)]
struct Target {
    /// Its serial port, best by path: /dev/serial/by-path/…
    #[arg(value_name = "PORT")]
    port: PathBuf,
    /// This board and no other, as `info` shows it: sixteen hexadecimal digits
    #[arg(long, value_name = "IDENTITY", value_parser = identity)]
    board: Option<Identity>,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// The serial ports of this host and what is known of them; writes nothing to any
    Scan {
        /// Greet what is on these ports: only where nothing but a bridge is, another board may take it for an order
        #[arg(long, value_name = "PORT")]
        greet: Vec<PathBuf>,
    },
    /// Which device it is, what it speaks, and how its outlets are; moves nothing
    Info(Target),
    /// What the device tells, as it happens, until Ctrl-C; moves nothing
    Watch(Target),
    /// Make outlets on or off; one that is so already does not move
    Set {
        #[command(flatten)]
        target: Target,
        /// An outlet's number and its state
        #[arg(value_name = "OUTLET=on|off", required = true, value_parser = switch)]
        switches: Vec<Switch>,
    },
    /// Off, and on again: timed by the device, whether or not this program still lives
    Cycle {
        #[command(flatten)]
        target: Target,
        /// The outlet's number
        #[arg(value_parser = outlet)]
        outlet: OutletNumber,
        /// How long it is off, in milliseconds
        #[arg(long, value_name = "MS", default_value_t = 10_000)]
        off_ms: u32,
    },
    /// Replace the firmware: sent, verified, started on trial, and kept once it has answered. Every outlet is to be off,
    /// where the board does not hold them over a start
    Update {
        #[command(flatten)]
        target: Target,
        /// The image
        #[arg(value_name = "FILE")]
        image: PathBuf,
        /// The version of the firmware in it
        #[arg(long, value_name = "NUMBER")]
        firmware: u32,
    },
    /// What the device remembers of itself since its start; moves nothing
    Log(Target),
    /// A simulated device on a pseudo-terminal, until Ctrl-C
    Simulate {
        /// The name under which its line is to be found
        #[arg(long, value_name = "PATH")]
        link: PathBuf,
        /// How many outlets it has
        #[arg(long, default_value_t = 8, value_parser = clap::value_parser!(u8).range(1..=16))]
        outlets: u8,
        /// Which board it is
        #[arg(long, value_name = "IDENTITY", value_parser = identity, default_value = "53494d554c415445")]
        board: Identity,
    },
}

fn outlet(text: &str) -> Result<OutletNumber, String> {
    let number = text.parse().ok().and_then(OutletNumber::new);
    number.ok_or_else(|| format!("{text:?} is no outlet: they are numbered from 1 to 16"))
}

fn switch(text: &str) -> Result<Switch, String> {
    let form = || format!("{text:?} is no order: write OUTLET=on or OUTLET=off");
    let (number, state) = text.split_once('=').ok_or_else(form)?;
    let state = match state {
        "on" => PowerState::On,
        "off" => PowerState::Off,
        _ => return Err(form()),
    };
    Ok(Switch { outlet: outlet(number)?, state })
}

fn identity(text: &str) -> Result<Identity, String> {
    words::read_identity(text).ok_or_else(|| {
        format!("{text:?} is no board's identity: it has sixteen hexadecimal digits")
    })
}

/// Runs what was asked for.
pub(crate) fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => {
            let wrong = error.use_stderr();
            // Where nobody reads it any more, there is nobody to tell.
            drop(error.print());
            return if wrong { ExitCode::from(ARGUMENTS_WRONG) } else { ExitCode::SUCCESS };
        }
    };
    match run(cli) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

#[tokio::main(flavor = "current_thread")]
async fn run(cli: Cli) -> Result<()> {
    let json = cli.json;
    match cli.command {
        Command::Scan { greet } => scan::scan(&greet, json).await,
        Command::Info(target) => ask::info(target, json).await,
        Command::Watch(target) => ask::watch(target, json).await,
        Command::Set { target, switches } => ask::set(target, switches, json).await,
        Command::Cycle { target, outlet, off_ms } => ask::cycle(target, outlet, off_ms).await,
        Command::Update { target, image, firmware } => {
            update::update(target, &image, firmware).await
        }
        Command::Log(target) => ask::log(target, json).await,
        Command::Simulate { link, outlets, board } => {
            simulate::simulate(&link, outlets, board).await
        }
    }
}

const fn word(state: PowerState) -> &'static str {
    match state {
        PowerState::On => "on",
        PowerState::Off => "off",
    }
}
