//! The binary `lamplighter`: a plugin when the autoscaler starts it with a kind, sub-commands for people.

use std::process::ExitCode;

use clap::{Parser, Subcommand};
use fleet::HolderId;
use nomad_plugin::apm::ApmPlugin;
use nomad_plugin::host::Kind;
use nomad_plugin::target::TargetPlugin;
use nomad_plugin::{check, cli, host};

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
    /// Show a pool's machines as its agents see them
    Status(cli::Question),
    /// Check the autoscaler's policies, its blocks for the plugin, and the `scaling` blocks of Nomad jobs
    Check(check::Paths),
    /// Show the plan told last, with what each agent would do of it: edges, times, refusals
    Plan(cli::PlanQuestion),
    /// Say what a pool wants, what is done about it, and for all that is not done, why not
    Why(cli::Question),
}

fn main() -> ExitCode {
    let words: Vec<_> = std::env::args_os().skip(1).collect();
    match words.as_slice() {
        [] => return host::refuse_bare_start(),
        // The host waits for the handshake, and reading this by clap takes a quarter of the way to it.
        [word] if word == Kind::Target.word() => return run(Command::Target),
        [word] if word == Kind::Apm.word() => return run(Command::Apm),
        _ => {}
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
        Command::Target => host::serve_target(TargetPlugin::new(process_name(), own_alloc())),
        Command::Apm => host::serve_apm(ApmPlugin::new(process_name())),
        Command::Check(paths) => check::run(&paths),
        Command::Status(question) => cli::status(&question),
        Command::Plan(asked) => cli::plan(&asked),
        Command::Why(question) => cli::why(&question),
    }
}

/// This process's name in leases and orders: never the same twice, also where process ids repeat as in
/// containers.
fn process_name() -> HolderId {
    let uuid = std::fs::read_to_string("/proc/sys/kernel/random/uuid").unwrap_or_default();
    let uuid = uuid.trim();
    let unique = if uuid.is_empty() { std::process::id().to_string() } else { uuid.to_owned() };
    HolderId::new(format!("lamplighter-{unique}")).expect("letters, digits and dashes are a name")
}

/// The allocation that this process runs in, as Nomad tells its tasks: its machine is never taken.
fn own_alloc() -> Option<String> {
    std::env::var("NOMAD_ALLOC_ID").ok().filter(|id| !id.is_empty())
}
