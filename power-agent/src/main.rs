//! The binary `power-agent`: the daemon and its command line.

use std::process::ExitCode;

fn main() -> ExitCode {
    power_agent::cli::main().into()
}
