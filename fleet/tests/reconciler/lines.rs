//! What the pool says of itself in its main states.

use fleet::{JobKind, PowerState};

use crate::first::dark;
use crate::scale_in::{draining, working};
use crate::world::{Policy, World};

fn told(world: &World) -> String {
    world.lines().join("\n")
}

#[test]
fn each_state_explains_itself() {
    let mut world = World::new(dark(true), Some(0));
    world.policy = Policy::Fixed(1);
    world.run(10);
    insta::assert_snapshot!(told(&world), @r#"
    1 wanted, 0 on or starting
    n1: is being lit
    "#);
    world.rig("n1").held_by = Some("ada".to_owned());
    world.policy = Policy::Fixed(5);
    world.run(20);
    insta::assert_snapshot!(told(&world), @r#"
    5 wanted, 3 on or starting
    2 more wanted than can be lit now
    n2: starts: its node is not ready yet
    n3: starts: its node is not ready yet
    n4: starts: its node is not ready yet
    n1: held by ada; `power-agent release` frees it
    "#);

    let mut world = working(2);
    world.nomad.run("web", JobKind::Service, 6);
    world.run(20);
    insta::assert_snapshot!(told(&world), @r#"
    3 wanted, 3 on or starting
    default asks for fewer than 3; that holds in 47 s if nothing asks for more
    "#);
    world.until(60, |world| draining(world).is_some());
    insta::assert_snapshot!(told(&world), @r#"
    2 wanted, 3 on or starting
    n1: is to go: its node drains
    "#);
    world.nomad.silent = true;
    world.run(5);
    insta::assert_snapshot!(told(&world), @r#"
    2 wanted, 3 on or starting
    Status answers not ready: Nomad does not answer
    n1: is to go: its node drains
    "#);
    world.nomad.silent = false;
    world.nomad.stop("web");
    world.until(60, |world| world.rigs.values().any(|rig| rig.is_shutting_down()));
    world.run(3);
    insta::assert_snapshot!(told(&world), @r#"
    2 wanted, 3 on or starting
    n1: shuts down
    "#);
}

#[test]
fn whoever_touched_a_node_is_told_of_it() {
    let mut world = working(0);
    world.operator("n2").eligibility("n2", false);
    world.rig("n3").held_by = Some("ada".to_owned());
    world.run(75);
    insta::assert_snapshot!(told(&world), @r#"
    0 wanted, 1 on or starting
    n1: is to go: drained, and read once more
    n2: its node takes no work, and that is not our doing; `nomad node eligibility -enable` frees it
    "#);
    let now = world.now;
    world.rig("n3").person(PowerState::Off, now);
    world.rigs.get_mut("n1").unwrap().reachable = false;
    world.run(5);
    insta::assert_snapshot!(told(&world), @r#"
    0 wanted, 1 on or starting
    the agent at unix:/n1 does not answer
    n1: is to go: drained, and read once more
    n2: its node takes no work, and that is not our doing; `nomad node eligibility -enable` frees it
    "#);
}

#[test]
fn a_machine_whose_node_nomad_has_forgotten_is_told_from_one_that_is_cut_off() {
    let mut world = working(3);
    world.rigs.get_mut("n2").unwrap().cut_off = true;
    world.run(60);
    let text = told(&world);
    assert!(text.contains("partition suspected: 1 on whose nodes are silent"), "{text}");
    assert!(!text.contains("does not know"), "{text}");

    // Restored from a snapshot of before it registered: its client is refused.
    world.operator("n2").purge("n2");
    world.run(60);
    let text = told(&world);
    assert!(!text.contains("partition"), "{text}");
    assert!(text.contains("1 on whose nodes Nomad does not know"), "{text}");
    let line = text.lines().find(|line| line.starts_with("n2: ")).unwrap();
    for words in ["Nomad does not know its node", "systemctl restart nomad", "cycle n2 --force"] {
        assert!(line.contains(words), "{line}");
    }
    assert_eq!((world.lit().len(), world.rec.status(world.at()).count.0), (3, 3), "it counts");

    // Nomad's own silence says nothing of what it knows.
    world.nomad.silent = true;
    world.run(10);
    assert!(!told(&world).contains("does not know"), "{}", told(&world));
    world.nomad.silent = false;

    world.rigs.get_mut("n2").unwrap().cut_off = false;
    world.run(10);
    assert!(!told(&world).contains("n2"), "{}", told(&world));
    assert_eq!(["n1", "n2", "n3"].map(|name| world.edges(name)), [(1, 0); 3]);
}
