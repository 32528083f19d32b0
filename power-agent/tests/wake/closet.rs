//! A machine that really wakes by LAN. Goal: the agent's own packet boots it across a switch, its own ssh shuts it down,
//! and what it tells of it meanwhile is so. Method: the rack files of `examples/`, with the test's paths and network.

use agent_api::Operation;
use fleet::{Observed, Phase, PowerState, Verb};
use tempfile::TempDir;
use testkit::bench::{Bench, order, person, until};
use testkit::closet::{Card, Closet, in_closet};
use tokio::io::AsyncReadExt as _;
use virtual_rack::relay::Power;

use crate::packets::observed;

const CLOSET: &str = include_str!("../../../examples/wake-on-lan-closet.toml");
const MIXED: &str = include_str!("../../../examples/mixed-rack.toml");

/// A wall socket: what hangs there has power from the start, and no agent switches it.
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

/// The board of the mixed rack. The two supplies of `big1` are two machines here, because each dies by its own relay.
const BOARD: &str = r#"
socket = "rack.sock"
edge_log = "edges.jsonl"
[boards.a]
kind = "lcus-ascii"
channels = 4
link = "board-a.tty"
[machines]
node1 = { board = "a", channel = 1, boot_ms = 0, shutdown_ms = 0, watts = 5.0 }
big1-left = { board = "a", channel = 2, boot_ms = 0, shutdown_ms = 0, watts = 50.0 }
big1-right = { board = "a", channel = 3, boot_ms = 0, shutdown_ms = 0, watts = 50.0 }
[machines.mini]
board = "a"
channel = 4
boot_ms = 100
shutdown_ms = 0
watts = 10.0
command = COMMAND
command_log = "mini.log"
"#;

/// The card of `mini1` in both examples.
const MINI1: Card<'_> =
    Card { mac: "52:54:00:12:34:56", password: None, deaf: 0, address: "10.9.0.21/24" };

/// The paths, the network and the patience of the examples, and those of a test.
const ADAPTED: &[(&str, &str)] = &[
    ("/run/lamplighter/", ""),
    ("/var/lib/lamplighter", "state"),
    ("\"eth0\"", "\"lan\""),
    ("\"10.0.0.", "\"10.9.0."),
    ("root@{node}", "root@10.9.0.21"),
    ("poll = \"10s\"", "poll = \"200ms\""),
    ("settle = \"10s\"", "settle = \"1s\"\noff_dwell = \"100ms\"\ncycles_per_hour = 0"),
];

/// A text with words in other places: each must be there.
fn put(text: &str, words: &[(&str, &str)]) -> String {
    words.iter().fold(text.to_owned(), |text, (from, to)| {
        assert!(text.contains(from), "it has no {from}:\n{text}");
        text.replace(from, to)
    })
}

/// A machine in its closet, and the agent. The keys lie in a folder of their own.
struct Stand {
    bench: Bench,
    _keys: TempDir,
}

