//! Windows, silence, several voices, and a voice that lapses.

use super::*;

const DAMPING: Damping =
    Damping { window: Duration::from_secs(60), ttl: Duration::from_secs(1800) };
const TICK: Duration = Duration::from_secs(10);

fn at(seconds: u64) -> Moment {
    Moment::from_millis(seconds * 1000)
}

fn demand(level: u32) -> Demand {
    Demand::standing([("default".to_owned(), NodeCount(level))])
}

fn ask(demand: &mut Demand, count: u32, direction: Direction, seconds: u64) {
    demand.ask("default", NodeCount(count), direction, DAMPING, at(seconds));
}

fn told(demand: &mut Demand, count: u32, falls: bool, seconds: u64) {
    demand.told("default", Answer { count: NodeCount(count), falls }, TICK, DAMPING, at(seconds));
}

#[test]
fn a_higher_ask_holds_at_once_and_a_lower_one_after_its_window() {
    let mut demand = demand(1);
    ask(&mut demand, 4, Direction::Up, 0);
    assert_eq!(demand.desired(), NodeCount(4));
    ask(&mut demand, 2, Direction::Down, 10);
    assert_eq!(demand.desired(), NodeCount(4));
    assert_eq!(demand.next_change(DAMPING), Some(at(70)));
    demand.settle(DAMPING, at(69));
    assert_eq!(demand.desired(), NodeCount(4));
    demand.settle(DAMPING, at(70));
    assert_eq!(demand.desired(), NodeCount(2));
}

#[test]
fn silence_while_the_count_is_in_motion_neither_raises_nor_lets_a_window_run_out() {
    let mut demand = demand(4);
    ask(&mut demand, 2, Direction::Down, 0);
    told(&mut demand, 4, false, 59);
    demand.settle(DAMPING, at(60));
    assert_eq!(demand.desired(), NodeCount(2));
    demand.told_in_motion("default", TICK, DAMPING, at(69));
    assert_eq!(demand.desired(), NodeCount(2), "4 was told before the first machine left");
    ask(&mut demand, 1, Direction::Down, 70);
    demand.told_in_motion("default", TICK, DAMPING, at(80));
    demand.told_in_motion("default", TICK, DAMPING, at(90));
    told(&mut demand, 2, false, 131);
    assert_eq!(demand.desired(), NodeCount(2), "it was silent at 80, so not every ask was lower");
    told(&mut demand, 3, false, 141);
    told(&mut demand, 3, false, 151);
    assert_eq!(demand.desired(), NodeCount(3), "what is not in motion is asked for by silence");
}

#[test]
fn the_highest_ask_of_the_window_wins() {
    let mut demand = demand(5);
    ask(&mut demand, 1, Direction::Down, 0);
    ask(&mut demand, 3, Direction::Down, 30);
    ask(&mut demand, 1, Direction::Down, 40);
    demand.settle(DAMPING, at(65));
    assert_eq!(demand.desired(), NodeCount(3));
    demand.settle(DAMPING, at(99));
    assert_eq!(demand.desired(), NodeCount(3), "3 stood until 40");
    demand.settle(DAMPING, at(100));
    assert_eq!(demand.desired(), NodeCount(1));
}

#[test]
fn silence_asks_for_what_was_told_and_restarts_the_window() {
    let mut demand = demand(3);
    let told = |demand: &mut Demand, seconds| {
        told(demand, 3, false, seconds);
    };
    ask(&mut demand, 1, Direction::Down, 0);
    told(&mut demand, 10);
    told(&mut demand, 10); // the same tick's second Status
    assert!(demand.next_change(DAMPING).is_some(), "not silent yet");
    told(&mut demand, 20);
    assert_eq!(demand.next_change(DAMPING), None, "content with three");
    demand.settle(DAMPING, at(600));
    assert_eq!(demand.desired(), NodeCount(3));
}

#[test]
fn silence_asks_for_the_last_count_of_a_tick_and_for_none_where_the_last_answer_was_not_ready() {
    let mut demand = demand(1);
    // A machine has left between the tick's two calls of Status; the strategy is given the second.
    told(&mut demand, 2, false, 100);
    told(&mut demand, 1, false, 101);
    told(&mut demand, 1, false, 110);
    assert_eq!(demand.desired(), NodeCount(1));
    told(&mut demand, 2, false, 120);
    demand.told_not_ready("default", TICK, at(121));
    told(&mut demand, 2, false, 130);
    assert_eq!(demand.desired(), NodeCount(1), "the evaluation of 120 was broken off");
    demand.told_not_ready("default", TICK, at(140));
    told(&mut demand, 2, false, 150);
    assert_eq!(demand.desired(), NodeCount(2), "that of 130 was not");
}

