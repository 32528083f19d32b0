//! Eight clients and one machine. Goal: whatever the order of things, dwell times are kept, a cycle is never split, each
//! order that is taken has its effect between its acceptance and its end, and no stale order is obeyed. Method: random
//! interleavings of orders, repeats, actions, faults, locks, deaths of the agent and time, by seed, in virtual time;
//! a checker sees only answers, edges and ends. `LAMPLIGHTER_RUNS` says how many worlds, `LAMPLIGHTER_SEED` from where;
//! the figures are kept in figures/interleavings.md.

#![expect(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "helpers of tests fail by panic as the tests do, and long runs print their figures"
)]

mod check;
mod world;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Duration;

use fleet::{
    ClusterId, Fence, FenceNumber, MachineName, OnSoftOffTimeout, OperationId, Order, Origin,
    PoolName, Reason, Verb,
};

use check::Counts;
use world::World;

/// Steps of one world: some orders are over then, and a failure is short to read.
const STEPS: usize = 250;

/// Worlds of eight clients in CI: 50 000 steps.
const WORLDS: u64 = 200;

/// Runs of two fences and a person in CI.
const FENCE_RUNS: u64 = 2000;

/// The first seed; each world has the next one.
const SEED: u64 = 20_261_122;

/// SplitMix64: small, and the same everywhere.
pub(crate) struct Dice(pub(crate) u64);

impl Dice {
    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^ (mixed >> 31)
    }

    /// From 0 to one less than `end`.
    pub(crate) fn below(&mut self, end: usize) -> usize {
        let end = u64::try_from(end.max(1)).unwrap();
        usize::try_from(self.next() % end).unwrap()
    }

    pub(crate) fn once_in(&mut self, times: usize) -> bool {
        self.below(times) == 0
    }
}

pub(crate) fn name(name: &str) -> MachineName {
    MachineName::new(name).unwrap()
}

pub(crate) fn pool() -> PoolName {
    PoolName::new("rack").unwrap()
}

fn autoscaler(number: u64) -> Origin {
    let cluster = ClusterId::new("global").unwrap();
    Origin::Autoscaler(Fence { cluster, pool: pool(), number: FenceNumber(number) })
}

fn order(dice: &mut Dice, given: usize, origin: Origin) -> Order {
    let verbs = [Verb::On, Verb::Off, Verb::Cycle];
    Order {
        operation: OperationId::new(format!("op-{given}")).unwrap(),
        machine: name("node3"),
        verb: verbs[dice.below(verbs.len())],
        reason: Reason::new("test"),
        force: matches!(origin, Origin::Person(_)) && dice.once_in(4),
        origin,
        valid_for: Duration::from_secs(30),
        on_soft_off_timeout: OnSoftOffTimeout::Cut,
        drain: dice.once_in(4),
        plan: None,
    }
}

/// Five autoscalers that believe to hold the lease, and three persons.
fn of_eight(dice: &mut Dice, given: usize) -> Order {
    let origin = match dice.below(8) {
        client @ 0..5 => autoscaler(u64::try_from(client / 2 + given / 40).unwrap()),
        client => Origin::Person(format!("person{}", client - 5)),
    };
    order(dice, given, origin)
}

/// One with the lease, one that has lost it and comes back now and then, and a person.
fn of_three(dice: &mut Dice, given: usize) -> Order {
    let origin = match dice.below(3) {
        client @ 0..2 => autoscaler(u64::try_from(client).unwrap() + 7),
        _ => Origin::Person("person0".to_owned()),
    };
    order(dice, given, origin)
}

fn number(variable: &str, default: u64) -> u64 {
    std::env::var(variable).ok().map_or(default, |number| number.parse().expect("a number"))
}

fn run(worlds: u64, steps: usize, clients: fn(&mut Dice, usize) -> Order) -> Counts {
    let mut all = Counts::default();
    let first = number("LAMPLIGHTER_SEED", SEED);
    for seed in first..first + worlds {
        let mut world = World::new(seed);
        for step in 0..steps {
            let stepped = catch_unwind(AssertUnwindSafe(|| world.step(clients)));
            if let Err(failure) = stepped {
                println!("seed {seed}, step {step}, at {}", world.now);
                std::panic::resume_unwind(failure);
            }
        }
        all.add(world.check.counts);
    }
    all
}

impl Counts {
    fn add(&mut self, more: Counts) {
        self.taken += more.taken;
        self.joined += more.joined;
        self.refused += more.refused;
        self.repeated += more.repeated;
        self.edges += more.edges;
        self.cycles += more.cycles;
        self.stale_given += more.stale_given;
        self.stale_obeyed += more.stale_obeyed;
        self.held += more.held;
        self.too_many += more.too_many;
    }
}

#[test]
fn eight_clients_in_any_order_break_no_dwell_split_no_cycle_and_see_one_history() {
    let worlds = number("LAMPLIGHTER_RUNS", WORLDS);
    let counts = run(worlds, STEPS, of_eight);
    println!("eight clients: {} steps: {counts:?}", worlds * u64::try_from(STEPS).unwrap());
    // A checker that saw nothing would be content with everything.
    assert!(counts.cycles > worlds / 4 && counts.edges > worlds, "{counts:?}");
    assert!(counts.joined > 0 && counts.held > 0 && counts.too_many > 0, "{counts:?}");
}

#[test]
fn of_two_fences_and_a_person_no_stale_order_is_obeyed() {
    let runs = number("LAMPLIGHTER_RUNS", FENCE_RUNS);
    let counts = run(runs, STEPS / 5, of_three);
    println!("two fences and a person: {runs} runs: {counts:?}");
    assert!(counts.stale_given > runs / 2, "hardly any was given: {counts:?}");
    assert_eq!(counts.stale_obeyed, 0);
}
