//! Our own programs, as the build left them beside the running test.

use std::path::{Path, PathBuf};

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

/// The path of one of our binaries for another board, as `cargo xtask cross` left it, of whichever profile is newer.
///
/// # Errors
/// Where it has not been built; the message names the command that does.
pub fn crossed(name: &str, triple: &str) -> Result<PathBuf> {
    let own = std::env::current_exe().context("can not tell where this program is")?;
    let built = |file: &PathBuf| std::fs::metadata(file).and_then(|data| data.modified()).ok();
    let profiles = |folder: &Path| {
        ["release", "debug"].map(|profile| folder.join(triple).join(profile).join(name))
    };
    // Tests lie in TARGET/PROFILE/deps, xtask in TARGET/PROFILE.
    let candidates = own.ancestors().skip(1).take(3).flat_map(profiles);
    candidates
        .filter_map(|file| Some((built(&file)?, file)))
        .max()
        .map(|(_, file)| file)
        .with_context(|| {
            format!("{name} is not built for {triple}; run `cargo xtask cross {triple}`")
        })
}
