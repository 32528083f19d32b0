//! The rack as others meet it: the binary in a process of its own, real serial lines, real
//! processes. Method: every wait is for a condition, with a bound; the host may be slow.

mod bench;
mod faults;

use std::io::Read;
use std::io::Write;
use std::time::Duration;

use bench::Bench;
use bench::OFF_1;
use bench::ON_1;
use bench::eventually;
use virtual_rack::control::CommandState;
use virtual_rack::edges;
use virtual_rack::machine::Phase;
use virtual_rack::relay::Power;

const PATIENCE: Duration = Duration::from_secs(180);

/// A command with a child, and a grandchild that left session and group.
const FAMILY: &str =
    r#"["sh", "-c", "tail -f HOME/child & setsid sh -c 'tail -f HOME/grandchild; :' & wait"]"#;

fn one_machine(command: &str) -> String {
    format!(
        r#"
        [boards.a]
        kind = "lcus-ascii"
        channels = 2
        link = "board-a"
        [machines.node1]
        board = "a"
        channel = 1
        boot_ms = 50
        shutdown_ms = 50
        watts = 6.5
        command = {command}
        command_log = "node1.log"
        "#
    )
}

#[tokio::test]
async fn a_cut_kills_a_command_and_all_its_descendants() {
    let bench = Bench::start(&one_machine(FAMILY), &[]).await;
    bench.order("board-a", ON_1).await;
    let up = bench.client.wait("node1", Phase::Up, PATIENCE).await.unwrap();
    assert!(matches!(up.command, CommandState::Running { .. }), "{up:?}");
    eventually("both tails run", || bench.processes("tail").len() == 2).await;
    bench.order("board-a", OFF_1).await;
    assert_eq!(bench.client.machine("node1").await.unwrap().state, Phase::Dark);
    eventually("nothing of the machine is left", || bench.survivors() == 0).await;
}

#[tokio::test]
async fn soft_off_asks_the_command_to_end_and_kills_what_does_not() {
    let deaf = r#"["sh", "-c", "trap 'echo asked to end' TERM; tail -f HOME/deaf & while :; do wait; done"]"#;
    let bench = Bench::start(&one_machine(deaf), &[]).await;
    let dark = bench.client.soft_off("node1").await.unwrap_err().to_string();
    assert_eq!(dark, "machine node1 can not take a soft off: found it dark, expected it up");
    bench.order("board-a", ON_1).await;
    bench.client.wait("node1", Phase::Up, PATIENCE).await.unwrap();
    eventually("the command runs", || bench.processes("tail").len() == 1).await;
    let taken = bench.client.soft_off("node1").await.unwrap();
    assert_eq!(taken.state, Phase::ShuttingDown);
    eventually("it was asked", || bench.text("node1.log").contains("asked to end")).await;
    let halted = bench.client.wait("node1", Phase::Halted, PATIENCE).await.unwrap();
    assert_eq!(halted.command, CommandState::None);
    eventually("what ignored it is dead", || bench.survivors() == 0).await;
    let state = bench.client.state().await.unwrap();
    assert_eq!(state.boards["a"].relays, [Power::On, Power::Off], "a halt opens no relay");
    assert_eq!(bench.client.edges().await.unwrap().len(), 1);
}

