//! Goal: what a person and a script get from the command line is what happened at the relays.
//! Method: the real binary as daemon and as command, boards on pseudo-terminals from the virtual rack, and its edge log as witness.

#![expect(clippy::unwrap_used, reason = "a helper of tests may fail them")]

use std::process::Stdio;

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use testkit::bench::{Bench, PATIENCE, said_by};
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::Command;
use tokio::time::timeout;

const BINARY: &str = env!("CARGO_BIN_EXE_power-agent");

const BOARDS: &str = r#"
socket = "rack.sock"
edge_log = "edges.jsonl"
[boards.a]
kind = "lcus-ascii"
channels = 4
link = "board-a"
[boards.b]
kind = "lcus-silent"
channels = 2
link = "board-b"
[machines]
"#;

const MACHINES: &[(&str, &str, u8)] =
    &[("node1", "a", 1), ("node2", "a", 2), ("node3", "a", 3), ("quiet", "b", 1)];

/// The agent's rack file; `waits` shuts down when a file `go` appears.
const RACK: &str = r#"
[agent]
name = "bench"
socket = "agent.sock"
state = "state"
poll = "200ms"
[devices.board-a]
driver = "lcus"
port = "board-a"
channels = 4
status = "ascii"
min_gap = "150ms"
[devices.board-b]
driver = "lcus"
port = "board-b"
channels = 2
status = "none"
[devices.board-c]
driver = "lcus"
port = "nothing-there"
channels = 1
status = "none"
[pools.rack]
off_dwell = "200ms"
cycles_per_hour = 0
settle = "100ms"
soft_off = { exec = ["true"], deadline = "20s" }
[machines.node1]
pool = "rack"
outlets = [{ device = "board-a", outlet = 1 }]
[machines.node2]
pool = "rack"
outlets = [{ device = "board-a", outlet = 2 }]
[machines.node3]
pool = "rack"
outlets = [{ device = "board-a", outlet = 3 }]
soft_off = { exec = ["sh", "-c", "until [ -e HOME/go ]; do sleep 0.05; done"], deadline = "60s" }
[machines.quiet]
pool = "rack"
outlets = [{ device = "board-b", outlet = 1 }]
[machines.sick]
pool = "rack"
outlets = [{ device = "board-c", outlet = 1 }]
"#;

/// `node1:on`, in the order in which the relays moved.
async fn edges(bench: &Bench) -> Vec<String> {
    let edges = bench.edges().await;
    edges.iter().map(|edge| format!("{}:{}", edge.machine.as_ref().unwrap(), edge.edge)).collect()
}

/// Runs a test beside a rack of its own, whose boards have been read.
async fn with_bench(test: impl AsyncFnOnce(&Bench)) {
    let mut boards = BOARDS.to_owned();
    for (name, board, channel) in MACHINES {
        boards.push_str(&format!(
            "[machines.{name}]\nboard = \"{board}\"\nchannel = {channel}\nboot_ms = 50\nshutdown_ms = 50\nwatts = 5.0\n"
        ));
    }
    let mut bench = Bench::new(&boards, RACK).await;
    let home = bench.path("").display().to_string();
    bench.write_agent_file(&RACK.replace("HOME", &home));
    bench.start_agent().await;
    bench.until_power("node1", "off").await;
    test(&bench).await;
}

#[tokio::test]
async fn on_and_off_are_told_with_their_evidence_and_seen_at_the_relays() {
    with_bench(async |bench| {
        let ran = bench.run(&["on", "node[1-2]"]).await;
        assert_eq!(ran.code, 0, "{ran:?}");
        assert!(ran.out.contains("node1: switched on in "), "{ran:?}");
        assert!(ran.out.contains("read back on"), "{ran:?}");
        assert!(ran.out.ends_with("\ndone:    node[1-2]\n"), "{ran:?}");
        assert!(ran.err.contains("node2: on: "), "the phases are told: {ran:?}");
        let again = bench.run(&["on", "node1"]).await;
        assert_eq!(again.code, 0, "{again:?}");
        assert!(again.out.contains("was on already"), "{again:?}");
        let ran = bench.run(&["off", "node1", "--reason", "fan", "--force"]).await;
        assert_eq!(ran.code, 0, "{ran:?}");
        let mut edges = edges(bench).await;
        edges.sort();
        assert_eq!(edges, ["node1:off", "node1:on", "node2:on"]);
    })
    .await;
}

