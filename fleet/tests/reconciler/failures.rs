//! Agents that refuse, fail or do not answer; answers that are lost; processes that die.

use fleet::demand::Direction;
use fleet::reconciler::Effect;
use fleet::scale_in::Stage;
use fleet::{JobKind, NodeCount, PowerState};

use crate::first::dark;
use crate::scale_in::{draining, stage, working};
use crate::world::{Policy, World};

#[test]
fn an_order_without_an_answer_is_asked_again_under_the_same_id() {
    let mut world = World::new(dark(true), Some(0));
    world.policy = Policy::Fixed(1);
    world.lag = 6;
    world.rigs.get_mut("n1").unwrap().mute = 1;
    world.until(60, |world| world.nomad.nodes.len() == 1);
    world.run(60);
    assert_eq!(world.rigs["n1"].orders_on.len(), 1);
    assert_eq!(world.edges("n1"), (1, 0));
    assert_eq!(world.lit().len(), 1, "none was lit in its place");
}

#[test]
fn a_shutdown_without_an_answer_is_not_taken_back() {
    let mut world = working(2);
    world.lag = 6;
    for rig in world.rigs.values_mut() {
        rig.mute = 1;
    }
    world.until(200, |world| world.rigs.values().any(|rig| rig.is_shutting_down()));
    world.policy = Policy::Fixed(3);
    world.rec.ask("default", NodeCount(3), Direction::Up, world.at());
    let frees = |world: &World| world.asked(|e| matches!(e, Effect::MakeEligible { .. }));
    let before = frees(&world);
    world.until(20, |world| world.lit().len() == 2);
    assert_eq!(frees(&world), before);
    world.until(200, |world| world.lit().len() == 3);
    assert_eq!(world.rigs.values().map(|rig| rig.orders_off.len()).sum::<usize>(), 1);
}

#[test]
fn a_machine_that_is_held_while_its_shutdown_has_no_answer_is_given_back_once_it_was_not_taken() {
    let mut world = working(2);
    let orders = |world: &World| world.asked(|e| matches!(e, Effect::PowerOff { .. }));
    world.until(200, |world| orders(world) > 0);
    for rig in world.rigs.values_mut() {
        (rig.reachable, rig.held_by) = (false, Some("ada".to_owned()));
    }
    world.run(10);
    world.rigs.values_mut().for_each(|rig| rig.reachable = true);
    // The world asserts at each step that what is to be done is asked for at once, and not when somebody looks again.
    world.until(30, |world| world.nomad.nodes.values().all(|node| node.eligible));
    assert!(world.rigs.values().all(|rig| rig.orders_off.is_empty()));
}

#[test]
fn when_a_board_is_gone_the_machine_rests_and_another_is_lit() {
    let mut world = World::new(dark(false), Some(0));
    world.policy = Policy::Fixed(1);
    world.rigs.get_mut("n1").unwrap().board_gone = true;
    world.until(60, |world| world.lit().contains("n2"));
    world.run(300);
    assert_eq!(world.lit().len(), 1);
    assert_eq!(world.rigs["n1"].orders_on.len(), 1);
}

#[test]
fn alone_it_is_tried_again_once_a_minute() {
    let mut world = World::new(dark(true).into_iter().take(1).collect(), Some(0));
    world.policy = Policy::Fixed(1);
    world.rigs.get_mut("n1").unwrap().board_gone = true;
    world.run(600);
    let orders = world.rigs["n1"].orders_on.len();
    assert!((8..=10).contains(&orders), "{orders} orders in ten minutes");
}

#[test]
fn a_refused_machine_rests_and_another_is_lit() {
    let mut world = World::new(dark(true), Some(0));
    world.lag = 20;
    world.run(25);
    world.rig("n1").held_by = Some("ada".to_owned());
    world.policy = Policy::Fixed(1);
    world.until(40, |world| world.lit().contains("n2"));
    assert_eq!(world.edges("n1"), (0, 0));
}

#[test]
fn an_unreachable_machine_is_passed_over() {
    let mut world = World::new(dark(true), Some(0));
    world.rigs.get_mut("n1").unwrap().reachable = false;
    world.policy = Policy::Fixed(1);
    world.until(30, |world| world.lit().contains("n2"));
    world.run(60);
    assert_eq!(world.edges("n1"), (0, 0));
}

