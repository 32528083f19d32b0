//! Nodes that are gone: a partition, in which nothing moves, or the mains, after which desired is started again.

use fleet::planner::RESTARTS_AT_ONCE_MAX;
use fleet::reconciler::Effect;
use fleet::{JobKind, NodeStatus, PowerState};

use crate::world::agent::{BOOT, Rig};
use crate::world::{Policy, World};

/// All of `of` machines serve.
fn serving(of: usize, readable: bool) -> World {
    const NAMES: [&str; 10] = ["m0", "m1", "m2", "m3", "m4", "m5", "m6", "m7", "m8", "m9"];
    let rigs = NAMES.iter().take(of).map(|name| (*name, Rig::dark(readable)));
    let mut world = World::new(rigs.collect(), Some(0));
    world.policy = Policy::Fixed(u32::try_from(of).unwrap());
    world.until(300, |world| up(world) == of);
    world.run(30);
    world
}

fn up(world: &World) -> usize {
    world.nomad.nodes.values().filter(|node| node.status == NodeStatus::Ready).count()
}

fn cut_off(world: &mut World, names: &[&str], on: bool) {
    for name in names {
        world.rigs.get_mut(*name).unwrap().cut_off = on;
    }
}

fn moves(world: &World) -> usize {
    world.asked(|effect| !matches!(effect, Effect::RecordBoot { .. }))
}

#[test]
fn in_a_partition_nothing_moves_and_the_pool_says_so() {
    for restarts in [false, true] {
        let mut world = serving(3, true);
        world.nomad.run("web", JobKind::Service, 6);
        world.run(30);
        let before = moves(&world);
        cut_off(&mut world, &["m0", "m1"], true);
        world.run(300);
        if restarts {
            world.restart();
        }
        world.run(900);
        assert_eq!(moves(&world), before, "{:#?}", world.log.last());
        assert_eq!(world.rec.status(world.at()).count.0, 3);
        let told = world.lines().join("\n");
        assert!(told.contains("partition suspected: 2 on"), "{told}");
        assert!(told.contains("m0: is on, and its node is down or not there"), "{told}");
        cut_off(&mut world, &["m0", "m1"], false);
        world.run(300);
        assert_eq!(moves(&world), before);
        assert!(!world.lines().join("\n").contains("partition"), "{:#?}", world.lines());
    }
}

#[test]
fn in_a_partition_more_demand_lights_more_and_less_takes_none_that_works() {
    let mut world = serving(4, true);
    world.policy = Policy::Fixed(2);
    world.until(600, |world| world.lit().len() == 2);
    world.run(60);
    let silent = world.lit().first().map(|name| (*name).to_owned()).unwrap();
    let works = world.lit().last().map(|name| (*name).to_owned()).unwrap();
    cut_off(&mut world, &[&silent], true);
    world.run(60);
    world.policy = Policy::Fixed(1);
    world.run(600);
    assert!(world.lit().contains(works.as_str()), "the one that answers stays");
    world.policy = Policy::Fixed(3);
    world.until(120, |world| world.lit().len() == 3);
    world.run(300);
    assert_eq!(world.lit().len(), 3);
}

#[test]
fn behind_a_board_that_can_not_be_read_nothing_is_cut_in_a_partition() {
    let mut world = serving(3, false);
    cut_off(&mut world, &["m0"], true);
    world.run(900);
    assert_eq!(
        world.rigs["m0"].orders_on.len(),
        2,
        "should the mains have been gone, that lights it"
    );
    assert_eq!((world.edges("m0"), world.rigs["m0"].cycles.len()), ((1, 0), 0));
    assert!(world.rigs["m0"].quarantine.is_some(), "another may stand in for it");
    cut_off(&mut world, &["m0"], false);
    world.until(60, |world| world.rigs["m0"].quarantine.is_none());
    world.run(60);
    assert_eq!(world.rec.status(world.at()).count.0, 3);
}

#[test]
fn after_a_mains_failure_desired_is_started_again_a_few_at_a_time() {
    for (readable, host_too) in [(true, true), (true, false), (false, true), (false, false)] {
        let mut world = serving(10, readable);
        let lights = |world: &World| world.asked(|e| matches!(e, Effect::Light { .. }));
        let before = world.log.len();
        world.mains(host_too);
        world.until(600, |world| up(world) == 10 && world.lit().len() == 10);
        world.run(120);
        assert_eq!(lights(&world), 20, "each once more");
        let again: Vec<u64> = world.log[before..]
            .iter()
            .filter(|(_, effect)| matches!(effect, Effect::Light { .. }))
            .map(|(second, _)| *second)
            .collect();
        for from in &again {
            let group = again.iter().filter(|at| (*from..from + 15).contains(*at)).count();
            assert!(group <= RESTARTS_AT_ONCE_MAX, "{again:?}");
        }
        assert_eq!(
            world.asked(|e| matches!(e, Effect::Cycle { .. } | Effect::Quarantine { .. })),
            0
        );
    }
}

#[test]
fn what_comes_back_with_the_mains_by_itself_has_its_boot_deadline_and_is_not_ordered_about() {
    let mut world = serving(3, true);
    let before = moves(&world);
    let now = world.now;
    for rig in world.rigs.values_mut() {
        rig.host_booted = Some(now);
        rig.boots_at = Some(now + BOOT); // its relay never opened
    }
    world.run(600);
    assert_eq!(moves(&world), before);
    assert_eq!(up(&world), 3);
}

#[test]
fn what_comes_back_with_the_mains_and_does_not_boot_is_quarantined_and_not_cut() {
    let mut world = serving(3, true);
    let now = world.now;
    world.policy = Policy::Silent;
    for rig in world.rigs.values_mut() {
        rig.host_booted = Some(now);
        rig.boots_at = Some(now + BOOT);
    }
    world.rigs.get_mut("m1").unwrap().boots_at = None;
    world.until(200, |world| world.rigs["m1"].quarantine.is_some());
    world.run(200);
    assert_eq!(world.edges("m1"), (1, 0));
    let reason = world.rigs["m1"].quarantine.as_ref().map(|q| q.reason.to_string()).unwrap();
    assert!(reason.contains("after the mains came back"), "{reason}");
}

#[test]
fn an_agent_that_returns_after_a_week_moves_nothing() {
    for readable in [true, false] {
        let mut world = serving(3, readable);
        let before = moves(&world);
        for rig in world.rigs.values_mut() {
            rig.reachable = false;
        }
        world.run(3600); // a week is the same, only longer
        for rig in world.rigs.values_mut() {
            rig.reachable = true;
        }
        world.run(600);
        assert_eq!(moves(&world), before, "{:#?}", world.log.last());
        assert_eq!(world.rec.status(world.at()).count.0, 3);
    }
}

#[test]
fn a_person_who_cuts_power_by_order_is_no_mains_failure() {
    let mut world = serving(3, true);
    let now = world.now;
    world.rig("m0").person(PowerState::Off, now);
    world.run(2);
    assert!(!world.lines().join("\n").contains("went away without an order"));
}
