//! Relays that move behind the agent's back. Goal: it is told by default, and undone only where the file says so: towards
//! on, once per movement, never against a person. Method: as in `main.rs`; a hand moves the relay at the board.

use std::time::Duration;

use agent_api::{AgentAddress, Client, Order};
use fleet::{MachineName, OnSoftOffTimeout, OperationId, Origin, Reason, Verb};
use serde_json::Value;
use virtual_rack::edges::Cause;
use virtual_rack::relay::Power;

use crate::bench::{Bench, Found, with_bench};

const FRAME_ON: (Power, Cause) = (Power::On, Cause::Frame);
const HAND_OFF: (Power, Cause) = (Power::Off, Cause::Hand);

fn enforced() -> Found<'static> {
    Found { drift: "enforce", ..Found::default() }
}

/// Longer than the agent would take to act: two polls and an order. It is the agent's own word, so it has polled on.
fn has_lasted(machine: &Value) -> bool {
    machine["drift"]["age_ms"].as_u64().is_some_and(|age| age > 5_000)
}

/// On, seen to be on, and then opened by a hand at the board.
async fn lit_and_opened(bench: &Bench) {
    assert_eq!(bench.order("on", "node1").await.exit, 0);
    // A poll after the order has seen it so: only what is seen to change is acted on.
    let before = bench.queries().await;
    bench.until_queries(before + 2).await;
    bench.rack.by_hand("a:1", Power::Off).await.expect("the relay is there");
}

#[tokio::test]
async fn a_relay_that_opens_by_itself_is_reported_and_left_alone() {
    with_bench(Found::default(), async |bench| {
        lit_and_opened(bench).await;
        bench.until_node1("its drift has lasted", has_lasted).await;
        assert_eq!(bench.edges("a:1").await, [FRAME_ON, HAND_OFF]);
        assert_eq!(bench.power("node1").await, "off (commanded on)");
        let shown = bench.shown().await;
        assert!(shown.contains("node1 reads off since "), "{shown}");
        assert!(shown.contains("only reported; `power-agent on node1` makes it so"), "{shown}");
        let log = std::fs::read_to_string(bench.path("agent.err")).expect("a log");
        assert_eq!(log.matches("machine reads otherwise than it was ordered").count(), 1, "{log}");
        assert_eq!(bench.order("on", "node1").await.exit, 0);
        bench.until_node1("it is over", |machine| machine["drift"].is_null()).await;
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
        bench.until_node1("the agent has lit it", own).await;
        bench.until_node1("it is over", |machine| machine["drift"].is_null()).await;
        assert_eq!(bench.edges("a:1").await, [FRAME_ON, HAND_OFF, FRAME_ON]);
        let queries = bench.queries().await;
        bench.until_queries(queries + 3).await;
        assert_eq!(bench.edges("a:1").await.len(), 3, "once is once");
        let (_, status) = bench.run(&["status", "node1"]).await;
        let by = &status["machines"][0]["commanded"]["by"];
        assert!(by["person"].is_string(), "whose wish it is stays: {status}");
    })
    .await;
}

#[tokio::test]
async fn a_hold_keeps_the_agent_from_lighting_it_again_until_it_is_released() {
    with_bench(enforced(), async |bench| {
        assert_eq!(bench.order("on", "node1").await.exit, 0);
        assert_eq!(bench.run(&["hold", "node1", "--reason", "bench"]).await.0, 0);
        let before = bench.queries().await;
        bench.until_queries(before + 2).await;
        bench.rack.by_hand("a:1", Power::Off).await.expect("the relay is there");
        bench.until_node1("its drift has lasted", has_lasted).await;
        assert_eq!(bench.edges("a:1").await, [FRAME_ON, HAND_OFF]);
        assert_eq!(bench.run(&["release", "node1"]).await.0, 0);
        bench.until_node1("it is over", |machine| machine["drift"].is_null()).await;
        assert_eq!(bench.edges("a:1").await, [FRAME_ON, HAND_OFF, FRAME_ON]);
    })
    .await;
}

#[tokio::test]
async fn a_machine_that_somebody_switched_on_at_the_board_is_never_cut() {
    with_bench(Found { on: true, ..enforced() }, async |bench| {
        assert_eq!(bench.order("off", "node1").await.exit, 0);
        assert_eq!(bench.run(&["release", "node1"]).await.0, 0);
        let before = bench.queries().await;
        bench.until_queries(before + 2).await;
        bench.rack.by_hand("a:1", Power::On).await.expect("the relay is there");
        bench.until_node1("its drift has lasted", has_lasted).await;
        let edges = bench.edges("a:1").await;
        assert_eq!(edges, [(Power::Off, Cause::Frame), (Power::On, Cause::Hand)]);
    })
    .await;
}

#[tokio::test]
async fn what_an_agent_finds_otherwise_at_its_start_it_tells_and_does_not_move() {
    with_bench(enforced(), async |bench| {
        assert_eq!(bench.order("on", "node1").await.exit, 0);
        let opened = async |rack: &virtual_rack::control::Client| {
            rack.by_hand("a:1", Power::Off).await.expect("the relay is there");
        };
        bench.replace_agent(opened).await;
        bench.until_node1("its drift has lasted", has_lasted).await;
        assert_eq!(bench.edges("a:1").await, [FRAME_ON, HAND_OFF]);
    })
    .await;
}

#[tokio::test]
async fn nobody_outside_may_claim_to_be_the_agent() {
    with_bench(enforced(), async |bench| {
        let address = AgentAddress::socket(bench.path("agent.sock"));
        let order = Order {
            operation: OperationId::new("drift-1").expect("an id"),
            machine: MachineName::new("node1").expect("a name"),
            verb: Verb::On,
            reason: Reason::new("drift"),
            origin: Origin::Agent,
            valid_for: Duration::from_secs(30),
            on_soft_off_timeout: OnSoftOffTimeout::Cut,
            force: false,
            drain: false,
            plan: None,
        };
        let refused = Client::connect_lazy(&address).set_power(&order).await.unwrap_err();
        assert!(refused.to_string().contains("nobody outside is the agent"), "{refused}");
        assert_eq!(bench.edges("a:1").await, []);
    })
    .await;
}