#[test]
fn a_machine_that_could_not_be_cut_stays_ineligible_until_it_can() {
    let mut world = working(2);
    for rig in world.rigs.values_mut() {
        rig.board_gone = true;
    }
    world.until(200, |world| {
        world.rigs.keys().any(|n| matches!(stage(world, n), Some(Stage::Stuck(_))))
    });
    world.run(200);
    let out = |world: &World| world.nomad.nodes.values().filter(|node| !node.eligible).count();
    assert_eq!(out(&world), 1);
    for rig in world.rigs.values_mut() {
        rig.board_gone = false;
    }
    world.until(200, |world| world.lit().len() == 2);
}

#[test]
fn lost_answers_of_nomad_leave_no_node_ineligible() {
    for lost in 1..4 {
        let mut world = working(2);
        world.nomad.run("web", JobKind::Service, 6);
        world.lost_answers = lost;
        world.until(120, |world| world.nomad.nodes.values().any(|node| !node.eligible));
        world.policy = Policy::Fixed(3);
        world.until(60, |world| world.nomad.nodes.values().all(|node| node.eligible));
        world.run(60);
        assert!(world.nomad.nodes.values().all(|node| node.eligible), "{lost} lost");
        assert_eq!(world.lit().len(), 3);
    }
}

#[test]
fn a_restart_in_any_second_of_a_scale_in_ends_as_without_it() {
    for second in 0..40 {
        let mut world = working(2);
        world.nomad.run("web", JobKind::Service, 3);
        world.until(100, |world| world.asked(|e| matches!(e, Effect::MakeIneligible { .. })) > 0);
        world.run(second);
        world.restart();
        world.until(300, |world| world.lit().len() == 2);
        world.run(100);
        assert_eq!(world.lit().len(), 2, "restarted after {second} s");
        assert_eq!(world.nomad.where_is("web").len(), 3);
        world.policy = Policy::Fixed(3);
        let all = |world: &World| world.nomad.nodes.values().all(|node| node.eligible);
        world.until(200, |world| world.lit().len() == 3 && all(world));
    }
}

#[test]
fn a_restart_while_demand_returns_gives_the_machine_back() {
    for second in 0..40 {
        let mut world = working(2);
        world.nomad.run("web", JobKind::Service, 3);
        world.until(100, |world| world.asked(|e| matches!(e, Effect::MakeIneligible { .. })) > 0);
        world.run(second);
        world.policy = Policy::Fixed(3);
        world.restart();
        let all = |world: &World| world.nomad.nodes.values().all(|node| node.eligible);
        world.until(300, |world| world.lit().len() == 3 && all(world));
        world.run(120);
        assert!(all(&world) && world.lit().len() == 3, "restarted after {second} s");
    }
}

#[test]
fn after_the_mains_were_gone_during_a_drain_the_machine_is_lit_and_eligible_again() {
    let mut world = working(2);
    world.nomad.run("web", JobKind::Service, 6);
    world.until(100, |world| draining(world).is_some());
    let (name, now) = (draining(&world).unwrap(), world.now);
    world.rig(&name).person(PowerState::Off, now);
    world.until(60, |world| stage(world, &name).is_none());
    world.policy = Policy::Fixed(3);
    world.until(120, |world| world.lit().len() == 3 && world.nomad.nodes[&name].eligible);
}

#[test]
fn a_machine_that_shut_down_and_could_not_be_cut_is_cut_by_whoever_takes_over() {
    for (readable, seconds) in [(false, 1), (true, 1), (false, 60)] {
        let mut world = working(2);
        world.until(200, |world| world.rigs.values().any(|rig| rig.is_shutting_down()));
        let down = world.rigs.iter().find(|(_, rig)| rig.is_shutting_down());
        let name = down.unwrap().0.clone();
        let rig = world.rigs.get_mut(&name).unwrap();
        (rig.board_gone, rig.readable) = (true, readable);
        world.run(10);
        assert!(world.lit().contains(name.as_str()), "its relay could not be opened");
        world.run(seconds);
        world.restart();
        world.run(5);
        world.rigs.get_mut(&name).unwrap().board_gone = false;
        world.until(200, |world| !world.lit().contains(name.as_str()));
    }
}
