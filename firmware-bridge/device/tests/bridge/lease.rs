//! The host's lease, and what happens at its end.

use bridge_protocol::{Outcome, PowerState, Refusal, Request, SafeState, Said, What};

use crate::board::{Seen, outlet};
use crate::desk::Desk;
use crate::orders::rested;

const ON: PowerState = PowerState::On;
const OFF: PowerState = PowerState::Off;

fn lease(desk: &mut Desk, length: Option<u32>, safe: &[(u8, SafeState)]) -> Said {
    let safe = safe.iter().map(|(number, state)| (outlet(*number), *state)).collect();
    let request = Request::Lease(desk.order(), length, safe);
    desk.ask(&request)
}

#[test]
fn at_the_end_of_the_lease_each_outlet_takes_its_safe_state_and_starts_keep_their_distance() {
    let mut desk = rested();
    assert_eq!(desk.set_all(&[(1, ON), (2, ON)]).len(), 2);
    desk.pass(50);
    let safe = [(1, SafeState::Off), (2, SafeState::Keep), (3, SafeState::On), (4, SafeState::On)];
    assert!(matches!(lease(&mut desk, Some(1000), &safe), Said::Done(_)));
    desk.pass(900);
    assert_eq!(desk.ask(&Request::Beat), Said::Alive);
    let heard = desk.now;
    desk.edges();
    let edges = desk.pass(1100);
    let seen = |number, state| Seen { outlet: outlet(number), state };
    let expected =
        [(heard + 1000, seen(1, OFF)), (heard + 1000, seen(3, ON)), (heard + 1040, seen(4, ON))];
    assert_eq!(edges, expected);
    assert!(desk.happened(What::LeaseEnded));
}

#[test]
fn a_host_that_comes_back_changes_nothing_by_coming_back() {
    let mut desk = rested();
    desk.set(1, ON);
    lease(&mut desk, Some(1000), &[(1, SafeState::Off)]);
    desk.pass(1500);
    assert_eq!(desk.level(1), OFF);
    assert_eq!(desk.ask(&Request::Beat), Said::Alive);
    assert_eq!(desk.pass(5000), [], "an ended lease is not begun anew by a beat");
    assert_eq!(desk.set(1, ON), Outcome::Changed);
    desk.edges();
    assert_eq!(desk.pass(5000), []);
}

#[test]
fn without_a_lease_nobody_has_to_live() {
    let mut desk = rested();
    desk.set(1, ON);
    lease(&mut desk, Some(1000), &[(1, SafeState::Off)]);
    assert!(matches!(lease(&mut desk, None, &[(1, SafeState::Off)]), Said::Done(_)));
    desk.edges();
    assert_eq!(desk.pass(10_000), []);
}

#[test]
fn the_safe_off_ends_a_cycle_and_a_start_that_waits_and_knows_no_minimum_time() {
    let mut desk = rested();
    desk.set(1, ON);
    desk.pass(300);
    let safe = [1, 2, 3].map(|number| (number, SafeState::Off));
    lease(&mut desk, Some(500), &safe);
    desk.pass(470);
    desk.set_all(&[(2, ON), (3, ON)]);
    desk.cycle(1, 2000);
    desk.edges();
    // Each of these requests was a sign of life: the lease ends half a second after the last of them.
    let edges = desk.pass(5000);
    let last = edges.iter().filter(|(_, edge)| edge.state == ON).count();
    assert_eq!(last, 1, "only the start that waited 40 ms: {edges:?}");
    assert_eq!([1, 2, 3].map(|number| desk.level(number)), [OFF, OFF, OFF]);
}

#[test]
fn a_lease_out_of_bounds_or_for_an_outlet_that_is_not_there_is_refused_and_changes_nothing() {
    let mut desk = rested();
    desk.set(1, ON);
    desk.edges();
    let refused = |why| Said::Refused(why);
    let off = [(1, SafeState::Off)];
    assert_eq!(lease(&mut desk, Some(399), &off), refused(Refusal::TooShort(400)));
    assert_eq!(lease(&mut desk, Some(3_600_001), &off), refused(Refusal::TooLong(3_600_000)));
    let not_there = lease(&mut desk, Some(1000), &[(9, SafeState::Off)]);
    assert_eq!(not_there, refused(Refusal::NoSuchOutlet));
    assert_eq!(desk.pass(10_000), []);
}
