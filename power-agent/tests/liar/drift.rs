//! Relays that move behind the agent's back. Goal: it is told by default, and undone only where the file says so: towards
//! on, once per movement, never against a person. Method: as in `main.rs`; a hand moves the relay at the board.

use agent_api::Service;
use fleet::drift::TRIES_MAX;
use fleet::{Origin, QuarantineCause, Reason, Verb};
use futures_util::StreamExt;
use serde_json::Value;
use testkit::bench::{Bench, name, order, person};
use virtual_rack::edges::Cause;
use virtual_rack::relay::Power;

use crate::bench::{Found, edges, give_in_time, queries, until_queries, with_bench};

const FRAME_ON: (Power, Cause) = (Power::On, Cause::Frame);
const HAND_OFF: (Power, Cause) = (Power::Off, Cause::Hand);

/// How long after an order's end a poll counts: by then its sequence is put away, also on a disk that is busy.
const SETTLED_MS: u64 = 2_000;

fn enforced() -> Found<'static> {
    Found { drift: "enforce", ..Found::default() }
}

/// Longer than the agent would take to act: two polls and an order. It is the agent's own word, so it has polled on.
fn has_lasted(machine: &Value) -> bool {
    machine["drift"]["age_ms"].as_u64().is_some_and(|age| age > 5_000)
}

/// Whether a poll has found it so since its last order was over: only what was seen to change is acted on. By the agent's
/// own word: a query that the board has heard may be answered too late for the agent, and a poll in the midst of the
/// order is no witness.
fn is_seen(machine: &Value, state: &str) -> bool {
    let ms = |path: &str| machine.pointer(path).and_then(Value::as_u64);
    let seen = ms("/reading/age_ms").zip(ms("/operation/age_ms")).zip(ms("/operation/took_ms"));
    machine["reading"]["state"] == state
        && seen.is_some_and(|((read, ordered), took)| read + took + SETTLED_MS < ordered)
}

/// Gives an order that must be done, and read back. Where a later poll had no answer yet, the command says of how the
/// machine stands by now that it is not proven.
async fn done(bench: &Bench, verb: &str) {
    let told = give_in_time(bench, verb, "node1").await;
    let read = [format!("read back {verb}"), format!("read {verb} before")];
    let read = read.iter().any(|read| told.text.contains(read));
    assert!(read && [0, 4].contains(&told.exit), "{told:?}\n{}", bench.log());
}

/// On, seen to be on, and then opened by a hand at the board.
async fn lit_and_opened(bench: &Bench) {
    done(bench, "on").await;
    bench.until_status("node1", "a poll has seen it so", |machine| is_seen(machine, "on")).await;
    bench.rack.by_hand("a:1", Power::Off).await.expect("the relay is there");
}

#[tokio::test]
async fn a_relay_that_opens_by_itself_is_reported_and_left_alone() {
    with_bench(Found::default(), async |bench| {
        lit_and_opened(bench).await;
        bench.until_status("node1", "its drift has lasted", has_lasted).await;
        assert_eq!(edges(bench, "a:1").await, [FRAME_ON, HAND_OFF]);
        // A poll that the board answers too late shows nothing for a while.
        bench.until_power("node1", "off (commanded on)").await;
        let shown = bench.run(&["status"]).await.out;
        assert!(shown.contains("node1 reads off since "), "{shown}");
        assert!(shown.contains("only reported; `power-agent on node1` makes it so"), "{shown}");
        let log = bench.log();
        assert_eq!(log.matches("machine reads otherwise than it was ordered").count(), 1, "{log}");
        done(bench, "on").await;
        bench.until_status("node1", "it is over", |machine| machine["drift"].is_null()).await;
    })
    .await;
}

#[tokio::test]
async fn where_the_file_says_so_it_is_lit_again_once_by_an_order_of_the_agents_own() {
    with_bench(enforced(), async |bench| {
        lit_and_opened(bench).await;
        let own = |machine: &Value| {
            let operation = &machine["operation"];
            operation["reason"] == "drift"
                && operation["by"] == "agent"
                && operation["finished"] == true
        };
        bench.until_status("node1", "the agent has lit it", own).await;
        bench.until_status("node1", "it is over", |machine| machine["drift"].is_null()).await;
        assert_eq!(edges(bench, "a:1").await, [FRAME_ON, HAND_OFF, FRAME_ON]);
        let queries = queries(bench).await;
        until_queries(bench, queries + 3).await;
        assert_eq!(edges(bench, "a:1").await.len(), 3, "once is once");
        let status = bench.json(&["status", "node1"]).await;
        let by = &status["machines"][0]["commanded"]["by"];
        assert!(by["person"].is_string(), "whose wish it is stays: {status}");
    })
    .await;
}

/// Ways to lock a machine that is on, as they are typed; the last one is the plugin's.
const LOCKS: &[(&str, &[&[&str]])] = &[
    ("hold", &[&["hold", "node1", "--reason", "bench"]]),
    ("maintenance", &[&["maintenance", "on", "node1", "--reason", "bench"]]),
    ("reserved", &[&["reserve", "node1", "--for", "1h", "--reason", "bench"]]),
    // A person who lights it leaves the hold of another's `off` as it is.
    ("off", &[&["off", "node1", "--reason", "bench"], &["on", "node1"]]),
    ("quarantine", &[]),
];

