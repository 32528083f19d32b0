//! `standin`: in the place of Nomad, of its clients and of the Nomad Autoscaler, for the demo and for tests
//! where there is no Go to build them. It is no evidence about Nomad; the stories run on the real hosts.
#![expect(clippy::print_stderr, reason = "a program whose log is its stderr")]

mod autoscaler;
mod client;
mod cluster;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// Stands in for Nomad and for the Nomad Autoscaler, as far as Lamplighter needs them.
#[derive(Debug, Parser)]
#[command(name = "standin", max_term_width = 100)]
struct Arguments {
    #[command(subcommand)]
    role: Role,
}

#[derive(Debug, Subcommand)]
enum Role {
    /// A Nomad server, in memory: the calls that Lamplighter makes, and no access control
    Nomad(cluster::Addresses),
    /// A Nomad client, which runs its node's work as plain processes
    Client(client::Settings),
    /// The Nomad Autoscaler: launches plugins and evaluates policies
    Autoscaler(autoscaler::Settings),
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    // One thread, so that what is tied to the thread that started it lives as long as the program.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let ended = runtime.map_err(anyhow::Error::from).and_then(|runtime| {
        runtime.block_on(async {
            match &arguments.role {
                Role::Nomad(addresses) => cluster::run(addresses).await,
                Role::Client(settings) => client::run(settings).await,
                Role::Autoscaler(settings) => autoscaler::run(settings).await,
            }
        })
    });
    match ended {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("standin: {error:#}");
            ExitCode::FAILURE
        }
    }
}
