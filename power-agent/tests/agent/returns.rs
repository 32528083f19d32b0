//! An agent that comes back much later. Goal: nothing moves by itself, holds and fences stay, what was half done is told.
//! Method: a week on the agent's clock by a time namespace, a reboot by another boot id.

use std::time::Duration;

use fleet::{FenceNumber, Phase, PowerState, RefusalCode, Verb};
use virtual_rack::relay::Power;

use crate::{bench, edge, refused};
use testkit::bench::{Bench, autoscaler, order, person, phase, reading, until};

const WEEK: Duration = Duration::from_secs(7 * 24 * 3600);

/// One machine is on, one held off, one died between off and on: in a dwell that outlasts any host's pause.
async fn left_alone() -> Bench {
    let mut bench = bench::start("60s").await;
    bench.done(&order("op-1", "twin", Verb::On, autoscaler(5))).await;
    bench.done(&order("op-2", "lamp", Verb::On, person())).await;
    bench.done(&order("op-3", "lamp", Verb::Off, person())).await;
    bench.done(&order("op-4", "read", Verb::On, person())).await;
    bench.accepted(&order("op-5", "read", Verb::Cycle, person())).await;
    until("it dwells", async || {
        (phase(&bench.machine("read").await) == Some(Phase::Dwelling)).then_some(())
    })
    .await;
    bench.kill_agent().await;
    bench
}

/// What must be so when the agent answers again.
async fn check(bench: &Bench, away: Duration) {
    let operation = bench.machine("read").await.operation.expect("it is reported");
    assert_eq!((operation.id.as_str(), operation.phase), ("op-5", Phase::Failed));
    assert!(operation.evidence.contains("its deadline has passed"), "{}", operation.evidence);
    assert!(operation.evidence.contains("it may be off because of that"), "{}", operation.evidence);
    assert_eq!(reading(&bench.machine("read").await), Some(PowerState::Off));
    let twin = bench.machine("twin").await;
    assert_eq!(reading(&twin), Some(PowerState::On));
    assert!(twin.commanded.expect("kept").age >= away);
    let hold = bench.machine("lamp").await.hold.expect("it is held");
    assert!(hold.age >= away, "{:?}", hold.age);
    let stale = order("op-6", "twin", Verb::Off, autoscaler(4));
    let (code, _) = refused(bench.client.set_power(&stale).await.expect("an answer"));
    assert_eq!(code, RefusalCode::StaleFence);
    let fences = bench.client.inventory().await.expect("an inventory").fences;
    assert_eq!(fences.iter().map(|fence| fence.number).collect::<Vec<_>>(), [FenceNumber(5)]);
}

#[tokio::test]
async fn an_agent_that_returns_after_a_week_moves_nothing_and_reports_what_was_half_done() {
    let mut bench = left_alone().await;
    let before = bench.moves().await;
    bench.later = Some(WEEK);
    bench.start_agent().await;
    check(&bench, WEEK).await;
    assert_eq!(bench.moves().await, before);
    bench.done(&order("op-7", "read", Verb::On, person())).await;
    assert_eq!(bench.moves().await.last(), Some(&edge("a", 1, Power::On)));
}

#[tokio::test]
async fn an_agent_that_returns_after_a_reboot_moves_nothing_and_reports_what_was_half_done() {
    let bench = left_alone().await;
    let before = bench.moves().await;
    let boot = power_agent::clock::BootId::new("another boot");
    let look = async || check(&bench, fleet::arbiter::BEFORE_BOOT).await;
    bench::with_agent_of(&bench, boot, look).await;
    assert_eq!(bench.moves().await, before);
}
