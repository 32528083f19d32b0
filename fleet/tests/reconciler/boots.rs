//! Machines that do not come: one second try, then quarantine; and the ways back to service.

use fleet::reconciler::Effect;
use fleet::{BootEnd, JobKind, PowerState, QuarantineCause};

use crate::first::dark;
use crate::world::agent::{BOOT, BootFault, SOFT_OFF};
use crate::world::{Policy, World, knobs};

/// Two boot deadlines, the way off between them, and what calls and views lag.
const GIVEN_UP: u64 = 4 * BOOT + SOFT_OFF + 40;

fn sick(readable: bool, fault: BootFault) -> World {
    let mut world = World::new(dark(readable), Some(0));
    world.rigs.get_mut("n1").unwrap().boot_fault = fault;
    world.policy = Policy::Fixed(1);
    world
}

fn quarantined(world: &World, name: &str) -> Option<QuarantineCause> {
    world.rigs[name].quarantine.as_ref().map(|quarantine| quarantine.cause)
}

fn ready(world: &World, name: &str) -> bool {
    world
        .nomad
        .nodes
        .get(name)
        .is_some_and(|node| node.eligible && node.status == fleet::NodeStatus::Ready)
}

fn cycles(world: &World) -> usize {
    world.asked(|effect| matches!(effect, Effect::Cycle { .. }))
}

#[test]
fn a_machine_that_does_not_boot_is_cycled_once_then_quarantined_and_the_next_one_is_lit() {
    for readable in [true, false] {
        let mut world = sick(readable, BootFault::Never);
        // What can not be read is known to be off where it was switched off.
        world.rigs.get_mut("n1").unwrap().person(PowerState::Off, 900);
        world.until(2 * BOOT + 30, |world| cycles(world) == 1);
        assert_eq!(world.lit().len(), 1, "none is lit in its place while it is tried again");
        world.until(GIVEN_UP, |world| quarantined(world, "n1").is_some());
        world.until(60, |world| ready(world, "n2"));
        world.run(600);
        assert_eq!(world.edges("n1"), (2, 1), "it is left as it is");
        assert_eq!(world.rigs["n1"].cycles.len(), 1);
        assert_eq!(world.edges("n2"), (1, 0));
        assert_eq!(world.edges("n3"), (0, 0));
        assert_eq!(world.rec.status(world.at()).count.0, 1);
        let ends: Vec<_> = world.rigs["n1"].boots.iter().map(|boot| boot.end).collect();
        assert_eq!(ends, [BootEnd::Missed, BootEnd::Missed]);
        let told = world.lines().join("\n");
        assert!(
            told.contains("n1: is in quarantine: its node was not ready within 40 s"),
            "{told}"
        );
        assert!(told.contains("not after a power cycle either"), "{told}");
    }
}

#[test]
fn a_machine_that_nobody_knows_to_have_been_off_is_not_cycled() {
    let mut world = sick(false, BootFault::Never);
    world.until(GIVEN_UP, |world| quarantined(world, "n1").is_some());
    world.until(60, |world| ready(world, "n2"));
    assert_eq!((cycles(&world), world.edges("n1")), (0, (1, 0)));
}

#[test]
fn a_machine_that_boots_at_the_second_try_serves_and_its_boots_are_on_record() {
    let mut world = sick(true, BootFault::Times(1));
    world.until(GIVEN_UP, |world| ready(world, "n1"));
    world.run(300);
    assert_eq!((world.edges("n1"), world.edges("n2")), ((2, 1), (0, 0)));
    assert_eq!(quarantined(&world, "n1"), None);
    let boots = &world.rigs["n1"].boots;
    let ends: Vec<_> = boots.iter().map(|boot| boot.end).collect();
    assert_eq!(ends, [BootEnd::Missed, BootEnd::Ready]);
    let took = boots[1].took.map(|took| took.as_secs());
    assert!(took.is_some_and(|took| (BOOT..BOOT + 5).contains(&took)), "{took:?}");
}

#[test]
fn a_node_that_was_registered_takes_no_work_while_its_machine_is_cycled() {
    let mut world = World::new(dark(true), Some(0));
    world.policy = Policy::Fixed(1);
    world.until(60, |world| ready(world, "n1"));
    world.policy = Policy::Fixed(0);
    world.until(400, |world| world.lit().is_empty());
    world.run(60);
    world.operator("n1").eligibility("n1", true);
    world.rigs.get_mut("n1").unwrap().boot_fault = BootFault::Late(2 * BOOT);
    world.run(100);
    world.policy = Policy::Fixed(1);
    world.nomad.run("web", JobKind::Service, 1);
    world.until(300, |world| cycles(world) == 1);
    assert!(!world.nomad.nodes["n1"].eligible, "nothing can be placed there");
    world.rigs.get_mut("n1").unwrap().boot_fault = BootFault::None;
    world.until(200, |world| ready(world, "n1"));
    world.run(60);
    assert_eq!(world.nomad.where_is("web"), ["n1"]);
}

