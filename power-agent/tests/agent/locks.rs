//! Locks of people on the real agent: whom they stand against, that they survive, and that nothing of theirs moves a relay.

use std::time::Duration;

use agent_api::{Answer, Hold, HoldEnds, Order, RefusalCode, Release, TakeHold, Taken};
use fleet::{HoldKind, Origin, PowerState, Reason, Verb};
use virtual_rack::relay::Power;

use crate::{bench, edge, refused};
use testkit::bench::{Bench, autoscaler, name, order, person, reading, until};

fn asked(kind: HoldKind, machine: &str, by: &str, span: Option<Duration>) -> TakeHold {
    let (machine, by, reason) = (name(machine), by.to_owned(), Reason::new("course"));
    TakeHold { machine, kind, by, reason, span, force: false }
}

async fn held(bench: &Bench, asked: &TakeHold) -> Hold {
    match bench.client.take_hold(asked).await.expect("an answer") {
        Taken::Held(hold) => hold,
        Taken::Refused(refusal) => panic!("refused: {}", refusal.text),
    }
}

async fn order_refused(bench: &Bench, order: &Order) -> (RefusalCode, String) {
    refused(bench.client.set_power(order).await.expect("an answer"))
}

fn bob() -> Origin {
    Origin::Person("bob".to_owned())
}

#[tokio::test]
async fn a_reservation_stands_against_policies_and_others_until_its_owner_ends_it_also_after_a_kill()
 {
    let mut bench = bench::start("100ms").await;
    bench.done(&order("op-1", "read", Verb::On, person())).await;
    let hour = Some(Duration::from_secs(3600));
    held(&bench, &asked(HoldKind::Reservation, "read", "ada", hour)).await;
    bench.kill_agent().await;
    bench.start_agent().await;
    let before = bench.moves().await;
    let (code, text) =
        order_refused(&bench, &order("op-2", "read", Verb::Off, autoscaler(1))).await;
    assert_eq!(code, RefusalCode::Reserved);
    assert!(
        text.starts_with("read is reserved by ada since ")
            && text.contains("(course); for another"),
        "{text}"
    );
    let theirs = Order { force: false, ..order("op-3", "read", Verb::Cycle, bob()) };
    assert_eq!(order_refused(&bench, &theirs).await.0, RefusalCode::Reserved);
    let take = asked(HoldKind::Reservation, "read", "bob", None);
    let taken = bench.client.take_hold(&take).await.expect("an answer");
    assert!(matches!(taken, Taken::Refused(_)), "{taken:?}");
    let machine = name("read");
    let release = Release { machine, by: "bob".to_owned(), kind: None, force: false };
    let released = bench.client.release(&release).await.expect("an answer");
    assert_eq!(released.refused.map(|refusal| refusal.code), Some(RefusalCode::Reserved));
    let hold = bench.machine("read").await.hold.expect("it is held");
    assert!(matches!(hold.ends, HoldEnds::In(_)), "{hold:?}");
    assert_eq!(bench.moves().await, before, "nothing of all that moved anything");
    bench.done(&order("op-4", "read", Verb::Cycle, person())).await;
    assert_eq!(bench.release("read").await.ended.len(), 1);
    bench.done(&order("op-5", "read", Verb::Off, autoscaler(1))).await;
}

#[tokio::test]
async fn a_reservation_that_expires_is_told_and_moves_nothing_and_then_the_machine_is_the_policies()
{
    let bench = bench::start("100ms").await;
    bench.done(&order("op-1", "read", Verb::On, autoscaler(1))).await;
    let before = bench.moves().await;
    let moment = Some(Duration::from_millis(300));
    held(&bench, &asked(HoldKind::Reservation, "read", "ada", moment)).await;
    let machine = until("it has expired", async || {
        Some(bench.machine("read").await).filter(|machine| machine.hold.is_none())
    })
    .await;
    assert_eq!(machine.locks.holds[0].ends, HoldEnds::Expired);
    assert_eq!((reading(&machine), bench.moves().await), (Some(PowerState::On), before));
    bench.done(&order("op-2", "read", Verb::Off, autoscaler(1))).await;
}