#[tokio::test]
async fn every_lock_keeps_the_agent_from_lighting_it_again_until_it_is_released() {
    let runs = futures_util::stream::iter(LOCKS).map(|(lock, typed)| locked(lock, typed));
    let runs: Vec<()> = runs.buffered(LOCKS.len()).collect().await;
    assert_eq!(runs.len(), LOCKS.len());
}

async fn quarantine(bench: &Bench) {
    let service = Service {
        machine: name("node1"),
        origin: person(),
        quarantine: Some(QuarantineCause::NoBoot),
        reason: Reason::new("no boot"),
    };
    assert_eq!(bench.client.set_quarantine(&service).await.expect("an answer"), Ok(true));
}

async fn locked(lock: &str, typed: &[&[&str]]) {
    with_bench(enforced(), async |bench| {
        done(bench, "on").await;
        for words in typed {
            assert_eq!(bench.run(words).await.code, 0, "{lock}");
        }
        if typed.is_empty() {
            quarantine(bench).await;
        }
        let lit = edges(bench, "a:1").await;
        let before = queries(bench).await;
        until_queries(bench, before + 2).await;
        bench.rack.by_hand("a:1", Power::Off).await.expect("the relay is there");
        bench.until_status("node1", "its drift has lasted", has_lasted).await;
        let opened = [&lit[..], &[HAND_OFF]].concat();
        assert_eq!(edges(bench, "a:1").await, opened, "{lock}");
        assert_eq!(bench.run(&["release", "node1"]).await.code, 0, "{lock}");
        bench.until_status("node1", "it is over", |machine| machine["drift"].is_null()).await;
        assert_eq!(edges(bench, "a:1").await, [&opened[..], &[FRAME_ON]].concat(), "{lock}");
    })
    .await;
}

/// Between two tries the agent rests for a minute, so that CI sees the first two; `LAMPLIGHTER_RUNS=1` all and the end.
#[tokio::test]
async fn a_contact_that_is_dead_is_tried_three_times_and_then_left_to_a_person() {
    let tries = if std::env::var_os("LAMPLIGHTER_RUNS").is_some() { TRIES_MAX } else { 2 };
    with_bench(enforced(), async |bench| {
        done(bench, "on").await;
        bench
            .until_status("node1", "a poll has seen it so", |machine| is_seen(machine, "on"))
            .await;
        bench.rack.fault("a ignores-frames").await.expect("the board is there");
        bench.rack.by_hand("a:1", Power::Off).await.expect("the relay is there");
        for tried in 1..=tries {
            let so_often = |machine: &Value| machine["drift"]["tries"] == tried;
            bench.until_status("node1", &format!("it was tried {tried} times"), so_often).await;
        }
        if tries < TRIES_MAX {
            return;
        }
        bench
            .until_status("node1", "it is given up", |machine| machine["drift"]["gave_up"] == true)
            .await;
        let frames = async || bench.rack.state().await.expect("a state").boards["a"].frames.ignored;
        let (given_up, queries) = (frames().await, queries(bench).await);
        until_queries(bench, queries + 10).await;
        assert_eq!(frames().await, given_up, "nothing more is sent");
        let log = bench.log();
        assert_eq!(log.matches("does not stay on; nothing more is tried").count(), 1, "{log}");
        let status = bench.json(&["status", "node1"]).await;
        assert_eq!(status["machines"][0]["drift"]["tries"], TRIES_MAX);
        assert_eq!(edges(bench, "a:1").await, [FRAME_ON, HAND_OFF]);
        // A person has changed the relay, and lights it.
        bench.rack.heal("a").await.expect("the board is there");
        done(bench, "on").await;
        bench.until_status("node1", "it is over", |machine| machine["drift"].is_null()).await;
    })
    .await;
}

#[tokio::test]
async fn a_machine_that_somebody_switched_on_at_the_board_is_never_cut() {
    with_bench(Found { on: true, ..enforced() }, async |bench| {
        done(bench, "off").await;
        assert_eq!(bench.run(&["release", "node1"]).await.code, 0);
        bench
            .until_status("node1", "a poll has seen it so", |machine| is_seen(machine, "off"))
            .await;
        bench.rack.by_hand("a:1", Power::On).await.expect("the relay is there");
        bench.until_status("node1", "its drift has lasted", has_lasted).await;
        let edges = edges(bench, "a:1").await;
        assert_eq!(edges, [(Power::Off, Cause::Frame), (Power::On, Cause::Hand)]);
    })
    .await;
}

#[tokio::test]
async fn what_an_agent_finds_otherwise_at_its_start_it_tells_and_does_not_move() {
    with_bench(enforced(), async |bench| {
        done(bench, "on").await;
        bench.kill_agent().await;
        bench.rack.by_hand("a:1", Power::Off).await.expect("the relay is there");
        bench.start_agent().await;
        bench.until_status("node1", "its drift has lasted", has_lasted).await;
        assert_eq!(edges(bench, "a:1").await, [FRAME_ON, HAND_OFF]);
    })
    .await;
}

#[tokio::test]
async fn nobody_outside_may_claim_to_be_the_agent() {
    with_bench(enforced(), async |bench| {
        let order = order("drift-1", "node1", Verb::On, Origin::Agent);
        let refused = bench.client.set_power(&order).await.unwrap_err();
        assert!(refused.to_string().contains("nobody outside is the agent"), "{refused}");
        assert_eq!(edges(bench, "a:1").await, []);
    })
    .await;
}
