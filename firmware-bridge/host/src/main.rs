//! The command `firmware-bridge`: looks at a device, orders something of it, updates it, or simulates one.

mod cli;

use std::process::ExitCode;

fn main() -> ExitCode {
    cli::main()
}