#[tokio::test]
async fn a_span_over_a_reboot_can_not_be_measured_and_the_reservation_stays_and_says_so() {
    let mut bench = bench::start("100ms").await;
    held(&bench, &asked(HoldKind::Reservation, "read", "ada", Some(Duration::from_secs(1)))).await;
    held(&bench, &asked(HoldKind::Maintenance, "twin", "ada", None)).await;
    bench.kill_agent().await;
    let boot = power_agent::clock::BootId::new("another boot");
    let (read, twin, text) = bench::with_agent_of(&bench, boot, async || {
        // Written by this boot, too: a moment that is lost stays lost.
        held(&bench, &asked(HoldKind::Hold, "read", "bob", None)).await;
        let (read, twin) = (bench.machine("read").await, bench.machine("twin").await);
        let order = order("op-1", "read", Verb::On, autoscaler(1));
        (read, twin, order_refused(&bench, &order).await.1)
    })
    .await;
    assert_eq!(
        read.hold.map(|hold| (hold.kind, hold.ends)),
        Some((HoldKind::Reservation, HoldEnds::Lost))
    );
    assert_eq!(
        twin.hold.map(|hold| (hold.kind, hold.ends)),
        Some((HoldKind::Maintenance, HoldEnds::Released))
    );
    assert!(text.contains("since before the host's last boot"), "{text}");
    assert!(text.contains("its span could not be measured over a reboot"), "{text}");
    assert!(bench.moves().await.is_empty());
}

#[tokio::test]
async fn holds_and_maintenance_refuse_policies_and_let_persons_work() {
    let bench = bench::start("100ms").await;
    for (id, kind) in [("a", HoldKind::Hold), ("b", HoldKind::Maintenance)] {
        let hold = held(&bench, &asked(kind, "read", "ada", None)).await;
        assert_eq!(held(&bench, &asked(kind, "read", "bob", None)).await.by, hold.by);
        let on = order(&format!("op-1{id}"), "read", Verb::On, autoscaler(1));
        let (code, text) = order_refused(&bench, &on).await;
        assert_eq!(code, RefusalCode::Held, "{text}");
        bench.done(&order(&format!("op-2{id}"), "read", Verb::On, bob())).await;
        assert_eq!(bench.machine("read").await.hold.map(|hold| hold.kind), Some(kind));
        assert_eq!(bench.release("read").await.ended.len(), 1);
    }
}

#[tokio::test]
async fn a_machine_that_is_never_off_is_lit_and_not_cut_but_by_a_person_with_force() {
    let mut bench = bench::start("100ms").await;
    bench.stop_agent().await;
    let keep = "[machines.keep]\npool = \"rack\"\nnever_off = true\noutlets = [{ device = \"b\", outlet = 2 }]\n";
    let file = bench.agent_file();
    bench.write_agent_file(&(file + keep));
    bench.start_agent().await;
    bench.done(&order("op-1", "keep", Verb::On, autoscaler(1))).await;
    for (id, verb) in [("op-2", Verb::Off), ("op-3", Verb::Cycle)] {
        let (code, text) = order_refused(&bench, &order(id, "keep", verb, autoscaler(1))).await;
        assert_eq!(code, RefusalCode::NeverOff, "{text}");
    }
    let plain = Order { force: false, ..order("op-4", "keep", Verb::Off, person()) };
    // Nobody is asked about its work before: the mark is the nearer reason.
    assert_eq!(order_refused(&bench, &plain).await.0, RefusalCode::NeverOff);
    assert_eq!(bench.moves().await, [edge("b", 2, Power::On)]);
    bench.done(&order("op-5", "keep", Verb::Off, person())).await;
    assert!(bench.machine("keep").await.locks.never_off);
}

#[tokio::test]
async fn a_lock_stops_no_order_that_was_taken_before_it() {
    let bench = bench::start("100ms").await;
    bench.done(&order("op-1", "read", Verb::On, autoscaler(1))).await;
    let cycle = order("op-2", "read", Verb::Cycle, autoscaler(1));
    bench.accepted(&cycle).await;
    held(&bench, &asked(HoldKind::Hold, "read", "ada", None)).await;
    until("the cycle has ended", async || {
        let operation = bench.machine("read").await.operation?;
        operation.phase.is_finished().then_some(())
    })
    .await;
    let edges = [Power::On, Power::Off, Power::On].map(|to| edge("a", 1, to));
    assert_eq!(bench.moves().await, edges);
    let answer = bench.client.set_power(&cycle).await.expect("an answer");
    assert!(matches!(answer, Answer::Accepted { repeated: true, .. }), "{answer:?}");
}
