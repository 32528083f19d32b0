//! Faults as others meet them: the binary in a process of its own, real lines, real processes; by
//! script, over the control socket and by seed. Method: as in `main.rs`.

use std::io::Read;
use std::io::Write;
use std::time::Duration;

use crate::bench::Bench;
use crate::bench::ON_1;
use crate::bench::eventually;
use virtual_rack::edges::Cause;
use virtual_rack::machine::Phase;
use virtual_rack::relay::Power;

const PATIENCE: Duration = Duration::from_secs(180);

fn rack(more: &str, command: &str) -> String {
    format!(
        r#"
        {more}
        [feeds.left]
        [boards.a]
        kind = "lcus-ascii"
        channels = 2
        link = "ttyUSB0"
        by_path = "by-path/port0"
        feed = "left"
        [boards.b]
        kind = "lcus-ascii"
        channels = 2
        link = "ttyUSB1"
        [machines.node1]
        board = "a"
        channel = 1
        feed = "left"
        boot_ms = 50
        shutdown_ms = 50
        watts = 6.5
        command = {command}
        "#
    )
}

/// The state letters of this rack's processes of a program, as the kernel tells them.
fn states(bench: &Bench, program: &str) -> Vec<char> {
    let of_pid = |pid: &String| {
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        stat.rsplit_once(") ")?.1.chars().next()
    };
    bench.pids(program).iter().filter_map(of_pid).collect()
}

#[tokio::test]
async fn a_hanging_machines_programs_stand_still_and_a_cut_kills_them_all_the_same() {
    let family =
        r#"["sh", "-c", "tail -f HOME/child & setsid sh -c 'tail -f HOME/grandchild; :' & wait"]"#;
    let bench = Bench::start(&rack("", family), &[]).await;
    bench.order("ttyUSB0", ON_1).await;
    bench.client.wait("node1", Phase::Up, PATIENCE).await.unwrap();
    eventually("both tails run", || states(&bench, "tail").len() == 2).await;
    assert_eq!(bench.client.fault("node1 hangs").await.unwrap().len(), 1);
    eventually("both stand still", || states(&bench, "tail") == ['T', 'T']).await;
    let machine = bench.client.machine("node1").await.unwrap();
    assert_eq!((machine.state, machine.hangs), (Phase::Up, true));
    assert!((machine.watts - 6.5).abs() < f64::EPSILON, "it draws what it drew");
    let refused = bench.client.soft_off("node1").await.unwrap_err().to_string();
    assert!(refused.contains("found it up and hanging"), "{refused}");
    assert_eq!(bench.client.heal("node1").await.unwrap(), []);
    eventually("both go on", || !states(&bench, "tail").contains(&'T')).await;
    bench.client.fault("node1 hangs").await.unwrap();
    bench.client.by_hand("a:1", Power::Off).await.unwrap();
    eventually("nothing of the machine is left", || bench.survivors() == 0).await;
    let edges = bench.client.edges().await.unwrap();
    let causes: Vec<Cause> = edges.iter().map(|edge| edge.cause).collect();
    assert_eq!(causes, [Cause::Frame, Cause::Hand]);
}

