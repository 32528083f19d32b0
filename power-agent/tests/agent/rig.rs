//! A rack that stands in for the hardware, outside the agent, and the real agent on its lines.

use std::path::PathBuf;
use std::process::Stdio;
use std::thread::JoinHandle;
use std::time::Duration;

use agent_api::{
    AgentAddress, Answer, Client, Event, Machine, Operation, Order, Release, Released, Watch,
};
use fleet::{
    ClusterId, Fence, FenceNumber, MachineName, OnSoftOffTimeout, OperationId, Origin, Phase,
    PoolName, PowerState, Reason, Verb,
};
use tempfile::TempDir;
use tokio::process::{Child, Command};
use tokio::sync::oneshot;
use tokio::time::timeout;
use virtual_rack::edges::EdgeRecord;
use virtual_rack::relay::Power;

/// Far above what a swamped host needs for any single step.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

/// Between two looks at what has no event.
const PAUSE: Duration = Duration::from_millis(10);

const RACK_FILE: &str = r#"
socket = "rack.sock"
edge_log = "edges.jsonl"
[boards.a]
kind = "lcus-ascii"
channels = 4
link = "a.tty"
[boards.b]
kind = "lcus-silent"
channels = 2
link = "b.tty"
"#;

const AGENT_FILE: &str = r#"
[agent]
name = "bench"
socket = "agent.sock"
state = "state"
poll = "1s"
[devices.a]
driver = "lcus"
port = "a.tty"
channels = 4
status = "ascii"
[devices.b]
driver = "lcus"
port = "b.tty"
channels = 2
status = "none"
[pools.rack]
off_dwell = "OFF_DWELL"
cycles_per_hour = 0
settle = "100ms"
[machines.read]
pool = "rack"
outlets = [{ device = "a", outlet = 1 }]
[machines.twin]
pool = "rack"
outlets = [{ device = "a", outlet = 2 }, { device = "a", outlet = 3 }]
[machines.silent]
pool = "rack"
outlets = [{ device = "b", outlet = 1 }]
[machines.lamp]
off_dwell = "OFF_DWELL"
outlets = [{ device = "a", outlet = 4 }]
"#;

/// The rack and the agent.
pub(crate) struct Rig {
    home: TempDir,
    rack: Option<(oneshot::Sender<()>, JoinHandle<()>)>,
    hardware: virtual_rack::control::Client,
    agent: Option<Child>,
    /// How much later it is for the agents that are started from now on.
    pub(crate) later: Option<Duration>,
    pub(crate) client: Client,
}

impl Rig {
    /// All dark, the agent answers; a cycle leaves a machine off for `off_dwell`.
    pub(crate) async fn start(off_dwell: &str) -> Self {
        Self::with_pool(off_dwell, "").await
    }

    /// As [`Rig::start`], with more lines about the pool.
    pub(crate) async fn with_pool(off_dwell: &str, more: &str) -> Self {
        let home = tempfile::tempdir().expect("a directory");
        let rack_file = home.path().join("RACK.toml");
        let agent_file = AGENT_FILE
            .replace("OFF_DWELL", off_dwell)
            .replace("[machines.read]", &format!("{more}\n[machines.read]"));
        std::fs::write(home.path().join("agent.toml"), agent_file).expect("a file");
        let config = virtual_rack::config::parse(RACK_FILE, &rack_file).expect("a rack");
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
        let address = AgentAddress::socket(home.path().join("agent.sock"));
        let client = Client::connect_lazy(&address);
        let mut rig =
            Self { home, rack: Some((stop, rack)), hardware, agent: None, later: None, client };
        rig.start_agent().await;
        rig
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.home.path().join(name)
    }

