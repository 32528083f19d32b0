//! The rack of these tests, as big as one asks for, and numbers that a seed decides.

use std::fmt::Write as _;

use testkit::bench::Bench;

/// Outlets of each board.
pub(crate) const CHANNELS: u8 = 4;

/// The boards' names; the last of them can not be read.
pub(crate) fn boards(count: usize) -> Vec<String> {
    (0..count).map(|board| format!("b{board}")).collect()
}

fn rack_file(boards: &[String]) -> String {
    let mut text = "socket = \"rack.sock\"\nedge_log = \"edges.jsonl\"\n".to_owned();
    for (at, board) in boards.iter().enumerate() {
        // A rack that is kept waiting hears frames late and close together. On a board that can be asked the read-back
        // finds what is lost to its gap so; on the one that can not be, nothing is to be lost so.
        let silent = at + 1 == boards.len();
        let (kind, gap) =
            if silent { ("lcus-silent", "min_gap_ms = 0\n") } else { ("lcus-ascii", "") };
        write!(
            text,
            "[boards.{board}]\nkind = \"{kind}\"\nchannels = {CHANNELS}\nlink = \"{board}.tty\"\n{gap}"
        )
        .expect("a text grows");
    }
    text
}

fn agent_file(boards: &[String]) -> String {
    let mut text =
        "[agent]\nname = \"bench\"\nsocket = \"agent.sock\"\nstate = \"state\"\npoll = \"2s\"\n\
                    [pools.rack]\noff_dwell = \"150ms\"\nmin_on = \"0s\"\nmin_off = \"0s\"\ncycles_per_hour = 0\nsettle = \"100ms\"\n"
            .to_owned();
    for (at, board) in boards.iter().enumerate() {
        let status = if at + 1 == boards.len() { "none" } else { "ascii" };
        write!(
            text,
            "[devices.{board}]\ndriver = \"lcus\"\nport = \"{board}.tty\"\nchannels = {CHANNELS}\nstatus = \"{status}\"\n"
        )
        .expect("a text grows");
        for channel in 1..=CHANNELS {
            write!(
                text,
                "[machines.{board}m{channel}]\npool = \"rack\"\noutlets = [{{ device = \"{board}\", outlet = {channel} }}]\n"
            )
            .expect("a text grows");
        }
    }
    text
}

/// All dark, no agent yet.
pub(crate) async fn start(boards: &[String]) -> Bench {
    let mut bench = Bench::new(&rack_file(boards), &agent_file(boards)).await;
    let seen = "warn,power_agent::agent=info,power_agent::sequence=info,power_agent::reload=info";
    bench.log_filter = Some(seen);
    bench
}

/// What the agents said of one machine, the last of it.
pub(crate) fn log_of(bench: &Bench, machine: &str) -> String {
    const SHOWN_MAX: usize = 30;
    let log = bench.log();
    let lines: Vec<&str> = log.lines().filter(|line| line.contains(machine)).collect();
    lines.get(lines.len().saturating_sub(SHOWN_MAX)..).unwrap_or_default().join("\n")
}

/// How many frames and queries the boards did not hear.
pub(crate) async fn lost(bench: &Bench) -> u64 {
    let state = bench.rack.state().await.expect("the rack answers");
    state.boards.values().map(|board| board.frames.lost).sum()
}

/// Numbers that a seed decides (splitmix64).
#[derive(Debug, Clone)]
pub(crate) struct Dice(pub(crate) u64);

impl Dice {
    pub(crate) fn below(&mut self, end: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)) % end.max(1)
    }
}

/// How often something is done: what the environment says, or the few times of a test run.
pub(crate) fn number(variable: &str, few: u64) -> u64 {
    match std::env::var(variable) {
        Ok(text) => text.parse().unwrap_or_else(|_| panic!("{variable}={text:?} is no number")),
        Err(_) => few,
    }
}
