//! Scale-in under work: who goes, what moves first, and every way back.

use std::time::Duration;

use fleet::reconciler::Effect;
use fleet::scale_in::Stage;
use fleet::{JobKind, MachineName, NodeStatus, PowerState, Selector};

use crate::world::agent::Rig;
use crate::world::nomad::SLOTS;
use crate::world::{Policy, World, knobs};

/// Three machines that our orders lit, with a service on each, and the policy's wish for `wanted` from now on.
pub(crate) fn working(wanted: u32) -> World {
    let rigs = ["n1", "n2", "n3"].map(|name| (name, Rig::dark(true)));
    let mut world = World::new(rigs.into(), Some(3));
    world.policy = Policy::Fixed(3);
    world.until(60, |world| world.nomad.nodes.len() == 3);
    world.run(40);
    world.policy = Policy::Fixed(wanted);
    world
}

pub(crate) fn stage(world: &World, name: &str) -> Option<Stage> {
    world.rec.stage(&MachineName::new(name).unwrap()).cloned()
}

pub(crate) fn draining(world: &World) -> Option<String> {
    let drains = |name: &&String| matches!(stage(world, name), Some(Stage::Draining(_)));
    world.rigs.keys().find(drains).cloned()
}

fn offs(world: &World) -> usize {
    world.asked(|effect| matches!(effect, Effect::PowerOff { .. }))
}

#[test]
fn service_work_moves_before_its_machine_goes() {
    let mut world = working(2);
    world.nomad.run("web", JobKind::Service, 3);
    world.until(300, |world| world.lit().len() == 2);
    assert_eq!(world.nomad.where_is("web").len(), 3, "all of it runs on");
}

#[test]
fn a_machine_with_batch_work_is_not_chosen_while_others_can_go() {
    let mut world = working(1);
    world.nomad.run("batch", JobKind::Batch, 1);
    world.nomad.jobs.get_mut("batch").unwrap().runs_for = 400;
    world.step();
    let busy = world.nomad.where_is("batch")[0].to_owned();
    world.until(300, |world| world.lit().len() == 1);
    assert_eq!(world.lit().into_iter().next(), Some(busy.as_str()));
    world.policy = Policy::Fixed(0);
    world.run(150);
    assert_eq!(world.nomad.where_is("batch").len(), 1, "it runs to its end");
    world.until(400, |world| world.lit().is_empty());
}

#[test]
fn with_drain_batch_the_task_still_ends_before_its_machine_goes() {
    let mut world = working(3);
    world.nomad.run("batch", JobKind::Batch, 6);
    world.step();
    assert_eq!(world.nomad.where_is("batch").len(), 6);
    world.policy = Policy::Fixed(2);
    world.knobs.drain_batch = true;
    world.rec.set_knobs(world.knobs.clone());
    world.until(100, |world| draining(world).is_some());
    assert_eq!(world.nomad.where_is("batch").len(), 6);
    world.until(200, |world| world.lit().len() == 2);
}

#[test]
fn a_migrating_disk_has_arrived_before_its_machine_goes() {
    let mut world = working(2);
    world.nomad.run("db", JobKind::Service, 3);
    world.nomad.jobs.get_mut("db").unwrap().migrates = true;
    world.until(200, |world| world.nomad.allocs.iter().any(|a| a.hands_over_until.is_some()));
    world.until(100, |world| world.lit().len() == 2);
    assert_eq!(world.nomad.where_is("db").len(), 3);
}

#[test]
fn demand_that_returns_during_the_drain_cancels_it_without_an_order() {
    let mut world = working(2);
    world.nomad.run("web", JobKind::Service, 3 * SLOTS);
    world.until(200, |world| draining(world).is_some());
    let name = draining(&world).unwrap();
    world.policy = Policy::Fixed(3);
    world.until(30, |world| world.nomad.nodes[&name].eligible);
    world.run(300);
    assert_eq!((offs(&world), world.lit().len()), (0, 3));
    assert_eq!(world.edges(&name), (1, 0));
    assert!(world.rec.standing().marks.is_empty());
}

#[test]
fn demand_that_returns_after_the_soft_off_goes_through_off_and_on() {
    let mut world = working(2);
    let leaves = |world: &World| {
        world.rigs.iter().find(|(_, rig)| rig.is_shutting_down()).map(|(name, _)| name.clone())
    };
    world.until(200, |world| leaves(world).is_some());
    let name = leaves(&world).unwrap();
    world.policy = Policy::Fixed(3);
    world.until(10, |world| world.edges(&name) == (1, 1));
    let cut = world.now;
    world.until(200, |world| world.edges(&name) == (2, 1));
    assert!(world.now >= cut + 20, "min_off was kept");
    world.until(100, |world| world.nomad.nodes[&name].eligible);
}

#[test]
fn an_allocation_that_is_placed_between_choice_and_read_means_choosing_again() {
    let mut world = working(2);
    world.until(100, |world| matches!(world.log.last(), Some((_, Effect::MakeIneligible { .. }))));
    let name = world.log.last().unwrap().1.machine().as_str().to_owned();
    // Its node is eligible still: the write is on its way.
    for other in ["n1", "n2", "n3"].into_iter().filter(|other| *other != name) {
        world.nomad.nodes.get_mut(other).unwrap().status = NodeStatus::Disconnected;
    }
    world.nomad.run("batch", JobKind::Batch, 1);
    world.nomad.step(world.now);
    world.run(5);
    assert_eq!(world.nomad.where_is("batch"), [name.as_str()]);
    assert_eq!(
        world.asked(|e| matches!(e, Effect::Drain { .. }) && e.machine().as_str() == name),
        0
    );
    world.until(10, |world| world.nomad.nodes[&name].eligible);
}

