//! A rack outside of the agent, and the real agent on its lines, to be killed and started again and again.

use std::fmt::Write as _;
use std::path::PathBuf;
use std::process::Stdio;
use std::thread::JoinHandle;
use std::time::Duration;

use agent_api::{AgentAddress, Client};
use rustix::process::Signal;
use tempfile::TempDir;
use tokio::process::{Child, Command};
use tokio::sync::oneshot;
use tokio::time::timeout;
use virtual_rack::edges::EdgeRecord;

/// Far above what any single step needs: on a host that was ten times overbooked, a minute was not enough.
pub(crate) const PATIENCE: Duration = Duration::from_secs(180);

/// Between two looks at what has no event.
pub(crate) const PAUSE: Duration = Duration::from_millis(2);

/// Outlets of each board.
pub(crate) const CHANNELS: u8 = 4;

/// The rack and the agent.
pub(crate) struct Bench {
    home: TempDir,
    rack: Option<(oneshot::Sender<()>, JoinHandle<()>)>,
    hardware: virtual_rack::control::Client,
    program: PathBuf,
    agent: Option<Child>,
    pub(crate) client: Client,
}

/// The boards' names; the last of them can not be read.
pub(crate) fn boards(count: usize) -> Vec<String> {
    (0..count).map(|board| format!("b{board}")).collect()
}

fn rack_file(boards: &[String]) -> String {
    let mut text = "socket = \"rack.sock\"\nedge_log = \"edges.jsonl\"\n".to_owned();
    for (at, board) in boards.iter().enumerate() {
        let kind = if at + 1 == boards.len() { "lcus-silent" } else { "lcus-ascii" };
        write!(
            text,
            "[boards.{board}]\nkind = \"{kind}\"\nchannels = {CHANNELS}\nlink = \"{board}.tty\"\n"
        )
        .expect("a text grows");
    }
    text
}

fn agent_file(boards: &[String]) -> String {
    let mut text =
        "[agent]\nname = \"bench\"\nsocket = \"agent.sock\"\nstate = \"state\"\npoll = \"2s\"\n\
                    [pools.rack]\noff_dwell = \"150ms\"\nmin_on = \"0s\"\nmin_off = \"0s\"\ncycles_per_hour = 0\nsettle = \"100ms\"\n"
            .to_owned();
    for (at, board) in boards.iter().enumerate() {
        // A frame that a swamped rack hears late is lost to a board that can not be asked: there the pause is long.
        let status =
            if at + 1 == boards.len() { "\"none\"\nmin_gap = \"400ms\"" } else { "\"ascii\"" };
        write!(
            text,
            "[devices.{board}]\ndriver = \"lcus\"\nport = \"{board}.tty\"\nchannels = {CHANNELS}\nstatus = {status}\n"
        )
        .expect("a text grows");
        for channel in 1..=CHANNELS {
            write!(
                text,
                "[machines.{board}m{channel}]\npool = \"rack\"\noutlets = [{{ device = \"{board}\", outlet = {channel} }}]\n"
            )
            .expect("a text grows");
        }
    }
    text
}

