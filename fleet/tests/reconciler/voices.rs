//! Two policies on one pool over an hour, each on its own tick, jittered and at times silent: the relays move
//! as often as what is wanted does, and not once more. LAMPLIGHTER_RUNS sets how many seeds.

use std::time::Duration;

use fleet::demand::{Caller, Direction};
use fleet::{NodeCount, WhileStarting};

use crate::world::agent::Rig;
use crate::world::{Policy, TICK, World};

/// How many seeds each scenario runs with, where nothing else is said.
const RUNS: u64 = 8;
const HOUR: u64 = 3600;
/// The other policy's evaluation interval, in seconds: never in step with the first one's.
const OTHER_TICK: u64 = 13;

/// Numbers that a seed tells (Knuth's MMIX generator).
struct Dice(u64);

impl Dice {
    fn below(&mut self, bound: u32) -> u32 {
        self.0 =
            self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        u32::try_from(self.0 >> 33).unwrap() % bound
    }
}

/// What somebody wants at a second of the hour.
type Wants = fn(u64, &mut Dice) -> u32;

fn runs() -> u64 {
    std::env::var("LAMPLIGHTER_RUNS").ok().and_then(|runs| runs.parse().ok()).unwrap_or(RUNS)
}

/// The other policy calls: it is told, and asks unless it is content, or its ask is lost.
fn call(world: &mut World, want: u32, is_lost: bool) {
    let at = world.at();
    let status = world.rec.status(at);
    world.rec.call("other", at);
    if !status.ready {
        return;
    }
    let tick = Duration::from_secs(OTHER_TICK);
    let caller = Caller { voice: "other", tick, while_starting: WhileStarting::Ready };
    world.rec.told(caller, status.count, at);
    let direction = if want < status.count.0 { Direction::Down } else { Direction::Up };
    if want != status.count.0 && !is_lost {
        world.rec.ask("other", NodeCount(want), direction, at);
    }
}

/// An hour of both; returns how often relays closed and opened. Of the asks of each one in `lost` is lost, where that is
/// above 0, and never two in a row: the host was told a count, and its evaluation was broken off.
fn hour(seed: u64, default: Wants, other: Wants, lost: u32) -> (u32, u32) {
    let mut dice = Dice(seed);
    // Of their own, so that the same seed has the same wishes with and without losses.
    let mut losses = Dice(seed);
    let mut loses = move |before: bool| lost > 0 && losses.below(lost) == 0 && !before;
    let mut lost_last = [false; 2];
    let rigs = ["n1", "n2", "n3", "n4", "n5"].map(|name| (name, Rig::dark(true)));
    let mut world = World::new(rigs.into(), Some(0));
    let mut due = OTHER_TICK;
    for second in 0..HOUR {
        let want = default(second, &mut dice);
        // It asks in seconds that are full tens.
        let asks = world.now % TICK == TICK - 1;
        let is_lost = asks && loses(lost_last[0]);
        if asks {
            lost_last[0] = is_lost;
        }
        world.policy = if is_lost { Policy::Silent } else { Policy::Fixed(want) };
        world.step();
        if second >= due {
            let want = other(second, &mut dice);
            lost_last[1] = loses(lost_last[1]);
            call(&mut world, want, lost_last[1]);
            // In one tick of six it is silent for a while, as in a cooldown.
            let pause = if dice.below(6) == 0 { 4 * OTHER_TICK } else { 0 };
            due = second + OTHER_TICK + pause - 2 + u64::from(dice.below(5));
        }
    }
    let edges = world.rigs.values().map(|rig| (rig.ons, rig.offs));
    edges.fold((0, 0), |(ons, offs), (on, off)| (ons + on, offs + off))
}

/// Runs a scenario with all seeds; each moves so many relays.
#[expect(clippy::print_stdout, reason = "the figure is for who runs it long")]
fn check(what: &str, default: Wants, other: Wants, expected: (u32, u32)) {
    let mut told = Vec::new();
    for seed in 1..=runs() {
        let edges = hour(seed, default, other, 0);
        if edges != expected {
            told.push((seed, edges));
        }
    }
    println!("{what}: {} hours, {} with other edges than {expected:?}", runs(), told.len());
    assert!(told.is_empty(), "{what}: (seed, (on, off)) {told:?} instead of {expected:?}");
}

#[test]
fn a_policy_that_jitters_below_a_steady_one_moves_nothing() {
    check("steady 3 beside 0 to 3", |_, _| 3, |_, dice| dice.below(4), (3, 0));
}

#[test]
fn who_asks_for_more_and_then_for_less_moves_each_machine_once_each_way() {
    let other: Wants = |second, dice| match second {
        900..1800 => 4,
        _ => dice.below(3),
    };
    check("steady 2 beside 4 for a quarter", |_, _| 2, other, (4, 2));
}

#[test]
fn two_that_take_turns_wanting_four_keep_four() {
    // Each begins before the other ends, by more than the longest silence.
    let default: Wants = |second, _| if second % 600 < 400 { 4 } else { 3 };
    let other: Wants = |second, _| if (100..300).contains(&(second % 600)) { 2 } else { 4 };
    check("four by turns", default, other, (4, 0));
}

/// Runs a scenario with and without lost asks, and counts the hours in which relays moved more often with them.
#[expect(clippy::print_stdout, reason = "the figure is for who runs it long")]
fn with_losses(what: &str, other: Wants, lost: u32) -> Vec<u64> {
    let steady: Wants = |_, _| 2;
    let (mut more, mut edges) = (Vec::new(), [(0, 0); 2]);
    for seed in 1..=runs() {
        let [plain, losing] = [0, lost].map(|lost| hour(seed, steady, other, lost));
        for (sum, of) in edges.iter_mut().zip([plain, losing]) {
            *sum = (sum.0 + of.0, sum.1 + of.1);
        }
        if losing.0 > plain.0 || losing.1 > plain.1 {
            more.push(seed);
        }
    }
    let [plain, losing] = edges;
    println!(
        "{what}, one ask in {lost} lost: {} hours, {} with more edges than without; {plain:?} without, {losing:?} with",
        runs(),
        more.len()
    );
    more
}

/// Four for a part of each twelve minutes, then one or none.
const STEPS: Wants = |second, dice| if second % 720 < 300 { 4 } else { dice.below(2) };

#[test]
fn single_asks_that_are_lost_move_no_machine() {
    let more = with_losses("steady 2 beside 4 by turns", STEPS, 3);
    assert!(more.is_empty(), "seeds {more:?}");
}
