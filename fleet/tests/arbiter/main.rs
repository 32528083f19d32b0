//! Who may move a machine: one order after the other before the arbiter, with what it says.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "helpers of tests fail by panic as the tests do"
)]

mod work;

use std::time::Duration;

use fleet::arbiter::{
    Expiry, Hearing, Hold, HoldAsked, HoldKind, Holds, Lighting, Limits, MachineLedger, Running,
    Verdict, Work, judge, may_resume,
};
use fleet::{
    ClusterId, Fence, FenceNumber, Fences, MachineName, Moment, OnSoftOffTimeout, OperationId,
    Order, Origin, Phase, PoolName, PowerState, Quarantine, QuarantineCause, Reason, RefusalCode,
    Verb,
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
        plan: None,
    }
}

fn machine() -> MachineLedger {
    MachineLedger { pool: Some(PoolName::new("rack").unwrap()), ..MachineLedger::default() }
}

fn hold(kind: HoldKind, expiry: Expiry) -> Hold {
    Hold {
        kind,
        by: "ada".to_owned(),
        reason: Reason::new("new fan"),
        since: Moment::from_millis(40_000),
        expiry,
        operation: None,
    }
}

fn locked(kind: HoldKind, expiry: Expiry) -> MachineLedger {
    MachineLedger { holds: [hold(kind, expiry)].into_iter().collect(), ..machine() }
}

fn held() -> MachineLedger {
    locked(HoldKind::Off, Expiry::Never)
}

fn quarantine() -> Quarantine {
    Quarantine {
        cause: QuarantineCause::NoBoot,
        reason: Reason::new("no boot"),
        since: NOW,
        by: ada(),
    }
}

