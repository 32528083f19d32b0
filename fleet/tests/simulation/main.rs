//! Goal: whatever fails, and in whatever order, nothing moves by surprise, and once the faults end the pool comes to rest.
//!
//! Method: a whole installation in virtual time over the shipped planner, reconciler, lease, arbiter and sequencer. Only
//! hardware, network and Nomad are modelled, in process; that is no evidence about drivers. Faults come from a seed.
//! `LAMPLIGHTER_RUNS` sets the number of seeds and `LAMPLIGHTER_FIRST` the first of them; `LAMPLIGHTER_SEED` runs one and
//! prints its diary.

#![expect(clippy::unwrap_used, clippy::panic, reason = "a broken world is a failed test")]
#![expect(clippy::print_stdout, reason = "a run tells its figures, and a failed one its diary")]

mod agent;
mod chance;
mod check;
mod clock;
mod faults;
mod hardware;
mod installation;
#[path = "../reconciler/world/nomad.rs"]
mod nomad;
mod orders;
mod plugin;
mod policy;
mod site;
mod snapshot;

use chance::Chance;
use faults::Faults;
use fleet::{DriftPolicy, Verb};
use installation::Installation;
use policy::Policy;
use site::{POOLS, Pool, drift_policy, machines, rack_of};

/// Seeds where nobody asks for more: half a minute of CI, unoptimised.
const RUNS: u64 = 40;
/// How long things go wrong, in seconds.
const FAULTY: u64 = 1800;
/// How long after the last fault people come and look, in seconds: every boot of before has come to its end, also for
/// who had to take the lease first and gave it its whole time again.
const HEALING: u64 = 260;
/// Within what time after the last fault the pool must be at rest: the longest drain's patience, the longest batch, the
/// lease, the window, a sequence that ends by its deadline, and some boots.
const REST_MAX: u64 = 2400;
/// How long nothing may have happened before it counts as rest: longer than any wait of the pools' knobs.
const STILL: u64 = 330;
/// How long a machine that is lit again after somebody has pressed its button may take to have power.
const RELIT_MAX: u64 = 60;
/// Runs that may fail before the rest is left out.
const FAILED_MAX: usize = 10;

#[derive(Default)]
struct Sum {
    counts: Counts,
    /// The longest way to rest.
    longest: u64,
}

/// What a run counts, and many runs together.
#[derive(Default)]
struct Counts([u64; 11]);

impl Counts {
    fn of(all: &Installation) -> Self {
        let check = &all.check;
        let (orders, edges, cuts) = (check.orders, check.edges, check.cuts);
        let (resumed, stale, relit) = (check.resumed, check.stale, check.relit);
        let (restored, left) = (check.restored, check.left);
        let (full, waits) = (check.full, check.waits);
        Self([
            check.faults,
            orders,
            edges,
            cuts,
            resumed,
            stale,
            relit,
            restored,
            full,
            waits,
            left,
        ])
    }

    fn add(&mut self, other: &Self) {
        for (sum, one) in self.0.iter_mut().zip(other.0) {
            *sum += one;
        }
    }
}

/// One run: the time that it took to come to rest.
fn run(faults: &mut Faults, all: &mut Installation, chance: &mut Chance) -> u64 {
    for _ in 0..FAULTY {
        faults.step(all, chance);
        all.step(chance);
    }
    faults.heal(all);
    let faulty_until = all.now;
    for _ in 0..HEALING {
        all.step(chance);
    }
    let tested = go_home(all, chance);
    let healed = all.now;
    while all.now < healed + REST_MAX && all.now < all.busy_at.max(healed) + STILL {
        all.step(chance);
    }
    let rest = all.busy_at.saturating_sub(healed);
    assert!(all.now < healed + REST_MAX, "it does not come to rest");
    for (place, pool) in POOLS.iter().enumerate() {
        rests(all, (place, pool), faulty_until);
    }
    let is_out = |name: &&str| all.agents[rack_of(name)].is_quarantined(name);
    let out: Vec<&str> = tested.into_iter().filter(is_out).collect();
    assert!(out.is_empty(), "{out:?} are out of service after a test boot");
    press(all, chance);
    rest
}

