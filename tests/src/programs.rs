//! Our own programs, as the build left them beside the running test.

use std::path::PathBuf;

use anyhow::{Context as _, Result, bail};

/// The path of one of our binaries, built in the same profile as the caller.
///
/// # Errors
/// Where it has not been built; the message names the command that does.
pub fn program(name: &str) -> Result<PathBuf> {
    let own = std::env::current_exe().context("can not tell where this program is")?;
    // Tests lie in PROFILE/deps, xtask in PROFILE.
    for folder in own.ancestors().skip(1).take(2) {
        let candidate = folder.join(name);
        if candidate.is_file() {
            return Ok(candidate);
        }
    }
    bail!("{name} is not built beside {}; run `cargo build --workspace --bins`", own.display())
}