#[tokio::test]
async fn a_board_that_can_not_be_read_is_never_called_done() {
    with_bench(async |bench| {
        let ran = bench.run(&["on", "quiet,node1"]).await;
        assert_eq!(ran.code, 4, "{ran:?}");
        assert!(ran.out.contains("quiet: unverified: switched on in "), "{ran:?}");
        assert!(ran.out.contains("assumed on: the board can not be read"), "{ran:?}");
        assert!(ran.out.ends_with("done:       node1\nunverified: quiet\n"), "{ran:?}");
        let status = bench.run(&["status"]).await;
        assert!(status.out.contains("\nassumed on: quiet\n"), "{status:?}");
    })
    .await;
}

#[tokio::test]
async fn without_proof_that_the_node_is_empty_off_and_cycle_are_refused() {
    with_bench(async |bench| {
        bench.run(&["on", "node1"]).await;
        for verb in ["off", "cycle"] {
            let ran = bench.run(&[verb, "node1", "--reason", "x"]).await;
            assert_eq!(ran.code, 2, "{ran:?}");
            assert!(ran.out.starts_with("node1: refused: "), "{ran:?}");
            assert!(ran.out.contains("--force"), "the remedy is named: {ran:?}");
        }
        assert_eq!(edges(bench).await, ["node1:on"], "nothing moved");
    })
    .await;
}

#[tokio::test]
async fn off_is_a_hold_until_release_and_a_cycle_is_one_sequence() {
    with_bench(async |bench| {
        bench.run(&["on", "node1"]).await;
        let ran = bench.run(&["cycle", "node1", "--reason", "stuck", "--force"]).await;
        assert_eq!(ran.code, 0, "{ran:?}");
        assert!(ran.out.starts_with("node1: cycled in "), "{ran:?}");
        bench.run(&["off", "node1", "--reason", "fan is broken", "--force"]).await;
        let status = bench.json(&["status", "node1"]).await;
        assert_eq!(status["machines"][0]["hold"]["reason"], "fan is broken");
        let status = bench.run(&["status", "node1"]).await;
        assert!(status.out.contains("fan is broken"), "{status:?}");
        let ran = bench.run(&["release", "node1"]).await;
        assert!(ran.out.starts_with("node1: released; "), "{ran:?}");
        let ran = bench.run(&["release", "node1"]).await;
        assert_eq!((ran.code, ran.out.as_str()), (0, "node1: was not held\n"));
        let edges = edges(bench).await;
        assert_eq!(edges, ["node1:on", "node1:off", "node1:on", "node1:off"]);
    })
    .await;
}