/// People take their locks home, and say what they want at the end. What is out of service is tried by a test boot:
/// these are returned.
fn go_home(all: &mut Installation, chance: &mut Chance) -> Vec<&'static str> {
    let mut tested = Vec::new();
    for name in machines() {
        let readable = all.racks[rack_of(name)].readable;
        let tests = readable && all.agents[rack_of(name)].is_quarantined(name);
        if tests && chance.once_in(2) {
            for kind in fleet::HoldKind::ALL {
                all.release(name, Some(kind), ("ada", true), chance);
            }
            if all.person((name, "ada"), Verb::Cycle, (false, true), chance) {
                tested.push(name);
                continue;
            }
        }
        all.release(name, None, ("ada", true), chance);
    }
    for job in ["web", "db", "batch"] {
        all.nomad.stop(job);
    }
    for (pool, policies) in POOLS.iter().zip(&mut all.policies) {
        for (place, (_, policy)) in policies.voices.iter_mut().enumerate() {
            let less = Policy::Fixed(pool.wanted - 1);
            let others = [less, Policy::Gone];
            *policy = if place == 0 { Policy::Fixed(pool.wanted) } else { *chance.pick(&others) };
        }
    }
    tested
}

/// What a pool must be like at rest.
fn rests(all: &mut Installation, (place, pool): (usize, &Pool), faulty_until: u64) {
    let takes = |name: &&str| all.nomad.nodes.get(*name).is_some_and(|node| node.eligible);
    let (working, left): (Vec<&str>, Vec<&str>) = all.lit(pool).into_iter().partition(takes);
    let lines = all.lines(place);
    for name in &left {
        // Whose ineligibility it is could not be told any more: it is left as it is, and people are told.
        let told =
            lines.iter().any(|line| line.starts_with(&format!("{name}: its node takes no work")));
        assert!(told, "{name} is lit and takes no work: {lines:#?}");
    }
    let wanted = usize::try_from(pool.wanted).unwrap();
    let lights = |name: &&str| {
        let dark = !working.contains(name) && !left.contains(name);
        // A boot that failed while things went wrong, under a person's lock, is judged when the lock ends.
        let failed = all.agents[rack_of(name)].is_quarantined(name)
            && !all.check.was_lit_since(name, faulty_until);
        dark && !failed && !all.feed_is_full(rack_of(name))
    };
    // All that could be lit are.
    let short = working.len() < wanted;
    let can_not = short && !pool.machines.iter().any(lights);
    assert!(working.len() == wanted || can_not, "{working:?} are lit: {lines:#?}");
    let leaders: Vec<_> = all.leaders(place).collect();
    assert_eq!(leaders.len(), 1, "one leads");
    let standing = leaders[0].reconciler.as_ref().unwrap().standing();
    let levels: Vec<(&str, u32)> =
        standing.levels.iter().map(|(name, level)| (name.as_str(), level.0)).collect();
    let mut voices: Vec<(&str, u32)> = all.policies[place]
        .voices
        .iter()
        .filter_map(|(name, policy)| match policy {
            Policy::Fixed(count) => Some((*name, *count)),
            Policy::Gone | Policy::Pending | Policy::Silent => None,
        })
        .collect();
    voices.sort_unstable();
    // A policy that is told of fewer asks UP, and that never lowers what was asked before.
    let short = working.len() < wanted;
    assert!(
        short || levels == voices,
        "{levels:?} are wanted, and the policies ask for {voices:?}"
    );
    all.check.left += u64::try_from(left.len()).unwrap();
}