#[tokio::test]
async fn a_machine_stays_up_when_its_command_ends_by_itself() {
    let bench = Bench::start(&format!("{}\non = true", one_machine(r#"["false"]"#)), &[]).await;
    let client = &bench.client;
    let ended = async {
        loop {
            let machine = client.machine("node1").await.unwrap();
            if let CommandState::Exited { outcome } = machine.command {
                return (machine.state, outcome);
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    let (phase, outcome) = tokio::time::timeout(PATIENCE, ended).await.expect("false ends");
    assert_eq!((phase, outcome.as_str()), (Phase::Up, "exit status: 1"));
}

#[tokio::test]
async fn frames_that_come_too_soon_are_lost_and_the_edge_log_has_exactly_what_moved() {
    let gap =
        "\n[boards.b]\nkind = \"lcus-silent\"\nchannels = 8\nlink = \"board-b\"\nmin_gap_ms = 50";
    let bench = Bench::start(&format!("{}{gap}", one_machine(r#"["cat"]"#)), &[]).await;
    let on_8 = [0xA0, 8, 1, 0xA9];
    bench.write("board-b", &[on_8, [0xA0, 1, 1, 0xA2]].concat()).await;
    bench.heard("board-b", |frames| frames.accepted == 1 && frames.lost == 1).await;
    bench.write("board-b", &[0xA0, 8, 0, 0xA0, 0x55]).await;
    bench.heard("board-b", |frames| frames.bad + frames.lost == 3).await;
    bench.order("board-a", ON_1).await;
    bench.order("board-a", ON_1).await;
    bench.order("board-a", OFF_1).await;
    bench.order("board-b", [0xA0, 8, 0, 0xA8]).await;
    let edges = bench.client.edges().await.unwrap();
    let told: Vec<_> =
        edges.iter().map(|e| (e.board.as_str(), e.channel, e.machine.as_deref(), e.edge)).collect();
    let expected = [
        ("b", 8, None, Power::On),
        ("a", 1, Some("node1"), Power::On),
        ("a", 1, Some("node1"), Power::Off),
        ("b", 8, None, Power::Off),
    ];
    assert_eq!(told, expected);
    assert!(edges.is_sorted_by_key(|edge| edge.at_us));
    assert_eq!(edges::read(&bench.path("edges.jsonl")).unwrap(), edges);
}

#[tokio::test]
async fn a_line_can_be_closed_and_opened_again_and_forgets_who_had_it() {
    let bench = Bench::start(&one_machine(r#"["cat"]"#), &[]).await;
    let mut first = bench.open("board-a").await;
    rustix::termios::ioctl_tiocexcl(&first).unwrap();
    first.write_all(&[0xFF]).unwrap();
    let mut answer = [0; 20];
    // Heard is not answered: the kernel hands bytes over at its leisure, and what comes later is not forgotten.
    bench.until_unread_by(&first, answer.len()).await;
    drop(first);
    bench.until_unread("board-a", 0).await;
    let mut second = bench.open("board-a").await;
    bench.order("board-a", ON_1).await;
    let queries = bench.client.state().await.unwrap().boards["a"].frames.queries;
    bench.repeat_until("board-a", &[0xFF], |frames| frames.queries > queries).await;
    bench.until_unread_by(&second, answer.len()).await;
    second.read_exact(&mut answer).unwrap();
    assert_eq!(answer.as_slice(), b"CH1: ON \r\nCH2: OFF\r\n");
    let frames = bench.client.state().await.unwrap().boards["a"].frames;
    assert_eq!(frames.bad, 0, "an echo of the answers would be heard as stray bytes");
}

#[tokio::test]
async fn the_end_of_the_rack_leaves_no_process_no_link_and_no_socket() {
    for end in ["quit", "term", "kill"] {
        let mut bench = Bench::start(&format!("{}\non = true", one_machine(FAMILY)), &[]).await;
        eventually("both tails run", || bench.processes("tail").len() == 2).await;
        match end {
            "quit" => bench.client.quit().await.unwrap(),
            "term" => bench.signal(rustix::process::Signal::TERM),
            _ => bench.signal(rustix::process::Signal::KILL),
        }
        if end == "quit" {
            assert!(!bench.path("board-a").is_symlink(), "gone before the answer");
        }
        assert_eq!(bench.ended().await, end != "kill", "{end}");
        eventually("nothing is left", || bench.survivors() == 0).await;
        let left = [bench.path("board-a").is_symlink(), bench.path("rack.sock").exists()];
        assert_eq!(left, [end == "kill"; 2], "{end}: a killed rack can not tidy up");
    }
}

#[tokio::test]
async fn a_second_rack_on_the_same_socket_is_refused_and_disturbs_nothing() {
    let bench = Bench::start(&one_machine(r#"["cat"]"#), &[]).await;
    let before = std::fs::read_link(bench.path("board-a")).unwrap();
    let second = bench.run(&["run", "RACK.toml"]).await;
    assert_eq!(second.code, Some(1));
    assert!(second.stderr.contains("another rack answers there"), "{}", second.stderr);
    assert_eq!(std::fs::read_link(bench.path("board-a")).unwrap(), before);
    bench.order("board-a", ON_1).await;
}

#[tokio::test]
async fn a_killed_racks_remains_do_not_hinder_the_next() {
    let mut bench = Bench::start(&one_machine(r#"["cat"]"#), &[]).await;
    bench.signal(rustix::process::Signal::KILL);
    bench.ended().await;
    bench.start_again(&[]).await;
    bench.order("board-a", ON_1).await;
}

#[tokio::test]
async fn the_command_line_fails_with_a_reason_and_prints_json_on_demand() {
    let bench = Bench::start(&one_machine(r#"["cat"]"#), &[]).await;
    let refused = bench.run(&["ctl", "--socket", "rack.sock", "soft-off", "node1"]).await;
    assert_eq!(refused.code, Some(1));
    assert_eq!(
        refused.stderr,
        "virtual-rack: machine node1 can not take a soft off: found it dark, expected it up\n"
    );
    let late = ["ctl", "--socket", "rack.sock", "wait", "node1", "up", "--timeout", "10ms"];
    let late = bench.run(&late).await;
    let expected = "virtual-rack: found machine node1 dark, expected it up by now\n";
    assert_eq!((late.code, late.stderr.as_str()), (Some(1), expected));
    let state = bench.run(&["ctl", "--socket", "rack.sock", "state", "--json"]).await;
    let json: serde_json::Value = serde_json::from_str(&state.stdout).unwrap();
    assert_eq!(json["state"]["machines"]["node1"]["state"], "dark");
}

#[tokio::test]
async fn a_script_drives_the_rack_and_its_failure_is_the_racks() {
    let on = format!("{}\non = true", one_machine(r#"["cat"]"#));
    let good = "wait node1 up 60s\nat 20ms soft-off node1\nwait node1 halted 60s\nquit\n";
    let mut bench = Bench::start(&on, &[("day.txt", good)]).await;
    assert!(bench.ended().await, "the script ended the rack well");
    let bad = "soft-off node1\nsoft-off node1\nquit\n";
    let mut bench = Bench::start(&on, &[("day.txt", bad)]).await;
    bench.client.wait("node1", Phase::Halted, PATIENCE).await.unwrap();
    bench.client.quit().await.unwrap();
    assert!(!bench.ended().await, "the failed step is in the exit code");
}
