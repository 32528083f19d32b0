//! An agent that comes back much later. Goal: nothing moves by itself, holds and fences stay, what was half done is told.
//! Method: a week on the agent's clock by a time namespace, a reboot by another boot id.

use std::time::Duration;

use fleet::{FenceNumber, Phase, PowerState, RefusalCode, Verb};
use virtual_rack::relay::Power;

use crate::rig::{Rig, autoscaler, order, person, phase, reading, until};
use crate::{edge, refused};

const WEEK: Duration = Duration::from_secs(7 * 24 * 3600);

/// One machine is on, one held off, one died between off and on.
async fn left_alone() -> Rig {
    let mut rig = Rig::start("3s").await;
    rig.done(&order("op-1", "twin", Verb::On, autoscaler(5))).await;
    rig.done(&order("op-2", "lamp", Verb::On, person())).await;
    rig.done(&order("op-3", "lamp", Verb::Off, person())).await;
    rig.done(&order("op-4", "read", Verb::On, person())).await;
    rig.accepted(&order("op-5", "read", Verb::Cycle, person())).await;
    until("it dwells", async || {
        (phase(&rig.machine("read").await) == Some(Phase::Dwelling)).then_some(())
    })
    .await;
    rig.kill_agent().await;
    rig
}

/// What must be so when the agent answers again.
async fn check(rig: &Rig, away: Duration) {
    let operation = rig.machine("read").await.operation.expect("it is reported");
    assert_eq!((operation.id.as_str(), operation.phase), ("op-5", Phase::Failed));
    assert!(operation.evidence.contains("its deadline has passed"), "{}", operation.evidence);
    assert!(operation.evidence.contains("it may be off because of that"), "{}", operation.evidence);
    assert_eq!(reading(&rig.machine("read").await), Some(PowerState::Off));
    let twin = rig.machine("twin").await;
    assert_eq!(reading(&twin), Some(PowerState::On));
    assert!(twin.commanded.expect("kept").age >= away);
    let hold = rig.machine("lamp").await.hold.expect("it is held");
    assert!(hold.age >= away, "{:?}", hold.age);
    let stale = order("op-6", "twin", Verb::Off, autoscaler(4));
    let (code, _) = refused(rig.client.set_power(&stale).await.expect("an answer"));
    assert_eq!(code, RefusalCode::StaleFence);
    let fences = rig.client.inventory().await.expect("an inventory").fences;
    assert_eq!(fences.iter().map(|fence| fence.number).collect::<Vec<_>>(), [FenceNumber(5)]);
}

#[tokio::test]
async fn an_agent_that_returns_after_a_week_moves_nothing_and_reports_what_was_half_done() {
    let mut rig = left_alone().await;
    let before = rig.edges().await;
    rig.later = Some(WEEK);
    rig.start_agent().await;
    check(&rig, WEEK).await;
    assert_eq!(rig.edges().await, before);
    rig.done(&order("op-7", "read", Verb::On, person())).await;
    assert_eq!(rig.edges().await.last(), Some(&edge("a", 1, Power::On)));
}

#[tokio::test]
async fn an_agent_that_returns_after_a_reboot_moves_nothing_and_reports_what_was_half_done() {
    let rig = left_alone().await;
    let before = rig.edges().await;
    let boot = power_agent::clock::BootId::new("another boot");
    rig.with_agent_of(boot, async |rig| check(rig, fleet::arbiter::BEFORE_BOOT).await).await;
    assert_eq!(rig.edges().await, before);
}
