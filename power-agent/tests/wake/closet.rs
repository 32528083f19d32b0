//! A machine that really wakes by LAN. Goal: the agent's own packet boots it across a switch, its own ssh shuts it down,
//! and what it tells of it meanwhile is so. Method: the rack files of `examples/`, with the test's paths and network.

use agent_api::Operation;
use fleet::{Observed, Phase, PowerState, Verb};
use tempfile::TempDir;
use testkit::bench::{Bench, order, person, until};
use testkit::closet::{Card, Closet, in_closet};

use crate::packets::observed;

const EXAMPLE: &str = include_str!("../../../examples/wake-on-lan-closet.toml");

/// A wall socket: what hangs there has power from the start, and nobody of ours switches it.
const WALL: &str = r#"
socket = "rack.sock"
edge_log = "edges.jsonl"
[boards.wall]
kind = "lcus-ascii"
channels = 1
link = "wall.tty"
[machines.mini]
board = "wall"
channel = 1
on = true
boot_ms = 0
shutdown_ms = 0
watts = 10.0
command = COMMAND
command_log = "mini.log"
"#;

const MINI: Card<'_> =
    Card { mac: "52:54:00:12:34:56", password: None, deaf: 0, address: "10.9.0.21/24" };

/// An example's file for this bench: its own paths, its own network, and no more of its patience than is needed.
fn adapted(example: &str) -> String {
    let mut text = example.to_owned();
    for (from, to) in [
        ("/run/lamplighter/", ""),
        ("/var/lib/lamplighter", "state"),
        ("\"eth0\"", "\"lan\""),
        ("\"10.0.0.", "\"10.9.0."),
        ("root@{node}", "root@10.9.0.21"),
        ("poll = \"10s\"", "poll = \"200ms\""),
        ("settle = \"10s\"", "settle = \"1s\"\noff_dwell = \"100ms\"\ncycles_per_hour = 0"),
    ] {
        assert!(text.contains(from), "the example has no {from}");
        text = text.replace(from, to);
    }
    text
}

/// A machine in its closet, and the agent of an example's file. The keys lie in a folder of their own.
struct Stand {
    bench: Bench,
    _keys: TempDir,
}

impl Stand {
    async fn new(rack: &str, card: &Card<'_>, example: &str) -> Self {
        let keys = tempfile::tempdir().unwrap();
        let closet = Closet::lay_out(keys.path(), &["10.9.0.21"]).await.unwrap();
        let command = serde_json::to_string(&closet.command(card).unwrap()).unwrap();
        let agent =
            adapted(example).replace("/etc/lamplighter", &keys.path().display().to_string());
        let mut bench = Bench::new(&rack.replace("COMMAND", &command), &agent).await;
        bench.start_agent().await;
        Self { bench, _keys: keys }
    }

    /// What the card has told since the rack's start.
    fn said(&self) -> String {
        std::fs::read_to_string(self.bench.path("mini.log")).unwrap_or_default()
    }

    async fn said_times(&self, what: &str, times: usize) {
        until(what, async || (self.said().matches(what).count() == times).then_some(())).await;
    }

    async fn done(&self, id: &str, verb: Verb) -> Operation {
        let ended = self.bench.done(&order(id, "mini1", verb, person())).await;
        assert_eq!(ended.phase, Phase::Done, "{id}: {}\n{}", ended.evidence, self.said());
        ended
    }

    async fn observed(&self) -> Observed {
        observed(&self.bench.machine("mini1").await)
    }
}

/// It answers on its network before it lets anybody in.
async fn lets_in() {
    until("it takes ssh", async || tokio::net::TcpStream::connect("10.9.0.21:22").await.ok()).await;
}

#[tokio::test]
async fn a_magic_packet_boots_a_machine_that_ssh_shuts_down_and_that_is_woken_again() {
    let name = "closet::a_magic_packet_boots_a_machine_that_ssh_shuts_down_and_that_is_woken_again";
    in_closet(name, async || {
        let stand = Stand::new(WALL, &Card { deaf: 2, ..MINI }, EXAMPLE).await;
        assert_eq!(stand.observed().await, Observed::Unknown);
        for round in 1..=2 {
            let on = stand.done(&format!("on-{round}"), Verb::On).await;
            assert!(on.evidence.starts_with("awake after "), "{}", on.evidence);
            assert_eq!(stand.observed().await, Observed::Read(PowerState::On));
            lets_in().await;
            let off = stand.done(&format!("off-{round}"), Verb::Off).await;
            assert!(off.evidence.ends_with("nothing cuts its power"), "{}", off.evidence);
            let seen = stand.observed().await;
            assert_eq!(seen, Observed::Assumed(PowerState::Off), "silence is no off");
            stand.said_times("the machine is off ended=exit status: 0", round).await;
        }
        stand.said_times("a packet was lost", 4).await;
        stand.said_times("the machine is on", 2).await;
    })
    .await;
}
