//! Random scripts: whatever happens, the checks hold, and once it ends the pool comes to rest.
//! The long run: `LAMPLIGHTER_RUNS=10000 cargo test -p fleet --test reconciler fuzz`. The seed is printed with a failure;
//! `LAMPLIGHTER_SEED` takes the same scripts again.

use std::hash::{BuildHasher, Hasher, RandomState};
use std::time::Duration;

use fleet::{JobKind, PowerState};
use proptest::prelude::{ProptestConfig, Strategy, any, prop, prop_oneof, proptest};
use proptest::test_runner::RngSeed;

use crate::world::agent::{BootFault, Rig};
use crate::world::{Policy, World, knobs};

/// Seconds within which a pool must be at rest after the last fault: the longest drain's patience, the
/// longest batch, the window and a few boots.
const REST_MAX: u64 = 1500;

#[derive(Clone, Debug)]
enum Event {
    Run(usize, usize, u8),
    Stop(usize),
    Wish(u32),
    Hold(usize, bool),
    Reach(usize, bool),
    Board(usize, bool),
    Mute(usize),
    Lost(u32),
    Press(usize, bool),
    Nomad(bool),
    Lag(usize),
    Latency(u64),
    Restart,
    Free(usize),
    Noise(usize),
    Boot(usize, u8),
    CutOff(usize, bool),
    StaysUp(usize, bool),
    Mains(bool),
    Release(usize),
}

fn event() -> impl Strategy<Value = Event> {
    prop_oneof![
        6 => (0_usize..3, 1_usize..5, any::<u8>()).prop_map(|(j, n, k)| Event::Run(j, n, k)),
        6 => (0_usize..3).prop_map(Event::Stop),
        6 => (0_u32..5).prop_map(Event::Wish),
        1 => (0_usize..4, any::<bool>()).prop_map(|(n, on)| Event::Hold(n, on)),
        2 => (0_usize..4, any::<bool>()).prop_map(|(n, on)| Event::Reach(n, on)),
        2 => (0_usize..4, any::<bool>()).prop_map(|(n, on)| Event::Board(n, on)),
        2 => (0_usize..4).prop_map(Event::Mute),
        2 => (1_u32..4).prop_map(Event::Lost),
        1 => (0_usize..4, any::<bool>()).prop_map(|(n, on)| Event::Press(n, on)),
        2 => any::<bool>().prop_map(Event::Nomad),
        2 => (0_usize..9).prop_map(Event::Lag),
        2 => (1_u64..4).prop_map(Event::Latency),
        2 => proptest::strategy::Just(Event::Restart),
        1 => (0_usize..4).prop_map(Event::Free),
        1 => (0_usize..4).prop_map(Event::Noise),
        3 => (0_usize..4, any::<u8>()).prop_map(|(n, fault)| Event::Boot(n, fault)),
        2 => (0_usize..4, any::<bool>()).prop_map(|(n, on)| Event::CutOff(n, on)),
        1 => (0_usize..4, any::<bool>()).prop_map(|(n, on)| Event::StaysUp(n, on)),
        1 => any::<bool>().prop_map(Event::Mains),
        1 => (0_usize..4).prop_map(Event::Release),
    ]
}

const NAMES: [&str; 4] = ["n1", "n2", "n3", "n4"];
const JOBS: [&str; 3] = ["web", "db", "batch"];

