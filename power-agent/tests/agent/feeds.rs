//! Electricity is a budget, on the real agent: a rack whose breaker trips, and sixteen machines ordered on at once.
//! The rack adds up the current of its contacts itself; it knows nothing of the agent's ledger.

use std::fmt::Write as _;

use agent_api::RefusalCode;
use fleet::{Order, Verb};
use futures_util::future::join_all;
use virtual_rack::relay::Power;

use crate::refused;
use testkit::bench::{Bench, autoscaler, order, person, until};

const BOARDS: u8 = 4;
const CHANNELS: u8 = 4;

/// How long an inrush lasts for which the agent's file allows four seconds, as a data sheet's figure does. The rest is for
/// a rack that is kept waiting and closes its contacts late.
const WITHIN_THE_FIGURE_MS: u32 = 2_000;

/// An inrush that all sixteen share, however slowly they are lit.
const ENDLESS_MS: u32 = 3_600_000;

/// Sixteen machines of 0.5 A, and 2 A at first: eight starts fit into 16 A, then six beside those that run, then two.
fn rack_file(inrush_ms: u32) -> String {
    let mut text =
        "socket = \"rack.sock\"\nedge_log = \"edges.jsonl\"\n[feeds.a]\ntrip_ma = 16000\n"
            .to_owned();
    for board in 0..BOARDS {
        write!(text, "[boards.b{board}]\nkind = \"lcus-ascii\"\nchannels = {CHANNELS}\nlink = \"b{board}.tty\"\n")
            .expect("a text grows");
        for channel in 1..=CHANNELS {
            write!(
                text,
                "[machines.b{board}m{channel}]\nboard = \"b{board}\"\nchannel = {channel}\nfeed = \"a\"\n\
                 boot_ms = 100000\nshutdown_ms = 50\nwatts = 5\nrunning_ma = 500\ninrush_ma = 2000\ninrush_ms = {inrush_ms}\n"
            )
            .expect("a text grows");
        }
    }
    text
}

/// The agent's file, with what it says of the feed and of the machines' currents.
fn agent_file(feeds: &str, figures: &str) -> String {
    let mut text = format!(
        "[agent]\nname = \"bench\"\nsocket = \"agent.sock\"\nstate = \"state\"\npoll = \"1s\"\n{feeds}\n\
         [pools.rack]\noff_dwell = \"100ms\"\ncycles_per_hour = 0\nsettle = \"100ms\"\n{figures}\n"
    );
    for board in 0..BOARDS {
        write!(text, "[devices.b{board}]\ndriver = \"lcus\"\nport = \"b{board}.tty\"\nchannels = {CHANNELS}\nstatus = \"ascii\"\n")
            .expect("a text grows");
        for channel in 1..=CHANNELS {
            write!(
                text,
                "[machines.b{board}m{channel}]\npool = \"rack\"\noutlets = [{{ device = \"b{board}\", outlet = {channel} }}]\n"
            )
            .expect("a text grows");
        }
    }
    text
}

const FEED: &str = "[feeds.a]\nbudget = \"16A\"";
const FIGURES: &str = "feed = \"a\"\nrunning = \"0.5A\"\ninrush = \"2A\"\ninrush_for = \"4s\"";

async fn start(feeds: &str, figures: &str) -> Bench {
    start_on(WITHIN_THE_FIGURE_MS, feeds, figures).await
}

async fn start_on(inrush_ms: u32, feeds: &str, figures: &str) -> Bench {
    let mut bench = Bench::new(&rack_file(inrush_ms), &agent_file(feeds, figures)).await;
    bench.start_agent().await;
    bench
}

/// Each machine's order to be on, half of them a person's.
fn orders() -> Vec<Order> {
    let names = (0..BOARDS).flat_map(|board| (1..=CHANNELS).map(move |m| format!("b{board}m{m}")));
    let give = |(place, name): (usize, String)| {
        let origin = if place % 2 == 0 { person() } else { autoscaler(1) };
        order(&format!("op-{place}"), &name, Verb::On, origin)
    };
    names.enumerate().map(give).collect()
}

async fn mains(bench: &Bench) -> Power {
    bench.rack.state().await.expect("the rack answers").feeds["a"]
}

async fn closed(bench: &Bench) -> usize {
    let edges = bench.edges().await;
    edges.iter().filter(|edge| edge.edge == Power::On).count()
}

/// Waits until all run; the breaker has not tripped, because nothing here would close it again.
async fn until_all_run(bench: &Bench) {
    until("all sixteen run", async || (closed(bench).await == 16).then_some(())).await;
    until("all orders have ended well", async || {
        let machines = bench.client.inventory().await.ok()?.machines;
        let mut last = machines.iter().filter_map(|machine| machine.operation.as_ref());
        last.all(|operation| operation.phase == fleet::Phase::Done).then_some(())
    })
    .await;
    assert_eq!(mains(bench).await, Power::On, "the breaker has not tripped");
}

