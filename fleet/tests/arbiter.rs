//! Who may move a machine: one order after the other before the arbiter, with what it says.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "helpers of tests fail by panic as the tests do"
)]

use std::time::Duration;

use fleet::arbiter::{
    Hearing, Hold, MachineLedger, Running, Verdict, Work, judge, may_resume, needs_proof,
};
use fleet::{
    ClusterId, Fence, FenceNumber, Fences, MachineName, Moment, OnSoftOffTimeout, OperationId,
    Order, Origin, Phase, PoolName, PowerState, Reason, RefusalCode, Verb,
};

const NOW: Moment = Moment::from_millis(100_000);

fn fence(number: u64) -> Fence {
    Fence {
        cluster: ClusterId::new("global").unwrap(),
        pool: PoolName::new("rack").unwrap(),
        number: FenceNumber(number),
    }
}

fn ada() -> Origin {
    Origin::Person("ada".to_owned())
}

fn order(verb: Verb, origin: Origin) -> Order {
    Order {
        operation: OperationId::new("op-9").unwrap(),
        machine: MachineName::new("node3").unwrap(),
        verb,
        reason: Reason::new("new fan"),
        origin,
        valid_for: Duration::from_secs(30),
        on_soft_off_timeout: OnSoftOffTimeout::Cut,
        force: false,
        drain: false,
    }
}

fn machine() -> MachineLedger {
    MachineLedger { pool: Some(PoolName::new("rack").unwrap()), ..MachineLedger::default() }
}

fn held() -> MachineLedger {
    let hold = Hold {
        by: "ada".to_owned(),
        reason: Reason::new("new fan"),
        since: Moment::from_millis(40_000),
        operation: OperationId::new("op-1").unwrap(),
    };
    MachineLedger { hold: Some(hold), ..machine() }
}

fn busy(verb: Verb, phase: Phase) -> MachineLedger {
    let running = Running {
        operation: OperationId::new("op-2").unwrap(),
        verb,
        phase,
        until: NOW + Duration::from_secs(42),
    };
    MachineLedger { running: Some(running), ..machine() }
}

fn hear(order: &Order, machine: &MachineLedger, work: &Work) -> Verdict {
    let hearing = Hearing { order, arrived: NOW, known: false, work };
    judge(hearing, machine, &Fences::default(), NOW).verdict
}

fn refused(order: &Order, machine: &MachineLedger, work: &Work) -> (RefusalCode, String) {
    match hear(order, machine, work) {
        Verdict::Refuse(refusal) => (refusal.code, refusal.text),
        other => panic!("not refused: {other:?}"),
    }
}

#[test]
fn a_hold_refuses_every_order_of_an_autoscaler_and_says_how_it_ends() {
    for verb in [Verb::On, Verb::Off, Verb::Cycle] {
        let order = order(verb, Origin::Autoscaler(fence(1)));
        let (code, text) = refused(&order, &held(), &Work::NotAsked);
        assert_eq!(code, RefusalCode::Held);
        assert_eq!(
            text,
            "node3 is held off by ada since 60 s (new fan); `power-agent release node3` ends the hold"
        );
    }
}

#[test]
fn a_person_passes_a_hold_and_leaves_it_as_it_is() {
    for verb in [Verb::On, Verb::Off, Verb::Cycle] {
        let order = order(verb, Origin::Person("bob".to_owned()));
        assert_eq!(hear(&order, &held(), &Work::Empty), Verdict::Begin { hold: None });
    }
}

#[test]
fn only_off_by_a_person_makes_a_hold() {
    let Verdict::Begin { hold: Some(hold) } =
        hear(&order(Verb::Off, ada()), &machine(), &Work::Empty)
    else {
        panic!("no hold")
    };
    assert_eq!((hold.by.as_str(), hold.since), ("ada", NOW));
    for order in [
        order(Verb::On, ada()),
        order(Verb::Cycle, ada()),
        order(Verb::Off, Origin::Autoscaler(fence(1))),
    ] {
        assert_eq!(hear(&order, &machine(), &Work::Empty), Verdict::Begin { hold: None });
    }
}