#[test]
fn a_machine_that_comes_late_is_not_cut_and_returns_to_service_by_itself() {
    // Its second boot misses the deadline too, and ends after it was given up.
    let mut world = sick(true, BootFault::Late(2 * BOOT));
    world.until(GIVEN_UP, |world| quarantined(world, "n1").is_some());
    world.until(2 * BOOT, |world| quarantined(world, "n1").is_none());
    assert!(ready(&world, "n1"));
    world.run(30);
    assert_eq!(world.rigs["n1"].boots.last().map(|boot| boot.end), Some(BootEnd::Ready));
    world.until(600, |world| world.rec.status(world.at()).count.0 == 1);
    assert_eq!(world.edges("n1").0, 2, "both served, and one of them went in its time");
}

#[test]
fn a_test_boot_by_a_person_returns_a_machine_and_a_failed_one_does_not() {
    for repaired in [true, false] {
        let mut world = sick(true, BootFault::Never);
        world.until(GIVEN_UP, |world| quarantined(world, "n1").is_some());
        let now = world.now;
        world.rig("n1").person(PowerState::Off, now);
        world.run(300);
        assert_eq!(world.edges("n1"), (2, 2), "nothing of ours lights it");
        let now = world.now;
        if repaired {
            world.rig("n1").boot_fault = BootFault::None;
        }
        world.rig("n1").person(PowerState::On, now);
        world.run(2 * BOOT + 30);
        assert_eq!(quarantined(&world, "n1").is_none(), repaired);
        assert_eq!(world.rigs["n1"].cycles.len(), 1, "a person's boot is not cycled");
    }
}

#[test]
fn a_machine_that_is_released_has_its_whole_time_again() {
    for readable in [true, false] {
        let mut world = sick(readable, BootFault::Never);
        world.until(GIVEN_UP, |world| quarantined(world, "n1").is_some());
        world.until(60, |world| ready(world, "n2"));
        world.policy = Policy::Fixed(2);
        world.until(60, |world| ready(world, "n3"));
        world.policy = Policy::Fixed(3);
        world.rig("n4").held_by = Some("ada".to_owned());
        let now = world.now;
        world.rig("n1").repair(now); // and released
        world.until(3 * BOOT, |world| ready(world, "n1"));
        world.run(100);
        assert_eq!(quarantined(&world, "n1"), None);
        assert_eq!(world.rec.status(world.at()).count.0, 3);
    }
}

#[test]
fn what_a_person_lit_and_does_not_come_is_quarantined_and_never_cycled() {
    let mut world = World::new(dark(true), Some(0));
    world.rigs.get_mut("n1").unwrap().boot_fault = BootFault::Never;
    world.run(10);
    let now = world.now;
    world.rig("n1").person(PowerState::On, now);
    world.until(2 * BOOT + 20, |world| quarantined(world, "n1").is_some());
    world.run(200);
    assert_eq!((cycles(&world), world.edges("n1")), (0, (1, 0)));
    assert!(world.lines().join("\n").contains("a person lit it"), "{:#?}", world.lines());
}

#[test]
fn a_restart_in_any_second_of_a_failing_boot_cycles_at_most_once_and_ends_in_quarantine() {
    for second in (0..GIVEN_UP).step_by(3) {
        let mut world = sick(true, BootFault::Never);
        world.until(30, |world| world.edges("n1") == (1, 0));
        world.run(second);
        world.restart();
        world.until(2 * GIVEN_UP, |world| ready(world, "n2") && quarantined(world, "n1").is_some());
        world.run(200);
        assert!(world.rigs["n1"].cycles.len() <= 1, "restarted after {second} s");
        assert_eq!(world.lit().len(), 2, "the sick one is left on, one serves");
    }
}

#[test]
fn a_boot_while_nomad_is_silent_has_its_time_when_nomad_is_back() {
    let mut world = sick(true, BootFault::None);
    world.until(30, |world| world.edges("n1") == (1, 0));
    world.nomad.silent = true;
    world.rigs.get_mut("n1").unwrap().cut_off = true;
    world.run(10 * BOOT);
    assert_eq!((cycles(&world), quarantined(&world, "n1")), (0, None));
    world.nomad.silent = false;
    world.run(BOOT);
    world.rigs.get_mut("n1").unwrap().cut_off = false;
    world.run(100);
    assert_eq!((world.edges("n1"), world.edges("n2")), ((1, 0), (0, 0)));
    assert_eq!(quarantined(&world, "n1"), None);
}

