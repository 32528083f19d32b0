//! Runs other programs, shows what they print, and counts what test runners say.

use std::path::PathBuf;
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::process::Command;
use tokio::time::Instant;

/// How long one step may take: CI as a whole has ninety minutes, and no step needs half of them.
const STEP_BOUND: Duration = Duration::from_secs(45 * 60);

/// Tests that ran, as their runners counted.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Tally {
    pub(crate) passed: u64,
    pub(crate) failed: u64,
}

/// The workspace's folder.
pub(crate) fn workspace() -> PathBuf {
    let own = PathBuf::from(env!("CARGO_MANIFEST_DIR"));
    own.parent().map_or_else(|| own.clone(), PathBuf::from)
}

/// A command of the workspace.
pub(crate) fn command(program: &str, arguments: &[&str]) -> Command {
    let mut command = Command::new(program);
    command.args(arguments).current_dir(workspace()).stdin(Stdio::null()).kill_on_drop(true);
    command
}

/// Runs a step, passes its output on, and adds what test runners in it counted.
pub(crate) async fn step(name: &str, mut command: Command, tally: &mut Tally) -> Result<()> {
    println!("\n── {name}");
    let began = now();
    command.stdout(Stdio::piped());
    let mut child = command.spawn().with_context(|| format!("{name}: can not be started"))?;
    let out = child.stdout.take().context("the step has an output")?;
    let passing_on = async {
        let mut lines = BufReader::new(out).lines();
        while let Some(line) = lines.next_line().await? {
            count(&line, tally);
            println!("{line}");
        }
        child.wait().await
    };
    let status = tokio::time::timeout(STEP_BOUND, passing_on).await;
    let status = status.with_context(|| format!("{name} took longer than {STEP_BOUND:?}"))??;
    if !status.success() {
        bail!("{name} failed ({status})");
    }
    println!("── {name}: {:.0} s", now().duration_since(began).as_secs_f64());
    Ok(())
}

fn now() -> Instant {
    Instant::now()
}

/// Adds a closing line of cargo's test runner: `test result: ok. 3 passed; 0 failed; …`.
fn count(line: &str, tally: &mut Tally) {
    let Some(rest) = line.strip_prefix("test result: ") else { return };
    for part in rest.split(['.', ';']) {
        let mut words = part.split_whitespace();
        let (number, word) = (words.next(), words.next());
        let number = number.and_then(|number| number.parse::<u64>().ok()).unwrap_or(0);
        match word {
            Some("passed") => tally.passed += number,
            Some("failed") => tally.failed += number,
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn closing_lines_are_counted() {
        let mut tally = Tally::default();
        count(
            "test result: ok. 3 passed; 0 failed; 1 ignored; 0 measured; 0 filtered out",
            &mut tally,
        );
        count("test result: FAILED. 5 passed; 2 failed; 0 ignored; 0 measured", &mut tally);
        count("test a ... ok", &mut tally);
        assert_eq!((tally.passed, tally.failed), (8, 2));
    }
}