    /// The signal that comes with a file that may not grow would end the agent; a full disk sends none.
    fn serve(&self) -> Command {
        let mut command = Command::new("sh");
        command.args(["-c", "trap '' XFSZ; exec \"$0\" \"$@\""]);
        if let Some(later) = self.later {
            // The clock since boot, which is the agent's, is ahead by that much in a namespace of its own.
            command.args(["unshare", "--time", "--boottime"]).arg(later.as_secs().to_string());
            if !rustix::process::geteuid().is_root() {
                command.args(["--user", "--map-current-user"]);
            }
        }
        command.arg(env!("CARGO_BIN_EXE_power-agent"));
        command.args(["serve", "--config"]).arg(self.path("agent.toml"));
        command.stdin(Stdio::null()).stdout(Stdio::null()).kill_on_drop(true);
        command
    }

    pub(crate) async fn start_agent(&mut self) {
        let log = std::fs::File::create(self.path("agent.err")).expect("a file");
        let mut agent = self.serve().stderr(log).spawn().expect("the agent starts");
        until("the agent answers", async || {
            if let Ok(Some(status)) = agent.try_wait() {
                let said = std::fs::read_to_string(self.path("agent.err")).unwrap_or_default();
                panic!("the agent ended with {status}:\n{said}");
            }
            self.client.inventory().await.ok()
        })
        .await;
        self.agent = Some(agent);
    }

    /// Runs an agent of another boot of the host, in this process, as long as `work` takes.
    pub(crate) async fn with_agent_of<T>(
        &self,
        boot: power_agent::clock::BootId,
        work: impl AsyncFnOnce(&Self) -> T,
    ) -> T {
        let config = power_agent::config::Config::load(&self.path("agent.toml"));
        let (stop, stopped) = oneshot::channel::<()>();
        let agent = power_agent::wiring::serve_until(config.expect("a config").0, boot, async {
            drop(stopped.await);
        });
        let work = async {
            until("the agent answers", async || self.client.inventory().await.ok()).await;
            let done = work(self).await;
            drop(stop);
            done
        };
        let (served, done) = tokio::join!(agent, work);
        served.expect("it serves");
        done
    }

    /// A second agent beside the first: its exit code and what it said.
    pub(crate) async fn second_agent(&self) -> (Option<i32>, String) {
        let ended = timeout(PATIENCE, self.serve().stderr(Stdio::piped()).output());
        let output = ended.await.expect("it ends").expect("it starts");
        (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned())
    }

    /// As `kill -9` does.
    pub(crate) async fn kill_agent(&mut self) {
        let mut agent = self.agent.take().expect("an agent runs");
        agent.kill().await.expect("it is killed");
    }

    /// From now on the agent can write no file, as on a full disk; with `None` it can again.
    pub(crate) fn limit_files(&self, bytes_max: Option<u64>) {
        let agent = self.agent.as_ref().expect("an agent runs");
        let limit = rustix::process::Rlimit { current: bytes_max, maximum: None };
        let resource = rustix::process::Resource::Fsize;
        rustix::process::prlimit(Some(pid(agent)), resource, limit).expect("a limit is set");
    }

    /// Gives the agent another rack file and has it read; what it says of it in its log.
    pub(crate) async fn reload(&mut self, file: &str) -> String {
        std::fs::write(self.path("agent.toml"), file).expect("a file");
        let told = || {
            let log = std::fs::read_to_string(self.path("agent.err")).expect("a log");
            log.lines().filter(|line| line.contains("rack file")).map(str::to_owned).collect()
        };
        let before: Vec<String> = told();
        let agent = self.agent.as_ref().expect("an agent runs");
        rustix::process::kill_process(pid(agent), rustix::process::Signal::HUP)
            .expect("it is there");
        until("the reload is told", async || told().get(before.len()).cloned()).await
    }

    /// The rack file with which the agent was started.
    pub(crate) fn agent_file(&self) -> String {
        std::fs::read_to_string(self.path("agent.toml")).expect("a file")
    }

    /// As systemd does.
    pub(crate) async fn stop_agent(&mut self) {
        let mut agent = self.agent.take().expect("an agent runs");
        rustix::process::kill_process(pid(&agent), rustix::process::Signal::TERM)
            .expect("it is there");
        let ended = timeout(PATIENCE, agent.wait()).await.expect("it ends in time");
        assert!(ended.expect("its end is seen").success());
    }

