//! Programs that a story starts: each in its own process group, logged to a file, gone with its owner.

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::{Read as _, Seek as _, SeekFrom};
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use anyhow::{Context as _, Result};
use rustix::process::{Pid, Signal, kill_process_group};
use tokio::process::{Child, Command};

/// How much of a log a failure shows: the last screenful, where the reason stands.
const LOG_TAIL_BYTES_MAX: u64 = 4096;

/// A running program. Dropping it kills its whole process group; where `setpriv` is there, it also dies
/// with the thread that started it, so that even a SIGKILL of the test leaves nothing behind. Start it
/// from a task of the runtime that lives as long as the story, not from a blocking one.
pub struct Process {
    name: String,
    child: Child,
    group: Pid,
    log: PathBuf,
}

impl Process {
    /// Starts a program; its stdout and stderr go to `DIR/NAME.log`, after what an earlier one wrote there.
    ///
    /// # Errors
    /// Where the log can not be made or the program can not be started.
    pub fn start<A: AsRef<OsStr>>(name: &str, argv: &[A], dir: &Path) -> Result<Self> {
        Self::start_with(name, argv, dir, &[])
    }

    /// As [`Process::start`], with variables added to the environment.
    ///
    /// # Errors
    /// Where the log can not be made or the program can not be started.
    pub fn start_with<A: AsRef<OsStr>>(
        name: &str,
        argv: &[A],
        dir: &Path,
        environment: &[(&str, &OsStr)],
    ) -> Result<Self> {
        let log = dir.join(format!("{name}.log"));
        let out = File::options()
            .create(true)
            .append(true)
            .open(&log)
            .with_context(|| format!("can not write the log {}", log.display()))?;
        let argv = mortal(argv);
        let (program, arguments) = argv.split_first().context("a program needs an argv")?;
        let child = Command::new(program)
            .args(arguments)
            .envs(environment.iter().copied())
            .stdin(Stdio::null())
            .stdout(out.try_clone()?)
            .stderr(out)
            .process_group(0)
            .kill_on_drop(true)
            .spawn()
            .with_context(|| format!("can not start {name}: {argv:?}"))?;
        let group = child.id().and_then(|id| Pid::from_raw(i32::try_from(id).ok()?));
        let group = group.with_context(|| format!("{name} ended before it had an id"))?;
        Ok(Self { name: name.to_owned(), child, group, log })
    }

    /// The name that it was started under.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its process id, which is also that of its group.
    #[must_use]
    pub fn id(&self) -> u32 {
        self.group.as_raw_nonzero().get().unsigned_abs()
    }

    /// Where its output goes.
    #[must_use]
    pub fn log(&self) -> &Path {
        &self.log
    }

    /// How it ended; none while it runs.
    ///
    /// # Errors
    /// Where the system can not tell.
    pub fn ended(&mut self) -> Result<Option<ExitStatus>> {
        Ok(self.child.try_wait()?)
    }

    /// Sends a signal to its process group.
    ///
    /// # Errors
    /// Where it has ended already.
    pub fn signal(&self, signal: Signal) -> Result<()> {
        kill_process_group(self.group, signal)
            .with_context(|| format!("can not signal {} ({})", self.name, self.group))
    }

    /// Asks it to end by SIGTERM, and kills it where it has not within `patience`.
    ///
    /// # Errors
    /// Where the system can not tell how it ended.
    pub async fn stop(mut self, patience: Duration) -> Result<ExitStatus> {
        if let Some(status) = self.child.try_wait()? {
            return Ok(status);
        }
        self.signal(Signal::TERM)?;
        match tokio::time::timeout(patience, self.child.wait()).await {
            Ok(status) => Ok(status?),
            Err(_elapsed) => self.kill().await,
        }
    }

    /// Kills its process group at once and waits until it is gone.
    ///
    /// # Errors
    /// Where the system can not tell how it ended.
    pub async fn kill(mut self) -> Result<ExitStatus> {
        self.kill_group();
        Ok(self.child.wait().await?)
    }

