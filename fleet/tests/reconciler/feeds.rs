//! Feeds with a budget: only what has room is lit, the rest is named, and who waits for its moment is not late.

use std::collections::BTreeMap;
use std::time::Duration;

use fleet::planner::{Plan, RESTARTS_AT_ONCE_MAX, Scene, plan};
use fleet::reconciler::Effect;
use fleet::{
    AgentFacts, Commanded, Draw, FedView, FeedKey, FeedName, FeedRoom, FeedRooms, FleetView,
    GroupView, Knobs, MachineName, MachineView, Milliamps, Moment, NodeCount, OperationId, Origin,
    PoolName, Power, PowerState,
};

use crate::world::agent::{BOOT, Rig};
use crate::world::{Policy, World};

const NOW: Moment = Moment::from_millis(10_000_000);

fn key(agent: &str) -> FeedKey {
    FeedKey { agent: agent.to_owned(), feed: FeedName::new("a").unwrap() }
}

fn machine(place: usize) -> MachineName {
    MachineName::new(format!("m{place}")).unwrap()
}

/// 1 A, and 3 A at its start.
fn draw() -> Draw {
    let inrush_for = Duration::from_secs(2);
    Draw { running: Milliamps::new(1000), inrush: Milliamps::new(3000), inrush_for }
}

/// A machine on the feed of this agent; it lost its power.
fn dark(agent: &str) -> MachineView {
    let commanded = Commanded {
        state: PowerState::On,
        at: Moment::ZERO,
        origin: Origin::Person("ada".to_owned()),
        operation: OperationId::new("op-1").unwrap(),
    };
    let power = Power { reading: Some((PowerState::Off, NOW)), commanded: Some(commanded) };
    MachineView {
        agent: Some(AgentFacts { power, ..AgentFacts::default() }),
        boot_deadline: Duration::from_secs(60),
        fed: FedView { draws: vec![(key(agent), draw())], counted: false },
        ..MachineView::default()
    }
}

fn planned(view: &FleetView, desired: u32) -> Plan {
    let pool = PoolName::new("rack").unwrap();
    let (memory, knobs) = (BTreeMap::new(), Knobs::default());
    let scene = Scene { pool: &pool, view, memory: &memory, knobs: &knobs };
    plan(NodeCount(desired), scene, NOW)
}

fn view(machines: Vec<MachineView>, budgets: &[(&str, u64)]) -> FleetView {
    let room = |milliamps: u64| FeedRoom {
        budget: Milliamps::new(milliamps),
        committed: Milliamps::new(2000),
        reserve: Milliamps::ZERO,
    };
    let rooms = budgets.iter().map(|(agent, budget)| (key(agent), room(*budget)));
    FleetView {
        nomad_answers: true,
        agents_heard: 1,
        machines: machines.into_iter().enumerate().map(|(n, view)| (machine(n), view)).collect(),
        feeds: FeedRooms { rooms: rooms.collect() },
        ..FleetView::default()
    }
}

#[test]
fn only_what_its_feed_has_room_for_is_lit_and_the_rest_is_named_with_the_numbers() {
    let five = (0..5).map(|_| dark("a")).collect();
    let plan = planned(&view(five, &[("a", 7000)]), 5);
    assert_eq!(
        plan.light,
        [machine(0), machine(1), machine(2)],
        "2 A run, three more, and 2 A to start"
    );
    let told: Vec<String> =
        plan.blocked.iter().map(|(name, why)| format!("{name}: {why}")).collect();
    assert_eq!(told[0], "m3: feed a: 5 of 7 A are taken, which leaves no room for it");
    assert_eq!((told.len(), plan.short), (2, 2));
}

#[test]
fn another_agents_feed_of_the_same_name_is_another_feed_and_takes_what_the_first_has_no_room_for() {
    let machines = vec![dark("a"), dark("a"), dark("b")];
    let plan = planned(&view(machines, &[("a", 5000), ("b", 5000)]), 2);
    assert_eq!(plan.light, [machine(0), machine(2)]);
    assert_eq!(plan.short, 0);
}

