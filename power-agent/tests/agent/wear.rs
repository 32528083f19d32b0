//! What protects the hardware on the real agent: minimum on and off times, cycles per hour, and the flap breaker.

use std::time::Duration;

use agent_api::{HoldEnds, RefusalCode, TakeHold, Taken};
use fleet::{HoldKind, Phase, Reason, Verb};
use virtual_rack::relay::Power;

use crate::{bench, edge, refused};
use testkit::bench::{Bench, autoscaler, name, order, person, phase, until};

/// The rack file with another number of cycles per hour.
async fn with_cycles(off_dwell: &str, cycles: u32) -> Bench {
    let mut bench = bench::start(off_dwell).await;
    bench.stop_agent().await;
    let file = bench.agent_file();
    let file = file.replace("cycles_per_hour = 0", &format!("cycles_per_hour = {cycles}"));
    bench.write_agent_file(&file);
    bench.start_agent().await;
    bench
}

#[tokio::test]
async fn what_was_lit_just_now_waits_also_after_a_kill_and_a_hold_calls_a_policy_off() {
    // Longer than a swamped host needs for a restart.
    let mut bench = bench::start("60s").await;
    bench.done(&order("op-1", "read", Verb::On, autoscaler(1))).await;
    bench.kill_agent().await;
    bench.start_agent().await;
    bench.accepted(&order("op-2", "read", Verb::Off, autoscaler(1))).await;
    let waiting = until("it waits", async || {
        let machine = bench.machine("read").await;
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
    let taken = bench.client.take_hold(&asked).await.expect("an answer");
    assert!(matches!(taken, Taken::Held(_)), "{taken:?}");
    let ended = until("it is called off", async || {
        bench.machine("read").await.operation.filter(|operation| operation.phase == Phase::Failed)
    })
    .await;
    assert_eq!(ended.evidence, "called off: ada holds the machine");
    assert_eq!(bench.moves().await, [edge("a", 1, Power::On)]);
    // A person in a hurry does not wait for min_on.
    bench.done(&order("op-3", "read", Verb::Off, person())).await;
    assert_eq!(bench.moves().await, [Power::On, Power::Off].map(|to| edge("a", 1, to)));
    bench.accepted(&order("op-4", "read", Verb::On, person())).await;
    until("it waits for min_off, which nobody forces", async || {
        (phase(&bench.machine("read").await) == Some(Phase::Waiting)).then_some(())
    })
    .await;
}

#[tokio::test]
async fn cycles_of_an_hour_are_counted_over_a_kill() {
    let mut bench = with_cycles("100ms", 2).await;
    for (id, verb) in [("1", Verb::On), ("2", Verb::Off), ("3", Verb::On), ("4", Verb::Off)] {
        bench.done(&order(&format!("op-{id}"), "read", verb, autoscaler(1))).await;
    }
    bench.kill_agent().await;
    bench.start_agent().await;
    let before = bench.moves().await;
    let third = order("op-5", "read", Verb::On, autoscaler(1));
    let (code, text) = refused(bench.client.set_power(&third).await.expect("an answer"));
    assert_eq!(code, RefusalCode::TooManyCycles);
    assert!(
        text.contains("2 times within the last hour") && text.contains("try again in"),
        "{text}"
    );
    assert_eq!(bench.moves().await, before);
    bench.done(&order("op-6", "read", Verb::On, person())).await;
}

#[tokio::test]
async fn what_policies_switch_again_and_again_is_held_by_the_breaker_until_a_person_releases_it() {
    let mut bench = with_cycles("100ms", 4).await;
    for (id, verb) in [Verb::On, Verb::Off, Verb::On, Verb::Off, Verb::On].into_iter().enumerate() {
        bench.done(&order(&format!("op-{id}"), "read", verb, autoscaler(1))).await;
    }
    bench.kill_agent().await;
    bench.start_agent().await;
    let hold = bench.machine("read").await.hold.expect("the breaker holds it");
    assert_eq!((hold.kind, hold.by.as_str()), (HoldKind::Flapping, "flap breaker"));
    assert!(matches!(hold.ends, HoldEnds::In(_)), "{hold:?}");
    let before = bench.moves().await;
    let again = order("op-again", "read", Verb::Off, autoscaler(1));
    let (code, text) = refused(bench.client.set_power(&again).await.expect("an answer"));
    assert_eq!(code, RefusalCode::Flapping, "{text}");
    assert_eq!(bench.release("read").await.ended.len(), 1);
    assert_eq!((bench.machine("read").await.hold, bench.moves().await), (None, before));
    bench.done(&order("op-free", "read", Verb::Off, autoscaler(1))).await;
}