impl Bench {
    /// All dark, no agent yet.
    pub(crate) async fn start(boards: &[String]) -> Self {
        let home = tempfile::tempdir().expect("a directory");
        let rack_path = home.path().join("RACK.toml");
        std::fs::write(home.path().join("agent.toml"), agent_file(boards)).expect("a file");
        let config = virtual_rack::config::parse(&rack_file(boards), &rack_path).expect("a rack");
        let hardware = virtual_rack::control::Client::new(config.socket.clone());
        let (stop, stopped) = oneshot::channel();
        let rack = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            runtime.expect("a runtime").block_on(async {
                tokio::select! {
                    ended = virtual_rack::wiring::run(config, None, |_| Ok(())) => ended.expect("a rack"),
                    _ = stopped => {}
                }
            });
        });
        until("the rack answers", async || hardware.state().await.ok()).await;
        let client = Client::connect_lazy(&AgentAddress::socket(home.path().join("agent.sock")));
        // A build meanwhile puts another file in its place: a long run stays with the one it began with.
        let own = home.path().join("power-agent");
        let built = PathBuf::from(env!("CARGO_BIN_EXE_power-agent"));
        let program = if std::fs::hard_link(&built, &own).is_ok() { own } else { built };
        Self { home, rack: Some((stop, rack)), hardware, program, agent: None, client }
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.home.path().join(name)
    }

    /// Starts the agent and does not wait for it.
    pub(crate) fn spawn_agent(&mut self) {
        let log = std::fs::File::options().append(true).create(true).open(self.path("agent.err"));
        let mut command = Command::new(&self.program);
        command.args(["serve", "--config"]).arg(self.path("agent.toml"));
        command.env(
            "RUST_LOG",
            "warn,power_agent::agent=info,power_agent::sequence=info,power_agent::reload=info",
        );
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log.expect("a log"));
        self.agent = Some(command.kill_on_drop(true).spawn().expect("the agent starts"));
    }

    /// Starts it and waits until it answers.
    pub(crate) async fn start_agent(&mut self) {
        self.spawn_agent();
        until("the agent answers", async || self.client.inventory().await.ok()).await;
    }

    pub(crate) fn signal(&self, signal: Signal) {
        let agent = self.agent.as_ref().expect("an agent runs");
        let id = agent.id().and_then(|id| i32::try_from(id).ok()).expect("it has an id");
        let pid = rustix::process::Pid::from_raw(id).expect("an id is not 0");
        rustix::process::kill_process(pid, signal).expect("it is there");
    }

    /// As `kill -9` does. An agent that ended by itself before is a failure, with its log.
    pub(crate) async fn kill_agent(&mut self) {
        let mut agent = self.agent.take().expect("an agent runs");
        if let Ok(Some(status)) = agent.try_wait() {
            panic!("the agent ended with {status}:\n{}", self.log());
        }
        agent.kill().await.expect("it is killed");
        self.heard().await;
    }

    /// A real line is drained before the agent takes its frame for sent; a pseudo-terminal is not, and whoever opens it
    /// next throws away what the rack has not read yet. A rack that has answered twice has read it.
    pub(crate) async fn heard(&self) {
        for _ in 0..2 {
            self.hardware.state().await.expect("the rack answers");
        }
    }

    /// As systemd does.
    pub(crate) async fn stop_agent(&mut self) {
        self.signal(Signal::TERM);
        let mut agent = self.agent.take().expect("an agent runs");
        let ended = timeout(PATIENCE, agent.wait()).await.expect("it ends in time");
        assert!(ended.expect("its end is seen").success(), "{}", self.log());
        self.heard().await;
    }

    /// What it said of one machine, the last of it.
    pub(crate) fn log_of(&self, machine: &str) -> String {
        const SHOWN_MAX: usize = 30;
        let log = self.log();
        let lines: Vec<&str> = log.lines().filter(|line| line.contains(machine)).collect();
        lines.get(lines.len().saturating_sub(SHOWN_MAX)..).unwrap_or_default().join("\n")
    }

    pub(crate) fn log(&self) -> String {
        std::fs::read_to_string(self.path("agent.err")).unwrap_or_default()
    }

    /// All movements of all contacts since the rack's start, from its own log.
    pub(crate) fn edges(&self) -> Vec<EdgeRecord> {
        virtual_rack::edges::read(&self.path("edges.jsonl")).expect("the log is whole")
    }

    /// How many frames and queries the boards did not hear.
    pub(crate) async fn lost(&self) -> u64 {
        let state = self.hardware.state().await.expect("the rack answers");
        state.boards.values().map(|board| board.frames.lost).sum()
    }
}

impl Drop for Bench {
    fn drop(&mut self) {
        if let Some((stop, rack)) = self.rack.take() {
            drop(stop);
            // A rack that failed has told so in its own thread.
            drop(rack.join());
        }
    }
}

/// Waits until there is something, looking again and again.
pub(crate) async fn until<T>(what: &str, mut look: impl AsyncFnMut() -> Option<T>) -> T {
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

/// Numbers that a seed decides (splitmix64).
#[derive(Debug, Clone)]
pub(crate) struct Dice(pub(crate) u64);

impl Dice {
    pub(crate) fn below(&mut self, end: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)) % end.max(1)
    }
}

/// How often something is done: what the environment says, or the few times of a test run.
pub(crate) fn number(variable: &str, few: u64) -> u64 {
    match std::env::var(variable) {
        Ok(text) => text.parse().unwrap_or_else(|_| panic!("{variable}={text:?} is no number")),
        Err(_) => few,
    }
}
