//! The commands of machines as real processes, and their death: a power cut leaves nothing alive.

use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::fs::File;
use std::path::Path;
use std::path::PathBuf;
use std::process::Stdio;
use std::time::Duration;

use rustix::process::Pid;
use rustix::process::PidfdFlags;
use rustix::process::Signal;
use tokio::process::Child;
use tokio::process::Command;
use tokio::task::AbortHandle;
use tokio::task::JoinSet;

use crate::config::MachineConfig;
use crate::control::CommandState;
use crate::machine::Effect;

/// Lets a command die when the rack does, even by SIGKILL.
const TETHER: [&str; 3] = ["setpriv", "--pdeathsig", "KILL"];
/// Gives a command a process namespace of its own: when its first process dies, all die with it.
const SEAL: [&str; 5] = ["unshare", "--pid", "--fork", "--kill-child", "--mount-proc"];
/// The same without root, where the kernel lets everyone have a user namespace.
const SEAL_WITHOUT_ROOT: [&str; 7] =
    ["unshare", "--user", "--map-current-user", "--pid", "--fork", "--kill-child", "--mount-proc"];
/// A probe runs `true`; on a swamped host that takes a second.
const PROBE_WAIT: Duration = Duration::from_secs(10);
/// `unshare` needs a few milliseconds until its child is there to be signalled.
const CHILD_WAIT: Duration = Duration::from_secs(5);
/// Looks at a family until all are stopped: two are enough unless they fork meanwhile.
const LOOKS_MAX: usize = 32;
/// Pause between two looks for that child.
const CHILD_PAUSE: Duration = Duration::from_millis(5);

/// A command that ended.
#[derive(Debug)]
pub(crate) struct Exit {
    machine: String,
    generation: u64,
    outcome: String,
}

/// How commands are started on this host.
#[derive(Debug, Clone)]
struct Launcher {
    prefix: Vec<&'static str>,
    sealed: bool,
}

/// A running command. `leader` is our own child: `unshare`, or the command itself.
#[derive(Debug)]
struct Running {
    leader: Pid,
    generation: u64,
    sealed: bool,
    terminating: Option<AbortHandle>,
}

#[derive(Debug)]
enum Stage {
    Idle,
    Runs(Running),
    Ended(CommandState),
}

#[derive(Debug)]
struct Bench {
    argv: Vec<String>,
    log: Option<File>,
    stage: Stage,
}

/// All commands of the rack.
#[derive(Debug)]
pub(crate) struct Programs {
    launcher: Launcher,
    benches: BTreeMap<String, Bench>,
    generation: u64,
    tasks: JoinSet<Option<Exit>>,
}

/// A command's log that can not be opened.
#[derive(Debug, thiserror::Error)]
#[error("command_log {} of machine {machine}", .path.display())]
pub(crate) struct LogError {
    machine: String,
    path: PathBuf,
    #[source]
    source: std::io::Error,
}

impl LogError {
    /// What the system said.
    pub(crate) fn into_source(self) -> std::io::Error {
        self.source
    }
}

impl Programs {
    /// Finds out how commands can be started here, and opens their logs (emptied: a log is of one
    /// run of the rack, and of all boots in it).
    pub(crate) async fn prepare(
        machines: &BTreeMap<String, MachineConfig>,
    ) -> Result<Self, LogError> {
        let mut benches = BTreeMap::new();
        for (name, machine) in machines {
            if machine.command.is_empty() {
                continue;
            }
            let opened = machine.command_log.as_ref().map(|path| {
                open_log(path).map_err(|source| LogError {
                    machine: name.clone(),
                    path: path.clone(),
                    source,
                })
            });
            let bench = Bench {
                argv: machine.command.clone(),
                log: opened.transpose()?,
                stage: Stage::Idle,
            };
            benches.insert(name.clone(), bench);
        }
        let launcher = if benches.is_empty() { Launcher::bare() } else { Launcher::probe().await };
        Ok(Self { launcher, benches, generation: 0, tasks: JoinSet::new() })
    }

