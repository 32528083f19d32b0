//! Two pools on one agent. Goal: neither's word counts for the other's machines, and the fences of one say nothing of the
//! other's. Method: orders over the socket of the real agent; edges from the rack.

use agent_api::Service;
use fleet::{Fence, FenceNumber, Origin, PoolName, QuarantineCause, Reason, RefusalCode, Verb};
use virtual_rack::relay::Power;

use testkit::bench::{Bench, autoscaler, name, order};

use crate::{bench, edge, refused};

fn fence(pool: &str, number: u64) -> Fence {
    let Origin::Autoscaler(fence) = autoscaler(number) else { unreachable!("it is one") };
    Fence { pool: PoolName::new(pool).expect("a name"), ..fence }
}

fn by(pool: &str, number: u64) -> Origin {
    Origin::Autoscaler(fence(pool, number))
}

/// `read` is in the pool `rack`, `lamp` in the pool `cellar`.
async fn two_pools() -> Bench {
    let mut bench = bench::start("100ms").await;
    let file = bench.agent_file().replace("[machines.lamp]", "[machines.lamp]\npool = \"cellar\"");
    bench::restart_with(&mut bench, &format!("{file}\n[pools.cellar]\n")).await;
    bench
}

async fn code(bench: &Bench, id: &str, machine: &str, origin: Origin) -> RefusalCode {
    let order = order(id, machine, Verb::On, origin);
    refused(bench.client.set_power(&order).await.expect("an answer")).0
}

#[tokio::test]
async fn neither_pool_moves_or_puts_aside_the_others_machines() {
    let bench = two_pools().await;
    assert_eq!(code(&bench, "op-1", "lamp", by("rack", 5)).await, RefusalCode::WrongPool);
    assert_eq!(code(&bench, "op-2", "read", by("cellar", 5)).await, RefusalCode::WrongPool);
    let aside = Service {
        machine: name("lamp"),
        origin: by("rack", 5),
        quarantine: Some(QuarantineCause::NoBoot),
        reason: Reason::new("test"),
    };
    let refusal = bench.client.set_quarantine(&aside).await.expect("an answer");
    assert_eq!(refusal.map_err(|refusal| refusal.code), Err(RefusalCode::WrongPool));
    assert!(bench.machine("lamp").await.quarantine.is_none());
    assert!(bench.moves().await.is_empty());
    let fences = bench.client.inventory().await.expect("an inventory").fences;
    assert!(fences.is_empty(), "a word that is no word leaves no fence: {fences:?}");
    bench.done(&order("op-3", "lamp", Verb::On, by("cellar", 1))).await;
    bench.done(&order("op-4", "read", Verb::On, by("rack", 1))).await;
    assert_eq!(bench.moves().await, [edge("a", 4, Power::On), edge("a", 1, Power::On)]);
}

#[tokio::test]
async fn each_pool_has_its_own_fence_and_to_reset_one_leaves_the_other() {
    let mut bench = two_pools().await;
    bench.client.claim(&fence("rack", 5)).await.expect("it is taken");
    bench.done(&order("op-1", "lamp", Verb::On, by("cellar", 9))).await;
    assert_eq!(code(&bench, "op-2", "read", by("rack", 4)).await, RefusalCode::StaleFence);
    assert_eq!(code(&bench, "op-3", "lamp", by("cellar", 8)).await, RefusalCode::StaleFence);
    bench.done(&order("op-4", "read", Verb::On, by("rack", 5))).await;
    let cellar = PoolName::new("cellar").expect("a name");
    let was = bench.client.reset_fence(&cellar, None, "ada", "restored").await.expect("a fence");
    assert_eq!(was, fence("cellar", 9));
    // Now, and from the disk.
    assert_eq!(code(&bench, "op-7", "read", by("rack", 4)).await, RefusalCode::StaleFence);
    bench.kill_agent().await;
    bench.start_agent().await;
    let fences = bench.client.inventory().await.expect("an inventory").fences;
    assert_eq!(fences, [fence("rack", 5)]);
    assert_eq!(code(&bench, "op-5", "read", by("rack", 4)).await, RefusalCode::StaleFence);
    bench.done(&order("op-6", "lamp", Verb::Off, by("cellar", 1))).await;
    let fences = bench.client.inventory().await.expect("an inventory").fences;
    let numbers: Vec<FenceNumber> = fences.iter().map(|fence| fence.number).collect();
    assert_eq!(numbers, [FenceNumber(1), FenceNumber(5)]);
}
