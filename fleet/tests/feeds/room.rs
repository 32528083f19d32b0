//! What a sequence does while its feeds have no room, and the ledger's answers in small.

use std::collections::BTreeMap;
use std::time::Duration;

use fleet::feeds::{Admission, CLOSES_WITHIN, Ledger, Load, Stand};
use fleet::sequencer::{Action, Input, ROOM_DEADLINE, ROOM_FULL_DEADLINE, Room, State, Task};
use fleet::{LinesSeen, Milliamps, Moment, Phase, PowerState, Sequencer, Supply, Verb};

use crate::{draw, feed, machine, orders};

const NOW: Moment = Moment::from_millis(1_000_000);

fn task(verb: Verb) -> Task {
    Task { fed: true, ..orders::task(verb) }
}

/// A sequence that has looked at its outlets, and reads this.
fn looked(verb: Verb, line: PowerState) -> Sequencer {
    let mut sequencer = Sequencer::begin(task(verb), NOW);
    sequencer.handle(Input::Seen(Ok(LinesSeen::default().and(Some(line)))), NOW);
    sequencer
}

fn taken(ask_at: Moment) -> Input {
    Input::Room(Room::Taken { ask_at, why: "feed f0 carries 9.5 of 10 A".to_owned() })
}

#[test]
fn a_machine_waits_for_its_moment_and_says_for_what() {
    let mut sequencer = looked(Verb::On, PowerState::Off);
    let until = NOW + ROOM_DEADLINE;
    let to = PowerState::On;
    assert_eq!(sequencer.poll(NOW), Action::AskRoom { to, ask_at: NOW, until });
    let later = NOW + Duration::from_secs(2);
    sequencer.handle(taken(later), NOW);
    assert_eq!(sequencer.poll(NOW), Action::AskRoom { to, ask_at: later, until });
    assert_eq!(sequencer.record().phase(), Phase::Waiting);
    assert_eq!(sequencer.record().progress(), "feed f0 carries 9.5 of 10 A");
    sequencer.handle(Input::Room(Room::Free), later);
    assert!(matches!(sequencer.poll(later), Action::Drive { state: PowerState::On, .. }));
}

#[test]
fn a_machine_that_only_waits_for_room_may_be_called_off_and_nothing_has_moved() {
    let mut sequencer = looked(Verb::On, PowerState::Off);
    sequencer.handle(Input::CalledOff("called off by ada's `off`".to_owned()), NOW);
    assert_eq!(sequencer.poll(NOW), Action::Finished);
    assert!(sequencer.record().left_untouched());
}

#[test]
fn a_cycle_is_sure_of_its_return_before_the_machine_is_asked_to_shut_down() {
    let mut sequencer = looked(Verb::Cycle, PowerState::On);
    let asked = sequencer.poll(NOW);
    assert!(matches!(asked, Action::AskRoom { to: PowerState::Off, .. }), "{asked:?}");
    sequencer.handle(taken(NOW), NOW);
    assert_eq!(sequencer.record().phase(), Phase::Waiting);
    let end = NOW + ROOM_DEADLINE;
    assert_eq!(sequencer.poll(end), Action::Finished);
    assert!(sequencer.record().left_untouched(), "{:?}", sequencer.record());
}

#[test]
fn a_cycle_whose_power_was_taken_is_not_called_off_while_it_waits_to_return() {
    let mut sequencer = looked(Verb::Cycle, PowerState::Off);
    let back = NOW + Duration::from_secs(10);
    assert!(matches!(sequencer.poll(back), Action::AskRoom { to: PowerState::On, .. }));
    sequencer.handle(Input::CalledOff("called off".to_owned()), back);
    assert!(matches!(sequencer.record().state, State::AwaitingRoom { .. }));
    assert_eq!(sequencer.record().phase(), Phase::Dwelling);
    let resumed = Sequencer::resume(sequencer.record().clone(), back).unwrap();
    assert!(matches!(resumed.record().state, State::AwaitingRoom { ask_at, .. } if ask_at == back));
}

#[test]
fn a_machine_whose_feed_others_fill_gives_its_place_up_in_minutes_and_says_why() {
    let full = |ask_at| Input::Room(Room::Full { ask_at, why: "9 of 10 A are taken".to_owned() });
    for (verb, line, untouched) in [
        (Verb::Cycle, PowerState::Off, false),
        (Verb::Cycle, PowerState::On, true),
        (Verb::On, PowerState::Off, true),
    ] {
        let mut sequencer = looked(verb, line);
        let asked = NOW + Duration::from_secs(10);
        assert!(matches!(sequencer.poll(asked), Action::AskRoom { .. }), "{verb:?}, {line}");
        sequencer.handle(full(asked), asked);
        let again = asked + ROOM_FULL_DEADLINE / 2;
        sequencer.handle(full(again), again);
        assert_eq!(sequencer.record().progress(), "9 of 10 A are taken");
        let end = asked + ROOM_FULL_DEADLINE;
        assert_eq!(sequencer.poll(end), Action::Finished, "asking again gains no time");
        let record = sequencer.record();
        assert_eq!(record.left_untouched(), untouched, "{record:?}");
        assert!(record.evidence.contains("9 of 10 A are taken"), "{record:?}");
        assert_eq!(record.evidence.contains("left off"), !untouched, "{record:?}");
    }
    // Only others' inrush: that passes, and takes what it takes.
    let mut sequencer = looked(Verb::On, PowerState::Off);
    sequencer.handle(taken(NOW), NOW);
    assert!(matches!(sequencer.poll(NOW + ROOM_FULL_DEADLINE), Action::AskRoom { .. }));
}

