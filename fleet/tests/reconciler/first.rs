//! From dark and back.

use fleet::reconciler::Effect;
use fleet::{FleetView, JobKind};

use crate::world::World;
use crate::world::agent::Rig;
use crate::world::nomad::SLOTS;

pub(crate) fn dark(readable: bool) -> Vec<(&'static str, Rig)> {
    ["n1", "n2", "n3", "n4"].into_iter().map(|name| (name, Rig::dark(readable))).collect()
}

#[test]
fn from_dark_three_are_lit_and_after_the_job_all_go_dark_by_one_order_each() {
    for readable in [true, false] {
        let mut world = World::new(dark(readable), Some(0));
        world.nomad.run("web", JobKind::Service, 3 * SLOTS);
        world.until(120, |world| world.nomad.where_is("web").len() == 3 * SLOTS);
        assert_eq!(world.lit().len(), 3);
        world.run(300);
        world.nomad.stop("web");
        let stopped = world.now;
        world.until(300, |world| world.lit().is_empty());
        assert!(world.now >= stopped + 60, "the window was waited for");
        world.run(300);
        for name in ["n1", "n2", "n3"] {
            assert_eq!(world.edges(name), (1, 1), "{name}");
            assert_eq!(world.rigs[name].orders_on.len(), 1);
            assert_eq!(world.rigs[name].orders_off.len(), 1);
        }
        assert_eq!(world.edges("n4"), (0, 0));
        assert_eq!(world.asked(|effect| matches!(effect, Effect::Light { .. })), 3);
    }
}

#[test]
fn lit_again_a_machine_is_eligible_again() {
    let mut world = World::new(dark(true), Some(0));
    for _ in 0..3 {
        world.nomad.run("web", JobKind::Service, 4 * SLOTS);
        world.until(200, |world| world.nomad.where_is("web").len() == 4 * SLOTS);
        world.nomad.stop("web");
        world.until(300, |world| world.lit().is_empty());
    }
    assert_eq!(world.edges("n1"), (3, 3));
}

#[test]
fn a_pool_that_no_machine_is_in_is_neither_born_nor_ready_and_says_so() {
    for level in [None, Some(3)] {
        let mut world = World::new(Vec::new(), level);
        let view = FleetView { nomad_answers: true, agents_heard: 1, ..FleetView::default() };
        world.rec.observe(view, "default", world.at());
        let status = world.rec.status(world.at());
        assert_eq!(status.desired.map(|desired| desired.0), level);
        let why = status.not_ready.expect("it is not ready");
        assert!(why.contains("pool rack") && why.contains("rack files"), "{why}");
        assert!(world.lines().iter().any(|line| line.contains("pool rack")), "`why` says it");
    }
}
