//! One agent on the line of one board of a virtual rack, and the command that a person types.

use std::path::PathBuf;
use std::process::Stdio;
use std::time::Duration;

use serde_json::Value;
use tempfile::TempDir;
use tokio::process::{Child, Command};
use tokio::time::timeout;
use virtual_rack::control::Client;
use virtual_rack::edges::Cause;
use virtual_rack::relay::Power;
use virtual_rack::script;

/// Far above what a swamped host needs for any single step, and the minute that the agent rests between two tries.
pub(crate) const PATIENCE: Duration = Duration::from_secs(150);

const PAUSE: Duration = Duration::from_millis(20);
const BINARY: &str = env!("CARGO_BIN_EXE_power-agent");

const AGENT_FILE: &str = r#"
[agent]
name = "bench"
socket = "agent.sock"
state = "state"
poll = "1s"
[devices.a]
driver = "lcus"
port = "by-path/a"
channels = 2
status = "ascii"
[devices.b]
driver = "lcus"
port = "b.tty"
channels = 1
status = "none"
[machines.node1]
min_on = "0s"
min_off = "0s"
cycles_per_hour = 0
outlets = [{ device = "a", outlet = 1 }]
drift = "POLICY"
[machines.mixed]
min_on = "0s"
min_off = "0s"
cycles_per_hour = 0
outlets = [{ device = "a", outlet = 2 }, { device = "b", outlet = 1 }]
"#;

/// What is found before the agent starts.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Found<'a> {
    /// Whether the board `a` answers at all, as it was bought.
    pub(crate) speaks: bool,
    /// Whether `node1` is on.
    pub(crate) on: bool,
    /// What is wrong.
    pub(crate) faults: &'a [&'a str],
    /// What happens meanwhile.
    pub(crate) script: &'a str,
    /// What the agent's file wants done about drift.
    pub(crate) drift: &'a str,
}

impl Default for Found<'_> {
    fn default() -> Self {
        Self { speaks: true, on: false, faults: &[], script: "", drift: "report" }
    }
}

/// An order's end as `power-agent --json` tells it.
#[derive(Debug)]
pub(crate) struct Told {
    pub(crate) exit: i32,
    pub(crate) outcome: String,
    pub(crate) power: String,
    pub(crate) text: String,
}

/// The agent and its rack.
pub(crate) struct Bench {
    pub(crate) rack: Client,
    home: TempDir,
    agent: Option<Child>,
}

impl Found<'_> {
    fn rack_file(&self) -> String {
        let faults: Vec<String> = self.faults.iter().map(|fault| format!("{fault:?}")).collect();
        let kind = if self.speaks { "lcus-ascii" } else { "lcus-silent" };
        format!(
            "socket = \"rack.sock\"\nedge_log = \"edges.jsonl\"\nfaults = [{}]\n\
             [boards.a]\nkind = \"{kind}\"\nchannels = 2\nlink = \"a.tty\"\nby_path = \"by-path/a\"\n\
             [boards.b]\nkind = \"lcus-silent\"\nchannels = 1\nlink = \"b.tty\"\n\
             [machines.node1]\nboard = \"a\"\nchannel = 1\non = {}\n\
             boot_ms = 100000\nshutdown_ms = 50\nwatts = 5\n",
            faults.join(", "),
            self.on
        )
    }
}

/// Runs a test beside a rack of its own.
pub(crate) async fn with_bench<T>(found: Found<'_>, test: impl AsyncFnOnce(&mut Bench) -> T) -> T {
    let home = tempfile::tempdir().expect("a directory");
    let here = home.path().to_owned();
    let text = found.rack_file();
    let rack = virtual_rack::config::parse(&text, &here.join("RACK.toml")).expect("a rack");
    let script = script::parse(found.script, &here.join("day.txt")).expect("a script");
    let mut agent_file = AGENT_FILE.replace("POLICY", found.drift);
    if !found.speaks {
        agent_file = agent_file.replace("\"ascii\"", "\"none\"");
    }
    std::fs::write(here.join("agent.toml"), agent_file).expect("a file");
    let body = async {
        let rack = Client::ready(here.join("rack.sock"), PATIENCE).await.expect("the rack answers");
        let mut bench = Bench { rack, home, agent: None };
        bench.start_agent();
        bench.until("the agent answers", |status| status["machines"].is_array()).await;
        test(&mut bench).await
    };
    tokio::select! {
        ended = virtual_rack::wiring::run(rack, Some(script), |_| Ok(())) => panic!("the rack ended: {ended:?}"),
        value = body => value,
    }
}

