//! Holds, other hands on nodes, first contact, and what policies do meanwhile.

use std::time::Duration;

use fleet::reconciler::{Effect, SHARED_FOR};
use fleet::scale_in::Stage;
use fleet::{JobKind, PowerState, TouchKind, WhileStarting};

use crate::first::dark;
use crate::scale_in::{draining, stage, working};
use crate::world::agent::{BOOT, Rig};
use crate::world::{Policy, World, knobs};

fn lit_four(readable: bool) -> World {
    let rigs = ["n1", "n2", "n3", "n4"].map(|name| (name, Rig::lit(readable)));
    World::new(rigs.into(), None)
}

#[test]
fn at_first_contact_nothing_goes_dark_before_its_idle_time_since_adoption() {
    for readable in [true, false] {
        let mut world = lit_four(readable);
        world.policy = Policy::Fixed(1);
        world.rigs.get_mut("n4").unwrap().reachable = false;
        world.run(200);
        assert_eq!(world.log, [], "birth waits for every agent");
        assert!(!world.rec.status(world.at()).ready);
        world.rigs.get_mut("n4").unwrap().reachable = true;
        world.run(3);
        assert_eq!(world.rec.status(world.at()).desired.map(|count| count.0), Some(4));
        let born = world.now;
        world.nomad.run("web", JobKind::Service, 1);
        world.run(110);
        assert_eq!(world.log, []);
        world.until(120, |world| world.lit().len() == 1);
        assert!(world.now >= born + 115, "idle_time from adoption, at {}", world.now - born);
        assert_eq!(world.nomad.where_is("web").len(), 1);
    }
}

#[test]
fn a_utilisation_policy_does_not_ratchet_during_a_slow_boot() {
    let mut knobs = knobs();
    knobs.while_starting = WhileStarting::Wait;
    let mut world = World::with(dark(true), Some(0), knobs);
    world.policy = Policy::Fixed(1);
    world.until(30, |world| world.lit().len() == 1);
    world.policy = Policy::Fixed(4); // it would ask for more, were it asked now
    world.run(BOOT - 6);
    assert!(!world.rec.status(world.at()).ready);
    assert_eq!(world.lit().len(), 1);
    world.policy = Policy::Silent;
    world.run(300);
    assert_eq!(world.lit().len(), 1);
    assert!(world.rec.status(world.at()).ready);
}

#[test]
fn a_policy_that_is_content_again_after_a_lull_loses_no_machine() {
    let mut world = working(2);
    world.run(45);
    world.policy = Policy::Silent;
    world.run(600);
    assert_eq!(world.lit().len(), 3);
    assert_eq!(world.asked(|effect| matches!(effect, Effect::MakeIneligible { .. })), 0);
}

#[test]
fn a_held_machine_is_neither_lit_nor_counted_nor_stopped() {
    let mut world = working(3);
    let now = world.now;
    world.rig("n1").person(PowerState::Off, now);
    world.rig("n1").held_by = Some("ada".to_owned());
    world.run(120);
    assert_eq!(world.edges("n1"), (1, 1));
    assert_eq!(world.rec.status(world.at()).count.0, 2);
    world.rig("n1").held_by = None;
    world.until(60, |world| world.edges("n1") == (2, 1));

    let mut world = working(0);
    world.rig("n2").held_by = Some("ada".to_owned());
    world.until(300, |world| world.lit().len() == 1);
    world.run(300);
    assert_eq!(world.edges("n2"), (1, 0));
}

#[test]
fn a_machine_that_is_never_off_counts_and_is_not_drained_for_nothing() {
    let mut world = working(0);
    for name in ["n1", "n2"] {
        world.rig(name).never_off = true;
    }
    world.until(300, |world| world.lit().len() == 2);
    world.run(600);
    assert_eq!(world.lit(), ["n1", "n2"].into());
    assert_eq!(world.rec.status(world.at()).count.0, 2);
    let emptied = |effect: &Effect| matches!(effect, Effect::MakeIneligible { machine, .. } if machine.as_str() != "n3");
    assert_eq!(world.asked(emptied), 0);
}