#[test]
fn an_older_fence_is_refused_an_equal_one_obeyed_and_a_newer_one_remembered() {
    let mut fences = Fences::default();
    fences.remember(&fence(7));
    fences.remember(&fence(5));
    let heard = |number| {
        let order = order(Verb::On, Origin::Autoscaler(fence(number)));
        let hearing = Hearing { order: &order, arrived: NOW, known: false, work: &Work::NotAsked };
        judge(hearing, &machine(), &fences, NOW)
    };
    let Verdict::Refuse(refusal) = heard(6).verdict else { panic!("obeyed") };
    assert_eq!(refusal.code, RefusalCode::StaleFence);
    assert!(refusal.text.contains("fence 6 ") && refusal.text.contains(" 7 has"), "{refusal:?}");
    assert_eq!((heard(7).verdict, heard(7).newer), (Verdict::Begin { hold: None }, None));
    assert_eq!(heard(8).newer, Some(fence(8)));
}

#[test]
fn a_newer_fence_is_remembered_also_where_a_hold_refuses_its_order() {
    let order = order(Verb::On, Origin::Autoscaler(fence(8)));
    let hearing = Hearing { order: &order, arrived: NOW, known: false, work: &Work::NotAsked };
    assert_eq!(judge(hearing, &held(), &Fences::default(), NOW).newer, Some(fence(8)));
}

#[test]
fn fences_of_other_clusters_do_not_count() {
    let mut fences = Fences::default();
    fences.remember(&Fence { cluster: ClusterId::new("lab").unwrap(), ..fence(99) });
    let order = order(Verb::On, Origin::Autoscaler(fence(1)));
    let hearing = Hearing { order: &order, arrived: NOW, known: false, work: &Work::NotAsked };
    assert_eq!(judge(hearing, &machine(), &fences, NOW).verdict, Verdict::Begin { hold: None });
}

#[test]
fn an_order_for_another_pool_is_refused_with_both_names() {
    let order = order(Verb::On, Origin::Autoscaler(fence(1)));
    let other = MachineLedger { pool: Some(PoolName::new("cellar").unwrap()), ..machine() };
    let (code, text) = refused(&order, &other, &Work::NotAsked);
    assert_eq!(code, RefusalCode::WrongPool);
    assert!(
        text.starts_with("node3 is in pool cellar, and the order speaks for pool rack"),
        "{text}"
    );
    let (code, _) = refused(&order, &MachineLedger::default(), &Work::NotAsked);
    assert_eq!(code, RefusalCode::WrongPool);
}

#[test]
fn a_running_sequence_of_another_verb_is_named_with_its_time_left() {
    let order = order(Verb::On, Origin::Autoscaler(fence(1)));
    let (code, text) = refused(&order, &busy(Verb::Off, Phase::Settling), &Work::NotAsked);
    assert_eq!(code, RefusalCode::Busy);
    assert_eq!(
        text,
        "node3 is busy: off (op-2) runs and is settling, for at most 42 s more; try again then"
    );
}

#[test]
fn the_same_verb_joins_and_a_person_who_joins_an_off_holds() {
    let off = busy(Verb::Off, Phase::SoftOff);
    let autoscaler = order(Verb::Off, Origin::Autoscaler(fence(1)));
    assert_eq!(hear(&autoscaler, &off, &Work::NotAsked), Verdict::Join { hold: None });
    let verdict = hear(&order(Verb::Off, ada()), &off, &Work::NotAsked);
    assert!(matches!(verdict, Verdict::Join { hold: Some(_) }), "{verdict:?}");
}

#[test]
fn only_a_drain_is_called_off_and_only_by_a_person() {
    let draining = busy(Verb::Off, Phase::Draining);
    assert_eq!(hear(&order(Verb::On, ada()), &draining, &Work::NotAsked), Verdict::CallOff);
    let hurried = Order { force: true, ..order(Verb::Off, ada()) };
    assert_eq!(hear(&hurried, &draining, &Work::NotAsked), Verdict::CallOff);
    let autoscaler = order(Verb::On, Origin::Autoscaler(fence(1)));
    assert_eq!(refused(&autoscaler, &draining, &Work::NotAsked).0, RefusalCode::Busy);
    let down = busy(Verb::Off, Phase::SoftOff);
    assert_eq!(refused(&order(Verb::On, ada()), &down, &Work::NotAsked).0, RefusalCode::Busy);
}