#[tokio::test]
async fn people_reserve_hold_maintain_and_release_machines_and_status_tells_it() {
    with_bench(async |bench| {
        let reserve = ["reserve", "node[1-2]", "--for", "2h", "--reason", "course"];
        let ran = bench.run(&reserve).await;
        assert_eq!(ran.code, 0, "{ran:?}");
        assert!(ran.out.contains("node1: reserved "), "{ran:?}");
        assert!(ran.out.contains("left: course\n"), "{ran:?}");
        for arguments in [
            ["hold", "node3", "--reason", "odd noise"].as_slice(),
            &["maintenance", "on", "node[2-3]", "--reason", "new fan"],
        ] {
            let ran = bench.run(arguments).await;
            assert_eq!(ran.code, 0, "{ran:?}");
        }
        let status = bench.json(&["status"]).await;
        let node = |index: usize| &status["machines"][index];
        assert_eq!(node(0)["hold"]["kind"], "reserved");
        assert!(node(0)["hold"]["expires_in_ms"].as_u64().unwrap() > 7_100_000);
        let kinds = node(1)["holds"].as_array().unwrap().iter().map(|hold| &hold["kind"]);
        assert_eq!(kinds.collect::<Vec<_>>(), ["maintenance", "reserved"]);
        assert_eq!(
            (&node(2)["hold"]["reason"], &node(2)["never_off"]),
            (&"new fan".into(), &false.into())
        );
        let told = bench.run(&["status", "node3"]).await.out;
        assert!(told.contains("maintenance ") && told.contains("; hold "), "{told}");
        let ran = bench.run(&["maintenance", "off", "node[2-3]"]).await;
        assert!(
            ran.out.contains("node3: released; ") && ran.out.contains(" held it: new fan"),
            "{ran:?}"
        );
        let ran = bench.run(&["release", "node[1-3]", "--json"]).await;
        let told: Value = serde_json::from_str(&ran.out).unwrap();
        assert_eq!(
            (&told[1]["was_held"], &told[1]["ended"][0]["reason"]),
            (&true.into(), &"course".into())
        );
        assert!(edges(bench).await.is_empty(), "nothing moved");
    })
    .await;
}

#[tokio::test]
async fn another_persons_reservation_is_refused_until_force_is_said() {
    with_bench(async |bench| {
        let as_bob = async |arguments: &[&str]| {
            said_by(bench.command(arguments).env("USER", "bob").spawn().unwrap()).await
        };
        bench.run(&["reserve", "node1", "--reason", "course"]).await;
        for arguments in [
            ["on", "node1"].as_slice(),
            &["release", "node1"],
            &["reserve", "node1", "--reason", "mine"],
        ] {
            let ran = as_bob(arguments).await;
            assert_eq!(ran.code, 2, "{ran:?}");
            assert!(ran.out.starts_with("node1: refused: node1 is reserved by "), "{ran:?}");
            assert!(ran.out.contains("(course)") && ran.out.contains("--force"), "{ran:?}");
        }
        assert!(edges(bench).await.is_empty());
        assert_eq!(as_bob(&["on", "node1", "--force"]).await.code, 0);
        assert_eq!(as_bob(&["release", "node1", "--force"]).await.code, 0);
    })
    .await;
}

#[tokio::test]
async fn what_makes_no_sense_is_a_usage_error_and_moves_nothing() {
    with_bench(async |bench| {
        for (arguments, told) in [
            (vec!["on", "node[1-2],nobody"], "agent bench has no nobody; its machines are"),
            (vec!["on", "node[1"], "column 5"),
            (vec!["off", "node1"], "--reason is missing; say why"),
            (vec!["cycle", "node1"], "--reason is missing; say why"),
            (vec!["hold", "node1"], "--reason is missing; say why"),
            (vec!["reserve", "node1", "--reason", "x", "--for", "0s"], "--for 0s"),
            (vec!["maintenance", "node1"], "[possible values: on, off]"),
            (vec!["off", "node1", "--reason", " "], "--reason is empty"),
            (vec!["off", "node1", "--reason", "x", "--force", "--drain"], "cannot be used with"),
            (vec!["on", "node1", "--timeout", "5 minutes"], "unit"),
            (vec!["on"], "required"),
            (vec!["toggle", "node1"], "unrecognized"),
            (vec!["status", "--agent", "tcp:1"], "unix:"),
        ] {
            let ran = bench.run(&arguments).await;
            assert_eq!(ran.code, 64, "{arguments:?}: {ran:?}");
            assert!(ran.err.contains(told), "{arguments:?}: {ran:?}");
        }
        assert!(edges(bench).await.is_empty());
    })
    .await;
}

#[tokio::test]
async fn a_fence_that_nobody_has_carried_can_not_be_reset() {
    with_bench(async |bench| {
        let ran = bench.run(&["fence", "list"]).await;
        assert_eq!((ran.code, ran.out.as_str()), (0, "no autoscaler has ordered yet\n"));
        assert_eq!(bench.json(&["fence", "list"]).await, Value::Array(Vec::new()));
        let ran = bench.run(&["fence", "reset", "rack"]).await;
        assert_eq!(ran.code, 64, "without a reason: {ran:?}");
        let ran = bench.run(&["fence", "reset", "rack", "--reason", "restored"]).await;
        assert!(ran.code == 2 && ran.err.contains("no order about pool rack"), "{ran:?}");
    })
    .await;
}