#[test]
fn a_machine_that_a_person_cycled_has_its_idle_time_anew() {
    let mut world = World::with(dark(true), Some(0), knobs());
    world.policy = Policy::Fixed(1);
    world.until(60, |world| world.lit().len() == 1);
    world.run(300); // idle all the time
    let name = world.lit().first().map(|name| (*name).to_owned()).unwrap();
    let now = world.now;
    world.rig(&name).person(PowerState::Off, now);
    world.rig(&name).person(PowerState::On, now);
    world.policy = Policy::Fixed(0);
    world.until(300, |world| world.lit().is_empty());
    let up = now + BOOT;
    assert!(world.now >= up + 120, "idle_time from its return, not {} s", world.now - up);
}

#[test]
fn a_hold_during_the_drain_gives_the_machine_back() {
    let mut world = working(2);
    world.nomad.run("web", JobKind::Service, 6);
    world.until(100, |world| draining(world).is_some());
    let name = draining(&world).unwrap();
    world.rig(&name).held_by = Some("ada".to_owned());
    world.until(20, |world| world.nomad.nodes[&name].eligible);
    world.run(100);
    assert_eq!(world.edges(&name), (1, 0));
}

#[test]
fn a_node_that_somebody_made_ineligible_is_left_alone() {
    let mut world = working(0);
    world.operator("n2").eligibility("n2", false);
    world.theirs("n2");
    world.until(300, |world| world.lit().len() == 1);
    world.policy = Policy::Fixed(3);
    world.run(300);
    assert!(!world.nomad.nodes["n2"].eligible);
    assert_eq!(world.edges("n2"), (1, 0));
    assert_eq!(world.lit().len(), 3);
}

#[test]
fn an_idle_machine_that_somebody_set_aside_in_nomad_does_not_stand_in_for_one_that_works() {
    let mut world = World::with(dark(true), Some(0), knobs());
    world.policy = Policy::Fixed(1);
    world.until(60, |world| world.lit().len() == 1);
    world.run(60); // it boots and registers
    let first = world.lit().first().map(|name| (*name).to_owned()).unwrap();
    world.operator(&first).eligibility(&first, false);
    world.theirs(&first);
    world.until(120, |world| world.lit().len() == 2);
    world.run(200);
    assert_eq!(world.rec.status(world.at()).count.0, 1);
    assert_eq!((world.lit().len(), world.edges(&first)), (2, (1, 0)));
}

#[test]
fn a_drained_node_that_somebody_touches_is_never_made_eligible_by_us() {
    for by_drain in [true, false] {
        let mut world = working(2);
        world.nomad.run("web", JobKind::Service, 6);
        world.until(100, |world| draining(world).is_some());
        let name = draining(&world).unwrap();
        let nomad = world.operator(&name);
        nomad.end_drain(&name);
        if by_drain {
            nomad.drain(&name, None, false);
        } else {
            nomad.eligibility(&name, false);
        }
        world.theirs(&name);
        world.nomad.stop("web");
        world.policy = Policy::Fixed(3);
        world.run(900);
        assert!(!world.nomad.nodes[&name].eligible);
        assert_eq!(world.edges(&name), (1, 0));
        assert_eq!(stage(&world, &name), None);
    }
}

#[test]
fn a_mark_whose_events_have_rotated_out_unseen_is_no_proof() {
    let mut world = working(2);
    world.until(200, |world| world.lit().len() == 2);
    let name = ["n1", "n2", "n3"].into_iter().find(|n| !world.lit().contains(n)).unwrap();
    world.run(60);
    for _ in 0..11 {
        world.nomad.write(name, None);
    }
    world.theirs(name);
    world.policy = Policy::Fixed(3);
    world.run(200);
    assert!(!world.nomad.nodes[name].eligible);
    assert!(world.lines().iter().any(|line| line.contains("do not reach back")));
}