/// Somebody switches a machine off at its board, and it is lit again.
fn press(all: &mut Installation, chance: &mut Chance) {
    let lit: Vec<&str> = POOLS.iter().flat_map(|pool| all.lit(pool)).collect();
    let works = |name: &&&str| all.nomad.nodes.get(**name).is_some_and(|node| node.eligible);
    let enforced = |name: &&&str| drift_policy(name) == DriftPolicy::Enforce;
    let ordered = |name: &&&str| all.agents[rack_of(name)].wants_on(name);
    let found = lit.iter().filter(enforced).filter(ordered).find(works);
    let Some(name) = found else { return };
    all.check.touched(name, all.now);
    all.racks[rack_of(name)].press(name, all.now);
    for _ in 0..RELIT_MAX {
        all.step(chance);
    }
    // Where another was lit in its place first, its feed may be full.
    let lit = all.racks[rack_of(name)].has_power(name);
    assert!(lit || all.feed_is_full(rack_of(name)), "{name} is not lit again");
}

fn numbers(name: &str) -> Option<u64> {
    std::env::var(name).ok().map(|text| text.parse().unwrap())
}

#[test]
fn whatever_fails_nothing_moves_by_surprise_and_the_pool_comes_to_rest() {
    let only = numbers("LAMPLIGHTER_SEED");
    let first = only.or_else(|| numbers("LAMPLIGHTER_FIRST")).unwrap_or(1);
    let runs = numbers("LAMPLIGHTER_RUNS").unwrap_or(RUNS);
    let last = only.unwrap_or(first + runs - 1);
    let (mut sum, mut failed) = (Sum::default(), Vec::new());
    for seed in first..=last {
        let mut chance = Chance::of_seed(seed);
        let mut faults = Faults::of(&mut chance);
        let never_off = chance.once_in(3).then_some("a3");
        let mut all = Installation::new(chance.once_in(2), never_off);
        let told = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            run(&mut faults, &mut all, &mut chance)
        }));
        if only.is_some() {
            tell(&all);
        }
        match told {
            Ok(rest) => sum.longest = sum.longest.max(rest),
            Err(why) => {
                println!("seed {seed} failed");
                failed.push(format!("seed {seed} at {}: {}", all.now, text(why.as_ref())));
            }
        }
        assert!(
            failed.len() < FAILED_MAX,
            "LAMPLIGHTER_SEED=N tells one of these whole:\n{}",
            failed.join("\n")
        );
        sum.counts.add(&Counts::of(&all));
    }
    let [faults, orders, edges, cuts, resumed, stale, relit, restored, full, waits, left] =
        sum.counts.0;
    println!(
        "{} seeds, {faults} faults and turns of work, {orders} orders begun, {edges} edges of which {cuts} cuts, \
         {resumed} half-done sequences taken up, {stale} stale orders refused, {relit} machines lit again by their \
         agents, {restored} snapshots restored, {full} orders refused by a full feed, {waits} s waited for the inrush \
         of others; at rest within {} s; {left} machines left ineligible, and named",
        last - first + 1,
        sum.longest,
    );
    assert!(
        failed.is_empty(),
        "LAMPLIGHTER_SEED=N tells one of these whole:\n{}",
        failed.join("\n")
    );
    assert!(only.is_some() || edges > runs, "the runs move something");
    assert!(only.is_some() || relit > 0, "drift is acted on");
}

fn tell(all: &Installation) {
    for (at, what) in &all.check.diary {
        println!("{at:>6} {what}");
    }
    for name in machines() {
        println!("{name} {:?}", all.nomad.view(name));
    }
    for place in 0..POOLS.len() {
        for leader in all.leaders(place) {
            println!(
                "{:?}",
                leader.reconciler.as_ref().map(fleet::reconciler::Reconciler::standing)
            );
        }
        println!("{:#?}", all.lines(place));
    }
}

fn text(why: &(dyn std::any::Any + Send)) -> &str {
    let text = why.downcast_ref::<String>().map(String::as_str);
    text.or_else(|| why.downcast_ref::<&str>().copied()).unwrap_or("it panicked")
}