    fn kill_group(&self) {
        match kill_process_group(self.group, Signal::KILL) {
            // An error means that the group is gone already.
            Ok(()) | Err(_) => {}
        }
    }

    /// The end of its output, for the message of a failure.
    #[must_use]
    pub fn log_tail(&self) -> String {
        tail_of(&self.log)
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // The id is still ours as long as the child was not waited for.
        if matches!(self.child.try_wait(), Ok(None)) {
            self.kill_group();
        }
    }
}

/// The end of a log, for the message of a failure.
#[must_use]
pub fn tail_of(log: &Path) -> String {
    let tail = tail(log).unwrap_or_else(|error| format!("(unreadable: {error})"));
    format!("the end of {}:\n{tail}", log.display())
}

fn tail(path: &Path) -> std::io::Result<String> {
    let mut file = File::open(path)?;
    let length = file.metadata()?.len();
    file.seek(SeekFrom::Start(length.saturating_sub(LOG_TAIL_BYTES_MAX)))?;
    let mut bytes = Vec::new();
    file.take(LOG_TAIL_BYTES_MAX).read_to_end(&mut bytes)?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

/// The argv behind `setpriv --pdeathsig KILL`, where there is a setpriv.
fn mortal<A: AsRef<OsStr>>(argv: &[A]) -> Vec<OsString> {
    let mut whole = Vec::new();
    if let Some(setpriv) = on_path("setpriv") {
        whole.extend([setpriv.into_os_string(), "--pdeathsig".into(), "KILL".into(), "--".into()]);
    }
    whole.extend(argv.iter().map(|argument| argument.as_ref().to_owned()));
    whole
}

/// The file of a program on the PATH; none where it is not there.
#[must_use]
pub fn on_path(program: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path).map(|dir| dir.join(program)).find(|file| file.is_file())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wait::{Probe, eventually};

    const BOUND: Duration = Duration::from_secs(180);

    async fn wait_gone(id: &str) {
        let stat = format!("/proc/{}/stat", id.trim());
        eventually("the grandchild's end", BOUND, || async {
            let state = std::fs::read_to_string(&stat).unwrap_or_default();
            let ended = state.is_empty() || state.contains(") Z ");
            Ok(Probe::of(ended.then_some(()), || state))
        })
        .await
        .unwrap();
    }

    #[tokio::test]
    async fn a_dropped_program_takes_its_children_with_it() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("grandchild");
        let script = format!("sleep 1000 & echo $! > {}; wait", file.display());
        let process = Process::start("parent", &["sh", "-c", &script], dir.path()).unwrap();
        let id = eventually("the grandchild", BOUND, || async {
            let id = std::fs::read_to_string(&file)?;
            Ok(Probe::of(id.ends_with('\n').then_some(id), String::new))
        })
        .await
        .unwrap();
        drop(process);
        wait_gone(&id).await;
    }

    #[tokio::test]
    async fn a_program_that_ignores_sigterm_is_killed_after_the_patience() {
        let dir = tempfile::tempdir().unwrap();
        let script = "trap '' TERM; echo ready; while :; do sleep 0.05; done";
        let process = Process::start("stubborn", &["sh", "-c", script], dir.path()).unwrap();
        eventually("its trap", BOUND, || async {
            let ready = process.log_tail().contains("ready");
            Ok(Probe::of(ready.then_some(()), || process.log_tail()))
        })
        .await
        .unwrap();
        let status = process.stop(Duration::from_millis(200)).await.unwrap();
        assert_eq!(std::os::unix::process::ExitStatusExt::signal(&status), Some(9));
    }

    #[tokio::test]
    async fn a_failure_can_show_the_end_of_the_output() {
        let dir = tempfile::tempdir().unwrap();
        let process = Process::start("talker", &["sh", "-c", "echo why >&2"], dir.path()).unwrap();
        let text = eventually("its output", BOUND, || async {
            let tail = process.log_tail();
            Ok(Probe::of(tail.contains("why").then_some(tail), || "nothing".to_owned()))
        })
        .await
        .unwrap();
        assert!(text.contains("talker.log"), "{text}");
    }
}