impl Bench {
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.home.path().join(name)
    }

    fn start_agent(&mut self) {
        let log = std::fs::File::create(self.path("agent.err")).expect("a file");
        let mut command = Command::new(BINARY);
        command.args(["serve", "--config"]).arg(self.path("agent.toml"));
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log).kill_on_drop(true);
        self.agent = Some(command.spawn().expect("the agent starts"));
    }

    /// As `kill -9` does, and then another.
    pub(crate) async fn replace_agent(&mut self, meanwhile: impl AsyncFnOnce(&Client)) {
        let mut agent = self.agent.take().expect("an agent runs");
        agent.kill().await.expect("it is killed");
        meanwhile(&self.rack).await;
        self.start_agent();
    }

    pub(crate) async fn run(&self, arguments: &[&str]) -> (i32, Value) {
        let mut command = Command::new(BINARY);
        command.arg("--agent").arg(format!("unix:{}", self.path("agent.sock").display()));
        command.arg("--json").args(arguments).stdin(Stdio::null()).kill_on_drop(true);
        let ran = timeout(PATIENCE, command.output()).await.expect("it ends").expect("it starts");
        let told = serde_json::from_slice(&ran.stdout).unwrap_or(Value::Null);
        (ran.status.code().expect("it ends by itself"), told)
    }

    /// Types `on` or `off` of a machine.
    pub(crate) async fn order(&self, verb: &str, machine: &str) -> Told {
        let reason: &[&str] = if verb == "off" { &["--reason", "test"] } else { &[] };
        let (exit, told) = self.run(&[&[verb, machine][..], reason].concat()).await;
        let text = |key: &str| told["machines"][0][key].as_str().unwrap_or_default().to_owned();
        Told { exit, outcome: text("outcome"), power: text("power"), text: text("text") }
    }

    /// What the status calls a machine's power.
    pub(crate) async fn power(&self, machine: &str) -> String {
        let (_, status) = self.run(&["status", machine]).await;
        status["machines"][0]["power"].as_str().unwrap_or_default().to_owned()
    }

    /// What the status tells a person.
    pub(crate) async fn shown(&self) -> String {
        let mut command = Command::new(BINARY);
        command.arg("--agent").arg(format!("unix:{}", self.path("agent.sock").display()));
        command.arg("status").stdin(Stdio::null()).kill_on_drop(true);
        let ran = timeout(PATIENCE, command.output()).await.expect("it ends").expect("it starts");
        String::from_utf8_lossy(&ran.stdout).into_owned()
    }

    /// Waits until something holds of `node1` in the status.
    pub(crate) async fn until_node1(&self, what: &str, holds: impl Fn(&Value) -> bool) {
        self.until(what, |status| {
            let machines = status["machines"].as_array().into_iter().flatten();
            machines.filter(|found| found["name"] == "node1").any(&holds)
        })
        .await;
    }

    /// Waits until the status says so.
    pub(crate) async fn until(&self, what: &str, holds: impl Fn(&Value) -> bool) {
        let looks = async {
            while !holds(&self.run(&["status"]).await.1) {
                tokio::time::sleep(PAUSE).await;
            }
        };
        let looked = timeout(PATIENCE, looks).await;
        assert!(looked.is_ok(), "waited too long until {what}: {:?}", self.run(&["status"]).await);
    }

    /// Waits until the status calls a machine's power so.
    pub(crate) async fn until_power(&self, machine: &str, power: &str) {
        self.until(&format!("{machine} is {power}"), |status| {
            let machines = status["machines"].as_array().into_iter().flatten();
            machines.filter(|found| found["name"] == machine).any(|found| found["power"] == power)
        })
        .await;
    }

    /// How often the board has been asked how it stands.
    pub(crate) async fn queries(&self) -> u64 {
        self.rack.state().await.expect("the rack answers").boards["a"].frames.queries
    }

    /// Waits until it has been asked so often.
    pub(crate) async fn until_queries(&self, queries: u64) {
        let looks = async {
            while self.queries().await < queries {
                tokio::time::sleep(PAUSE).await;
            }
        };
        assert!(timeout(PATIENCE, looks).await.is_ok(), "the agent does not poll");
    }

    /// All movements of a relay's contact, `BOARD:CHANNEL`.
    pub(crate) async fn edges(&self, relay: &str) -> Vec<(Power, Cause)> {
        let edges = self.rack.edges().await.expect("the rack answers");
        let ours = edges.iter().filter(|edge| format!("{}:{}", edge.board, edge.channel) == relay);
        ours.map(|edge| (edge.edge, edge.cause)).collect()
    }
}