#[test]
fn an_order_that_waited_longer_than_it_is_valid_is_void() {
    let order = order(Verb::On, ada());
    let later = NOW + Duration::from_secs(31);
    let hearing = Hearing { order: &order, arrived: NOW, known: false, work: &Work::NotAsked };
    let verdict = judge(hearing, &machine(), &Fences::default(), later).verdict;
    let Verdict::Refuse(refusal) = verdict else { panic!("{verdict:?}") };
    assert_eq!(refusal.code, RefusalCode::Expired);
    assert_eq!(
        refusal.text,
        "the order was valid for 30 s and could only begin after 31 s; give it again"
    );
}

#[test]
fn a_known_operation_is_repeated_whatever_has_changed_since() {
    let order = order(Verb::On, Origin::Autoscaler(fence(1)));
    let mut fences = Fences::default();
    fences.remember(&fence(9));
    let hearing = Hearing { order: &order, arrived: NOW, known: true, work: &Work::NotAsked };
    assert_eq!(judge(hearing, &held(), &fences, NOW).verdict, Verdict::Repeat);
}

#[test]
fn a_person_takes_no_power_from_work_without_saying_so() {
    let runs = Work::Runs("web[0] of job web".to_owned());
    let silent = Work::NoProof("Nomad does not answer".to_owned());
    for verb in [Verb::Off, Verb::Cycle] {
        let plain = order(verb, ada());
        assert!(needs_proof(&plain, &machine()));
        let (code, text) = refused(&plain, &machine(), &runs);
        assert_eq!(code, RefusalCode::NotEmpty);
        assert_eq!(
            text,
            "node3 has work: web[0] of job web; --drain moves it first, --force cuts it"
        );
        assert_eq!(refused(&plain, &machine(), &silent).0, RefusalCode::NotEmpty);
        assert_eq!(refused(&plain, &machine(), &Work::NotAsked).0, RefusalCode::NotEmpty);

        let forced = Order { force: true, ..plain.clone() };
        assert!(matches!(hear(&forced, &machine(), &runs), Verdict::Begin { .. }));
        let drained = Order { drain: true, ..plain.clone() };
        assert!(matches!(hear(&drained, &machine(), &runs), Verdict::Begin { .. }));
        assert_eq!(refused(&drained, &machine(), &silent).0, RefusalCode::NotEmpty);
        assert!(matches!(hear(&plain, &machine(), &Work::Empty), Verdict::Begin { .. }));
    }
}

#[test]
fn no_proof_is_needed_of_what_is_off_in_no_pool_or_only_lit() {
    let off = MachineLedger { reading: Some(PowerState::Off), ..machine() };
    assert!(!needs_proof(&order(Verb::Off, ada()), &off));
    assert!(!needs_proof(&order(Verb::Off, ada()), &MachineLedger::default()));
    assert!(!needs_proof(&order(Verb::On, ada()), &machine()));
    assert!(!needs_proof(&order(Verb::Off, Origin::Autoscaler(fence(1))), &machine()));
}

#[test]
fn a_half_done_sequence_is_not_finished_against_a_hold_or_a_newer_lease() {
    let mut fences = Fences::default();
    fences.remember(&fence(3));
    let origin = Origin::Autoscaler(fence(3));
    assert_eq!(may_resume(&origin, None, &fences), Ok(()));
    assert!(may_resume(&origin, held().hold.as_ref(), &fences).is_err());
    assert_eq!(may_resume(&ada(), held().hold.as_ref(), &fences), Ok(()));
    fences.remember(&fence(4));
    assert!(may_resume(&origin, None, &fences).unwrap_err().contains("number 4"));
}
