//! Machines out of service and the boot ledger: kept beside the hardware, across kills.

use std::time::Duration;

use agent_api::{Boot, Foretold, Service};
use fleet::{
    BOOTS_MAX, BootEnd, OnSoftOffTimeout, OperationId, Order, Origin, Phase, PowerState,
    QuarantineCause, Reason, RefusalCode, Verb,
};
use virtual_rack::relay::Power;

use crate::{bench, edge, refused};
use testkit::bench::{autoscaler, name, order, person, reading};

fn service(origin: Origin, quarantine: Option<QuarantineCause>, reason: &str) -> Service {
    Service { machine: name("read"), origin, quarantine, reason: Reason::new(reason) }
}

#[tokio::test]
async fn a_quarantined_machine_is_moved_by_people_alone_and_a_release_returns_it() {
    let mut bench = bench::start("100ms").await;
    let out = service(autoscaler(1), Some(QuarantineCause::NoBoot), "did not boot, twice");
    assert_eq!(bench.client.set_quarantine(&out).await.expect("an answer"), Ok(true));
    let again = service(autoscaler(1), Some(QuarantineCause::NoShutdown), "another reason");
    assert_eq!(bench.client.set_quarantine(&again).await.expect("an answer"), Ok(false));
    bench.kill_agent().await;
    bench.start_agent().await;
    let kept = bench.machine("read").await.quarantine.expect("it is kept");
    assert_eq!(kept.cause, QuarantineCause::NoBoot);
    assert_eq!(kept.reason.as_str(), "did not boot, twice", "the first reason stays");
    assert_eq!(kept.by, autoscaler(1));

    let wanted = order("op-1", "read", Verb::On, autoscaler(1));
    let (code, text) = refused(bench.client.set_power(&wanted).await.expect("an answer"));
    assert_eq!(code, RefusalCode::Quarantined);
    assert!(text.contains("did not boot, twice") && text.contains("power-agent on read"), "{text}");
    bench.done(&order("op-2", "read", Verb::On, person())).await;
    assert_eq!(bench.moves().await, [edge("a", 1, Power::On)]);
    assert!(bench.machine("read").await.quarantine.is_some(), "the order alone proves nothing");

    let released = bench.release("read").await;
    assert!(released.was_quarantined && released.ended.is_empty(), "{released:?}");
    assert_eq!(bench.machine("read").await.quarantine, None);
    bench.done(&order("op-3", "read", Verb::Off, autoscaler(1))).await;
}

#[tokio::test]
async fn the_word_of_an_autoscaler_without_the_lease_is_refused() {
    let bench = bench::start("100ms").await;
    bench.done(&order("op-1", "read", Verb::On, autoscaler(2))).await;
    let stale = service(autoscaler(1), Some(QuarantineCause::NoBoot), "seen long ago");
    let answer = bench.client.set_quarantine(&stale).await.expect("an answer");
    assert_eq!(answer.expect_err("a newer lease has ordered").code, RefusalCode::StaleFence);
    assert_eq!(bench.machine("read").await.quarantine, None);
    let lift = service(autoscaler(2), None, "its node is ready");
    assert_eq!(bench.client.set_quarantine(&lift).await.expect("an answer"), Ok(false));
}

#[tokio::test]
async fn a_machine_that_does_not_shut_down_is_quarantined_where_its_order_says_so() {
    let more = "soft_off = { exec = [\"false\"], deadline = \"1s\" }";
    let mut bench = bench::with_pool("100ms", more).await;
    bench.done(&order("op-1", "read", Verb::On, autoscaler(1))).await;
    let off = Order {
        on_soft_off_timeout: OnSoftOffTimeout::Quarantine,
        ..order("op-2", "read", Verb::Off, autoscaler(1))
    };
    for (order, told) in [
        (off.clone(), "keeps its power and is quarantined"),
        (
            Order { on_soft_off_timeout: OnSoftOffTimeout::Cut, ..off.clone() },
            "is cut all the same",
        ),
    ] {
        let run = bench.client.dry_run(&order).await.expect("an answer");
        let Foretold::Begins(forecast) = run.answer else { panic!("{run:?}") };
        let lines = forecast.lines();
        assert!(lines.iter().any(|(_, text)| text.ends_with(told)), "{lines:?}");
    }
    assert_eq!(bench.done(&off).await.phase, Phase::Failed);
    bench.kill_agent().await;
    bench.start_agent().await;
    let machine = bench.machine("read").await;
    let quarantine = machine.quarantine.clone().expect("it is out of service");
    assert_eq!(quarantine.cause, QuarantineCause::NoShutdown);
    assert!(quarantine.reason.as_str().contains("left as it is"), "{}", quarantine.reason);
    assert_eq!(reading(&machine), Some(PowerState::On));
    assert_eq!(bench.moves().await, [edge("a", 1, Power::On)]);
}

#[tokio::test]
async fn the_last_boots_are_kept_and_one_that_is_told_twice_is_kept_once() {
    let mut bench = bench::start("100ms").await;
    let boot = |number: usize, end| Boot {
        operation: OperationId::new(format!("op-{number}")).expect("an id"),
        end,
        took: Some(Duration::from_secs(40)),
        age: Duration::ZERO,
    };
    for number in 0..BOOTS_MAX + 3 {
        for _ in 0..2 {
            let boot = boot(number, BootEnd::Missed);
            bench.client.record_boot(&name("read"), &boot).await.expect("kept");
        }
    }
    bench.client.record_boot(&name("read"), &boot(18, BootEnd::Ready)).await.expect("kept");
    bench.kill_agent().await;
    bench.start_agent().await;
    let boots = bench.machine("read").await.boots;
    assert_eq!(boots.len(), BOOTS_MAX);
    assert_eq!(boots[0].operation.as_str(), "op-4");
    let last: Vec<_> =
        boots.iter().rev().take(2).map(|boot| (boot.operation.as_str(), boot.end)).collect();
    assert_eq!(last, [("op-18", BootEnd::Ready), ("op-18", BootEnd::Missed)]);
    let up = bench.client.inventory().await.expect("an inventory").host_up;
    assert!(up.is_some_and(|up| up > Duration::ZERO));
}