/// Feed f0 of 10 A and machines of 1 A, 3 A for two seconds.
fn ledger(stands: &[Stand]) -> Ledger {
    let supplies = vec![Supply { feed: feed(0), draw: draw(1000, 3000, 2000) }];
    let load = |stand: &Stand| Load { supplies: supplies.clone(), stand: *stand };
    let loads = stands.iter().enumerate().map(|(index, stand)| (machine(index), load(stand)));
    Ledger::new(BTreeMap::from([(feed(0), Milliamps::new(10_000))]), loads.collect())
}

const LIT: Stand = Stand::Lit { since: Moment::ZERO };

#[test]
fn what_runs_fills_a_feed_and_the_refusal_says_who_and_what_helps() {
    let mut stands = [LIT; 9];
    stands[8] = Stand::Dark;
    let full = ledger(&stands).promise(&machine(8)).unwrap_err();
    assert_eq!(
        full.to_string(),
        "feed f0 has no room for m008: 8 of 10 A are taken (m000 1 A, m001 1 A, m002 1 A, m003 1 A, m004 1 A \
         and 3 more), and it takes 1 A, 3 A at its start; switch off a machine of this feed first: no --force \
         passes a budget"
    );
    assert_eq!(ledger(&stands).forecast(&machine(8), NOW), None);
}

#[test]
fn only_the_inrush_of_others_makes_it_wait_and_it_is_known_how_long() {
    let just = Stand::Lit { since: NOW };
    let stands = [just, just, just, Stand::Dark];
    let ledger = ledger(&stands);
    assert_eq!(ledger.promise(&machine(3)), Ok(()));
    let end = NOW + CLOSES_WITHIN + Duration::from_secs(2);
    let answer = ledger.admit(&machine(3), NOW);
    assert!(matches!(answer, Admission::Later { ask_at, .. } if ask_at == end), "{answer:?}");
    assert_eq!(ledger.forecast(&machine(3), NOW), Some(end));
    assert_eq!(ledger.admit(&machine(3), end), Admission::Now);
}

#[test]
fn who_waits_for_a_start_without_length_asks_again_later_and_not_at_once() {
    let waits = Stand::Promised { drawing: None, waits: Some(NOW), returns: true };
    let supplies = vec![Supply { feed: feed(0), draw: draw(1000, 6000, 0) }];
    let load = |stand| Load { supplies: supplies.clone(), stand };
    for first in [Stand::Lighting, waits] {
        let loads = BTreeMap::from([(machine(0), load(first)), (machine(1), load(waits))]);
        let budgets = BTreeMap::from([(feed(0), Milliamps::new(10_000))]);
        let mut ledger = Ledger::new(budgets, loads);
        let end = NOW + CLOSES_WITHIN;
        let answer = ledger.admit(&machine(1), NOW);
        assert!(matches!(answer, Admission::Later { ask_at, .. } if ask_at == end), "{answer:?}");
        assert_eq!(ledger.forecast(&machine(1), NOW), Some(end), "{first:?}");
        ledger.put(&machine(0), Stand::Lit { since: NOW });
        assert_eq!(ledger.admit(&machine(1), end), Admission::Now);
    }
}

#[test]
fn what_was_promised_has_its_place_before_it_draws_anything() {
    let promised = Stand::Promised { drawing: None, waits: None, returns: true };
    let mut stands = [LIT; 8];
    stands[6] = promised;
    stands[7] = Stand::Dark;
    let ledger = ledger(&stands);
    assert_eq!(ledger.sums(NOW)[0].current, Milliamps::new(6000), "it draws nothing yet");
    assert_eq!(ledger.sums(NOW)[0].room.committed, Milliamps::new(7000));
    assert_eq!(ledger.promise(&machine(7)), Ok(()), "8 A run then, and 2 A more at a start");
    let fuller = [LIT, LIT, LIT, LIT, LIT, LIT, promised, Stand::Dark, LIT];
    assert!(self::ledger(&fuller).promise(&machine(7)).is_err());
}

#[test]
fn of_two_for_whom_there_is_room_for_one_only_one_is_admitted() {
    let waits = Stand::Promised { drawing: None, waits: Some(NOW), returns: false };
    let just = Stand::Lit { since: NOW };
    let ledger = ledger(&[just, just, waits, waits]);
    assert_eq!(ledger.admitted(NOW), [machine(2)]);
    assert_eq!(ledger.admit(&machine(2), NOW), Admission::Now);
    assert!(matches!(ledger.admit(&machine(3), NOW), Admission::Later { .. }));
}
