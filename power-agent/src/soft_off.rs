//! Asking a machine to shut down: a command on this host, or one on the machine by the host's `ssh`.
//!
//! What is said here is whether the machine took the request; whether it is down, other signs say.

use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use fleet::MachineName;
use rustix::process::{Pid, Signal, kill_process_group};
use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::process::{Child, Command};
use tokio::sync::Notify;
use tokio::time::{Instant, sleep, timeout_at};

use crate::config::{SoftOffConfig, SoftOffWay, SshConfig, fill};

/// What is kept of each of a command's outputs: ssh logs some 6 KB before it sends a command.
const OUTPUT_BYTES_MAX: usize = 32 << 10;
/// What a person reads of it in one line.
const OUTPUT_SHOWN_MAX: usize = 300;
/// How long ssh tries to reach the machine: on one local network either it answers or it is gone.
const SSH_CONNECT_SECONDS: u64 = 10;
/// How long the output is read after the command has ended: what it has left running may hold it open for ever.
const OUTPUT_DEADLINE: Duration = Duration::from_millis(500);
/// What `ssh` exits with on an error of its own.
const SSH_FAILED: i32 = 255;

/// What `ssh` logs because we ask it to: for us, not for people.
const SSH_LOG: &[&str] = &[
    "debug1:",
    "OpenSSH_",
    "Authenticated to ",
    "Authenticating to ",
    "Transferred: ",
    "Bytes per second: ",
];

/// The machine took the request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Taken {
    /// On what that rests, in a sentence.
    pub evidence: String,
}

/// The machine did not take the request, as far as can be told.
#[derive(Debug, thiserror::Error)]
pub enum SoftOffError {
    /// The command could not be started at all.
    #[error("{program} could not be started")]
    NotStarted {
        /// The program.
        program: String,
        /// The cause.
        #[source]
        source: std::io::Error,
    },
    /// The machine could not be reached; it has not been asked.
    #[error("{program} could not reach the machine: {output}")]
    Unreached {
        /// The program.
        program: String,
        /// The end of what it wrote.
        output: String,
    },
    /// The command ended with a failure.
    #[error("{program} failed with {ended}: {output}")]
    Failed {
        /// The program.
        program: String,
        /// Its exit code or signal.
        ended: String,
        /// The end of what it wrote.
        output: String,
    },
    /// The command had not ended at its deadline and was killed with all that it had started.
    #[error("{program} had not ended after {deadline:?} and was killed: {output}")]
    DeadlinePassed {
        /// The program.
        program: String,
        /// The deadline.
        deadline: Duration,
        /// The end of what it wrote.
        output: String,
    },
}

/// Asks a machine to shut down, and waits until the asking command has ended: at most the
/// configured deadline. Dropping the future kills the command with all that it has started.
///
/// # Errors
/// See [`SoftOffError`].
pub async fn ask(
    config: &SoftOffConfig,
    machine: &MachineName,
    node: &str,
) -> Result<Taken, SoftOffError> {
    let put = |text: &String| fill(text, machine.as_str(), node);
    match &config.way {
        SoftOffWay::Exec { argv } => {
            let argv: Vec<String> = argv.iter().map(put).collect();
            run(&argv, config.deadline).await?.exec_result()
        }
        SoftOffWay::Ssh(ssh) => {
            let target = put(&ssh.target);
            let argv = ssh_argv(ssh, &target, put(&ssh.command));
            run(&argv, config.deadline).await?.ssh_result(&target)
        }
    }
}

/// The options hold whatever the user's ssh configuration says: no question is ever asked, no
/// unknown host is trusted, and the log tells whether the command was sent.
fn ssh_argv(config: &SshConfig, target: &str, command: String) -> Vec<String> {
    let mut argv: Vec<String> = vec!["ssh".to_owned(), "-T".to_owned()];
    let mut option = |text: String| argv.extend(["-o".to_owned(), text]);
    for fixed in [
        "BatchMode=yes",
        "StrictHostKeyChecking=yes",
        "ControlMaster=no",
        "ControlPath=none",
        "ClearAllForwardings=yes",
        "PermitLocalCommand=no",
        "ServerAliveInterval=5",
        "ServerAliveCountMax=3",
        "LogLevel=DEBUG1",
    ] {
        option(fixed.to_owned());
    }
    option(format!("ConnectTimeout={SSH_CONNECT_SECONDS}"));
    if let Some(file) = &config.known_hosts {
        option(format!("UserKnownHostsFile=\"{}\"", file.display()));
        option("GlobalKnownHostsFile=/dev/null".to_owned());
    }
    if let Some(file) = &config.identity_file {
        option(format!("IdentityFile=\"{}\"", file.display()));
        option("IdentitiesOnly=yes".to_owned());
    }
    if let Some(port) = config.port {
        option(format!("Port={port}"));
    }
    argv.extend(["--".to_owned(), target.to_owned(), command]);
    argv
}

/// A command that has ended.
struct Ended {
    program: String,
    status: ExitStatus,
    output: String,
}

impl Ended {
    fn exec_result(self) -> Result<Taken, SoftOffError> {
        if self.status.success() {
            return Ok(Taken { evidence: format!("{} ended with exit code 0", self.program) });
        }
        Err(self.failed())
    }

