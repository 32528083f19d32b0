//! A virtual rack on lines of its own and the real agent on them: what the agent's tests start, kill, order and read.
//! It fails by panic, as the tests that use it do.

#![expect(clippy::panic, reason = "a bench stands in tests alone, and fails as they do")]

mod orders;
mod typed;

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::thread::JoinHandle;
use std::time::Duration;

use agent_api::{AgentAddress, Client};
use rustix::process::{Pid, Resource, Rlimit, Signal};
use tempfile::TempDir;
use tokio::process::Command;
use tokio::sync::oneshot;
use tokio::time::timeout;
use virtual_rack::control::Client as Rack;
use virtual_rack::edges::EdgeRecord;
use virtual_rack::relay::Power;

pub use self::orders::{autoscaler, ended, name, order, person, phase, reading};
pub use self::typed::said_by;
use crate::process::Process;
use crate::programs::program;
use crate::said::Said;

/// Far above what any single step needs: on a host that was ten times overbooked, a minute was not enough.
pub const PATIENCE: Duration = Duration::from_secs(180);

/// Between two looks at what has no event.
const PAUSE: Duration = Duration::from_millis(10);

/// A rack and its agent. The rack stands on a thread of its own and does not notice what becomes of the agent.
pub struct Bench {
    /// The agent's socket.
    pub client: Client,
    /// The rack's socket.
    pub rack: Rack,
    /// How much later it is for the agents that are started from now on.
    pub later: Option<Duration>,
    /// The folder that stands for `/sys/dev/char` for the agents that are started from now on.
    pub ports_told: Option<PathBuf>,
    /// What the agents that are started from now on log, as `RUST_LOG`.
    pub log_filter: Option<&'static str>,
    agent: Option<Process>,
    program: PathBuf,
    thread: Option<(oneshot::Sender<()>, JoinHandle<()>)>,
    // Last, so that it outlives those who write into it.
    home: TempDir,
}

impl Bench {
    /// The rack of the file `rack`, and the agent's file; no agent yet. The files say `rack.sock`, `edges.jsonl` and
    /// `agent.sock`, all beside them.
    pub async fn new(rack: &str, agent: &str) -> Self {
        Self::with_script(rack, "", agent).await
    }