    /// Does to a machine's command what befell the machine.
    pub(crate) fn apply(&mut self, machine: &str, effect: Effect) {
        let Some(bench) = self.benches.get_mut(machine) else { return };
        match effect {
            Effect::Start => {
                self.generation += 1;
                bench.stage = match self.launcher.start(bench, self.generation) {
                    Ok((child, running)) => {
                        self.tasks.spawn(watch(machine.to_owned(), self.generation, child));
                        Stage::Runs(running)
                    }
                    Err(err) => {
                        tracing::error!(machine, %err, "could not start a machine's command");
                        Stage::Ended(CommandState::Failed { reason: err.to_string() })
                    }
                };
            }
            Effect::Terminate => {
                if let Stage::Runs(running) = &mut bench.stage {
                    let order = terminate(running.leader, running.sealed, machine.to_owned());
                    running.terminating = Some(self.tasks.spawn(order));
                }
            }
            Effect::Freeze | Effect::Thaw => {
                if let Stage::Runs(running) = &bench.stage {
                    let signal = if effect == Effect::Freeze { Signal::STOP } else { Signal::CONT };
                    signal_family(running.leader, signal, machine);
                }
            }
            Effect::Kill => {
                if let Stage::Runs(running) = &bench.stage {
                    running.cut();
                }
                bench.stage = Stage::Idle;
            }
        }
    }

    /// Waits for the next command that ended; for ever where none runs.
    pub(crate) async fn ended(&mut self) -> Exit {
        loop {
            match self.tasks.join_next().await {
                Some(Ok(Some(exit))) => return exit,
                Some(Ok(None) | Err(_)) => {}
                None => std::future::pending().await,
            }
        }
    }

    /// Notes that a command ended by itself; one that was cut has left its bench already.
    pub(crate) fn note(&mut self, exit: Exit) {
        let Some(bench) = self.benches.get_mut(&exit.machine) else { return };
        if let Stage::Runs(running) = &bench.stage
            && running.generation == exit.generation
        {
            tracing::info!(machine = exit.machine, outcome = exit.outcome, "a command ended");
            // What it left behind in its group would die with a sealed command; so it does without.
            running.cut();
            bench.stage = Stage::Ended(CommandState::Exited { outcome: exit.outcome });
        }
    }

    /// A machine's command as it is now.
    pub(crate) fn state(&self, machine: &str) -> CommandState {
        match self.benches.get(machine).map(|bench| &bench.stage) {
            Some(Stage::Runs(running)) => {
                let pid = u32::try_from(running.leader.as_raw_nonzero().get()).unwrap_or_default();
                CommandState::Running { pid }
            }
            Some(Stage::Ended(state)) => state.clone(),
            Some(Stage::Idle) | None => CommandState::None,
        }
    }

    /// Kills every command and waits until all are gone, at most `patience`.
    pub(crate) async fn end(mut self, patience: Duration) {
        let machines: Vec<String> = self.benches.keys().cloned().collect();
        for machine in machines {
            self.apply(&machine, Effect::Kill);
        }
        let all_gone = async { while self.tasks.join_next().await.is_some() {} };
        if tokio::time::timeout(patience, all_gone).await.is_err() {
            tracing::error!("commands outlived their SIGKILL");
        }
    }
}

impl Launcher {
    fn bare() -> Self {
        Self { prefix: Vec::new(), sealed: false }
    }

    /// Tries the tether and the seal, and says once what a missing one means.
    async fn probe() -> Self {
        let mut prefix = Vec::new();
        match runs(&TETHER).await {
            Ok(()) => prefix.extend(TETHER),
            Err(reason) => tracing::warn!(
                reason,
                "setpriv does not work here: commands survive a SIGKILL of the rack"
            ),
        }
        let mut sealed = true;
        match (runs(&SEAL).await, runs(&SEAL_WITHOUT_ROOT).await) {
            (Ok(()), _) => prefix.extend(SEAL),
            (Err(_), Ok(())) => prefix.extend(SEAL_WITHOUT_ROOT),
            (Err(reason), Err(_)) => {
                sealed = false;
                tracing::warn!(
                    reason,
                    "unshare does not work here (it needs root, or user namespaces): a power cut \
                     kills a command's process group, and processes that left the group survive it"
                );
            }
        }
        Self { prefix, sealed }
    }

    fn start(&self, bench: &Bench, generation: u64) -> std::io::Result<(Child, Running)> {
        let mut words = self.prefix.iter().copied().chain(bench.argv.iter().map(String::as_str));
        let program = words.next().ok_or(std::io::ErrorKind::InvalidInput)?;
        let mut command = Command::new(program);
        command.args(words).process_group(0).kill_on_drop(true).stdin(Stdio::null());
        match &bench.log {
            Some(log) => command.stdout(log.try_clone()?).stderr(log.try_clone()?),
            None => command.stdout(Stdio::null()).stderr(Stdio::null()),
        };
        let child = command.spawn()?;
        let leader = child
            .id()
            .and_then(|id| Pid::from_raw(i32::try_from(id).ok()?))
            .ok_or(std::io::ErrorKind::NotFound)?;
        Ok((child, Running { leader, generation, sealed: self.sealed, terminating: None }))
    }
}

