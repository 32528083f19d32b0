//! A pool that is taken for another lease. Goal: who held it before is obeyed no more from that moment on, and whoever
//! watches knows it. Method: claims and orders over the socket of the real agent; edges from the rack.

use agent_api::Event;
use fleet::{ClusterId, Fence, FenceNumber, Origin, RefusalCode, Verb};
use virtual_rack::relay::Power;

use crate::rig::{PATIENCE, Rig, autoscaler, order, reading};
use crate::told::{lines, short};
use crate::{edge, refused};

fn fence(number: u64) -> Fence {
    let Origin::Autoscaler(fence) = autoscaler(number) else { unreachable!("it is one") };
    fence
}

#[tokio::test]
async fn after_a_claim_an_older_fence_moves_nothing_also_after_a_restart_and_who_watches_knows_it()
{
    let mut rig = Rig::start("100ms").await;
    rig.done(&order("op-1", "read", Verb::On, autoscaler(4))).await;
    let mut watch = rig.client.watch().await.expect("a watch");
    rig.client.claim(&fence(5)).await.expect("it is taken");
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
        let (code, text) = refused(rig.client.set_power(&older).await.expect("an answer"));
        assert_eq!(code, RefusalCode::StaleFence, "{text}");
        rig.kill_agent().await;
        rig.start_agent().await;
    }
    assert_eq!(rig.edges().await, [edge("a", 1, Power::On)]);
    rig.done(&order("op-4", "read", Verb::Off, autoscaler(5))).await;
}

#[tokio::test]
async fn a_stale_claim_is_refused_and_a_repeated_one_or_that_of_another_cluster_is_not() {
    let rig = Rig::start("100ms").await;
    for _ in 0..2 {
        rig.client.claim(&fence(5)).await.expect("it is taken");
    }
    let text = rig.client.claim(&fence(4)).await.expect_err("it is stale").to_string();
    let said = "pool rack is taken already, with fence 5 of cluster global: this claim carries 4";
    assert!(text.contains(said), "{text}");
    let west = Fence { cluster: ClusterId::new("west").expect("a name"), ..fence(4) };
    rig.client.claim(&west).await.expect("each cluster counts for itself");
    let fences = rig.client.inventory().await.expect("an inventory").fences;
    let numbers: Vec<FenceNumber> = fences.iter().map(|fence| fence.number).collect();
    assert_eq!(numbers, [FenceNumber(5), FenceNumber(4)]);
    rig.client.reset_fence(&west.pool, Some(&west.cluster), "ada", "test").await.expect("a fence");
    let lines = lines(&rig).await;
    assert_eq!(short(&lines)[1..], ["claim done", "claim done", "fence-reset done"]);
    assert_eq!(lines[1]["by"], "autoscaler of global, pool rack, fence 5");
    assert_eq!(lines[3]["by"], "ada");
}
