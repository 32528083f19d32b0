//! What protects the hardware on the real agent: minimum on and off times, cycles per hour, and the flap breaker.

use std::time::Duration;

use agent_api::{HoldEnds, RefusalCode, TakeHold, Taken};
use fleet::{HoldKind, Phase, Reason, Verb};
use virtual_rack::relay::Power;

use crate::rig::{Rig, autoscaler, name, order, person, phase, until};
use crate::{edge, refused};

/// The rack file with another number of cycles per hour.
async fn with_cycles(off_dwell: &str, cycles: u32) -> Rig {
    let mut rig = Rig::start(off_dwell).await;
    rig.stop_agent().await;
    let file = std::fs::read_to_string(rig.path("agent.toml")).expect("a file");
    let file = file.replace("cycles_per_hour = 0", &format!("cycles_per_hour = {cycles}"));
    std::fs::write(rig.path("agent.toml"), file).expect("a file");
    rig.start_agent().await;
    rig
}

#[tokio::test]
async fn what_was_lit_just_now_waits_also_after_a_kill_and_a_hold_calls_a_policy_off() {
    // Longer than a swamped host needs for a restart.
    let mut rig = Rig::start("60s").await;
    rig.done(&order("op-1", "read", Verb::On, autoscaler(1))).await;
    rig.kill_agent().await;
    rig.start_agent().await;
    rig.accepted(&order("op-2", "read", Verb::Off, autoscaler(1))).await;
    let waiting = until("it waits", async || {
        let machine = rig.machine("read").await;
        (phase(&machine) == Some(Phase::Waiting)).then_some(machine.operation)?
    })
    .await;
    assert!(waiting.progress.contains("lit too short ago (min_on)"), "{waiting:?}");
    assert!(waiting.deadline_in.is_some_and(|left| left > Duration::ZERO), "{waiting:?}");
    let asked = TakeHold {
        machine: name("read"),
        kind: HoldKind::Hold,
        by: "ada".to_owned(),
        reason: Reason::new("course"),
        span: None,
        force: false,
    };
    let taken = rig.client.take_hold(&asked).await.expect("an answer");
    assert!(matches!(taken, Taken::Held(_)), "{taken:?}");
    let ended = until("it is called off", async || {
        rig.machine("read").await.operation.filter(|operation| operation.phase == Phase::Failed)
    })
    .await;
    assert_eq!(ended.evidence, "called off: ada holds the machine");
    assert_eq!(rig.edges().await, [edge("a", 1, Power::On)]);
    // A person in a hurry does not wait for min_on.
    rig.done(&order("op-3", "read", Verb::Off, person())).await;
    assert_eq!(rig.edges().await, [Power::On, Power::Off].map(|to| edge("a", 1, to)));
    rig.accepted(&order("op-4", "read", Verb::On, person())).await;
    until("it waits for min_off, which nobody forces", async || {
        (phase(&rig.machine("read").await) == Some(Phase::Waiting)).then_some(())
    })
    .await;
}

#[tokio::test]
async fn cycles_of_an_hour_are_counted_over_a_kill() {
    let mut rig = with_cycles("100ms", 2).await;
    for (id, verb) in [("1", Verb::On), ("2", Verb::Off), ("3", Verb::On), ("4", Verb::Off)] {
        rig.done(&order(&format!("op-{id}"), "read", verb, autoscaler(1))).await;
    }
    rig.kill_agent().await;
    rig.start_agent().await;
    let before = rig.edges().await;
    let third = order("op-5", "read", Verb::On, autoscaler(1));
    let (code, text) = refused(rig.client.set_power(&third).await.expect("an answer"));
    assert_eq!(code, RefusalCode::TooManyCycles);
    assert!(
        text.contains("2 times within the last hour") && text.contains("try again in"),
        "{text}"
    );
    assert_eq!(rig.edges().await, before);
    rig.done(&order("op-6", "read", Verb::On, person())).await;
}

#[tokio::test]
async fn what_policies_switch_again_and_again_is_held_by_the_breaker_until_a_person_releases_it() {
    let mut rig = with_cycles("100ms", 4).await;
    for (id, verb) in [Verb::On, Verb::Off, Verb::On, Verb::Off, Verb::On].into_iter().enumerate() {
        rig.done(&order(&format!("op-{id}"), "read", verb, autoscaler(1))).await;
    }
    rig.kill_agent().await;
    rig.start_agent().await;
    let hold = rig.machine("read").await.hold.expect("the breaker holds it");
    assert_eq!((hold.kind, hold.by.as_str()), (HoldKind::Flapping, "flap breaker"));
    assert!(matches!(hold.ends, HoldEnds::In(_)), "{hold:?}");
    let before = rig.edges().await;
    let again = order("op-again", "read", Verb::Off, autoscaler(1));
    let (code, text) = refused(rig.client.set_power(&again).await.expect("an answer"));
    assert_eq!(code, RefusalCode::Flapping, "{text}");
    assert_eq!(rig.release("read").await.ended.len(), 1);
    assert_eq!((rig.machine("read").await.hold, rig.edges().await), (None, before));
    rig.done(&order("op-free", "read", Verb::Off, autoscaler(1))).await;
}
