//! Long runs of worlds: cables pulled at any byte, devices that reset, hosts that die, links that are cut for ever.

use bridge_protocol::ResetCause;

use crate::dice::number;
use crate::world::{Noise, World};

/// Faults of each kind in CI: those of pulled cables, of which the others are a fifth.
const FAULTS: u64 = 150;

/// The first seed.
const SEED: u64 = 20_261_123;

/// Faults of one world, so that a failure is short to read.
const FAULTS_AT_ONCE: u64 = 50;

#[derive(Debug, Default)]
struct Figures {
    detached: u64,
    resets: u64,
    brown_outs: u64,
    hosts_killed: u64,
    orders: u64,
    edges: u64,
    cycles: u64,
    known_within_ms: u64,
    adopted_within_ms: u64,
}

fn one(world: &mut World, figures: &mut Figures) {
    match world.dice.below(7) {
        0 => {
            let lost = world.dice.once_in(4);
            let cause = if lost { ResetCause::BrownOut } else { ResetCause::Watchdog };
            figures.resets += 1;
            figures.brown_outs += u64::from(lost);
            world.reset(cause);
        }
        1 => {
            figures.hosts_killed += 1;
            world.kill_host();
        }
        _ => {
            figures.detached += 1;
            let seen = world.dice.once_in(2);
            world.detach(seen);
            let away = world.dice.below(400);
            world.pass(100 + away);
            assert!(!world.is_up(), "nothing is known of what can not be heard");
            world.attach();
        }
    }
}

fn count(figures: &mut Figures, world: &World) {
    figures.orders += world.books.counts.orders;
    figures.edges += world.books.counts.edges;
    figures.cycles += world.books.counts.cycles;
    figures.known_within_ms = figures.known_within_ms.max(world.worst_known_ms);
    figures.adopted_within_ms = figures.adopted_within_ms.max(world.worst_up_ms);
}

#[test]
fn cables_resets_and_deaths_make_no_edge_that_nobody_ordered_and_leave_no_cycle_open() {
    let faults = number("LAMPLIGHTER_RUNS", FAULTS);
    let first = number("LAMPLIGHTER_SEED", SEED);
    let mut figures = Figures::default();
    for seed in first.. {
        let rarest = figures.resets.min(figures.hosts_killed);
        if figures.detached >= faults && rarest * 5 >= faults {
            break;
        }
        let noise = Noise { once_in: [0, 40][usize::from(seed % 2 == 0)] };
        let mut world = World::new(seed, noise);
        world.pass(300);
        for _ in 0..FAULTS_AT_ONCE {
            one(&mut world, &mut figures);
            let quiet = world.dice.below(500);
            world.pass(quiet);
        }
        world.rest();
        world.pass(4000);
        assert!(world.is_up(), "seed {seed}: it is adopted in the end");
        count(&mut figures, &world);
    }
    println!("worlds: {figures:?}");
    assert!(figures.cycles > 0 && figures.edges > 100, "{figures:?}");
}

#[test]
fn a_link_that_is_cut_leaves_each_outlet_in_its_safe_state_within_the_lease() {
    const LEASE_MS: u32 = 600;
    let cuts = number("LAMPLIGHTER_RUNS", FAULTS / 3);
    let first = number("LAMPLIGHTER_SEED", SEED);
    let (mut ended, mut by_lease, mut done) = (0, 0, 0);
    for seed in first.. {
        if done >= cuts {
            break;
        }
        let mut world = World::new(seed, Noise { once_in: 0 });
        world.lease = Some(LEASE_MS);
        for _ in 0..10 {
            world.pass(1500);
            let before = world.books.counts.leases_ended;
            let seen = world.dice.once_in(2);
            world.detach(seen);
            world.pass(usize::try_from(LEASE_MS).unwrap() + 5);
            assert_eq!(world.books.counts.leases_ended, before + 1, "seed {seed}");
            // Safe ons have their dwell and their distance.
            world.pass(1200);
            for (outlet, wanted) in world.books.safe_states() {
                assert_eq!(world.level(outlet), wanted, "seed {seed}: {outlet:?}");
            }
            world.attach();
            done += 1;
        }
        ended += world.books.counts.leases_ended;
        by_lease += world.books.counts.by_lease;
    }
    println!("cut links: {done}, leases ended: {ended}, outlets cut by them: {by_lease}");
    assert!(by_lease > 0);
}
