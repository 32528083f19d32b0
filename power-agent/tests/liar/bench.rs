//! One agent on the line of one board of a virtual rack, and the orders that a person types.

use serde_json::Value;
use testkit::bench::{Bench, until};
use testkit::said::Said;
use virtual_rack::edges::Cause;
use virtual_rack::relay::Power;

const AGENT_FILE: &str = r#"
[agent]
name = "bench"
socket = "agent.sock"
state = "state"
poll = "POLL"
[devices.a]
driver = "lcus"
port = "by-path/a"
channels = 2
status = "ascii"
min_gap = "GAP"
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
    /// How often the agent looks by itself.
    pub(crate) poll: &'a str,
    /// How long the agent lets the board `a` rest between two frames.
    pub(crate) gap: &'a str,
}

impl Default for Found<'_> {
    fn default() -> Self {
        Self {
            speaks: true,
            on: false,
            faults: &[],
            script: "",
            drift: "report",
            gap: "100ms",
            poll: "1s",
        }
    }
}

/// An order's end as `power-agent --json` tells it.
#[derive(Debug)]
pub(crate) struct Told {
    pub(crate) exit: i32,
    pub(crate) outcome: String,
    pub(crate) power: String,
    pub(crate) text: String,
    /// All that the command has said: for the message of a failure.
    #[expect(dead_code, reason = "it is shown by Debug")]
    said: Said,
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

/// Runs a test beside a rack as it is found, and the agent there.
pub(crate) async fn with_bench<T>(found: Found<'_>, test: impl AsyncFnOnce(&mut Bench) -> T) -> T {
    let mut agent_file = AGENT_FILE
        .replace("POLICY", found.drift)
        .replace("GAP", found.gap)
        .replace("POLL", found.poll);
    if !found.speaks {
        agent_file = agent_file.replace("\"ascii\"", "\"none\"");
    }
    let mut bench = Bench::with_script(&found.rack_file(), found.script, &agent_file).await;
    bench.start_agent().await;
    test(&mut bench).await
}

/// Types `on` or `off` of a machine.
pub(crate) async fn give(bench: &Bench, verb: &str, machine: &str) -> Told {
    let reason: &[&str] = if verb == "off" { &["--reason", "test"] } else { &[] };
    let said = bench.run(&[&["--json", verb, machine][..], reason].concat()).await;
    let told: Value = serde_json::from_str(&said.out).unwrap_or(Value::Null);
    let text = |key: &str| told["machines"][0][key].as_str().unwrap_or_default().to_owned();
    let [outcome, power, text] = ["outcome", "power", "text"].map(text);
    Told { exit: said.code, outcome, power, text, said }
}

/// What the agent says where a board's answer did not come in time. On a host that was overbooked forty times, honest
/// boards were late five times in a row.
const LATE: &str = "no answer to the status query within";

/// How often an order is given anew because of that.
pub(crate) const TRIES_MAX: usize = 20;

impl Told {
    /// Whether the host was too slow for anything to be shown of a board that answers.
    pub(crate) fn is_late(&self) -> bool {
        self.outcome == "failed" && self.text.contains(LATE)
    }
}

/// Gives an order until the board's answers have come in time.
pub(crate) async fn give_in_time(bench: &Bench, verb: &str, machine: &str) -> Told {
    let mut told = give(bench, verb, machine).await;
    for _ in 1..TRIES_MAX {
        if !told.is_late() {
            break;
        }
        told = give(bench, verb, machine).await;
    }
    told
}

/// How often the board has been asked how it stands.
pub(crate) async fn queries(bench: &Bench) -> u64 {
    bench.rack.state().await.expect("the rack answers").boards["a"].frames.queries
}

/// Waits until it has been asked so often.
pub(crate) async fn until_queries(bench: &Bench, wanted: u64) {
    until("the agent polls", async || (queries(bench).await >= wanted).then_some(())).await;
}

/// All movements of a relay's contact, `BOARD:CHANNEL`.
pub(crate) async fn edges(bench: &Bench, relay: &str) -> Vec<(Power, Cause)> {
    let edges = bench.edges().await;
    let ours = edges.iter().filter(|edge| format!("{}:{}", edge.board, edge.channel) == relay);
    ours.map(|edge| (edge.edge, edge.cause)).collect()
}
