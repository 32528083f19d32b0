//! Serial boards that are pulled out and come back, anywhere and under any name. Goal: no frame goes to a wrong board, no
//! contact moves but as ordered, a loss is known at once and a return within moments, long before a poll. Method: the real
//! agent sees the rack's own tree of the kernel in the place of /sys/dev/char; pairs of boards are pulled at byte offsets
//! that a seed draws, in the midst of orders, and come back renamed, renumbered, exchanged, or with a name that leads to
//! the other; what the rack heard and moved is held against what was ordered.

#![expect(clippy::panic, reason = "helpers of tests fail by panic as the tests do")]

mod pair;
mod view;

use std::fmt::Write as _;

use futures_util::future::join_all;
use testkit::bench::Bench;
use testkit::skip::skip;
use tokio::process::Command;
use tokio::sync::Mutex;
use virtual_rack::relay::Power;

use pair::{Pair, Told};

/// Pairs of boards that are pulled about side by side; the last one can not be read.
const PAIRS: u64 = 16;

/// Detaches in a test run of all pairs together.
const FEW: u64 = 48;

/// So rarely that what is told within a second comes by itself; a busy host on which a board's answer came too late asks
/// again all the same.
const POLL: &str = "20s";

fn by_path(at: u64) -> String {
    format!("dev/serial/by-path/platform-rack-usb-0:1.{at}:1.0-port0")
}

/// The two boards of a pair, and where each is plugged in at first.
fn boards() -> impl Iterator<Item = (u64, &'static str, u64)> {
    (0..PAIRS).flat_map(|pair| [(pair, "a", 2 * pair + 1), (pair, "b", 2 * pair + 2)])
}

fn rack_file() -> String {
    let mut text = "socket = \"rack.sock\"\nedge_log = \"edges.jsonl\"\nsys = \"sys\"\n".to_owned();
    for (pair, side, at) in boards() {
        let board = format!("p{pair}{side}");
        let kind = if pair + 1 == PAIRS { "lcus-silent" } else { "lcus-ascii" };
        let serial = if pair::is_numbered(pair) {
            format!(", serial = \"S{board}\"")
        } else {
            String::new()
        };
        write!(
            text,
            "[boards.{board}]\nkind = \"{kind}\"\nchannels = 4\nmin_gap_ms = 0\nlink = \"dev/ttyUSB{at}\"\nby_path = \"{}\"\n\
             usb = {{ at = \"1.{at}\", id = \"1a86:7523\"{serial} }}\n",
            by_path(at)
        )
        .expect("a text grows");
    }
    text
}

fn agent_file() -> String {
    let mut text = format!(
        "[agent]\nname = \"bench\"\nsocket = \"agent.sock\"\nstate = \"state\"\npoll = \"{POLL}\"\n[pools.rack]\n\
         off_dwell = \"100ms\"\nmin_on = \"0s\"\nmin_off = \"0s\"\ncycles_per_hour = 0\nsettle = \"100ms\"\n"
    );
    for (pair, side, at) in boards() {
        let board = format!("p{pair}{side}");
        let status = if pair + 1 == PAIRS { "none" } else { "ascii" };
        let serial = if pair::is_numbered(pair) {
            format!("serial = \"S{board}\"\n")
        } else {
            String::new()
        };
        write!(
            text,
            "[devices.{board}]\ndriver = \"lcus\"\nport = \"{}\"\nusb = \"1a86:7523\"\n{serial}channels = 4\nstatus = \"{status}\"\nmin_gap = \"50ms\"\n",
            by_path(at)
        )
        .expect("a text grows");
        for channel in pair::channels(side) {
            write!(
                text,
                "[machines.{board}m{channel}]\npool = \"rack\"\noutlets = [{{ device = \"{board}\", outlet = {channel} }}]\n"
            )
            .expect("a text grows");
        }
    }
    text
}

fn number(variable: &str, few: u64) -> u64 {
    match std::env::var(variable) {
        Ok(text) => text.parse().unwrap_or_else(|_| panic!("{variable}={text:?} is no number")),
        Err(_) => few,
    }
}

/// Whether a folder can be put in the place of another for one process alone.
async fn can_mount() -> bool {
    let mut probe = Command::new("unshare");
    probe.arg("--mount");
    if !rustix::process::geteuid().is_root() {
        probe.args(["--user", "--map-root-user"]);
    }
    probe.args(["mount", "--bind", "/sys", "/sys/dev/char"]).kill_on_drop(true);
    probe.output().await.is_ok_and(|said| said.status.success())
}

#[tokio::test]
async fn boards_that_are_pulled_swapped_and_renumbered_get_no_frame_of_another() {
    if !can_mount().await {
        skip("boards that are pulled", "this user may not mount in a namespace of its own");
        return;
    }
    let (runs, seed) = (number("LAMPLIGHTER_RUNS", FEW), number("LAMPLIGHTER_SEED", 1));
    let mut bench = Bench::new(&rack_file(), &agent_file()).await;
    bench.ports_told = Some(bench.path("sys/dev/char"));
    bench.log_filter = Some("warn,power_agent::wiring=off");
    bench.start_agent().await;
    let (each, standstill) = (runs.div_ceil(PAIRS), Mutex::new(()));
    let runs = (0..PAIRS).map(|number| {
        let (bench, standstill) = (&bench, &standstill);
        async move {
            let mut pair = Pair::new(bench, standstill, number, seed).await;
            for _ in 0..each {
                pair.detach_and_attach().await;
            }
            pair.told
        }
    });
    let mut told = Told::default();
    for one in join_all(runs).await {
        told.add(one);
    }
    let mut unintended = 0;
    let moves = bench.moves().await;
    for (pair, side, _) in boards() {
        let board = format!("p{pair}{side}");
        for channel in 1..=4 {
            let found: Vec<Power> = moves
                .iter()
                .filter(|(on, at, _)| *on == board && *at == channel)
                .map(|(_, _, power)| *power)
                .collect();
            let ordered = told.edges.get(&(board.clone(), channel)).cloned().unwrap_or_default();
            if found != ordered {
                unintended += found.len().abs_diff(ordered.len()).max(1);
                println!("{board}:{channel}: found {found:?}, ordered {ordered:?}");
            }
            if !pair::channels(side).contains(&channel) {
                told.strayed += u64::try_from(found.len()).unwrap_or(u64::MAX);
            }
        }
    }
    println!("{}", told.line(seed, unintended));
    assert_eq!((told.strayed, unintended), (0, 0), "{:?}\n{}", told.astray, bench.log());
}