fn happen(world: &mut World, event: &Event) {
    let now = world.now;
    match event {
        Event::Run(job, count, kind) => {
            let name = JOBS[*job];
            let batch = name == "batch" && kind % 2 == 0;
            world.nomad.run(name, if batch { JobKind::Batch } else { JobKind::Service }, *count);
            world.nomad.jobs.get_mut(name).unwrap().migrates = name == "db";
        }
        Event::Stop(job) => world.nomad.stop(JOBS[*job]),
        Event::Wish(count) => {
            let few = |count| Policy::Fixed(count);
            world.policy = if *count == 4 { Policy::Pending } else { few(*count) };
        }
        Event::Hold(n, on) => world.rig(NAMES[*n]).held_by = on.then(|| "ada".to_owned()),
        Event::Reach(n, on) => world.rigs.get_mut(NAMES[*n]).unwrap().reachable = *on,
        Event::Board(n, gone) => world.rig(NAMES[*n]).board_gone = *gone,
        Event::Mute(n) => world.rigs.get_mut(NAMES[*n]).unwrap().mute = 1,
        Event::Lost(count) => world.lost_answers = *count,
        Event::Press(n, on) => {
            let state = if *on { PowerState::On } else { PowerState::Off };
            world.rig(NAMES[*n]).person(state, now);
        }
        Event::Nomad(silent) => world.nomad.silent = *silent,
        Event::Lag(lag) => world.lag = *lag,
        Event::Latency(latency) => world.latency = *latency,
        Event::Restart => world.restart(),
        Event::Free(n) => {
            world.operator(NAMES[*n]).end_drain(NAMES[*n]);
        }
        Event::Noise(n) => {
            world.nomad.write(NAMES[*n], None);
        }
        Event::Boot(n, fault) => {
            let more = u64::from(*fault);
            world.rigs.get_mut(NAMES[*n]).unwrap().boot_fault = match fault % 4 {
                0 => BootFault::None,
                1 => BootFault::Never,
                2 => BootFault::Times(u32::from(fault / 4) % 3 + 1),
                _ => BootFault::Late(more),
            };
        }
        Event::CutOff(n, on) => world.rigs.get_mut(NAMES[*n]).unwrap().cut_off = *on,
        Event::StaysUp(n, on) => world.rigs.get_mut(NAMES[*n]).unwrap().stays_up = *on,
        Event::Mains(host_too) => world.mains(*host_too),
        Event::Release(n) => world.rig(NAMES[*n]).quarantine = None,
    }
}

fn heal(world: &mut World) {
    let now = world.now;
    for name in NAMES {
        let rig = world.rig(name);
        (rig.reachable, rig.board_gone, rig.mute, rig.held_by) = (true, false, 0, None);
        rig.repair(now);
    }
    (world.nomad.silent, world.lost_answers, world.latency, world.lag) = (false, 0, 1, 1);
}

/// Scripts that are tried: `LAMPLIGHTER_RUNS` for a long run.
fn runs() -> u32 {
    std::env::var("LAMPLIGHTER_RUNS").ok().and_then(|runs| runs.parse().ok()).unwrap_or(100)
}

/// The seed of the scripts: `LAMPLIGHTER_SEED`, or another one each time.
#[expect(clippy::print_stdout, reason = "a failure is to be repeated")]
fn seed() -> RngSeed {
    let given = std::env::var("LAMPLIGHTER_SEED").ok().and_then(|seed| seed.parse().ok());
    let seed = given.unwrap_or_else(|| RandomState::new().build_hasher().finish());
    println!("LAMPLIGHTER_SEED={seed} LAMPLIGHTER_RUNS={}", runs());
    RngSeed::Fixed(seed)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: runs(), rng_seed: seed(), failure_persistence: None, ..ProptestConfig::default() })]

    /// A failing script is shrunk and printed whole, with its seed.
    #[test]
    fn whatever_happens_nothing_is_cut_under_work_and_the_pool_comes_to_rest(
        script in prop::collection::vec((event(), 1_u64..60), 1..40),
        readable in any::<bool>(),
        record in any::<bool>(),
        purge in any::<bool>(),
    ) {
        let mut knobs = knobs();
        knobs.node_purge = purge;
        knobs.drain_retry = Duration::from_secs(200);
        let rig = if record { Rig::dark } else { Rig::lit };
        let rigs = NAMES.map(|name| (name, rig(readable)));
        let mut world = World::with(rigs.into(), record.then_some(0), knobs);
        for (event, seconds) in &script {
            happen(&mut world, event);
            world.run(*seconds);
        }
        heal(&mut world);
        world.run(120);
        heal(&mut world); // what was given up meanwhile is released too
        world.run(60);
        for job in JOBS {
            world.nomad.stop(job);
        }
        world.policy = Policy::Fixed(2);
        world.run(REST_MAX);
        let (asked, edges) = (world.log.len(), NAMES.map(|name| world.edges(name)));
        world.run(300);
        let on = world.lit().len();
        proptest::prop_assert_eq!(on, 2, "two are wanted: {:#?}", world.lines());
        proptest::prop_assert_eq!(world.log.len(), asked, "at rest it asks for nothing: {:#?}", world.log.last());
        proptest::prop_assert_eq!(NAMES.map(|name| world.edges(name)), edges);
        for name in world.lit() {
            proptest::prop_assert!(world.nomad.nodes[name].eligible, "{name}: {:#?}", world.lines());
        }
    }
}