impl Running {
    /// Kills the leader and all in its group: the namespace falls with its `unshare`, and the group
    /// covers the instant in which `unshare` has forked and not yet tied the child to itself.
    fn cut(&self) {
        if let Some(terminating) = &self.terminating {
            terminating.abort();
        }
        match rustix::process::kill_process_group(self.leader, Signal::KILL) {
            Ok(()) | Err(rustix::io::Errno::SRCH) => {}
            Err(err) => tracing::error!(pid = %self.leader, %err, "could not kill a command"),
        }
    }
}

/// Signals a process and all its descendants. Those that are stopped make no more; hence a few looks
/// find them all, as fast as they may have been forking.
fn signal_family(leader: Pid, signal: Signal, machine: &str) {
    let mut signalled = BTreeSet::new();
    for _ in 0..LOOKS_MAX {
        let family = family(leader);
        let fresh: Vec<Pid> =
            family.into_iter().filter(|pid| signalled.insert(pid.as_raw_nonzero())).collect();
        if fresh.is_empty() {
            return;
        }
        for pid in fresh {
            match rustix::process::kill_process(pid, signal) {
                Ok(()) | Err(rustix::io::Errno::SRCH) => {}
                Err(err) => tracing::warn!(machine, %pid, %err, "could not stop or continue"),
            }
        }
    }
    tracing::warn!(machine, "its processes come faster than they can be stopped");
}

/// A process and all that descend from it, parents first.
fn family(leader: Pid) -> Vec<Pid> {
    let mut found = vec![leader];
    let mut next = 0;
    while let Some(parent) = found.get(next).copied() {
        next += 1;
        let threads = std::fs::read_dir(format!("/proc/{parent}/task")).into_iter().flatten();
        for thread in threads.flatten() {
            let children =
                std::fs::read_to_string(thread.path().join("children")).unwrap_or_default();
            let pids =
                children.split_whitespace().filter_map(|pid| Pid::from_raw(pid.parse().ok()?));
            found.extend(pids);
        }
    }
    found
}

/// Emptied, and appended to from then on: two machines may share one.
fn open_log(path: &Path) -> std::io::Result<File> {
    let log = File::options().create(true).append(true).open(path)?;
    log.set_len(0)?;
    Ok(log)
}

/// Whether `true` runs behind a prefix; otherwise why not.
async fn runs(prefix: &[&str]) -> Result<(), String> {
    let mut words = prefix.iter();
    let Some(program) = words.next() else { return Ok(()) };
    let mut command = Command::new(program);
    command.args(words).arg("true").stdin(Stdio::null()).kill_on_drop(true);
    match tokio::time::timeout(PROBE_WAIT, command.output()).await {
        Ok(Ok(output)) if output.status.success() => Ok(()),
        Ok(Ok(output)) => Err(String::from_utf8_lossy(&output.stderr).trim().to_owned()),
        Ok(Err(err)) => Err(err.to_string()),
        Err(_) => Err(format!("no end within {PROBE_WAIT:?}")),
    }
}

async fn watch(machine: String, generation: u64, mut child: Child) -> Option<Exit> {
    let outcome = match child.wait().await {
        Ok(status) => status.to_string(),
        Err(err) => format!("lost sight of it: {err}"),
    };
    Some(Exit { machine, generation, outcome })
}

/// Sends SIGTERM to the command itself, which in a namespace is the child of our `unshare`.
async fn terminate(leader: Pid, sealed: bool, machine: String) -> Option<Exit> {
    let target = if sealed {
        tokio::time::timeout(CHILD_WAIT, only_child(leader)).await.ok().flatten()
    } else {
        Some(leader)
    };
    let Some(target) = target else {
        tracing::warn!(machine, "found no process to send SIGTERM to");
        return None;
    };
    let sent = rustix::process::pidfd_open(target, PidfdFlags::empty())
        .and_then(|target| rustix::process::pidfd_send_signal(target, Signal::TERM));
    if let Err(err) = sent {
        tracing::warn!(machine, pid = %target, %err, "could not send SIGTERM");
    }
    None
}

/// Waits for a process's child; none where the process is gone.
async fn only_child(parent: Pid) -> Option<Pid> {
    loop {
        let children = std::fs::read_to_string(format!("/proc/{parent}/task/{parent}/children"));
        let child = children.ok()?.split_whitespace().next().and_then(|pid| pid.parse().ok());
        if let Some(child) = child.and_then(Pid::from_raw) {
            return Some(child);
        }
        tokio::time::sleep(CHILD_PAUSE).await;
    }
}