#[test]
fn a_cycle_that_its_agent_can_not_do_ends_in_quarantine() {
    let mut world = sick(true, BootFault::Never);
    world.until(30, |world| world.edges("n1") == (1, 0));
    world.run(BOOT);
    world.rig("n1").held_by = None;
    world.until(60, |world| cycles(world) == 1);
    world.rigs.get_mut("n1").unwrap().board_gone = true;
    world.until(GIVEN_UP, |world| quarantined(world, "n1").is_some());
    world.until(60, |world| ready(world, "n2"));
    assert_eq!(world.rigs["n1"].cycles.len(), 1);
}

#[test]
fn a_machine_that_does_not_shut_down_is_quarantined_and_its_node_stays_without_work() {
    let mut world = World::with(dark(true), Some(0), knobs());
    world.policy = Policy::Fixed(2);
    world.until(90, |world| ready(world, "n1") && ready(world, "n2"));
    for name in ["n1", "n2"] {
        world.rigs.get_mut(name).unwrap().stays_up = true;
    }
    world.policy = Policy::Fixed(1);
    world.until(300, |world| world.rigs.values().any(|rig| rig.quarantine.is_some()));
    let name = world.rigs.iter().find(|(_, rig)| rig.quarantine.is_some()).unwrap().0.clone();
    assert_eq!(quarantined(&world, &name), Some(QuarantineCause::NoShutdown));
    world.run(600);
    assert!(quarantined(&world, &name).is_some(), "its ready node is no proof that it goes down");
    assert!(!world.nomad.nodes[&name].eligible);
    assert_eq!((world.edges(&name), world.rigs[&name].orders_off.len()), ((1, 0), 1));
    assert_eq!(world.rec.status(world.at()).count.0, 1);
    world.rig(&name).repair(0);
    world.policy = Policy::Fixed(2);
    world.until(60, |world| world.nomad.nodes[&name].eligible);
}

#[test]
fn a_cut_that_reads_off_outweighs_a_node_that_has_not_missed_its_heartbeats() {
    let mut world = World::new(dark(true), Some(0));
    world.policy = Policy::Fixed(2);
    world.until(90, |world| ready(world, "n1") && ready(world, "n2"));
    world.run(60);
    let now = world.now;
    world.rig("n1").person(PowerState::Off, now);
    world.run(3);
    assert!(ready(&world, "n1"), "its heartbeats are not missed yet");
    assert_eq!(world.rec.status(world.at()).count.0, 1);
    assert_eq!(world.asked(|effect| matches!(effect, Effect::MakeIneligible { .. })), 0);
}

#[test]
fn a_machine_that_leaves_the_rack_file_in_mid_drain_gets_its_node_back() {
    let mut world = World::new(dark(true), Some(0));
    world.policy = Policy::Fixed(2);
    world.until(90, |world| ready(world, "n1") && ready(world, "n2"));
    world.nomad.run("web", JobKind::Service, 4);
    world.until(60, |world| world.nomad.where_is("web").len() == 4);
    world.policy = Policy::Fixed(1);
    world.until(300, |world| world.nomad.nodes.values().any(|node| !node.eligible));
    let out = |world: &World| {
        let found = world.nomad.nodes.iter().find(|(_, node)| !node.eligible);
        found.map(|(name, _)| name.clone())
    };
    let name = out(&world).unwrap();
    world.run(10);
    world.rigs.remove(&name);
    world.until(60, |world| out(world).is_none());
    world.run(5);
    assert_eq!(crate::scale_in::stage(&world, &name), None);
}

#[test]
fn what_was_cut_and_is_lit_again_while_nomad_is_silent_is_ordered_once() {
    let mut world = World::new(dark(true).into_iter().take(2).collect(), Some(0));
    world.policy = Policy::Fixed(2);
    world.until(90, |world| ready(world, "n1") && ready(world, "n2"));
    world.run(30);
    world.nomad.silent = true; // what it said last was that both are ready
    let now = world.now;
    world.rig("n2").person(PowerState::Off, now);
    world.until(60, |world| world.edges("n2") == (2, 1));
    world.run(60);
    assert_eq!(world.rigs["n2"].orders_on.len(), 2);
}

#[test]
fn a_node_that_comes_while_its_cycle_is_ordered_takes_no_work_until_it_is_back() {
    let mut world = World::new(dark(true), Some(0));
    world.policy = Policy::Fixed(1);
    world.until(60, |world| ready(world, "n1"));
    world.policy = Policy::Fixed(0);
    world.until(400, |world| world.lit().is_empty());
    world.operator("n1").eligibility("n1", true);
    world.run(60);
    world.rigs.get_mut("n1").unwrap().boot_fault = BootFault::Late(BOOT + 22);
    (world.policy, world.lag) = (Policy::Fixed(1), 8);
    world.nomad.run("web", JobKind::Service, 1);
    // The checker looks whether it is cut under work, or while it may take some.
    world.until(400, |world| world.rigs["n1"].cycles.len() == 1);
    world.run(200);
    assert_eq!(world.rigs["n1"].cycles.len(), 1);
}
