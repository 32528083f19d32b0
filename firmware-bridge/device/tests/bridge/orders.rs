//! Orders, one by one: what becomes of them, and which edges they make.

use bridge_protocol::{
    DeviceTime, Epoch, FrameKind, Generation, Order, Outcome, PowerState, Refusal, Request, Said,
    What, decode,
};

use crate::board::{LIMITS, Seen, outlet};
use crate::desk::Desk;

const ON: PowerState = PowerState::On;
const OFF: PowerState = PowerState::Off;

/// A desk on which the dwell of the start is over.
pub(crate) fn rested() -> Desk {
    let mut desk = Desk::new();
    desk.pass(u64::from(LIMITS.min_off_ms));
    desk
}

fn seen(number: u8, state: PowerState) -> Seen {
    Seen { outlet: outlet(number), state }
}

#[test]
fn a_state_is_driven_once_and_said_to_be_so_afterwards() {
    let mut desk = rested();
    assert_eq!(desk.set(1, ON), Outcome::Changed);
    assert_eq!(desk.edges(), [seen(1, ON)]);
    assert_eq!(desk.set(1, ON), Outcome::Unchanged);
    assert_eq!(desk.set(2, OFF), Outcome::Unchanged);
    assert_eq!(desk.edges(), []);
}

#[test]
fn minimum_times_refuse_with_what_is_left_of_them() {
    let mut desk = rested();
    desk.set(1, ON);
    desk.pass(100);
    assert_eq!(desk.set(1, OFF), Outcome::Refused(Refusal::Dwell(200)));
    desk.pass(200);
    assert_eq!(desk.set(1, OFF), Outcome::Changed);
    assert_eq!(desk.set(1, ON), Outcome::Refused(Refusal::Dwell(200)));
    assert_eq!(desk.edges().len(), 1);
}

#[test]
fn what_was_before_the_start_counts_as_too_short_until_the_minimum_has_passed() {
    let mut desk = Desk::new();
    assert_eq!(desk.set(1, ON), Outcome::Refused(Refusal::Dwell(LIMITS.min_off_ms)));
}

#[test]
fn starts_keep_their_distance_and_each_says_when_it_will_be() {
    let mut desk = rested();
    let outcomes = desk.set_all(&[(1, ON), (2, ON), (3, ON)]);
    let expected = [Outcome::Changed, Outcome::Scheduled(40), Outcome::Scheduled(80)];
    assert_eq!(outcomes, expected);
    let began = desk.now;
    assert_eq!(desk.edges(), [seen(1, ON)]);
    assert_eq!(desk.outlets()[2].changes_in_ms, Some(80));
    let edges = desk.pass(100);
    assert_eq!(edges, [(began + 40, seen(2, ON)), (began + 80, seen(3, ON))]);
}

#[test]
fn a_loop_that_was_late_gives_the_distance_back_and_no_crowd() {
    let mut desk = rested();
    desk.set_all(&[(1, ON), (2, ON), (3, ON)]);
    desk.edges();
    desk.now += 500;
    let edges = desk.pass(45);
    assert_eq!(edges.len(), 2);
    assert_eq!(edges[1].0 - edges[0].0, 40);
}

#[test]
fn a_start_whose_turn_would_come_after_its_deadline_is_refused() {
    let mut desk = rested();
    desk.set(1, ON);
    desk.edges();
    desk.generation += 1;
    let order = Order { generation: Generation(desk.generation), until: DeviceTime(desk.now + 39) };
    let switch = bridge_protocol::Switch { outlet: outlet(2), state: ON };
    let said = desk.ask(&Request::Set(order, [switch].into_iter().collect()));
    let Said::Set(_, outcomes) = said else { panic!("{said:?}") };
    assert_eq!(outcomes[..], [Outcome::Refused(Refusal::TooLate)]);
    assert_eq!(desk.pass(100), []);
}

#[test]
fn an_off_withdraws_a_start_that_waits() {
    let mut desk = rested();
    desk.set_all(&[(1, ON), (2, ON)]);
    assert_eq!(desk.set(2, OFF), Outcome::Unchanged);
    desk.edges();
    assert_eq!(desk.pass(200), []);
}

#[test]
fn an_order_is_obeyed_in_its_turn_and_in_time_or_refused() {
    let mut desk = rested();
    let switches = || [bridge_protocol::Switch { outlet: outlet(1), state: ON }];
    let order =
        |generation, until| Order { generation: Generation(generation), until: DeviceTime(until) };
    let now = desk.now;
    let late = Request::Set(order(5, now - 1), switches().into_iter().collect());
    assert_eq!(desk.refused(&late), Refusal::TooLate);
    let heard = Request::ArmAllOff(order(6, now));
    assert!(matches!(desk.ask(&heard), Said::Armed(..)));
    let stale = Request::Set(order(6, now + 9), switches().into_iter().collect());
    assert_eq!(desk.refused(&stale), Refusal::Stale(Generation(6)));
    assert_eq!(desk.edges(), []);
}

