//! Goal: the service manager hears the truth. Method: the real binary on a virtual board, and a socket that stands for
//! systemd's.

use std::os::unix::net::UnixDatagram;
use std::process::Stdio;
use std::time::Duration;

use fleet::PowerState;
use rustix::process::{Pid, Signal, kill_process};
use testkit::bench::{Bench, PATIENCE, reading};
use tokio::process::{Child, Command};

const BOARDS: &str = r#"
socket = "rack.sock"
edge_log = "edges.jsonl"
[boards.a]
kind = "lcus-ascii"
channels = 4
link = "board-a"
[machines]
"#;

const RACK: &str = r#"
[agent]
name = "bench"
socket = "agent.sock"
state = "state"
poll = "1h"
[devices.board-a]
driver = "lcus"
port = "board-a"
channels = 4
status = "ascii"
[machines.node1]
outlets = [{ device = "board-a", outlet = 1 }]
"#;

/// A watchdog that is fed many times while a test runs.
const WATCHDOG: Duration = Duration::from_millis(300);

/// Far more signs of life than come between two other words.
const WORDS_MAX: usize = 100_000;

/// An agent under a service manager of ours.
struct Service {
    bench: Bench,
    manager: UnixDatagram,
    agent: Child,
}

impl Service {
    async fn start() -> Self {
        let bench = Bench::new(BOARDS, RACK).await;
        let place = bench.path("notify.sock");
        let manager = UnixDatagram::bind(&place).expect("a socket");
        manager.set_read_timeout(Some(PATIENCE)).expect("a bound");
        let log = std::fs::File::create(bench.path("log")).expect("a file");
        let agent = Command::new(bench.program())
            .args(["serve", "--config"])
            .arg(bench.path("agent.toml"))
            .env("NOTIFY_SOCKET", place)
            .env("WATCHDOG_USEC", WATCHDOG.as_micros().to_string())
            .stdin(Stdio::null())
            .stderr(log)
            .kill_on_drop(true)
            .spawn();
        Self { bench, manager, agent: agent.expect("it starts") }
    }

    /// The next word that is not a sign of life.
    fn next(&self) -> String {
        let heard = std::iter::repeat_with(|| self.hear()).take(WORDS_MAX);
        heard.into_iter().find(|word| word != "WATCHDOG=1").expect("a word")
    }

    fn hear(&self) -> String {
        let mut bytes = [0; 512];
        let size = self.manager.recv(&mut bytes).expect("a word in time");
        let word = bytes.get(..size).unwrap_or_default();
        String::from_utf8_lossy(word).trim_end().to_owned()
    }

    fn signal(&self, signal: Signal) {
        let id = self.agent.id().and_then(|id| Pid::from_raw(i32::try_from(id).ok()?));
        kill_process(id.expect("it runs"), signal).expect("it takes signals");
    }
}

#[tokio::test]
async fn ready_is_told_when_every_board_was_read_and_not_before() {
    let mut service = Service::start().await;
    assert_eq!(service.next(), "READY=1\nSTATUS=1 machines");
    // The next poll is an hour away: what is known now was read before the word.
    assert_eq!(reading(&service.bench.machine("node1").await), Some(PowerState::Off));
    service.signal(Signal::TERM);
    assert_eq!(service.next(), "STOPPING=1");
    assert!(service.agent.wait().await.expect("it ends").success());
}

#[tokio::test]
async fn a_reload_is_told_with_its_begin_and_its_end_also_where_the_file_was_not_taken() {
    let service = Service::start().await;
    assert!(service.next().starts_with("READY=1"));
    for file in [RACK.replace("1h", "2h"), "nonsense".to_owned()] {
        service.bench.write_agent_file(&file);
        service.signal(Signal::HUP);
        let word = service.next();
        assert!(word.starts_with("RELOADING=1\nMONOTONIC_USEC="), "{word}");
        assert_eq!(service.next(), "READY=1\nSTATUS=1 machines");
    }
}

#[tokio::test]
async fn signs_of_life_come_as_long_as_the_agent_lives() {
    let service = Service::start().await;
    assert!(service.next().starts_with("READY=1"));
    for _ in 0..5 {
        assert_eq!(service.hear(), "WATCHDOG=1");
    }
}