#[test]
fn a_drain_that_takes_too_long_is_cancelled_and_not_tried_again_soon() {
    let mut world = working(2);
    world.nomad.run("web", JobKind::Service, 3 * SLOTS);
    world.until(100, |world| draining(world).is_some());
    let name = draining(&world).unwrap();
    let began = world.now;
    world.until(400, |world| world.nomad.nodes[&name].eligible);
    assert!(world.now >= began + 290, "drain_patience");
    world.until(700, |world| world.asked(|e| matches!(e, Effect::Drain { .. })) == 4);
    let chosen = world.log.iter().filter(|(_, e)| matches!(e, Effect::Drain { .. }));
    let names: Vec<&str> = chosen.map(|(_, effect)| effect.machine().as_str()).collect();
    assert_ne!(names[0], names[1], "another one first");
    assert_ne!(names[1], names[2], "and then the third");
    assert_eq!((offs(&world), world.lit().len()), (0, 3));
}

#[test]
fn the_drain_deadline_of_the_policy_kills_and_no_other_does() {
    let mut world = working(2);
    world.nomad.run("web", JobKind::Service, 3 * SLOTS);
    world.knobs.node_drain_deadline = Some(Duration::from_secs(50));
    world.rec.set_knobs(world.knobs.clone());
    world.until(200, |world| world.lit().len() == 2);
    assert!(world.log.iter().any(|(_, effect)| matches!(
        effect,
        Effect::Drain { deadline: Some(deadline), .. } if deadline.as_secs() == 50
    )));
    let silent = working(2);
    assert_eq!(silent.knobs.node_drain_deadline, None);
}

#[test]
fn a_purged_node_comes_back_eligible() {
    let mut world = working(2);
    world.knobs.node_purge = true;
    world.rec.set_knobs(world.knobs.clone());
    world.lost_answers = 0;
    world.until(200, |world| world.nomad.nodes.len() == 2);
    assert_eq!(world.asked(|effect| matches!(effect, Effect::Purge { .. })), 1);
    world.run(30);
    world.policy = Policy::Fixed(3);
    world.until(100, |world| world.nomad.nodes.len() == 3);
    assert!(world.nomad.nodes.values().all(|node| node.eligible));
    assert!(world.rec.standing().marks.is_empty());
}

#[test]
fn system_jobs_stay_where_the_policy_ignores_them() {
    for ignore in [false, true] {
        let mut world = working(2);
        world.nomad.run("logs", JobKind::System, 0);
        world.knobs.node_drain_ignore_system_jobs = ignore;
        world.rec.set_knobs(world.knobs.clone());
        world.until(300, |world| world.lit().len() == 2);
        world.until(60, |world| world.nomad.where_is("logs").len() == 2);
    }
}

#[test]
fn every_selector_has_its_own_first_machine() {
    let first = |selector: Selector, work: bool| {
        let mut world = working(2);
        world.knobs.selector = selector;
        world.knobs.idle_time = Duration::from_secs(3600);
        world.rec.set_knobs(world.knobs.clone());
        if work {
            world.nomad.run("web", JobKind::Service, 2 * SLOTS + 1);
        }
        world.run(90);
        let chosen = world.log.iter().find(|(_, e)| matches!(e, Effect::MakeIneligible { .. }));
        chosen.map(|(_, effect)| effect.machine().as_str().to_owned())
    };
    assert_eq!(first(Selector::LeastBusy, true).as_deref(), Some("n3"));
    assert_eq!(first(Selector::OldestCreateIndex, true).as_deref(), Some("n1"));
    assert_eq!(first(Selector::NewestCreateIndex, true).as_deref(), Some("n3"));
    assert_eq!(first(Selector::Empty, true), None);
    assert_eq!(first(Selector::EmptyIgnoreSystem, true), None);
    assert_eq!(first(Selector::Empty, false).as_deref(), Some("n1"));
    assert_eq!(first(Selector::EmptyIgnoreSystem, false).as_deref(), Some("n1"));
}

#[test]
fn min_on_is_kept_and_the_own_node_never_goes() {
    let mut knobs = knobs();
    knobs.min_on = Duration::from_secs(400);
    knobs.scale_in_window = Duration::ZERO;
    let mut world =
        World::with(vec![("n1", Rig::dark(true)), ("n2", Rig::dark(true))], Some(2), knobs);
    world.policy = Policy::Fixed(2);
    world.until(60, |world| world.nomad.nodes.len() == 2);
    world.policy = Policy::Fixed(0);
    world.own = Some("n1".to_owned());
    world.run(370);
    assert_eq!((world.lit().len(), offs(&world)), (2, 0));
    world.until(100, |world| world.lit().len() == 1);
    world.run(1000);
    assert!(world.lit().contains("n1"));
    assert_eq!(world.edges("n1"), (1, 0));
}

#[test]
fn a_person_that_lit_a_machine_is_waited_for_until_it_is_idle_for_long() {
    let mut world = World::new(vec![("n1", Rig::dark(true))], Some(0));
    world.run(10);
    let now = world.now;
    world.rig("n1").person(PowerState::On, now);
    world.until(60, |world| world.nomad.nodes.len() == 1);
    let ready = world.now;
    assert_eq!(world.rec.status(world.at()).count.0, 1);
    world.until(300, |world| world.lit().is_empty());
    assert!(world.now >= ready + 120, "idle_time");
}
