//! Commands of ours, run as a person would.

use std::path::Path;

use anyhow::{Context as _, Result};

use crate::programs::program;
use crate::rig::PATH_BOUND;

/// What a command of ours said.
#[derive(Debug)]
pub struct Said {
    /// Its exit code; -1 where a signal ended it.
    pub code: i32,
    /// Its stdout.
    pub out: String,
    /// Its stderr.
    pub err: String,
}

impl Said {
    /// Its stdout, where it ended with 0.
    ///
    /// # Errors
    /// Where it did not: with all that it said.
    pub fn success(self) -> Result<String> {
        anyhow::ensure!(self.code == 0, "exit code {}: {}{}", self.code, self.out, self.err);
        Ok(self.out)
    }
}

/// Runs one of our programs as a person would.
///
/// # Errors
/// Where it is not built, can not be started, or does not end within [`PATH_BOUND`].
pub async fn said(name: &str, arguments: &[&str]) -> Result<Said> {
    run(&program(name)?, arguments).await
}

pub(crate) async fn run(program: &Path, arguments: &[&str]) -> Result<Said> {
    let mut command = tokio::process::Command::new(program);
    command.args(arguments);
    ended(command, arguments).await
}

async fn ended(mut command: tokio::process::Command, arguments: &[&str]) -> Result<Said> {
    let output = command.stdin(std::process::Stdio::null()).kill_on_drop(true).output();
    let output = tokio::time::timeout(PATH_BOUND, output).await;
    let output = output.with_context(|| format!("{arguments:?} did not end"))??;
    Ok(Said {
        code: output.status.code().unwrap_or(-1),
        out: String::from_utf8_lossy(&output.stdout).into_owned(),
        err: String::from_utf8_lossy(&output.stderr).into_owned(),
    })
}

/// Runs any program in a folder, with variables added to the environment.
///
/// # Errors
/// Where it can not be started or does not end within [`PATH_BOUND`].
pub async fn said_by(
    program: &str,
    arguments: &[&str],
    folder: &Path,
    environment: &[(String, String)],
) -> Result<Said> {
    let mut command = tokio::process::Command::new(program);
    command.args(arguments).current_dir(folder).envs(environment.iter().cloned());
    ended(command, arguments).await
}
