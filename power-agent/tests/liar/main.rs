//! Boards that lie, against the shipped agent. Goal: each is classified right, or it is said to be indistinguishable
//! and why; there is no success without evidence. Method: the real binary as daemon and as command on the line of a
//! virtual board with a fault; what it says is held against the rack's own log of the contacts. The table that this
//! prints is kept in `figures/liar-boards.md`.

mod bench;
mod cases;
mod drift;

use futures_util::StreamExt;
use virtual_rack::edges::Cause;
use virtual_rack::relay::Power;

use bench::{Found, TRIES_MAX, edges, give, give_in_time, with_bench};
use cases::{Case, RIGHT, cases};

/// Racks that run at once: agents and boards mostly wait for each other.
const AT_ONCE: usize = 8;

impl Case {
    /// Gives the order and holds what is said against what moved; returns the table's row.
    async fn run(self) -> String {
        let answers = self.speaks && !self.evidence.starts_with("nothing was done");
        let Case { liar, faults, speaks, found, says, evidence, moved, verdict } = self;
        let wanted = !found;
        // What is said is said on the order's own readings: a poll that comes too late takes none away.
        let start =
            Found { speaks, on: found == Power::On, faults, poll: "1h", ..Found::default() };
        let run = async || {
            with_bench(start, async |bench| {
                let told = give(bench, &wanted.to_string(), "node1").await;
                (told, edges(bench, "a:1").await)
            })
            .await
        };
        let (mut told, mut edges) = run().await;
        for _ in 1..TRIES_MAX {
            if answers && told.is_late() {
                (told, edges) = run().await;
            }
        }
        let said = (told.exit, told.outcome.as_str(), told.power.as_str());
        assert_eq!(said, says, "{liar}, {wanted}: {told:?}");
        assert!(told.text.contains(evidence), "{liar}, {wanted}: {told:?}");
        let as_ordered: Vec<Power> = edges.iter().map(|(power, _)| *power).collect();
        let expected: &[Power] = if moved { &[wanted] } else { &[] };
        assert_eq!(as_ordered, expected, "{liar}, {wanted}: {told:?}");
        if told.outcome == "done" {
            assert!(moved || verdict != RIGHT, "{liar}: success without evidence");
        }
        let contact = if moved { "moved" } else { "did not move" };
        let (exit, outcome, power) = says;
        format!("| {liar} | {wanted} | {exit} {outcome} | {power} | {contact} | {verdict} |")
    }
}

#[tokio::test]
async fn every_liar_is_classified_right_or_said_to_be_indistinguishable() {
    let runs = futures_util::stream::iter(cases()).map(Case::run).buffered(AT_ONCE);
    let rows: Vec<String> = runs.collect().await;
    let figures = include_str!("../../../figures/liar-boards.md");
    for row in &rows {
        println!("{row}");
    }
    for row in &rows {
        assert!(figures.contains(row), "figures/liar-boards.md has no line\n{row}");
    }
}

#[tokio::test]
async fn a_board_that_falls_silent_after_it_has_acted_is_not_called_what_it_was_before() {
    let script = "wait node1 booting 60m\nfault a mute\n";
    // The script has that long between the frame that is obeyed and the question that is not answered.
    let found = Found { script, gap: "2s", ..Found::default() };
    let (told, edges, later) = with_bench(found, async |bench| {
        let told = give(bench, "on", "node1").await;
        let edges = edges(bench, "a:1").await;
        bench.rack.heal("a").await.expect("the board is there");
        bench.until_power("node1", "on").await;
        (told, edges, bench.power("node1").await)
    })
    .await;
    assert_eq!((told.exit, told.outcome.as_str()), (1, "failed"), "{told:?}");
    assert!(told.text.contains("no answer to the status query"), "{told:?}");
    assert_eq!(told.power, "assumed on", "it was driven, and nobody can tell: {told:?}");
    assert_eq!(edges, [(Power::On, Cause::Frame)]);
    assert_eq!(later, "on", "once it answers, what it says counts");
}

#[tokio::test]
async fn an_order_that_is_obeyed_a_second_time_later_is_seen_as_a_disagreement() {
    let edges =
        with_bench(Found { faults: &["a acts-again 20s"], ..Found::default() }, async |bench| {
            assert_eq!(give_in_time(bench, "on", "node1").await.exit, 0);
            bench.rack.heal("a").await.expect("the board is there");
            let off = give_in_time(bench, "off", "node1").await;
            assert_eq!((off.exit, off.power.as_str()), (0, "off"), "{off:?}");
            bench.until_power("node1", "on (commanded off)").await;
            edges(bench, "a:1").await
        })
        .await;
    let expected =
        [(Power::On, Cause::Frame), (Power::Off, Cause::Frame), (Power::On, Cause::Late)];
    assert_eq!(edges, expected, "and the agent moved nothing against it");
}

#[tokio::test]
async fn a_machine_that_is_only_partly_read_is_never_called_done() {
    with_bench(Found::default(), async |bench| {
        let on = give_in_time(bench, "on", "mixed").await;
        assert_eq!((on.exit, on.outcome.as_str()), (4, "unverified"), "{on:?}");
        let rest = "read back on on 1 of 2 outlets, assumed on the rest";
        assert!(on.text.contains(rest), "{on:?}");
        assert_eq!(on.power, "on", "one outlet that is on makes a machine on");
        let off = give_in_time(bench, "off", "mixed").await;
        assert_eq!((off.exit, off.power.as_str()), (4, "assumed off"), "{off:?}");
        for relay in ["a:2", "b:1"] {
            let edges = edges(bench, relay).await;
            assert_eq!(edges, [(Power::On, Cause::Frame), (Power::Off, Cause::Frame)], "{relay}");
        }
    })
    .await;
}

#[tokio::test]
async fn a_board_that_comes_back_under_another_name_is_found_by_its_path_and_nothing_moves() {
    let edges = with_bench(Found { on: true, ..Found::default() }, async |bench| {
        bench.until_power("node1", "on").await;
        bench.rack.fault("a unplugged").await.expect("the board is there");
        bench.until_power("node1", "unknown").await;
        bench.rack.fault("a renamed a-moved.tty").await.expect("the name is free");
        bench.until_power("node1", "on").await;
        let off = give_in_time(bench, "off", "node1").await;
        assert_eq!((off.exit, off.power.as_str()), (0, "off"), "{off:?}");
        edges(bench, "a:1").await
    })
    .await;
    assert_eq!(edges, [(Power::Off, Cause::Frame)]);
}
