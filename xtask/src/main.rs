//! `cargo xtask demo` and `cargo xtask test`, the two commands of the README, `cargo xtask cross` and
//! `cargo xtask package`.
#![expect(clippy::print_stdout, clippy::print_stderr, reason = "a program for people's terminals")]

mod cross;
mod demo;
mod firmware;
mod package;
mod setup;
mod steps;
mod test;

use std::process::ExitCode;

use clap::{Parser, Subcommand};
use testkit::cluster::Hosts;

/// Shows Lamplighter at work, and tests it.
#[derive(Debug, Parser)]
#[command(name = "cargo xtask", max_term_width = 100)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// A job waits, machines are lit, it runs, it ends, the rack goes dark: live
    Demo {
        /// Run on the real Nomad and the real Nomad Autoscaler, and build them where they are not there (needs Go)
        #[arg(long, conflicts_with = "stand_in")]
        real: bool,
        /// Run on the stand-ins, also where the real ones are there
        #[arg(long)]
        stand_in: bool,
    },
    /// Builds the agent for other boards: aarch64, static, and armv7; prints how large it is
    Cross {
        /// The targets, by Rust's names; all where none is named
        #[arg(value_name = "TARGET")]
        only: Vec<String>,
        /// Cargo's profile
        #[arg(long, default_value = "release")]
        profile: String,
        /// Builds the virtual rack beside the agent, for measurements on an emulated board
        #[arg(long)]
        with_rack: bool,
    },
    /// Makes the agent's Debian packages
    Package {
        /// Debian's names of what they are for: amd64, arm64, armhf; all where none is named
        #[arg(value_name = "ARCH")]
        only: Vec<String>,
        /// Cargo's profile
        #[arg(long, default_value = "release")]
        profile: String,
    },
    /// Everything that CI runs: format, lints, tests, stories on the real hosts, documentation, dependencies
    Test {
        /// Run only the steps whose names begin so
        #[arg(value_name = "STEP")]
        only: Vec<String>,
    },
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
    let result = match runtime {
        Ok(runtime) => runtime.block_on(async {
            match arguments.command {
                Command::Cross { only, profile, with_rack } => {
                    cross::run(&only, &profile, with_rack).await
                }
                Command::Demo { real, stand_in } => {
                    let asked = real.then_some(Hosts::Real).or(stand_in.then_some(Hosts::StandIn));
                    demo::run(asked).await
                }
                Command::Package { only, profile } => package::run(&only, &profile).await.map(drop),
                Command::Test { only } => test::run(&only).await,
            }
        }),
        Err(error) => Err(error.into()),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("\nxtask: {error:#}");
            ExitCode::FAILURE
        }
    }
}