#[tokio::test]
async fn sixteen_machines_that_are_ordered_on_at_once_are_lit_within_the_budget() {
    let bench = start(FEED, FIGURES).await;
    let orders = orders();
    join_all(orders.iter().map(|order| bench.accepted(order))).await;
    let waits = until("some wait and say for what", async || {
        let machines = bench.client.inventory().await.ok()?.machines;
        let mut operations = machines.into_iter().filter_map(|machine| machine.operation);
        operations.find(|operation| operation.progress.contains("feed a carries"))
    })
    .await;
    assert_eq!(waits.phase, fleet::Phase::Waiting, "{waits:?}");
    until_all_run(&bench).await;
    let sums = bench.client.inventory().await.expect("an answer").feeds;
    assert_eq!(sums[0].room.committed.get(), 8000, "{sums:?}");
    let told = bench.run(&["status"]).await.out;
    assert!(told.contains("feed a: 8 of 16 A are taken"), "{told}");
}

#[tokio::test]
async fn without_feeds_in_the_agents_file_the_same_rack_trips() {
    let bench = start_on(ENDLESS_MS, "", "").await;
    let orders = orders();
    join_all(orders.iter().map(|order| bench.accepted(order))).await;
    until("the breaker trips", async || (mains(&bench).await == Power::Off).then_some(())).await;
}

#[tokio::test]
async fn an_agent_that_is_killed_while_machines_wait_lights_the_rest_within_the_budget() {
    let mut bench = start(FEED, FIGURES).await;
    let orders = orders();
    join_all(orders.iter().map(|order| bench.accepted(order))).await;
    until("some are lit", async || (closed(&bench).await >= 4).then_some(())).await;
    bench.kill_agent().await;
    bench.start_agent().await;
    until_all_run(&bench).await;
}

#[tokio::test]
async fn what_runs_fills_a_feed_for_persons_who_force_too_and_a_cycle_keeps_its_place() {
    let bench = start(
        "[feeds.a]\nbudget = \"1.2A\"",
        "feed = \"a\"\nrunning = \"0.5A\"\ninrush = \"0.7A\"\ninrush_for = \"100ms\"",
    )
    .await;
    for name in ["b0m1", "b0m2"] {
        bench.done(&order(name, name, Verb::On, person())).await;
    }
    let third = Order { force: true, ..order("op-3", "b0m3", Verb::On, person()) };
    let (code, text) = refused(bench.client.set_power(&third).await.expect("an answer"));
    assert_eq!(code, RefusalCode::FeedFull);
    let said = "feed a has no room for b0m3: 1 of 1.2 A are taken (b0m1 0.5 A, b0m2 0.5 A), and it takes 0.5 A, \
                0.7 A at its start; switch off a machine of this feed first: no --force passes a budget";
    assert_eq!(text, said);
    bench.done(&order("op-4", "b0m1", Verb::Cycle, person())).await;
    bench.done(&order("op-5", "b0m2", Verb::Off, person())).await;
    bench.done(&order("op-6", "b0m3", Verb::On, person())).await;
    let moves = bench.moves().await;
    assert_eq!(moves.len(), 6, "{moves:?}");
}

#[tokio::test]
async fn another_budget_of_a_reload_moves_nothing_and_counts_from_the_next_start_on() {
    let figures = "feed = \"a\"\nrunning = \"0.5A\"\ninrush = \"0.7A\"\ninrush_for = \"100ms\"";
    let of_budget =
        |budget: &str| agent_file(&format!("[feeds.a]\nbudget = \"{budget}\""), figures);
    let mut bench = Bench::new(&rack_file(WITHIN_THE_FIGURE_MS), &of_budget("1.2A")).await;
    bench.start_agent().await;
    let full = async |id: &str, machine: &str| {
        let order = order(id, machine, Verb::On, person());
        let (code, text) = refused(bench.client.set_power(&order).await.expect("an answer"));
        assert_eq!(code, RefusalCode::FeedFull, "{text}");
        text
    };
    for name in ["b0m1", "b0m2"] {
        bench.done(&order(name, name, Verb::On, person())).await;
    }
    full("op-3", "b0m3").await;
    let lit = bench.moves().await;
    let said = bench.reload(&of_budget("1.8A")).await;
    assert!(said.contains("in force") && said.contains("feeds changed: a"), "{said}");
    assert_eq!(bench.moves().await, lit);
    bench.done(&order("op-4", "b0m3", Verb::On, person())).await;

    // Less than what runs: all of it goes on, and what goes off does not come back.
    bench.reload(&of_budget("1.2A")).await;
    assert_eq!(bench.moves().await.len(), lit.len() + 1);
    let sums = bench.client.inventory().await.expect("an answer").feeds;
    assert_eq!((sums[0].room.committed.get(), sums[0].room.budget.get()), (1500, 1200), "{sums:?}");
    bench.done(&order("op-5", "b0m1", Verb::Off, person())).await;
    let text = full("op-6", "b0m1").await;
    assert!(text.contains("1 of 1.2 A are taken (b0m2 0.5 A, b0m3 0.5 A)"), "{text}");
}