fn bob() -> Origin {
    Origin::Person("bob".to_owned())
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
fn the_agents_own_order_bows_to_people_to_sequences_and_to_what_was_ordered_meanwhile() {
    let order = order(Verb::On, Origin::Agent);
    let lit = MachineLedger { commanded: Some(PowerState::On), ..machine() };
    assert_eq!(hear(&order, &lit, &Work::NotAsked), Verdict::Begin { hold: None });
    let on = Some(PowerState::On);
    for kind in [HoldKind::Hold, HoldKind::Reservation, HoldKind::Maintenance] {
        let locked = MachineLedger { commanded: on, ..locked(kind, Expiry::Never) };
        let (code, text) = refused(&order, &locked, &Work::NotAsked);
        assert!(matches!(code, RefusalCode::Held | RefusalCode::Reserved), "{kind:?}: {text}");
    }
    let busy = MachineLedger { commanded: on, ..busy(Verb::Off, Phase::SoftOff) };
    assert_eq!(refused(&order, &busy, &Work::NotAsked).0, RefusalCode::Busy);
    for commanded in [Some(PowerState::Off), None] {
        let (code, text) =
            refused(&order, &MachineLedger { commanded, ..machine() }, &Work::NotAsked);
        assert_eq!(
            (code, text.as_str()),
            (RefusalCode::Expired, "node3 is not wanted on any more")
        );
    }
    let none = Fences::default();
    let begun = (Verb::On, Phase::Energizing);
    let resumed = |holds: &_, aside| may_resume(&Origin::Agent, begun, (holds, aside), &none, NOW);
    assert_eq!(resumed(&machine().holds, None), Ok(()));
    assert!(resumed(&held().holds, None).is_err());
    assert!(resumed(&machine().holds, Some(&quarantine())).is_err());
}

#[test]
fn the_agent_lights_nothing_again_under_a_lock_and_a_machine_that_is_never_off_all_the_same() {
    let lit = |locked: MachineLedger| MachineLedger { commanded: Some(PowerState::On), ..locked };
    let refused_by = |locked: MachineLedger, second: u64| match hear_at(
        &order(Verb::On, Origin::Agent),
        &lit(locked),
        second,
    ) {
        Verdict::Refuse(refusal) => Some(refusal.code),
        Verdict::Begin { hold: None } => None,
        other => panic!("{other:?}"),
    };
    let now = 100;
    for kind in HoldKind::ALL {
        let reserved = kind == HoldKind::Reservation;
        let code = if reserved { RefusalCode::Reserved } else { RefusalCode::Held };
        let later = Expiry::At(Moment::from_millis(100_001));
        for expiry in [Expiry::Never, Expiry::Lost, later] {
            assert_eq!(refused_by(locked(kind, expiry), now), Some(code), "{kind:?} {expiry:?}");
        }
        let over = Expiry::At(Moment::from_millis(100_000));
        assert_eq!(refused_by(locked(kind, over), now), None, "{kind:?} has ended");
    }
    let aside = MachineLedger { quarantine: Some(quarantine()), ..machine() };
    assert_eq!(refused_by(aside, now), Some(RefusalCode::Quarantined));
    let flaps = lit_at(&[0, 100, 200, 300, 400, 600], true);
    assert_eq!(refused_by(flaps, 660), Some(RefusalCode::Flapping));
    let often: Vec<u64> = (0..12).map(|each| each * 300).collect();
    assert_eq!(refused_by(lit_at(&often, false), 3400), Some(RefusalCode::TooManyCycles));
    let never_off = MachineLedger { never_off: true, ..machine() };
    assert_eq!(refused_by(never_off, now), None, "to light it is what it is for");
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
fn a_person_ends_the_waking_of_a_machine_by_any_other_verb() {
    let waking = busy(Verb::On, Phase::Waking);
    for verb in [Verb::Off, Verb::Cycle] {
        assert_eq!(hear(&order(verb, ada()), &waking, &Work::Empty), Verdict::CallOff);
    }
    let again = hear(&Order { force: true, ..order(Verb::On, ada()) }, &waking, &Work::NotAsked);
    assert!(matches!(again, Verdict::Join { .. }), "{again:?}");
    let autoscaler = order(Verb::Off, Origin::Autoscaler(fence(1)));
    assert_eq!(refused(&autoscaler, &waking, &Work::Empty).0, RefusalCode::Busy);
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
fn a_half_done_sequence_is_not_finished_against_a_hold_or_a_newer_lease() {
    let mut fences = Fences::default();
    fences.remember(&fence(3));
    let origin = Origin::Autoscaler(fence(3));
    let (nobody, ada_s) = (Holds::default(), held().holds);
    let off = (Verb::Off, Phase::SoftOff);
    assert_eq!(may_resume(&origin, off, (&nobody, None), &fences, NOW), Ok(()));
    let why = may_resume(&origin, off, (&ada_s, None), &fences, NOW).unwrap_err();
    assert_eq!(why, "ada holds the machine (new fan)");
    assert_eq!(may_resume(&ada(), off, (&ada_s, None), &fences, NOW), Ok(()));
    let expired = locked(HoldKind::Reservation, Expiry::At(NOW)).holds;
    assert_eq!(may_resume(&origin, off, (&expired, None), &fences, NOW), Ok(()));
    fences.remember(&fence(4));
    assert!(
        may_resume(&origin, off, (&nobody, None), &fences, NOW).unwrap_err().contains("number 4")
    );
}

#[test]
fn a_cycle_that_has_begun_to_take_the_power_is_finished_whatever_stands_against_it() {
    let mut fences = Fences::default();
    fences.remember(&fence(9));
    let origin = Origin::Autoscaler(fence(3));
    let maintenance = locked(HoldKind::Maintenance, Expiry::Never).holds;
    let resumes = |phase| {
        may_resume(&origin, (Verb::Cycle, phase), (&maintenance, None), &fences, NOW).is_ok()
    };
    for phase in
        [Phase::SoftOff, Phase::Settling, Phase::Cutting, Phase::Dwelling, Phase::Energizing]
    {
        assert!(resumes(phase), "{phase}");
    }
    for phase in [Phase::Accepted, Phase::Draining] {
        assert!(!resumes(phase), "nothing was done yet: {phase}");
    }
}

#[test]
fn every_kind_of_lock_stands_against_every_order_of_a_policy_until_it_expires() {
    for kind in HoldKind::ALL {
        for verb in [Verb::On, Verb::Off, Verb::Cycle] {
            let order = order(verb, Origin::Autoscaler(fence(1)));
            let code = if kind == HoldKind::Reservation {
                RefusalCode::Reserved
            } else {
                RefusalCode::Held
            };
            let (later, lost) = (Expiry::At(NOW + Duration::from_secs(1)), Expiry::Lost);
            for expiry in [Expiry::Never, later, lost] {
                assert_eq!(refused(&order, &locked(kind, expiry), &Work::NotAsked).0, code);
            }
            let verdict = hear(&order, &locked(kind, Expiry::At(NOW)), &Work::NotAsked);
            assert_eq!(verdict, Verdict::Begin { hold: None });
        }
    }
}

#[test]
fn a_reservation_stands_against_other_persons_who_do_not_say_force_and_against_nobody_else() {
    let reserved =
        locked(HoldKind::Reservation, Expiry::At(NOW + Duration::from_secs(2 * 3600 + 60)));
    for verb in [Verb::On, Verb::Off, Verb::Cycle] {
        let (code, text) = refused(&order(verb, bob()), &reserved, &Work::Empty);
        assert_eq!(code, RefusalCode::Reserved);
        assert_eq!(
            text,
            "node3 is reserved by ada since 60 s (new fan); for another 2 h; ask ada, who ends it with `power-agent release node3`, or say --force"
        );
        let forced = Order { force: true, ..order(verb, bob()) };
        assert!(matches!(hear(&forced, &reserved, &Work::NotAsked), Verdict::Begin { .. }));
        let own = order(verb, ada());
        assert!(matches!(hear(&own, &reserved, &Work::Empty), Verdict::Begin { .. }));
    }
    for kind in [HoldKind::Hold, HoldKind::Maintenance, HoldKind::Off] {
        let verdict = hear(&order(Verb::On, bob()), &locked(kind, Expiry::Never), &Work::NotAsked);
        assert!(matches!(verdict, Verdict::Begin { .. }), "{verdict:?}");
    }
}

#[test]
fn a_reservation_whose_span_was_lost_by_a_reboot_says_so() {
    let reserved = locked(HoldKind::Reservation, Expiry::Lost);
    let (_, text) = refused(&order(Verb::On, bob()), &reserved, &Work::NotAsked);
    assert!(text.contains("its span could not be measured over a reboot"), "{text}");
}

#[test]
fn off_by_the_owner_of_a_reservation_is_a_hold_that_outlives_it() {
    let reserved = locked(HoldKind::Reservation, Expiry::At(NOW + Duration::from_secs(60)));
    let verdict = hear(&order(Verb::Off, ada()), &reserved, &Work::Empty);
    let Verdict::Begin { hold: Some(hold) } = verdict else { panic!("{verdict:?}") };
    assert_eq!((hold.kind, hold.expiry), (HoldKind::Off, Expiry::Never));
}

#[test]
fn a_machine_that_is_never_off_keeps_its_power_but_for_a_person_who_forces_it() {
    let marked = MachineLedger { never_off: true, ..machine() };
    for verb in [Verb::Off, Verb::Cycle] {
        for origin in [Origin::Autoscaler(fence(1)), ada()] {
            let (code, text) = refused(&order(verb, origin), &marked, &Work::Empty);
            assert_eq!(code, RefusalCode::NeverOff);
            assert!(text.starts_with("the rack file says `never_off` of node3"), "{text}");
        }
        let forced = Order { force: true, ..order(verb, ada()) };
        assert!(matches!(hear(&forced, &marked, &Work::NotAsked), Verdict::Begin { .. }));
        let dark = MachineLedger { reading: Some(PowerState::Off), ..marked.clone() };
        let verdict = hear(&order(verb, ada()), &dark, &Work::NotAsked);
        assert!(matches!(verdict, Verdict::Begin { .. }), "it has no power to take: {verdict:?}");
    }
    let on = order(Verb::On, Origin::Autoscaler(fence(1)));
    assert_eq!(hear(&on, &marked, &Work::NotAsked), Verdict::Begin { hold: None });
}

fn asked(kind: HoldKind, by: &str, force: bool) -> HoldAsked {
    let reason = Reason::new("course");
    HoldAsked { kind, by: by.to_owned(), reason, span: Some(Duration::from_secs(60)), force }
}

#[test]
fn a_lock_of_ones_own_is_renewed_and_anothers_reservation_is_only_taken_by_force() {
    let node3 = MachineName::new("node3").unwrap();
    for kind in HoldKind::ALL {
        let holds = locked(kind, Expiry::Never).holds;
        let renewed = holds.take(asked(kind, "ada", false), &node3, NOW).unwrap();
        assert_eq!(renewed.expiry, Expiry::At(NOW + Duration::from_secs(60)));
        assert_eq!(
            (renewed.since, renewed.reason.as_str()),
            (hold(kind, Expiry::Never).since, "course")
        );
        let taken = holds.take(asked(kind, "bob", false), &node3, NOW);
        if kind == HoldKind::Reservation {
            assert_eq!(taken.unwrap_err().code, RefusalCode::Reserved);
            let forced = holds.take(asked(kind, "bob", true), &node3, NOW).unwrap();
            assert_eq!((forced.by.as_str(), forced.since), ("bob", NOW));
        } else {
            assert_eq!(taken.unwrap().by, "ada", "it is held in that way already");
        }
        let over = locked(kind, Expiry::At(NOW)).holds;
        assert_eq!(over.take(asked(kind, "bob", false), &node3, NOW).unwrap().since, NOW);
    }
}

#[test]
fn release_ends_every_lock_but_anothers_reservation_and_that_too_by_force() {
    let node3 = MachineName::new("node3").unwrap();
    let all: Holds = HoldKind::ALL.map(|kind| hold(kind, Expiry::Never)).into_iter().collect();
    let released = all.release(None, ("bob", false), &node3, NOW);
    let left: Vec<HoldKind> = released.left.iter().map(|hold| hold.kind).collect();
    assert_eq!((left, released.ended.len()), (vec![HoldKind::Reservation], 3));
    assert_eq!(released.refused.unwrap().code, RefusalCode::Reserved);
    for by in [("bob", true), ("ada", false)] {
        let released = all.release(None, by, &node3, NOW);
        assert_eq!((released.left, released.refused), (Holds::default(), None));
    }
    let one = all.release(Some(HoldKind::Maintenance), ("bob", false), &node3, NOW);
    assert_eq!((one.ended.len(), one.left.iter().count(), one.refused), (1, 3, None));
    let over = locked(HoldKind::Reservation, Expiry::At(NOW)).holds;
    assert_eq!(over.release(None, ("bob", false), &node3, NOW).left, Holds::default());
}

const LIMITS: Limits = Limits {
    min_on: Duration::from_secs(60),
    min_off: Duration::from_secs(10),
    cycles_per_hour: 12,
};

/// Lit at these seconds, by policies or by people.
fn lit_at(seconds: &[u64], by_policy: bool) -> MachineLedger {
    let mut lit = MachineLedger { limits: LIMITS, ..machine() };
    let at = |second: &u64| Lighting { at: Moment::from_millis(second * 1000), by_policy };
    lit.wear.lightings = seconds.iter().map(at).collect();
    lit
}

fn hear_at(order: &Order, machine: &MachineLedger, second: u64) -> Verdict {
    let now = Moment::from_millis(second * 1000);
    let hearing = Hearing { order, arrived: now, known: false, work: &Work::Empty };
    judge(hearing, machine, &Fences::default(), now).verdict
}

#[test]
fn a_machine_that_was_lit_as_often_as_it_may_in_an_hour_is_not_lit_again_and_says_when() {
    let lit = lit_at(&[0, 300, 600, 900, 1200, 1500, 1800, 2100, 2400, 2700, 3000, 3300], true);
    for origin in [Origin::Autoscaler(fence(1)), ada()] {
        for verb in [Verb::On, Verb::Cycle] {
            let verdict = hear_at(&order(verb, origin.clone()), &lit, 3500);
            let Verdict::Refuse(refusal) = verdict else { panic!("{verdict:?}") };
            assert_eq!(refusal.code, RefusalCode::TooManyCycles);
            assert!(refusal.text.contains("12 times within the last hour"), "{refusal:?}");
            assert!(refusal.text.contains("try again in 100 s"), "{refusal:?}");
            let later = hear_at(&order(verb, origin.clone()), &lit, 3600);
            assert!(matches!(later, Verdict::Begin { .. }), "{later:?}");
        }
        let off = hear_at(&order(Verb::Off, origin), &lit, 3500);
        assert!(matches!(off, Verdict::Begin { .. }), "it may always be cut: {off:?}");
    }
    let forced = Order { force: true, ..order(Verb::On, ada()) };
    assert!(matches!(hear_at(&forced, &lit, 3500), Verdict::Begin { .. }));
    let on = MachineLedger { reading: Some(PowerState::On), ..lit.clone() };
    let again = hear_at(&order(Verb::On, ada()), &on, 3500);
    assert!(matches!(again, Verdict::Begin { .. }), "nothing is switched: {again:?}");
    let free = MachineLedger { limits: Limits { cycles_per_hour: 0, ..LIMITS }, ..lit };
    assert!(matches!(hear_at(&order(Verb::On, ada()), &free, 3500), Verdict::Begin { .. }));
}

#[test]
fn what_policies_switch_six_times_in_ten_minutes_is_left_alone_until_it_was_quiet_or_released() {
    let order = order(Verb::Off, Origin::Autoscaler(fence(1)));
    let flaps = lit_at(&[0, 100, 200, 300, 400, 600], true);
    let verdict = hear_at(&order, &flaps, 660);
    let Verdict::Refuse(refusal) = verdict else { panic!("{verdict:?}") };
    assert_eq!(refusal.code, RefusalCode::Flapping);
    assert_eq!(
        refusal.text,
        "node3 flaps, says the flap breaker since 60 s (policies switched it on 6 times within 10 min); no policy moves it for another 29 min; look why, then `power-agent release node3`"
    );
    let person = Order { force: true, origin: ada(), ..order.clone() };
    assert!(matches!(hear_at(&person, &flaps, 660), Verdict::Begin { .. }));
    assert!(matches!(hear_at(&order, &flaps, 600 + 1800), Verdict::Begin { .. }));
    let mut released = flaps.clone();
    released.wear.calm();
    assert!(matches!(hear_at(&order, &released, 660), Verdict::Begin { .. }));
    for calm in [
        lit_at(&[0, 100, 200, 300, 400, 600], false),
        lit_at(&[0, 100, 200, 300, 600], true),
        lit_at(&[0, 100, 200, 300, 400, 601], true),
    ] {
        assert!(matches!(hear_at(&order, &calm, 660), Verdict::Begin { .. }));
    }
}

#[test]
fn a_full_feed_refuses_whoever_orders_and_however_but_not_an_off_nor_what_is_on_already() {
    let full = |reading| {
        let text = "feed a has no room for node3".to_owned();
        MachineLedger { reading: Some(reading), feed_full: Some(text), ..machine() }
    };
    let (dark, lit) = (full(PowerState::Off), full(PowerState::On));
    let forced = |verb| Order { force: true, ..order(verb, bob()) };
    for (order, machine) in
        [(order(Verb::On, bob()), &dark), (forced(Verb::On), &dark), (forced(Verb::Cycle), &lit)]
    {
        let (code, text) = refused(&order, machine, &Work::Empty);
        assert_eq!((code, text.as_str()), (RefusalCode::FeedFull, "feed a has no room for node3"));
    }
    for order in [order(Verb::On, bob()), order(Verb::Off, bob())] {
        let verdict = hear(&order, &lit, &Work::Empty);
        assert!(matches!(verdict, Verdict::Begin { .. }), "{verdict:?}");
    }
}