#[tokio::test]
async fn an_agent_that_is_not_there_is_unreachable_and_the_remedy_is_named() {
    let home = tempfile::tempdir().unwrap();
    let address = format!("unix:{}", home.path().join("nobody.sock").display());
    for arguments in [vec!["status"], vec!["on", "node1"], vec!["watch"]] {
        let child = Command::new(BINARY)
            .args(["--agent", &address])
            .args(&arguments)
            .stderr(Stdio::piped())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let ran = said_by(child).await;
        assert_eq!(ran.code, 3, "{ran:?}");
        assert!(ran.err.contains("nobody.sock"), "{ran:?}");
        assert!(ran.err.contains("help: is the agent running"), "{ran:?}");
    }
}

#[tokio::test]
async fn a_sick_machine_stalls_no_other() {
    with_bench(async |bench| {
        let mut child = bench.command(&["on", "sick,node[1-2]", "--json"]).spawn().unwrap();
        // Long before the sick one is given up, the others are on.
        bench.until_power("node1", "on").await;
        bench.until_power("node2", "on").await;
        assert!(child.try_wait().unwrap().is_none(), "the sick one is still tried");
        let ran = said_by(child).await;
        let told: Value = serde_json::from_str(&ran.out).unwrap();
        assert_eq!((ran.code, &told["exit"]), (1, &Value::from(1)));
        let outcomes: Vec<String> = told["machines"]
            .as_array()
            .unwrap()
            .iter()
            .map(|machine| format!("{}:{}", machine["machine"], machine["outcome"]))
            .collect();
        assert_eq!(outcomes, [r#""node1":"done""#, r#""node2":"done""#, r#""sick":"failed""#]);
        let text = told["machines"][2]["text"].as_str().unwrap();
        assert!(text.contains("nothing-there"), "the port is named: {text}");
    })
    .await;
}

#[tokio::test]
async fn a_command_that_stops_to_wait_leaves_the_operation_running() {
    with_bench(async |bench| {
        bench.run(&["on", "node3"]).await;
        let off = ["off", "node3", "--reason", "x", "--force", "--timeout", "2s"];
        let ran = bench.run(&off).await;
        assert_eq!(ran.code, 5, "{ran:?}");
        // How far it is by then is the host's pace.
        assert!(ran.out.contains("node3: pending: the --timeout passed while it was "), "{ran:?}");
        assert_eq!(edges(bench).await, ["node3:on"], "it is not cut before it is down");
        std::fs::write(bench.path("go"), "").unwrap();
        bench.until_power("node3", "off").await;
        assert_eq!(edges(bench).await, ["node3:on", "node3:off"]);
    })
    .await;
}

#[tokio::test]
async fn ctrl_c_stops_the_wait_and_says_that_the_agent_goes_on() {
    with_bench(async |bench| {
        bench.run(&["on", "node3"]).await;
        let mut child =
            bench.command(&["off", "node3", "--reason", "x", "--force"]).spawn().unwrap();
        let mut progress = BufReader::new(child.stderr.take().unwrap()).lines();
        while let Some(line) = timeout(PATIENCE, progress.next_line()).await.unwrap().unwrap() {
            if line.contains("shutting down") {
                break;
            }
        }
        let id = Pid::from_raw(i32::try_from(child.id().unwrap()).unwrap()).unwrap();
        kill_process(id, Signal::INT).unwrap();
        let ran = said_by(child).await;
        assert_eq!(ran.code, 5, "{ran:?}");
        assert!(
            ran.out.contains("the agent goes on, `power-agent watch node3` follows it"),
            "{ran:?}"
        );
        std::fs::write(bench.path("go"), "").unwrap();
        bench.until_power("node3", "off").await;
    })
    .await;
}

#[tokio::test]
async fn watch_tells_every_change_to_people_and_to_programs() {
    with_bench(async |bench| {
        let mut people = bench.command(&["watch", "node1"]).spawn().unwrap();
        let mut told = BufReader::new(people.stdout.take().unwrap()).lines();
        let mut programs = bench.command(&["watch", "--json"]).spawn().unwrap();
        let mut events = BufReader::new(programs.stdout.take().unwrap()).lines();
        let first = timeout(PATIENCE, events.next_line()).await.unwrap().unwrap().unwrap();
        let first: Value = serde_json::from_str(&first).unwrap();
        assert_eq!((&first["event"], &first["name"]), (&"snapshot".into(), &"node1".into()));
        timeout(PATIENCE, told.next_line()).await.unwrap().unwrap().unwrap();
        bench.run(&["on", "node2,node1"]).await;
        let until = async {
            loop {
                let event: Value =
                    serde_json::from_str(&events.next_line().await.unwrap().unwrap()).unwrap();
                let is_change = event["event"] == "changed" && event["name"] == "node2";
                if is_change && event["power"] == "on" && event["operation"]["finished"] == true {
                    break;
                }
            }
            loop {
                let line = told.next_line().await.unwrap().unwrap();
                assert!(!line.contains("node2"), "only node1 was asked for: {line}");
                if line.starts_with('+')
                    && line.contains("node1: on; on by ")
                    && line.contains("done")
                {
                    break;
                }
            }
        };
        timeout(PATIENCE, until).await.expect("the changes are told");
    })
    .await;
}

#[tokio::test]
async fn check_has_a_code_for_each_kind_of_file() {
    let home = tempfile::tempdir().unwrap();
    let file = home.path().join("rack.toml");
    let port = home.path().join("port");
    for (text, code, told) in [
        ("[agent]\nname = \"a\"\n", 0, "agent a: 0 devices and 0 machines"),
        (
            "[devices.a]\ndriver = \"lcus\"\nport = \"port\"\nchannels = 1\nstatus = \"none\"\n",
            1,
            "does not exist",
        ),
        ("[agent]\nnam = \"a\"\n", 65, "did you mean `name`?"),
        ("[feeds.a]\nbudget = \"16A\"\n", 1, "feed a: 0 machines, 0 A running and 0 A more"),
        (
            "[devices.a]\ndriver = \"lcus\"\nport = \"port\"\nchannels = 2\nstatus = \"ascii\"\n\
             [feeds.a]\nbudget = \"2A\"\n\
             [pools.p]\nfeed = \"a\"\nrunning = \"0.6A\"\ninrush = \"2A\"\ninrush_for = \"1s\"\n\
             [machines.n1]\npool = \"p\"\noutlets = [{ device = \"a\", outlet = 1 }]\n\
             [machines.n2]\npool = \"p\"\noutlets = [{ device = \"a\", outlet = 2 }]\n",
            1,
            "feed a: 2 machines, 1.2 A running and 1.4 A more for the largest start, of 2 A: not all of them run at once",
        ),
    ] {
        std::fs::write(&file, text).unwrap();
        let child = Command::new(BINARY)
            .arg("check")
            .arg(&file)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let ran = said_by(child).await;
        assert_eq!(ran.code, code, "{ran:?}");
        assert!(ran.out.contains(told) || ran.err.contains(told), "{ran:?}");
    }
    assert!(!port.exists(), "check opens nothing");
}

#[tokio::test]
async fn serve_refuses_a_rack_file_with_errors_and_names_them() {
    let home = tempfile::tempdir().unwrap();
    let file = home.path().join("rack.toml");
    std::fs::write(&file, "[machines.node1]\n").unwrap();
    let child = Command::new(BINARY)
        .args(["serve", "--config"])
        .arg(&file)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let ran = said_by(child).await;
    assert_eq!(ran.code, 65, "{ran:?}");
    assert!(ran.err.contains("rack.toml:1:11"), "{ran:?}");
}