#[test]
fn what_our_agent_does_to_a_node_for_a_person_leaves_it_ours_and_what_comes_later_does_not() {
    for touched_later in [false, true] {
        let mut world = working(2);
        world.until(300, |world| world.lit().len() == 2);
        let name = ["n1", "n2", "n3"].into_iter().find(|n| !world.lit().contains(n)).unwrap();
        world.run(60);
        assert!(!world.nomad.nodes[name].eligible, "it went by our order");

        // The agent drains the node meanwhile, and leaves it ineligible as it was.
        let now = world.now;
        world.rig(name).cycle_by_hand(now);
        world.nomad.write(name, Some(TouchKind::DrainSet));
        world.until(30, |world| world.edges(name) == (2, 1));
        world.nomad.write(name, Some(TouchKind::DrainUnset));
        world.run(SHARED_FOR.as_secs() + 2);
        assert!(!world.nomad.nodes[name].eligible, "it boots");
        if touched_later {
            world.operator(name).write(name, Some(TouchKind::Ineligible));
            world.theirs(name);
            world.run(300);
            assert!(!world.nomad.nodes[name].eligible);
        } else {
            world.until(60, |world| world.nomad.nodes[name].eligible);
        }
    }
}

#[test]
fn what_somebody_did_to_a_node_before_a_persons_cycle_is_not_shared_with_it() {
    for kind in [TouchKind::DrainSet, TouchKind::Ineligible] {
        let mut world = working(2);
        world.until(300, |world| world.lit().len() == 2);
        let name = ["n1", "n2", "n3"].into_iter().find(|n| !world.lit().contains(n)).unwrap();
        world.run(60);
        world.operator(name).write(name, Some(kind));
        world.theirs(name);
        world.run(SHARED_FOR.as_secs() + 2);

        let now = world.now;
        world.rig(name).cycle_by_hand(now);
        world.nomad.write(name, Some(TouchKind::DrainSet));
        world.until(30, |world| world.edges(name) == (2, 1));
        world.nomad.write(name, Some(TouchKind::DrainUnset));
        world.run(300);
        assert!(!world.nomad.nodes[name].eligible, "{kind:?}: it is somebody else's");
        assert!(world.lines().iter().any(|line| line.contains("somebody drained it or made it")));
    }
}

#[test]
fn with_nomad_silent_nothing_goes_and_what_reads_off_is_lit() {
    let mut world = working(1);
    world.run(30);
    world.nomad.silent = true;
    world.run(600);
    assert_eq!(world.lit().len(), 3);
    let moves =
        |effect: &Effect| !matches!(effect, Effect::Light { .. } | Effect::RecordBoot { .. });
    assert_eq!(world.asked(moves), 0);
    world.nomad.silent = false;
    world.until(200, |world| world.lit().len() == 1);
}

#[test]
fn when_nomad_falls_silent_during_a_drain_it_goes_no_further() {
    let mut world = working(2);
    world.nomad.run("web", JobKind::Service, 6);
    world.until(100, |world| draining(world).is_some());
    world.nomad.silent = true;
    world.nomad.stop("web");
    world.run(900);
    assert_eq!(world.lit().len(), 3);
    world.nomad.silent = false;
    world.until(900, |world| world.lit().len() == 2);
}

#[test]
fn a_waiting_pool_takes_no_longer_than_its_window_to_act_on_a_wake() {
    let mut world = working(2);
    world.run(40);
    let (_, wake) = world.rec.poll(world.at());
    let wake = wake.expect("a lower count waits");
    assert!(wake > world.at() && wake.since(world.at()) <= Duration::from_secs(60));
    assert!(!matches!(stage(&world, "n1"), Some(Stage::Draining(_))));
}