    fn failed(self) -> SoftOffError {
        let ended = match self.status.code() {
            Some(code) => format!("exit code {code}"),
            None => self.status.to_string(),
        };
        SoftOffError::Failed { program: self.program, ended, output: shown(&self.output) }
    }

    fn ssh_result(self, target: &str) -> Result<Taken, SoftOffError> {
        if self.status.success() {
            return Ok(Taken { evidence: format!("ssh {target} ended with exit code 0") });
        }
        let logged = |text: &str| self.output.lines().any(|line| line.starts_with(text));
        // A session that was cut off is logged as status -1, the machine's own code as itself.
        let ours = self.status.code() == Some(SSH_FAILED) && !logged("debug1: Exit status 255");
        if ours && logged("debug1: Sending command") {
            let evidence = format!("{target} closed the connection after the command was sent");
            return Ok(Taken { evidence });
        }
        if ours {
            let program = format!("ssh {target}");
            return Err(SoftOffError::Unreached { program, output: shown(&self.output) });
        }
        Err(Ended { program: format!("ssh {target}"), ..self }.failed())
    }
}

/// The end of an output on one line, without what `ssh` logs for us.
fn shown(output: &str) -> String {
    let is_ours = |line: &&str| SSH_LOG.iter().any(|prefix| line.starts_with(prefix));
    let told: Vec<&str> =
        output.lines().map(str::trim).filter(|line| !line.is_empty() && !is_ours(line)).collect();
    let line: Vec<char> = told.join(" | ").chars().filter(|c| !c.is_control()).collect();
    if line.is_empty() {
        return "it wrote nothing".to_owned();
    }
    line.iter().skip(line.len().saturating_sub(OUTPUT_SHOWN_MAX)).collect()
}

/// Runs a command in a process group of its own, without input, until it ends or is killed.
async fn run(argv: &[String], deadline: Duration) -> Result<Ended, SoftOffError> {
    let ends_at = Instant::now() + deadline;
    let (program, arguments) =
        argv.split_first().map_or(("", argv), |(program, arguments)| (program.as_str(), arguments));
    let spawned = Command::new(program)
        .args(arguments)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .process_group(0)
        .kill_on_drop(true)
        .spawn();
    let program = program.to_owned();
    let mut child = match spawned {
        Ok(child) => child,
        Err(source) => return Err(SoftOffError::NotStarted { program, source }),
    };
    let group = Group::of(&child);
    let (stdout, stderr) = (child.stdout.take(), child.stderr.take());
    let mut collected = Collected::default();
    let (out, err) = (&mut collected.out, &mut collected.err);
    let ended = Notify::new();
    let waiting = async {
        let waited = timeout_at(ends_at, child.wait()).await;
        if waited.is_err() {
            group.kill();
        }
        ended.notify_one();
        waited
    };
    // The output is read while the command runs, else a talkative one would block on a full pipe.
    let reading = async {
        let left_open = async {
            ended.notified().await;
            sleep(OUTPUT_DEADLINE).await;
        };
        tokio::select! {
            _ = async { tokio::join!(collect(stdout, out), collect(stderr, err)) } => {}
            () = left_open => tracing::debug!("a soft off command left its output open"),
        }
    };
    let (waited, ()) = tokio::join!(waiting, reading);
    match waited {
        Ok(Ok(status)) => {
            group.forget();
            Ok(Ended { program, status, output: collected.text() })
        }
        Ok(Err(source)) => Err(SoftOffError::NotStarted { program, source }),
        Err(_elapsed) => {
            let output = shown(&collected.text());
            Err(SoftOffError::DeadlinePassed { program, deadline, output })
        }
    }
}

/// What a command wrote, bounded.
#[derive(Default)]
struct Collected {
    out: Vec<u8>,
    err: Vec<u8>,
}

impl Collected {
    fn text(&self) -> String {
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        format!("{}\n{}", text(&self.out), text(&self.err))
    }
}

/// Reads to the end, keeping the first [`OUTPUT_BYTES_MAX`].
async fn collect(from: Option<impl AsyncRead + Unpin>, into: &mut Vec<u8>) {
    let Some(mut from) = from else { return };
    let mut chunk = [0_u8; 1024];
    while let Ok(count) = from.read(&mut chunk).await {
        if count == 0 {
            return;
        }
        let room = OUTPUT_BYTES_MAX.saturating_sub(into.len());
        into.extend(chunk.iter().take(count.min(room)));
    }
}

/// The command's process group: killed when this is dropped, unless the command has ended by itself.
struct Group(Option<Pid>);

impl Group {
    fn of(child: &Child) -> Self {
        Self(child.id().and_then(|id| Pid::from_raw(i32::try_from(id).ok()?)))
    }

    fn kill(&self) {
        if let Some(Err(error)) = self.0.map(|group| kill_process_group(group, Signal::KILL)) {
            tracing::debug!(%error, "a process group was gone before it was killed");
        }
    }

    /// What a command leaves behind on purpose after a success is its own affair.
    fn forget(mut self) {
        self.0 = None;
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        self.kill();
    }
}
