//! The binary `lamplighter`: a plugin when the autoscaler starts it with a kind, sub-commands for people.

use std::process::ExitCode;

use clap::{Parser, Subcommand};
use nomad_plugin::host;

mod unwired;

/// Machines that a Nomad cluster's policies switch on and off.
#[derive(Debug, Parser)]
#[command(name = "lamplighter", version, max_term_width = 100)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Serve as target plugin; started by the Nomad Autoscaler, whose block says args = ["target"]
    Target,
    /// Serve as APM plugin; started by the Nomad Autoscaler, whose block says args = ["apm"]
    Apm,
}

fn main() -> ExitCode {
    if std::env::args_os().len() <= 1 {
        return host::refuse_bare_start();
    }
    match Arguments::try_parse() {
        Ok(arguments) => run(arguments.command),
        // The host shows plain text only at its debug level.
        Err(error) if host::launched_by_a_host() => host::refuse_start(&error.to_string()),
        Err(error) => {
            error.print().ok();
            u8::try_from(error.exit_code()).map_or(ExitCode::FAILURE, ExitCode::from)
        }
    }
}

fn run(command: Command) -> ExitCode {
    match command {
        Command::Target => host::serve_target(unwired::Unwired),
        Command::Apm => host::serve_apm(unwired::Unwired),
    }
}