#[tokio::test]
async fn a_board_is_unplugged_and_returns_under_another_name_while_its_path_stays() {
    let bench = Bench::start(&rack("", r#"["cat"]"#), &[]).await;
    let mut line = bench.open("ttyUSB0").await;
    bench.client.fault("a unplugged").await.unwrap();
    assert!(!bench.path("ttyUSB0").is_symlink() && !bench.path("by-path/port0").is_symlink());
    assert_eq!(line.read(&mut [0; 1]).unwrap_or(0), 0, "whoever had it open is hung up on");
    assert!(line.write_all(&ON_1).is_err());
    let state = bench.client.state().await.unwrap();
    assert_eq!(state.boards["a"].port, None);
    let taken = bench.client.fault("a renamed ttyUSB1").await.unwrap_err().to_string();
    assert!(taken.contains("board b is at"), "{taken}");
    bench.client.fault("a renamed ttyUSB7").await.unwrap();
    assert!(!bench.path("ttyUSB0").is_symlink());
    bench.order("ttyUSB7", ON_1).await;
    assert_eq!(std::fs::read_link(bench.path("by-path/port0")).unwrap(), bench.path("ttyUSB7"));
    bench.client.heal("a").await.unwrap();
    assert!(!bench.path("ttyUSB7").is_symlink());
    bench.order("ttyUSB0", [0xA0, 1, 0, 0xA1]).await;
    assert_eq!(bench.client.edges().await.unwrap().len(), 2, "its relays stayed through all that");
}

#[tokio::test]
async fn the_rack_file_and_a_script_make_things_wrong_and_heal_them() {
    let script = "wait node1 booting 60s\nheal node1\nat 10ms by-hand a:1 off\nby-hand a:1 on\n\
        wait node1 up 60s\nfault left no-mains\nwait node1 dark 60s\nheal all\nquit\n";
    let faults = "faults = [\"node1 no-boot\", \"a:2 welded-closed\"]";
    let mut bench = Bench::start(&rack(faults, r#"["cat"]"#), &[("day.txt", script)]).await;
    let state = bench.client.state().await.unwrap();
    let wrong: Vec<String> = state.faults.iter().map(ToString::to_string).collect();
    assert_eq!(wrong, ["node1 no-boot", "a:2 welded-closed"]);
    bench.client.by_hand("a:1", Power::On).await.unwrap();
    assert!(bench.ended().await, "every step was done: {}", bench.text("rack.log"));
}

#[tokio::test]
async fn a_seed_plays_the_same_faults_again_and_heals_all_at_its_end() {
    let mut told = Vec::new();
    for _ in 0..2 {
        let mut bench = Bench::start(&rack("", r#"["cat"]"#), &[]).await;
        bench.client.quit().await.unwrap();
        bench.ended().await;
        let storm = ["--fault-seed", "7", "--fault-time", "2s", "--fault-every", "200ms"];
        bench.start_again(&storm).await;
        eventually("the storm is over", || bench.text("rack.log").contains("the storm is over"))
            .await;
        assert_eq!(bench.client.state().await.unwrap().faults, []);
        let log = bench.text("rack.log");
        let gusts = log.lines().filter_map(|line| Some(line.split_once("after_ms=")?.1.to_owned()));
        told.push(gusts.collect::<Vec<_>>());
    }
    assert!(told[0].len() > 8, "{told:?}");
    assert_eq!(told[0], told[1]);
}

#[tokio::test]
async fn a_fault_that_makes_no_sense_is_refused_at_the_command_line_and_in_the_file() {
    let mut bench = Bench::start(&rack("", r#"["cat"]"#), &[]).await;
    let ctl = ["ctl", "--socket", "rack.sock"];
    let refused = bench.run(&[&ctl[..], &["fault", "a", "melts"]].concat()).await;
    assert_eq!(refused.code, Some(1));
    assert!(
        refused.stderr.starts_with("virtual-rack: found the fault \"a melts\""),
        "{}",
        refused.stderr
    );
    let mute = bench.run(&[&ctl[..], &["fault", "a", "answers-late", "2s"]].concat()).await;
    assert_eq!((mute.code, mute.stdout.as_str()), (Some(0), "fault a answers-late 2000ms\n"));
    let healed = bench.run(&[&ctl[..], &["heal", "a"]].concat()).await;
    assert_eq!(healed.stdout, "nothing is wrong\n");
    let usage = bench.run(&["run", "RACK.toml", "--fault-seed", "7", "--fault-every", "1ms"]).await;
    assert!(usage.stderr.contains("found a fault every 1ms"), "{}", usage.stderr);
    bench.client.quit().await.unwrap();
    bench.ended().await;
    let text = bench.text("RACK.toml");
    std::fs::write(bench.path("RACK.toml"), format!("faults = [\"z mute\"]\n{text}")).unwrap();
    let refused = bench.run(&["run", "RACK.toml"]).await;
    assert!(refused.stderr.contains("faults: found no board \"z\""), "{}", refused.stderr);
}