impl Stand {
    /// With the agent's file, but for what every example needs here.
    async fn new(rack: &str, card: &Card<'_>, agent: &str) -> Self {
        let keys = tempfile::tempdir().unwrap();
        let closet = Closet::lay_out(keys.path(), &["10.9.0.21"]).await.unwrap();
        let command = serde_json::to_string(&closet.command(card).unwrap()).unwrap();
        let folder = keys.path().display().to_string();
        let agent = put(agent, &[ADAPTED, &[("/etc/lamplighter", &folder)]].concat());
        let mut bench = Bench::new(&put(rack, &[("COMMAND", &command)]), &agent).await;
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

    async fn ended(&self, id: &str, machine: &str, verb: Verb) -> Operation {
        self.bench.done(&order(id, machine, verb, person())).await
    }

    async fn done(&self, id: &str, machine: &str, verb: Verb) -> Operation {
        let ended = self.ended(id, machine, verb).await;
        assert_eq!(ended.phase, Phase::Done, "{id}: {}\n{}", ended.evidence, self.said());
        ended
    }

    async fn observed(&self, machine: &str) -> Observed {
        observed(&self.bench.machine(machine).await)
    }

    async fn reload(&self, words: &[(&str, &str)]) {
        let told = self.bench.reload(&put(&self.bench.agent_file(), words)).await;
        assert!(!told.contains("ERROR") && !told.contains("WARN"), "{told}");
    }
}

/// It answers on its network before it lets anybody in.
async fn lets_in() {
    until("it takes ssh", async || {
        let mut door = tokio::net::TcpStream::connect("10.9.0.21:22").await.ok()?;
        let mut greeting = [0; 4];
        door.read_exact(&mut greeting).await.ok().filter(|_| greeting == *b"SSH-")
    })
    .await;
}

#[tokio::test]
async fn a_magic_packet_boots_a_machine_that_ssh_shuts_down_and_that_is_woken_again() {
    let name = "closet::a_magic_packet_boots_a_machine_that_ssh_shuts_down_and_that_is_woken_again";
    in_closet(name, async || {
        let stand = Stand::new(WALL, &Card { deaf: 2, ..MINI1 }, CLOSET).await;
        assert_eq!(stand.observed("mini1").await, Observed::Unknown);
        for round in 1..=2 {
            let on = stand.done(&format!("on-{round}"), "mini1", Verb::On).await;
            assert!(on.evidence.starts_with("awake after "), "{}", on.evidence);
            assert_eq!(stand.observed("mini1").await, Observed::Read(PowerState::On));
            lets_in().await;
            let off = stand.done(&format!("off-{round}"), "mini1", Verb::Off).await;
            assert!(off.evidence.ends_with("nothing cuts its power"), "{}", off.evidence);
            let seen = stand.observed("mini1").await;
            assert_eq!(seen, Observed::Assumed(PowerState::Off), "silence is no off");
            stand.said_times("the machine is off ended=exit status: 0", round).await;
        }
        stand.said_times("a packet was lost", 4).await;
        stand.said_times("the machine is on", 2).await;
    })
    .await;
}

#[tokio::test]
async fn a_machine_behind_a_relay_goes_by_ssh_and_only_as_the_last_resort_by_its_relay() {
    let name =
        "closet::a_machine_behind_a_relay_goes_by_ssh_and_only_as_the_last_resort_by_its_relay";
    in_closet(name, async || {
        let port = "/dev/serial/by-path/platform-fd500000.pcie-usb-0:1.1:1.0-port0";
        let script = [(port, "board-a.tty"), ("/usr/local/bin/shut-down", "true")];
        let stand = Stand::new(BOARD, &MINI1, &put(MIXED, &script)).await;
        let mini_moves = async || {
            let moves = stand.bench.moves().await.into_iter();
            moves.filter(|(_, channel, _)| *channel == 4).map(|moved| moved.2).collect::<Vec<_>>()
        };
        assert_eq!(stand.observed("mini1").await, Observed::Read(PowerState::Off), "by its relay");
        stand.done("on-1", "mini1", Verb::On).await;
        assert_eq!(stand.observed("mini1").await, Observed::Read(PowerState::On));
        lets_in().await;
        let off = stand.done("off-1", "mini1", Verb::Off).await;
        assert!(off.evidence.ends_with("its outlets stay closed"), "{}", off.evidence);
        stand.said_times("the machine is off ended=exit status: 0", 1).await;
        stand.done("on-2", "mini1", Verb::On).await;
        assert_eq!(mini_moves().await, [Power::On], "a packet alone has woken it");

        // It takes the request and stays up.
        lets_in().await;
        stand.reload(&[("systemctl poweroff", "true"), ("\"90s\"", "\"2s\"")]).await;
        let off = stand.done("off-2", "mini1", Verb::Off).await;
        assert_eq!(mini_moves().await, [Power::On, Power::Off], "{}", off.evidence);
        assert_eq!(stand.observed("mini1").await, Observed::Read(PowerState::Off));
        stand.said_times("the machine is off ended=", 1).await;
        until("nobody answers", async || {
            let life = stand.bench.machine("mini1").await.paths.life;
            life.is_some_and(|life| life.seen.is_err()).then_some(())
        })
        .await;

        let on = stand.done("on-3", "mini1", Verb::On).await;
        assert!(on.evidence.contains("awake after "), "{}", on.evidence);
        assert_eq!(mini_moves().await, [Power::On, Power::Off, Power::On]);
        for machine in ["node1", "big1"] {
            for (verb, state) in [(Verb::On, PowerState::On), (Verb::Off, PowerState::Off)] {
                stand.done(&format!("{machine}-{}", verb.as_str()), machine, verb).await;
                assert_eq!(stand.observed(machine).await, Observed::Read(state));
            }
        }
    })
    .await;
}

#[tokio::test]
async fn a_card_that_a_mains_failure_made_deaf_is_not_taken_for_awake() {
    let name = "closet::a_card_that_a_mains_failure_made_deaf_is_not_taken_for_awake";
    in_closet(name, async || {
        let stand = Stand::new(WALL, &MINI1, &put(CLOSET, &[("\"3m\"", "\"160s\"")])).await;
        stand.done("on-1", "mini1", Verb::On).await;
        // Its firmware does not give the card its power back before the machine was on once.
        stand.bench.rack.fault("mini no-boot").await.unwrap();
        for power in [Power::Off, Power::On] {
            stand.bench.rack.by_hand("wall:1", power).await.unwrap();
        }
        until("nobody answers", async || {
            (stand.observed("mini1").await != Observed::Read(PowerState::On)).then_some(())
        })
        .await;
        stand.reload(&[("\"160s\"", "\"3s\"")]).await;
        let failed = stand.ended("on-2", "mini1", Verb::On).await;
        assert_eq!(failed.phase, Phase::Failed, "{}", failed.evidence);
        assert!(failed.evidence.contains("it did not wake in time"), "{}", failed.evidence);
        assert_ne!(stand.observed("mini1").await, Observed::Read(PowerState::On));
        stand.said_times("the machine is on", 1).await;
    })
    .await;
}

#[tokio::test]
async fn only_its_own_packet_with_its_own_password_wakes_a_machine() {
    let name = "closet::only_its_own_packet_with_its_own_password_wakes_a_machine";
    in_closet(name, async || {
        let mini2 = Card {
            mac: "52:54:00:65:43:21",
            password: Some("01:02:03:04:05:06"),
            deaf: 0,
            address: "10.9.0.22/24",
        };
        let wrong = [("01:02:03:04:05:06", "01:02:03:04:05:07"), ("\"3m\"", "\"2s\"")];
        let stand = Stand::new(WALL, &mini2, &put(CLOSET, &wrong)).await;
        for (machine, heard) in
            [("mini1", "a packet for another card"), ("mini2", "a packet without the password")]
        {
            let failed = stand.ended(&format!("on-{machine}"), machine, Verb::On).await;
            assert_eq!(failed.phase, Phase::Failed, "{}", failed.evidence);
            until(heard, async || stand.said().contains(heard).then_some(())).await;
        }
        stand.reload(&[("01:02:03:04:05:07", "01:02:03:04:05:06"), ("\"2s\"", "\"160s\"")]).await;
        stand.done("on-2", "mini2", Verb::On).await;
        assert_eq!(stand.observed("mini2").await, Observed::Read(PowerState::On));
        stand.said_times("the machine is on", 1).await;
    })
    .await;
}