#[test]
fn after_the_mains_were_gone_feeds_space_the_starts_and_where_there_is_none_a_few_start_at_once() {
    let all = || (0..8).map(|_| dark("a")).collect::<Vec<_>>();
    assert_eq!(planned(&view(all(), &[("a", 20_000)]), 8).light.len(), 8);
    assert_eq!(planned(&view(all(), &[]), 8).light.len(), RESTARTS_AT_ONCE_MAX);
}

#[test]
fn a_machine_whose_place_is_in_the_sum_needs_room_for_its_start_alone() {
    let counted =
        |view: MachineView| MachineView { fed: FedView { counted: true, ..view.fed }, ..view };
    let machines = || vec![counted(dark("a")), counted(dark("a"))];
    assert_eq!(planned(&view(machines(), &[("a", 4000)]), 2).light.len(), 2);
    assert_eq!(planned(&view(machines(), &[("a", 3900)]), 2).light.len(), 0, "2 A to start");
}

#[test]
fn a_machine_with_two_supplies_needs_room_on_both_and_takes_of_none_where_one_is_full() {
    let both = || {
        let draws = vec![(key("a"), draw()), (key("b"), draw())];
        MachineView { fed: FedView { draws, counted: false }, ..dark("a") }
    };
    let plan = planned(&view(vec![both(), dark("a")], &[("a", 5000), ("b", 4900)]), 2);
    assert_eq!(plan.light, [machine(1)], "the first took nothing of feed a");
    let plan = planned(&view(vec![both(), dark("a")], &[("a", 5000), ("b", 5000)]), 2);
    assert_eq!(plan.light, [machine(0)]);
}

#[test]
fn where_a_feed_is_full_the_overflow_goes_to_the_cloud() {
    let group = GroupView { name: "spot".to_owned(), count: NodeCount(0), max: NodeCount(5) };
    let five = (0..5).map(|_| dark("a")).collect();
    let view = FleetView { groups: vec![group], ..view(five, &[("a", 7000)]) };
    let plan = planned(&view, 5);
    assert_eq!((plan.light.len(), plan.short), (3, 0));
    assert_eq!(plan.resize, [("spot".to_owned(), NodeCount(2))]);
}

/// A rack whose machines hang on one feed of so many milliamperes.
fn fed(of: usize, budget: u64) -> World {
    let names = ["m0", "m1", "m2", "m3", "m4", "m5"];
    let rigs = names.iter().take(of).map(|name| {
        let mut rig = Rig::dark(true);
        rig.draw = Some(draw());
        (*name, rig)
    });
    let mut world = World::new(rigs.collect(), Some(0));
    world.feed = Some(Milliamps::new(budget));
    world.policy = Policy::Fixed(u32::try_from(of).unwrap());
    world
}

#[test]
fn a_pool_that_wants_more_than_its_feed_carries_comes_to_rest_and_says_why() {
    let mut world = fed(6, 6000);
    world.until(300, |world| world.lit().len() == 4);
    world.run(600);
    assert_eq!(world.lit().len(), 4, "4 A run, and the fourth took 2 A more to start");
    assert_eq!(
        world.asked(|effect| matches!(effect, Effect::Light { .. })),
        4,
        "no order that must be refused"
    );
    let told = world.lines().join("\n");
    assert!(told.contains("m5: feed a: 4 of 6 A are taken, which leaves no room for it"), "{told}");
}

#[test]
fn a_machine_that_waits_for_its_moment_has_its_whole_boot_deadline_after_it() {
    let mut world = fed(1, 6000);
    world.rigs.get_mut("m0").unwrap().waits = 3 * BOOT;
    world.until(120 + 3 * BOOT, |world| world.lit().len() == 1);
    world.run(600);
    assert_eq!(world.rec.status(world.at()).count.0, 1);
    let late = |effect: &Effect| matches!(effect, Effect::Cycle { .. } | Effect::Quarantine { .. });
    assert_eq!(world.asked(late), 0, "its deadline is two boots long, and ran from the relay");
    assert_eq!(world.asked(|effect| matches!(effect, Effect::Light { .. })), 1);
}