    /// Gives an order that must be taken, and waits for its end.
    pub(crate) async fn done(&self, order: &Order) -> Operation {
        let mut watch = self.client.watch().await.expect("a watch");
        let operation = self.accepted(order).await;
        ended(&mut watch, &operation.id).await
    }

    pub(crate) async fn accepted(&self, order: &Order) -> Operation {
        match self.client.set_power(order).await.expect("an answer") {
            Answer::Accepted { operation, .. } => operation,
            Answer::Refused(refusal) => panic!("refused: {}", refusal.text),
        }
    }

    /// Ends all locks of a machine that a person may end without force.
    pub(crate) async fn release(&self, machine: &str) -> Released {
        let by = "ada".to_owned();
        let asked = Release { machine: name(machine), by, kind: None, force: false };
        self.client.release(&asked).await.expect("an answer")
    }

    pub(crate) async fn machine(&self, name: &str) -> Machine {
        let inventory = self.client.inventory().await.expect("an inventory");
        let found = inventory.machines.into_iter().find(|machine| machine.name.as_str() == name);
        found.expect("the machine is there")
    }

    /// Takes the whole rack away, lines and all.
    pub(crate) async fn unplug(&self) {
        self.hardware.quit().await.expect("the rack ends");
    }

    /// All movements of all contacts, in order: board, channel, state.
    pub(crate) async fn edges(&self) -> Vec<(String, u8, Power)> {
        let edges = self.hardware.edges().await.expect("the rack answers");
        edges.into_iter().map(|edge: EdgeRecord| (edge.board, edge.channel, edge.edge)).collect()
    }
}

impl Drop for Rig {
    fn drop(&mut self) {
        if let Some((stop, rack)) = self.rack.take() {
            drop(stop);
            // A rack that failed has told so in its own thread.
            drop(rack.join());
        }
    }
}

fn pid(agent: &Child) -> rustix::process::Pid {
    let id = agent.id().and_then(|id| i32::try_from(id).ok()).expect("it has an id");
    rustix::process::Pid::from_raw(id).expect("an id is not 0")
}

/// Waits for the end of an operation.
pub(crate) async fn ended(watch: &mut Watch, id: &OperationId) -> Operation {
    let wait = async {
        loop {
            let machines = match watch.next().await.expect("the watch goes on") {
                None => panic!("the agent ended the watch"),
                Some(Event::Snapshot(inventory)) => inventory.machines,
                Some(Event::Changed(machine)) => vec![*machine],
            };
            let operations = machines.into_iter().filter_map(|machine| machine.operation);
            let mut ours = operations.filter(|op| op.id == *id && op.phase.is_finished());
            if let Some(operation) = ours.next() {
                return operation;
            }
        }
    };
    timeout(PATIENCE, wait).await.expect("the operation ends in time")
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

pub(crate) fn name(name: &str) -> MachineName {
    MachineName::new(name).expect("a name")
}

pub(crate) fn autoscaler(number: u64) -> Origin {
    Origin::Autoscaler(Fence {
        cluster: ClusterId::new("global").expect("a name"),
        pool: PoolName::new("rack").expect("a name"),
        number: FenceNumber(number),
    })
}

pub(crate) fn person() -> Origin {
    Origin::Person("ada".to_owned())
}

pub(crate) fn order(id: &str, machine: &str, verb: Verb, origin: Origin) -> Order {
    Order {
        operation: OperationId::new(id).expect("an id"),
        machine: name(machine),
        verb,
        reason: Reason::new("test"),
        force: matches!(origin, Origin::Person(_)),
        origin,
        valid_for: Duration::from_secs(30),
        on_soft_off_timeout: OnSoftOffTimeout::Cut,
        drain: false,
        plan: None,
    }
}

pub(crate) fn reading(machine: &Machine) -> Option<PowerState> {
    machine.reading.map(|(state, _)| state)
}

pub(crate) fn phase(machine: &Machine) -> Option<Phase> {
    machine.operation.as_ref().map(|operation| operation.phase)
}
