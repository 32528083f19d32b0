//! A pool that is taken for another lease. Goal: who held it before is obeyed no more from that moment on, and whoever
//! watches knows it. Method: claims and orders over the socket of the real agent; edges from the rack.

use agent_api::Event;
use fleet::{ClusterId, Fence, FenceNumber, Origin, RefusalCode, Verb};
use testkit::bench::{PATIENCE, autoscaler, order, reading};
use virtual_rack::relay::Power;

use crate::told::{lines, short};
use crate::{bench, edge, refused};

fn fence(number: u64) -> Fence {
    let Origin::Autoscaler(fence) = autoscaler(number) else { unreachable!("it is one") };
    fence
}

#[tokio::test]
async fn after_a_claim_an_older_fence_moves_nothing_also_after_a_restart_and_who_watches_knows_it()
{
    let mut bench = bench::start("100ms").await;
    bench.done(&order("op-1", "read", Verb::On, autoscaler(4))).await;
    let mut watch = bench.client.watch().await.expect("a watch");
    bench.client.claim(&fence(5)).await.expect("it is taken");
    // All that was obeyed before stands in the snapshot that has the fence.
    let told = async {
        loop {
            let event = watch.next().await.expect("it goes on");
            let Some(Event::Snapshot(inventory)) = event else { continue };
            if inventory.fences == [fence(5)] {
                return inventory;
            }
        }
    };
    let inventory = tokio::time::timeout(PATIENCE, told).await.expect("the claim is told");
    let read = inventory.machines.iter().find(|machine| machine.name.as_str() == "read");
    assert_eq!(read.and_then(reading), Some(fleet::PowerState::On));
    for id in ["op-2", "op-3"] {
        let older = order(id, "read", Verb::Off, autoscaler(4));
        let (code, text) = refused(bench.client.set_power(&older).await.expect("an answer"));
        assert_eq!(code, RefusalCode::StaleFence, "{text}");
        bench.kill_agent().await;
        bench.start_agent().await;
    }
    assert_eq!(bench.moves().await, [edge("a", 1, Power::On)]);
    bench.done(&order("op-4", "read", Verb::Off, autoscaler(5))).await;
}

#[tokio::test]
async fn a_stale_claim_is_refused_and_a_repeated_one_or_that_of_another_cluster_is_not() {
    let bench = bench::start("100ms").await;
    for _ in 0..2 {
        bench.client.claim(&fence(5)).await.expect("it is taken");
    }
    let text = bench.client.claim(&fence(4)).await.expect_err("it is stale").to_string();
    let said = "pool rack is taken already, with fence 5 of cluster global: this claim carries 4";
    assert!(text.contains(said), "{text}");
    let west = Fence { cluster: ClusterId::new("west").expect("a name"), ..fence(4) };
    bench.client.claim(&west).await.expect("each cluster counts for itself");
    let fences = bench.client.inventory().await.expect("an inventory").fences;
    let numbers: Vec<FenceNumber> = fences.iter().map(|fence| fence.number).collect();
    assert_eq!(numbers, [FenceNumber(5), FenceNumber(4)]);
    bench
        .client
        .reset_fence(&west.pool, Some(&west.cluster), "ada", "test")
        .await
        .expect("a fence");
    let mut lines = lines(&bench).await;
    // The refused one has its line too, whenever that comes: see `tests/refusals/told.rs`.
    lines.retain(|line| line["what"] != "call");
    assert_eq!(short(&lines)[1..], ["claim done", "claim done", "fence-reset done"]);
    assert_eq!(lines[1]["by"], "autoscaler of global, pool rack, fence 5");
    assert_eq!(lines[3]["by"], "ada");
}

#[tokio::test]
async fn an_agent_that_was_away_while_nomad_was_restored_refuses_the_younger_claim_until_a_reset() {
    let mut bench = bench::start("100ms").await;
    bench.client.claim(&fence(9)).await.expect("it is taken");
    bench.kill_agent().await;
    bench.start_agent().await;
    for id in ["op-1", "op-2"] {
        let text = bench.client.claim(&fence(4)).await.expect_err("it is stale").to_string();
        let said = "with fence 9 of cluster global: this claim carries 4";
        assert!(text.contains(said), "{text}");
        let order = order(id, "read", Verb::On, autoscaler(4));
        let (code, text) = refused(bench.client.set_power(&order).await.expect("an answer"));
        assert_eq!(code, RefusalCode::StaleFence, "{text}");
    }
    let known = bench.client.inventory().await.expect("an inventory").fences;
    assert_eq!(known, [fence(9)], "what is refused is not remembered");
    assert_eq!(bench.moves().await, []);

    let rack = fence(9).pool;
    let why = "Nomad was restored from a snapshot";
    bench.client.reset_fence(&rack, None, "ada", why).await.expect("a fence");
    bench.client.claim(&fence(4)).await.expect("it is taken");
    let known = bench.client.inventory().await.expect("an inventory").fences;
    assert_eq!(known, [fence(4)]);
    bench.done(&order("op-3", "read", Verb::On, autoscaler(4))).await;
}