#[test]
fn an_ask_that_is_lost_while_a_machine_leaves_raises_nothing_and_two_in_a_row_are_content() {
    for (at_the_answer, at_the_silence) in [(true, true), (true, false), (false, true)] {
        let mut demand = demand(4);
        for second in [0, 10, 20, 30, 40, 50, 60] {
            told(&mut demand, 4, false, second);
            ask(&mut demand, 2, Direction::Down, second);
        }
        assert_eq!(demand.desired(), NodeCount(2));
        told(&mut demand, 4, at_the_answer, 70); // its ask is lost
        told(&mut demand, 3, at_the_silence, 80);
        assert_eq!(demand.desired(), NodeCount(2), "one was lost");
        ask(&mut demand, 1, Direction::Down, 80);
        for second in [90, 100, 110, 120] {
            told(&mut demand, 3, true, second); // every other ask is lost
            if second % 20 == 0 {
                ask(&mut demand, 1, Direction::Down, second);
            }
        }
        demand.settle(DAMPING, at(150));
        assert_eq!(demand.desired(), NodeCount(2), "a window that was not of lower asks alone");
        for second in [160, 170, 180] {
            told(&mut demand, 3, true, second);
        }
        assert_eq!(demand.desired(), NodeCount(3), "content");
    }
}

#[test]
fn an_ask_between_two_status_calls_is_no_silence() {
    let mut demand = demand(3);
    for tick in 0..10 {
        told(&mut demand, 3, false, tick * 10);
        ask(&mut demand, 0, Direction::Down, tick * 10);
    }
    assert_eq!(demand.desired(), NodeCount(0));
}

#[test]
fn up_never_lowers_and_down_never_raises() {
    let mut demand = demand(3);
    ask(&mut demand, 1, Direction::Up, 0);
    assert_eq!((demand.desired(), demand.next_change(DAMPING)), (NodeCount(3), None));
    ask(&mut demand, 9, Direction::Down, 1);
    assert_eq!(demand.desired(), NodeCount(3));
}

#[test]
fn the_largest_voice_wins() {
    let mut demand = demand(3);
    demand.ask("nightly", NodeCount(5), Direction::Up, DAMPING, at(0));
    ask(&mut demand, 1, Direction::Down, 0);
    demand.settle(DAMPING, at(60));
    assert_eq!(demand.desired(), NodeCount(5));
}

proptest::proptest! {
    #[test]
    fn desired_is_never_below_the_highest_ask_that_stood_in_the_window(
        asks in proptest::collection::vec((0_u32..6, 0_u64..40), 1..200),
    ) {
        let mut demand = demand(3);
        let mut log = vec![(0, 3)];
        let mut clock = 1000;
        for (count, wait) in asks {
            clock += wait;
            ask(&mut demand, count, Direction::None, clock);
            log.push((clock, count));
            let from = clock.saturating_sub(60);
            let stood = log.iter().enumerate().filter(|(place, (_, _))| {
                log.get(place + 1).is_none_or(|(next, _)| *next > from)
            });
            let highest = stood.map(|(_, (_, count))| *count).max().unwrap_or(0);
            proptest::prop_assert_eq!(demand.desired(), NodeCount(highest));
        }
    }
}

const TTL: u64 = 1800;

#[test]
fn who_asks_for_fewer_than_the_pool_has_wants_that_many_and_not_none() {
    let mut demand = demand(5);
    demand.ask("nightly", NodeCount(3), Direction::Down, DAMPING, at(0));
    ask(&mut demand, 1, Direction::Down, 1);
    demand.settle(DAMPING, at(61));
    assert_eq!(demand.desired(), NodeCount(3), "without a dip to one");
    demand.ask("nightly", NodeCount(9), Direction::Down, DAMPING, at(62));
    assert_eq!(demand.desired(), NodeCount(3), "down never raises the pool");
}

#[test]
fn a_policy_that_calls_and_does_not_ask_is_content_and_one_that_does_not_call_lapses() {
    let mut demand = demand(4);
    let mut nightly = demand.clone();
    for minute in 0..60 {
        let now = at(minute * 60);
        demand.call("nightly", now);
        ask(&mut demand, 2, Direction::Down, minute * 60);
        nightly.call("nightly", now);
        nightly.settle(DAMPING, now);
        if minute == 29 {
            assert_eq!(nightly.desired(), NodeCount(4));
            let told: Vec<_> = nightly.silent(DAMPING, now).collect();
            assert_eq!(told, [("default", NodeCount(4), at(TTL))]);
        }
    }
    assert_eq!(demand.levels().count(), 2, "both call");
    assert_eq!(nightly.levels().collect::<Vec<_>>(), [("nightly", NodeCount(0))]);
    assert_eq!(
        (nightly.take_lapsed(), nightly.take_lapsed()),
        (vec!["default".to_owned()], vec![])
    );
}

#[test]
fn the_last_voice_never_lapses_and_a_host_that_was_silent_costs_nobody_his_voice() {
    let mut demand = demand(4);
    demand.call("default", at(0));
    demand.settle(DAMPING, at(100 * TTL));
    assert_eq!(demand.desired(), NodeCount(4), "nobody asks for fewer");
    demand.call("nightly", at(100 * TTL));
    demand.settle(DAMPING, at(100 * TTL + 1));
    assert_eq!(demand.desired(), NodeCount(4), "the host was away, and default may come yet");
    for minute in 0..31 {
        demand.call("nightly", at(100 * TTL + minute * 60));
    }
    demand.settle(DAMPING, at(101 * TTL + 1));
    assert_eq!(demand.desired(), NodeCount(0), "it has not come");
}