    /// As [`Bench::new`], with what happens at the rack meanwhile.
    pub async fn with_script(rack: &str, script: &str, agent: &str) -> Self {
        let home = tempfile::tempdir().expect("a directory");
        let here = home.path();
        std::fs::write(here.join("agent.toml"), agent).expect("a file");
        let config = virtual_rack::config::parse(rack, &here.join("RACK.toml"));
        let config = config.unwrap_or_else(|error| panic!("{error}"));
        let script = virtual_rack::script::parse(script, &here.join("day.txt"));
        let script = script.unwrap_or_else(|error| panic!("{error}"));
        let (stop, stopped) = oneshot::channel();
        let thread = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            runtime.expect("a runtime").block_on(async {
                tokio::select! {
                    ended = virtual_rack::wiring::run(config, Some(script), |_| Ok(())) => ended.expect("a rack"),
                    _ = stopped => {}
                }
            });
        });
        let rack = tokio::select! {
            rack = Rack::ready(here.join("rack.sock"), PATIENCE) => rack,
            () = end_of(&thread) => panic!("the rack's thread has ended, and said why"),
        };
        // A build meanwhile puts another file in its place: a long run stays with the one it began with.
        let (built, own) = (program("power-agent").expect("it is built"), here.join("power-agent"));
        let program = if std::fs::hard_link(&built, &own).is_ok() { own } else { built };
        Self {
            client: Client::connect_lazy(&AgentAddress::socket(here.join("agent.sock"))),
            rack: rack.unwrap_or_else(|error| panic!("{error}")),
            later: None,
            ports_told: None,
            log_filter: None,
            agent: None,
            program,
            thread: Some((stop, thread)),
            home,
        }
    }

    /// A file or folder of this bench.
    #[must_use]
    pub fn path(&self, name: &str) -> PathBuf {
        self.home.path().join(name)
    }

    /// The agent's binary.
    #[must_use]
    pub fn program(&self) -> &Path {
        &self.program
    }

    /// The agent's file.
    #[must_use]
    pub fn agent_file(&self) -> String {
        std::fs::read_to_string(self.path("agent.toml")).expect("a file")
    }

    /// Writes the agent's file; it is read at the next start or by [`Bench::reload`].
    pub fn write_agent_file(&self, text: &str) {
        std::fs::write(self.path("agent.toml"), text).expect("a file");
    }

    /// The signal that comes with a file that may not grow would end the agent; a full disk sends none.
    fn serve(&self) -> Vec<String> {
        let mut argv = ["sh", "-c", "trap '' XFSZ; exec \"$0\" \"$@\""].map(str::to_owned).to_vec();
        if let Some(later) = self.later {
            // The clock since boot, which is the agent's, is ahead by that much in a namespace of its own.
            let later = later.as_secs().to_string();
            argv.extend(["unshare", "--time", "--boottime", &later].map(str::to_owned));
            if !rustix::process::geteuid().is_root() {
                argv.extend(["--user", "--map-current-user"].map(str::to_owned));
            }
        }
        if let Some(told) = &self.ports_told {
            let told = told.display().to_string();
            argv.extend(["unshare", "--mount"].map(str::to_owned));
            if !rustix::process::geteuid().is_root() {
                argv.extend(["--user", "--map-root-user"].map(str::to_owned));
            }
            let mount = "mount --bind \"$0\" /sys/dev/char && exec \"$@\"";
            argv.extend(["sh", "-c", mount, &told].map(str::to_owned));
        }
        let config = self.path("agent.toml");
        let [program, config] = [&self.program, &config].map(|path| path.display().to_string());
        argv.extend([program, "serve".to_owned(), "--config".to_owned(), config]);
        argv
    }

    /// Starts the agent and does not wait for it. Its log goes on where that of the one before it ended.
    pub fn spawn_agent(&mut self) {
        let filter = self.log_filter.map(|filter| ("RUST_LOG", OsStr::new(filter)));
        let environment: Vec<_> = filter.into_iter().collect();
        let agent = Process::start_with("agent", &self.serve(), self.home.path(), &environment);
        self.agent = Some(agent.unwrap_or_else(|error| panic!("{error:#}")));
    }

    /// Starts the agent and waits until it answers.
    pub async fn start_agent(&mut self) {
        self.spawn_agent();
        until("the agent answers", async || {
            let agent = self.agent.as_mut().expect("an agent runs");
            if let Some(status) = agent.ended().expect("its end is seen") {
                panic!("the agent ended with {status}:\n{}", agent.log_tail());
            }
            self.client.inventory().await.ok()
        })
        .await;
    }

    /// A second agent beside the first: how it ends and what it says.
    pub async fn second_agent(&self) -> Said {
        let serve = self.serve();
        let (program, arguments) = serve.split_first().expect("a program");
        let mut command = Command::new(program);
        command.args(arguments).kill_on_drop(true);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        said_by(command.spawn().expect("it starts")).await
    }

    /// The agent's process.
    #[must_use]
    pub fn agent_id(&self) -> u32 {
        self.agent.as_ref().expect("an agent runs").id()
    }

    /// Sends the agent a signal.
    pub fn signal(&self, signal: Signal) {
        self.agent.as_ref().expect("an agent runs").signal(signal).expect("it is there");
    }

    /// The agent stands still until it is let go on by SIGCONT, and what it sent before has been heard.
    pub async fn pause_agent(&self) {
        self.signal(Signal::STOP);
        let status = format!("/proc/{}/status", self.agent_id());
        until("the agent stands still", async || {
            let text = std::fs::read_to_string(&status).expect("the agent is there");
            text.contains("State:\tT").then_some(())
        })
        .await;
        self.heard().await;
    }

    /// As `kill -9` does. An agent that ended by itself before is a failure, with its log.
    pub async fn kill_agent(&mut self) {
        let mut agent = self.agent.take().expect("an agent runs");
        if let Some(status) = agent.ended().expect("its end is seen") {
            panic!("the agent ended with {status}:\n{}", agent.log_tail());
        }
        agent.kill().await.expect("it is killed");
        self.heard().await;
    }

    /// As systemd does.
    pub async fn stop_agent(&mut self) {
        let agent = self.agent.take().expect("an agent runs");
        let ended = agent.stop(PATIENCE).await.expect("its end is seen");
        assert!(ended.success(), "{ended}:\n{}", self.log());
        self.heard().await;
    }

    /// A real line is drained before the agent takes its frame for sent; a pseudo-terminal is not, and whoever opens it
    /// next throws away what the rack has not read yet. A rack that has answered twice has read it.
    pub async fn heard(&self) {
        for _ in 0..2 {
            self.rack.state().await.expect("the rack answers");
        }
    }

    /// From now on the agent can write no file, as on a full disk; with `None` it can again.
    pub fn limit_files(&self, bytes_max: Option<u64>) {
        let agent = self.agent.as_ref().expect("an agent runs");
        let id = i32::try_from(agent.id()).ok().and_then(Pid::from_raw);
        let limit = Rlimit { current: bytes_max, maximum: None };
        rustix::process::prlimit(id, Resource::Fsize, limit).expect("a limit is set");
    }

    /// Gives the agent another rack file and has it read; what it says of it in its log.
    pub async fn reload(&self, file: &str) -> String {
        self.write_agent_file(file);
        let told = || {
            let log = self.log();
            // A device's trouble may name its section of the rack file.
            let ends = ["rack file read again", "rack file not taken"];
            let told = log.lines().filter(|line| ends.iter().any(|end| line.contains(end)));
            told.map(str::to_owned).collect()
        };
        let before: Vec<String> = told();
        self.signal(Signal::HUP);
        until("the reload is told", async || told().get(before.len()).cloned()).await
    }

    /// What all agents of this bench have said.
    #[must_use]
    pub fn log(&self) -> String {
        std::fs::read_to_string(self.path("agent.log")).unwrap_or_default()
    }

    /// All movements of all contacts since the rack's start, from its own log.
    pub async fn edges(&self) -> Vec<EdgeRecord> {
        self.heard().await;
        virtual_rack::edges::read(&self.path("edges.jsonl")).expect("the log is whole")
    }

    /// The same in short, in order: board, channel, state.
    pub async fn moves(&self) -> Vec<(String, u8, Power)> {
        let edges = self.edges().await;
        edges.into_iter().map(|edge| (edge.board, edge.channel, edge.edge)).collect()
    }

    /// Takes the whole rack away, lines and all.
    pub async fn unplug(&self) {
        self.rack.quit().await.expect("the rack ends");
    }
}

impl Drop for Bench {
    fn drop(&mut self) {
        if let Some((stop, thread)) = self.thread.take() {
            drop(stop);
            // A rack that failed has told so in its own thread.
            drop(thread.join());
        }
    }
}

async fn end_of(thread: &JoinHandle<()>) {
    while !thread.is_finished() {
        tokio::time::sleep(PAUSE).await;
    }
}

/// Waits until there is something, looking again and again.
pub async fn until<T>(what: &str, mut look: impl AsyncFnMut() -> Option<T>) -> T {
    let looks = async {
        loop {
            if let Some(found) = look().await {
                return found;
            }
            tokio::time::sleep(PAUSE).await;
        }
    };
    timeout(PATIENCE, looks).await.unwrap_or_else(|_| panic!("waited too long until {what}"))
}
