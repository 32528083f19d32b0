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
mod faults;
mod hardware;
mod installation;
#[path = "../reconciler/world/nomad.rs"]
mod nomad;
mod orders;
mod plugin;

use chance::Chance;
use faults::Faults;
use installation::{Installation, RACKS};
use plugin::Policy;

/// Seeds where nobody asks for more: half a minute of CI, unoptimised.
const RUNS: u64 = 40;
/// How long things go wrong, in seconds.
const FAULTY: u64 = 1800;
/// Within what time after the last fault the pool must be at rest: the longest drain's patience, the longest batch, the
/// lease, the window, a sequence that ends by its deadline, and some boots.
const REST_MAX: u64 = 2400;
/// How long it must then stay so.
const STILL: u64 = 300;
/// Runs that may fail before the rest is left out.
const FAILED_MAX: usize = 10;
/// What is wanted at the end.
const WANTED: u32 = 3;

#[derive(Default)]
struct Sum {
    orders: u64,
    edges: u64,
    cuts: u64,
    stale: u64,
    left: u64,
    taken_up: u64,
    faults: u64,
    longest: u64,
}

/// One run: the time that it took to come to rest.
fn run(faults: &mut Faults, all: &mut Installation, chance: &mut Chance) -> u64 {
    for _ in 0..FAULTY {
        faults.step(all, chance);
        all.step(chance);
    }
    faults.heal(all);
    for _ in 0..60 {
        all.step(chance);
    }
    for (place, names) in RACKS.iter().enumerate() {
        for name in *names {
            all.agents[place].release(name);
        }
    }
    for job in ["web", "db", "batch"] {
        all.nomad.stop(job);
    }
    all.policy = Policy::Fixed(WANTED);
    let healed = all.now;
    while all.now < healed + REST_MAX {
        all.step(chance);
    }
    let rest = all.busy_at.saturating_sub(healed);
    let edges = all.check.edges;
    for _ in 0..STILL {
        all.step(chance);
    }
    assert!(all.busy_at <= healed + REST_MAX, "it does not come to rest");
    assert_eq!(all.check.edges, edges, "a relay moves at rest");
    let (working, left): (Vec<&str>, Vec<&str>) = all
        .lit()
        .into_iter()
        .partition(|name| all.nomad.nodes.get(*name).is_some_and(|n| n.eligible));
    let lines = all.lines();
    for name in &left {
        // Whose ineligibility it is could not be told any more: it is left as it is, and people are told.
        let told =
            lines.iter().any(|line| line.starts_with(&format!("{name}: its node takes no work")));
        assert!(told, "{name} is lit and takes no work: {lines:#?}");
    }
    let wanted = usize::try_from(WANTED).unwrap();
    let all_lit =
        working.len() + left.len() == RACKS.iter().map(|names| names.len()).sum::<usize>();
    assert!(working.len() == wanted || all_lit, "{working:?} are lit: {lines:#?}");
    all.check.left = u64::try_from(left.len()).unwrap();
    let leaders = all.plugins.iter().filter(|plugin| plugin.believes_to_lead()).count();
    assert_eq!(leaders, 1, "one leads");
    rest
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
        let mut all = Installation::new(chance.once_in(2));
        let told = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            run(&mut faults, &mut all, &mut chance)
        }));
        if only.is_some() {
            tell(&all);
        }
        match told {
            Ok(rest) => sum.longest = sum.longest.max(rest),
            Err(why) => failed.push(format!("seed {seed} at {}: {}", all.now, text(why.as_ref()))),
        }
        assert!(
            failed.len() < FAILED_MAX,
            "LAMPLIGHTER_SEED=N tells one of these whole:\n{}",
            failed.join("\n")
        );
        sum.orders += all.check.orders;
        sum.edges += all.check.edges;
        sum.cuts += all.check.cuts;
        sum.stale += all.check.stale;
        sum.left += all.check.left;
        sum.taken_up += all.check.taken_up;
        sum.faults += all.check.faults;
    }
    println!(
        "{} seeds, {} faults and turns of work, {} orders begun, {} edges of which {} cuts, {} half-done sequences \
         taken up, {} stale orders refused; at rest within {} s; {} machines left ineligible, and named",
        last - first + 1,
        sum.faults,
        sum.orders,
        sum.edges,
        sum.cuts,
        sum.taken_up,
        sum.stale,
        sum.longest,
        sum.left
    );
    assert!(
        failed.is_empty(),
        "LAMPLIGHTER_SEED=N tells one of these whole:\n{}",
        failed.join("\n")
    );
    assert!(only.is_some() || sum.edges > runs, "the runs move something");
}

fn tell(all: &Installation) {
    for (at, what) in &all.check.diary {
        println!("{at:>6} {what}");
    }
    for names in RACKS {
        for name in names {
            println!("{name} {:?}", all.nomad.view(name));
        }
    }
    println!("{:?} {:#?}", all.standing(), all.lines());
}

fn text(why: &(dyn std::any::Any + Send)) -> &str {
    let text = why.downcast_ref::<String>().map(String::as_str);
    text.or_else(|| why.downcast_ref::<&str>().copied()).unwrap_or("it panicked")
}