#[test]
fn an_order_for_an_earlier_start_of_the_device_is_refused_with_the_present_one() {
    let mut desk = rested();
    let request = Request::Cycle(desk.order(), outlet(1), 500);
    let earlier = Epoch(desk.device.epoch().0 - 1);
    let frame =
        desk.exchange(desk.version, FrameKind::Request, earlier, &request).expect("an answer");
    assert_eq!(frame.header.epoch, desk.device.epoch());
    let answer: bridge_protocol::Answer = decode(&frame).unwrap();
    assert_eq!(answer.said, Said::Refused(Refusal::OtherEpoch));
}

#[test]
fn a_list_that_names_an_outlet_twice_moves_nothing() {
    let mut desk = rested();
    let switch = |state| bridge_protocol::Switch { outlet: outlet(1), state };
    let request = Request::Set(desk.order(), [switch(ON), switch(OFF)].into_iter().collect());
    assert_eq!(desk.refused(&request), Refusal::Malformed);
    assert_eq!(desk.edges(), []);
}

#[test]
fn an_outlet_that_the_board_has_not_is_refused_beside_those_that_it_has() {
    let mut desk = rested();
    let outcomes = desk.set_all(&[(16, ON), (1, ON)]);
    assert_eq!(outcomes, [Outcome::Refused(Refusal::NoSuchOutlet), Outcome::Changed]);
}

#[test]
fn a_cycle_is_timed_by_the_device_and_needs_no_host() {
    let mut desk = rested();
    desk.set(1, ON);
    desk.pass(300);
    assert!(matches!(desk.cycle(1, 1000), Said::Done(_)));
    let began = desk.now;
    assert_eq!(desk.edges(), [seen(1, OFF)]);
    desk.pass(400);
    assert_eq!(desk.set(1, ON), Outcome::Refused(Refusal::InCycle(600)));
    assert_eq!(desk.set(1, OFF), Outcome::Refused(Refusal::InCycle(600)));
    let again = Request::Cycle(desk.order(), outlet(1), 1000);
    assert_eq!(desk.refused(&again), Refusal::InCycle(600));
    assert_eq!(desk.pass(700), [(began + 1000, seen(1, ON))]);
}

#[test]
fn a_cycle_of_what_is_off_or_with_an_off_out_of_bounds_is_refused() {
    let mut desk = rested();
    let request = Request::Cycle(desk.order(), outlet(1), 1000);
    assert_eq!(desk.refused(&request), Refusal::NotOn);
    desk.set(1, ON);
    desk.pass(300);
    let request = Request::Cycle(desk.order(), outlet(1), 199);
    assert_eq!(desk.refused(&request), Refusal::TooShort(200));
    let request = Request::Cycle(desk.order(), outlet(1), 600_001);
    assert_eq!(desk.refused(&request), Refusal::TooLong(600_000));
    assert_eq!(desk.pass(2000), []);
}

#[test]
fn all_off_needs_both_halves_and_is_stopped_by_no_minimum_time_and_no_cycle() {
    let mut desk = rested();
    desk.set_all(&[(1, ON), (2, ON), (3, ON), (4, ON)]);
    desk.pass(390);
    desk.cycle(1, 5000);
    desk.set(5, ON);
    desk.set(6, ON);
    let wrong = Request::AllOff(desk.order(), 1);
    assert_eq!(desk.refused(&wrong), Refusal::NotArmed);
    let arm = Request::ArmAllOff(desk.order());
    let Said::Armed(_, token, _) = desk.ask(&arm) else { panic!("not armed") };
    desk.edges();
    let off = Request::AllOff(desk.order(), token);
    assert!(matches!(desk.ask(&off), Said::Done(_)));
    assert_eq!(desk.edges(), [2, 3, 4, 5].map(|number| seen(number, OFF)));
    assert_eq!(desk.pass(6000), [], "neither the cycle nor the start that waited comes");
    let again = Request::AllOff(desk.order(), token);
    assert_eq!(desk.refused(&again), Refusal::NotArmed);
}

#[test]
fn all_off_is_armed_for_a_while_only() {
    let mut desk = rested();
    desk.set(1, ON);
    let arm = Request::ArmAllOff(desk.order());
    let Said::Armed(_, token, until) = desk.ask(&arm) else { panic!("not armed") };
    desk.pass(until.0 - desk.now + 1);
    let off = Request::AllOff(desk.order(), token);
    assert_eq!(desk.refused(&off), Refusal::NotArmed);
    assert_eq!(desk.level(1), ON);
}

#[test]
fn a_contact_that_does_not_follow_is_told_once_and_never_taken_for_what_was_driven() {
    let mut desk = rested();
    desk.device.hardware().stuck.insert(1, Some(OFF));
    desk.set(1, ON);
    desk.pass(99);
    let disagrees = |contact| What::Disagrees { outlet: outlet(1), contact };
    assert!(!desk.happened(disagrees(Some(OFF))), "a relay takes its time");
    desk.pass(200);
    let told = desk.events().iter().filter(|event| event.what == disagrees(Some(OFF))).count();
    assert_eq!(told, 1);
    let seen = desk.outlets()[0];
    assert_eq!((seen.driven, seen.contact), (ON, Some(OFF)));
    desk.device.hardware().stuck.insert(1, None);
    desk.pass(10);
    assert!(desk.happened(disagrees(None)));
    assert_eq!(desk.outlets()[0].contact, None);
}
