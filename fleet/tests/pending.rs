//! What `pending POOL` answers. Each case writes the pool and the work as text, one machine or group
//! a line, and compares the lines that a person reads; invariants are held on random pools.

use std::collections::BTreeMap;
use std::time::Duration;

use fleet::pending::{
    Ask, Constraint, DOUBT_TIME, Distinct, GroupKey, Host, HostState, Learnt, PLACEMENT_GRACE,
    Patience, Pending, PlacedOn, Source, SystemGroup, WaitingGroup, Why, Work, pending,
};
use fleet::{
    Draw, FedView, FeedKey, FeedName, FeedRoom, FeedRooms, MachineName, Milliamps, Moment,
    PoolName, Resources, Shape,
};
use insta::assert_snapshot;
use proptest::prelude::{Just, Strategy, any, prop_oneof};
use proptest::{prop_assert, prop_assert_eq, proptest};

fn resources(cpu_mhz: u64) -> Resources {
    Resources { cpu_mhz, memory_mb: 100, disk_mb: 300 }
}

fn key(job: &str) -> GroupKey {
    GroupKey { namespace: "default".into(), job: job.into(), group: "g".into() }
}

fn group(job: &str, count: u32, cpu: u64) -> WaitingGroup {
    let ask = Ask {
        resources: resources(cpu),
        datacenters: vec!["dc1".into()],
        node_pool: "default".into(),
        ..Ask::default()
    };
    WaitingGroup { key: key(job), version: 1, count, ask, class_eligibility: BTreeMap::new() }
}

fn host(name: &str, state: HostState) -> Host {
    let shape = Shape {
        resources: Resources { cpu_mhz: 1000, memory_mb: 4000, disk_mb: 9000 },
        datacenter: "dc1".into(),
        node_pool: "default".into(),
        ..Shape::default()
    };
    Host {
        machine: MachineName::new(name).expect("a name"),
        node: name.into(),
        shape: Some((shape, Source::Seen)),
        class: None,
        used: Resources::default(),
        holds_work: false,
        state,
        runs: [].into(),
        fed: FedView::default(),
    }
}

fn dark(name: &str) -> Host {
    host(name, HostState::Dark)
}

/// A ready machine that holds work of `job` which takes `cpu`.
fn holder(name: &str, job: &str, cpu: u64) -> Host {
    let runs = [key(job)].into();
    Host { holds_work: true, used: resources(cpu), runs, ..host(name, HostState::Ready) }
}

fn shaped(mut host: Host, change: impl FnOnce(&mut Shape)) -> Host {
    if let Some((shape, _)) = &mut host.shape {
        change(shape);
    }
    host
}

fn waiting(groups: impl Into<Vec<WaitingGroup>>) -> Work {
    Work { waiting: groups.into(), system: Vec::new() }
}

fn answer(work: &Work, hosts: &[Host]) -> Pending {
    pending(work, hosts, &FeedRooms::default(), &Learnt::default())
}

fn told(pending: &Pending) -> String {
    let pool = PoolName::new("rack").expect("a name");
    let lines = pending.lines(&pool, Moment::ZERO);
    lines.iter().map(|line| line.text.as_str()).collect::<Vec<_>>().join("\n")
}

fn constrained(mut group: WaitingGroup, left: &str, operand: &str, right: &str) -> WaitingGroup {
    group.ask.constraints.push(Constraint {
        left: left.into(),
        operand: operand.into(),
        right: right.into(),
    });
    group
}

#[test]
fn nothing_waits_and_nothing_runs() {
    assert_snapshot!(told(&answer(&Work::default(), &[dark("node1")])), @"pending rack = 0: no machine holds work, no further one is needed");
}

#[test]
fn three_waiting_instances_need_three_dark_machines() {
    let hosts = ["node1", "node2", "node3", "node4"].map(dark);
    assert_snapshot!(told(&answer(&waiting([group("web", 3, 600)]), &hosts)), @r"
    pending rack = 3: no machine holds work, 3 more are needed: node1 (dark), node2 (dark), node3 (dark)
    web.g: 3 instances wait, for which node1, node2, node3 would do
    ");
}

#[test]
fn the_count_stays_while_the_machines_that_were_lit_are_booting_and_come_up_one_by_one() {
    let mut hosts = ["node1", "node2", "node3", "node4"].map(dark);
    let mut counts = vec![];
    for lit in 0..3 {
        hosts[lit].state = HostState::Starting;
        counts.push(answer(&waiting([group("web", 3, 600)]), &hosts).count.0);
    }
    for up in 0..3 {
        hosts[up].state = HostState::Ready;
        let left = 3 - u32::try_from(up).unwrap();
        counts.push(answer(&waiting([group("web", left, 600)]), &hosts).count.0);
        hosts[up] = holder(&format!("node{}", up + 1), "web", 600);
        counts.push(answer(&waiting([group("web", left - 1, 600)]), &hosts).count.0);
    }
    assert_eq!(counts, [3; 9]);
}

#[test]
fn the_free_room_of_machines_that_hold_work_is_used_first_and_running_work_is_never_repacked() {
    let hosts = [holder("node1", "db", 300), holder("node2", "db", 300), dark("node3")];
    // 600 + 300 fit on one machine, but what runs stays where it runs.
    assert_snapshot!(told(&answer(&waiting([group("web", 3, 600)]), &hosts)), @r"
    pending rack = 3: 2 machines hold work, 1 more is needed: node3 (dark)
    web.g: 3 instances wait, for which node1, node2, node3 would do
    ");
}

#[test]
fn a_machine_that_is_on_and_idle_is_used_before_a_dark_one() {
    let hosts =
        [dark("node1"), host("node2", HostState::Ready), host("node3", HostState::Starting)];
    let answer = answer(&waiting([group("web", 2, 600)]), &hosts);
    assert_eq!(
        answer.needed.values().copied().collect::<Vec<_>>(),
        [PlacedOn::Idle, PlacedOn::Starting]
    );
}

#[test]
fn a_machine_that_is_on_and_too_small_does_not_stand_for_the_one_that_is_needed() {
    let big = || shaped(dark("big"), |shape| shape.resources.cpu_mhz = 9000);
    let work = waiting([group("web", 1, 5000)]);
    let hosts = [host("node1", HostState::Ready), host("node2", HostState::Starting), big()];
    let found = answer(&work, &hosts);
    assert_eq!(found.count.0, 3, "two are counted already");
    assert_snapshot!(told(&found), @r"
    pending rack = 3: no machine holds work, 1 more is needed: big (dark), beside node1, node2, without room for it
    web.g: 1 instance waits, for which big would do
    ");
    // Once it is on its way, the others are not needed any longer.
    let lit = Host { state: HostState::Starting, ..big() };
    let [node1, node2, _] = hosts;
    assert_eq!(answer(&work, &[node1, node2, lit]).count.0, 1);
}

#[test]
fn the_smallest_machine_that_takes_all_is_lit_and_the_largest_where_none_does() {
    let big = shaped(dark("node1"), |shape| shape.resources.cpu_mhz = 4000);
    let hosts = [big, dark("node2"), dark("node3")];
    let names = |count| {
        let answer = answer(&waiting([group("web", count, 500)]), &hosts);
        answer.needed.keys().map(ToString::to_string).collect::<Vec<_>>()
    };
    assert_eq!(names(2), ["node2"]);
    assert_eq!(names(3), ["node1"]);
    assert_eq!(names(10), ["node1", "node2"]);
}

#[test]
fn work_that_fits_no_machine_lights_nothing_and_says_what_each_kind_lacks() {
    let small = shaped(dark("pi1"), |shape| shape.resources.memory_mb = 50);
    let hosts = [dark("node1"), dark("node2"), small];
    let groups =
        [group("huge", 2, 5000), constrained(group("gpu", 1, 100), "${meta.gpu}", "=", "yes")];
    assert_snapshot!(told(&answer(&waiting(groups), &hosts)), @r"
    pending rack = 0: no machine holds work, no further one is needed
    gpu.g: 1 instance waits and no machine of the pool can hold it, so nothing is lit (3 machines like node1: ${meta.gpu} = yes is not met); ask for less, or correct the machines' shapes in the rack file
    huge.g: 2 instances wait and no machine of the pool can hold it, so nothing is lit (3 machines like node1: asks 5000 MHz of cpu, an empty one offers 1000 beside system jobs); ask for less, or correct the machines' shapes in the rack file
    ");
}

#[test]
fn work_for_other_datacenters_and_node_pools_is_not_ours_and_told_in_one_line() {
    let mut far = group("far", 4, 100);
    far.ask.datacenters = vec!["eu*".into()];
    let mut other = group("other", 1, 100);
    other.ask.node_pool = "gpu".into();
    let mut anywhere = group("anywhere", 1, 100);
    anywhere.ask.datacenters = vec!["d*".into()];
    anywhere.ask.node_pool = "all".into();
    assert_snapshot!(told(&answer(&waiting([far, other, anywhere]), &[dark("node1")])), @r"
    pending rack = 1: no machine holds work, 1 more is needed: node1 (dark)
    anywhere.g: 1 instance waits, for which node1 would do
    not of this pool: 5 instances wait for other datacenters or node pools (far.g, other.g)
    ");
}

#[test]
fn machines_that_can_not_be_lit_are_named_by_their_reasons() {
    let hosts = [
        host("node1", HostState::NotUsable("held by ada".into())),
        host("node2", HostState::NotUsable("unreachable".into())),
        holder("node3", "db", 900),
    ];
    assert_snapshot!(told(&answer(&waiting([group("web", 3, 600)]), &hosts)), @r"
    pending rack = 1: 1 machine holds work, no further one is needed
    web.g: 3 instances wait: of the 3 machines that could hold it none is left; not usable: 1 held by ada, 1 unreachable
    ");
}

#[test]
fn a_machine_without_any_shape_can_hold_nothing_and_the_remedy_is_told() {
    let hosts = [Host { shape: None, ..dark("node1") }, Host { shape: None, ..dark("node2") }];
    assert_snapshot!(told(&answer(&waiting([group("web", 1, 600)]), &hosts)), @r"
    pending rack = 0: no machine holds work, no further one is needed
    web.g: 1 instance waits and none of the 2 machines has a shape, so nothing is lit; declare `shape` in the rack file, or light each machine once so that it is learnt
    ");
}

#[test]
fn instances_that_keep_apart_need_a_machine_each() {
    let mut web = group("web", 3, 100);
    web.ask.distinct = Distinct::Group;
    let hosts = [holder("node1", "web", 100), dark("node2"), dark("node3")];
    let found = answer(&waiting([web.clone()]), &hosts);
    assert_eq!((found.count.0, found.refusals[0].instances), (3, 1));
    let mut sibling = web;
    sibling.key.group = "h".into();
    sibling.count = 1;
    assert_eq!(answer(&waiting([sibling.clone()]), &hosts).count.0, 1);
    sibling.ask.distinct = Distinct::Job;
    assert_eq!(answer(&waiting([sibling]), &hosts).count.0, 2);
}

#[test]
fn a_declared_machine_is_assumed_to_have_what_it_does_not_name_and_that_is_told() {
    let mut hosts = [dark("node1")];
    if let Some((_, source)) = &mut hosts[0].shape {
        *source = Source::Declared;
    }
    let web = constrained(group("web", 1, 100), "${attr.cpu.arch}", "=", "arm64");
    assert_snapshot!(told(&answer(&waiting([web]), &hosts)), @r"
    pending rack = 1: no machine holds work, 1 more is needed: node1 (dark)
    web.g: 1 instance waits, for which node1 would do
    web.g: assumed that ${attr.cpu.arch} = arm64 is met; Lamplighter can not check it
    ");
}

#[test]
fn what_nomad_says_of_a_class_of_nodes_outweighs_what_we_assume() {
    let mut web = constrained(group("web", 1, 100), "${attr.nomad.version}", "version", ">= 2");
    web.class_eligibility = [("v1:old".to_owned(), false), ("v1:new".to_owned(), true)].into();
    let with = |mut host: Host, class: &str| {
        host.class = Some(class.into());
        shaped(host, |s| {
            s.attributes.insert("attr.nomad.version".into(), "1".into());
        })
    };
    let hosts = [with(dark("node1"), "v1:old"), with(dark("node2"), "v1:new")];
    let found = answer(&waiting([web.clone()]), &hosts);
    assert_eq!(found.needed.keys().map(MachineName::as_str).collect::<Vec<_>>(), ["node2"]);
    assert!(found.assumed.is_empty(), "Nomad has checked it: {:?}", found.assumed);
    let found = answer(&waiting([web]), &hosts[..1]);
    assert!(matches!(found.refusals[0].why, Why::FitsNoMachine(_)));
}

#[test]
fn system_jobs_take_their_room_on_machines_that_are_still_dark() {
    let system = SystemGroup { key: key("logs"), ask: group("logs", 1, 500).ask };
    let work = Work { waiting: vec![group("web", 1, 600)], system: vec![system] };
    assert_snapshot!(told(&answer(&work, &[dark("node1"), dark("node2")])), @r"
    pending rack = 0: no machine holds work, no further one is needed
    web.g: 1 instance waits and no machine of the pool can hold it, so nothing is lit (2 machines like node1: asks 600 MHz of cpu, an empty one offers 500 beside system jobs); ask for less, or correct the machines' shapes in the rack file
    ");
}

#[test]
fn a_driver_that_no_node_has_is_refused_where_the_node_was_seen() {
    let mut web = group("web", 1, 100);
    web.ask.drivers = ["docker".to_owned()].into();
    assert_eq!(answer(&waiting([web.clone()]), &[dark("node1")]).count.0, 0);
    let docker = shaped(dark("node1"), |shape| {
        shape.attributes.insert("attr.driver.docker".into(), "1".into());
    });
    assert_eq!(answer(&waiting([web]), &[docker]).count.0, 1);
}

#[test]
fn work_that_nomad_leaves_waiting_beside_a_machine_with_room_is_told_and_no_longer_counted() {
    let mut patience = Patience::new();
    let mut hosts = [host("node1", HostState::Starting), dark("node2")];
    let work = waiting([group("web", 1, 600)]);
    let mut now = Moment::ZERO;
    let mut count = |patience: &mut Patience, hosts: &[Host], work: &Work, wait: Duration| {
        now = now + wait;
        patience.assess(work, hosts, &FeedRooms::default(), now).count.0
    };
    assert_eq!(count(&mut patience, &hosts, &work, PLACEMENT_GRACE * 3), 1, "a boot may be long");
    hosts[0].state = HostState::Ready;
    assert_eq!(count(&mut patience, &hosts, &work, PLACEMENT_GRACE * 3), 1, "seen ready now");
    assert_eq!(count(&mut patience, &hosts, &work, PLACEMENT_GRACE / 2), 1);
    assert_eq!(count(&mut patience, &hosts, &work, PLACEMENT_GRACE / 2), 0);
    let found =
        patience.assess(&work, &hosts, &FeedRooms::default(), Moment::ZERO + PLACEMENT_GRACE * 7);
    assert_snapshot!(told(&found), @r"
    pending rack = 0: no machine holds work, no further one is needed
    web.g: 1 instance waits although node1 has had room for it for longer than 60 s: Nomad knows a reason that Lamplighter does not model (`nomad job status` tells it; a constraint on node class or meta makes it known here); not counted for another 67 min, or until the job changes
    ");
    let mut newer = work.clone();
    newer.waiting[0].version = 2;
    assert_eq!(
        patience
            .clone()
            .assess(&newer, &hosts, &FeedRooms::default(), Moment::ZERO + PLACEMENT_GRACE * 8)
            .count
            .0,
        1
    );
    let later = Moment::ZERO + PLACEMENT_GRACE * 8 + DOUBT_TIME;
    assert_eq!(
        patience.assess(&work, &hosts, &FeedRooms::default(), later).count.0,
        1,
        "tried again"
    );
}

#[test]
fn work_that_nomad_is_placing_bit_by_bit_is_never_given_up() {
    let mut patience = Patience::new();
    let hosts = [shaped(host("node1", HostState::Ready), |s| s.resources.cpu_mhz = 60_000)];
    for tick in 0..20_u32 {
        let work = waiting([group("web", 40 - tick, 600)]);
        let now = Moment::ZERO + PLACEMENT_GRACE / 2 * tick;
        assert_eq!(patience.assess(&work, &hosts, &FeedRooms::default(), now).count.0, 1, "{tick}");
    }
}

#[test]
fn machines_are_not_lit_one_after_the_other_for_work_that_nomad_refused_on_the_first() {
    let mut patience = Patience::new();
    let mut hosts = [host("node1", HostState::Ready), dark("node2"), dark("node3")];
    let mut work = waiting([group("web", 1, 600)]);
    assert_eq!(patience.assess(&work, &hosts, &FeedRooms::default(), Moment::ZERO).count.0, 1);
    hosts[0].class = Some("v1:a".into());
    work.waiting[0].class_eligibility = [("v1:a".to_owned(), false)].into();
    let soon = Moment::ZERO + PLACEMENT_GRACE / 2;
    assert_eq!(
        patience.assess(&work, &hosts, &FeedRooms::default(), soon).count.0,
        1,
        "as many as are on: none is lit"
    );
    assert_eq!(
        patience
            .assess(&work, &hosts, &FeedRooms::default(), Moment::ZERO + PLACEMENT_GRACE)
            .count
            .0,
        0
    );
}

fn any_host(at: usize) -> impl Strategy<Value = Host> {
    let state = prop_oneof![
        Just(HostState::Ready),
        Just(HostState::Starting),
        Just(HostState::Dark),
        Just(HostState::NotUsable("held by ada".into())),
    ];
    (state, any::<bool>(), 1..8_u64, 0..4_u64, 0..3_u8).prop_map(
        move |(state, holds, cpu, used, dc)| {
            let is_on = matches!(state, HostState::Ready | HostState::NotUsable(_));
            let holds_work = holds && is_on;
            let used = if holds_work { resources(used * 250) } else { Resources::default() };
            let host = Host { holds_work, used, ..host(&format!("node{at:02}"), state) };
            shaped(host, |shape| {
                shape.resources.cpu_mhz = cpu * 250;
                shape.datacenter = if dc == 0 { "dc2".into() } else { "dc1".into() };
            })
        },
    )
}

fn any_pool() -> impl Strategy<Value = Vec<Host>> {
    (0..12_usize).prop_flat_map(|count| (0..count).map(any_host).collect::<Vec<_>>())
}

fn any_work() -> impl Strategy<Value = Vec<WaitingGroup>> {
    let one = (0..9_u32, 0..8_u64, 0..3_u8);
    proptest::collection::vec(one, 0..6).prop_map(|groups| {
        let named = |(at, (count, cpu, distinct)): (usize, (u32, u64, u8))| {
            let mut group = group(&format!("job{at}"), count, cpu * 200);
            group.ask.distinct = if distinct == 0 { Distinct::Group } else { Distinct::No };
            group
        };
        groups.into_iter().enumerate().map(named).collect()
    })
}

proptest! {
    #[test]
    fn never_more_machines_than_instances_and_holders(hosts in any_pool(), groups in any_work()) {
        let found = answer(&waiting(groups.clone()), &hosts);
        let instances: u32 = groups.iter().map(|group| group.count).sum();
        let holders = hosts.iter().filter(|host| host.holds_work).count();
        let held = holders + found.beside.len();
        prop_assert!(found.count.0 <= instances + u32::try_from(held).unwrap());
        prop_assert!(found.count.0 >= u32::try_from(holders).unwrap());
        let told: u32 = found.placements.iter().map(|placement| placement.instances).sum::<u32>()
            + found.refusals.iter().map(|refusal| refusal.instances).sum::<u32>()
            + found.elsewhere.values().sum::<u32>();
        prop_assert_eq!(told, instances, "each instance is placed, refused or elsewhere");
    }

    #[test]
    fn the_order_of_input_does_not_matter(hosts in any_pool(), groups in any_work()) {
        let straight = answer(&waiting(groups.clone()), &hosts);
        let hosts: Vec<Host> = hosts.into_iter().rev().collect();
        let groups: Vec<WaitingGroup> = groups.into_iter().rev().collect();
        prop_assert_eq!(straight, answer(&waiting(groups), &hosts));
    }

    #[test]
    fn no_machine_is_filled_beyond_what_it_offers_and_each_has_a_reason(
        hosts in any_pool(), groups in any_work(),
    ) {
        let found = answer(&waiting(groups.clone()), &hosts);
        for host in &hosts {
            let shape = &host.shape.as_ref().unwrap().0;
            let mut used = host.used;
            for placed in found.placements.iter().filter(|placed| placed.machine == host.machine) {
                let group = groups.iter().find(|group| group.key == placed.key).unwrap();
                for _ in 0..placed.instances {
                    used = used.plus(&group.ask.resources);
                }
                prop_assert_eq!(&shape.datacenter, "dc1");
                prop_assert!(!matches!(host.state, HostState::NotUsable(_)));
                prop_assert!(placed.instances == 1 || group.ask.distinct == Distinct::No);
                prop_assert!(host.holds_work || found.needed.contains_key(&host.machine));
            }
            prop_assert!(used == host.used || shape.resources.holds(&used));
        }
        for machine in found.needed.keys() {
            prop_assert!(found.placements.iter().any(|placed| placed.machine == *machine));
            prop_assert!(!found.holding.contains(machine));
        }
    }

    /// Bin packing has anomalies when work of another size comes between; for one group there are none,
    /// and work that comes last in the order can not move what came before it.
    #[test]
    fn more_work_never_needs_fewer_machines(hosts in any_pool(), mut groups in any_work()) {
        let alone = |count| answer(&waiting([group("web", count, 400)]), &hosts).count;
        for count in 0..12 {
            prop_assert!(alone(count) <= alone(count + 1));
        }
        let before = answer(&waiting(groups.clone()), &hosts).count;
        groups.push(WaitingGroup {
            ask: Ask { resources: Resources::default(), ..group("zz", 1, 0).ask },
            ..group("zz", 1, 0)
        });
        prop_assert!(answer(&waiting(groups), &hosts).count >= before);
    }

    #[test]
    fn the_count_stays_while_what_was_lit_boots_and_comes_up(
        mut hosts in any_pool(), groups in any_work(),
    ) {
        let mut patience = Patience::new();
        let work = waiting(groups);
        let first = patience.assess(&work, &hosts, &FeedRooms::default(), Moment::ZERO);
        for state in [HostState::Starting, HostState::Ready] {
            for host in &mut hosts {
                if first.needed.get(&host.machine) == Some(&PlacedOn::Dark) {
                    host.state = state.clone();
                }
            }
            let next = patience.assess(&work, &hosts, &FeedRooms::default(), Moment::ZERO);
            let beside = u32::try_from(first.beside.len()).unwrap();
            prop_assert_eq!(next.count.0 + beside, first.count.0);
        }
    }
}

/// A dark machine of 1 A, 3 A at its start.
fn fed(name: &str) -> Host {
    let (running, inrush) = (Milliamps::new(1000), Milliamps::new(3000));
    let draw = Draw { running, inrush, inrush_for: Duration::from_secs(2) };
    Host { fed: FedView { draws: vec![(feed_key(), draw)], counted: false }, ..dark(name) }
}

fn feed_key() -> FeedKey {
    FeedKey { agent: "unix:/rack".into(), feed: FeedName::new("a").expect("a name") }
}

/// What is left of a feed of 10 A.
fn feed_with(milliamps: u64) -> FeedRooms {
    let (budget, taken) = (Milliamps::new(10_000), Milliamps::new(10_000 - milliamps));
    let room = FeedRoom { budget, committed: taken, reserve: Milliamps::ZERO };
    FeedRooms { rooms: [(feed_key(), room)].into() }
}

#[test]
fn no_more_machines_are_promised_than_their_feed_can_start() {
    let mut hosts: Vec<Host> = (1..=5).map(|at| fed(&format!("node{at}"))).collect();
    let work = waiting([group("web", 5, 600)]);
    let found = pending(&work, &hosts, &feed_with(4000), &Learnt::default());
    assert_snapshot!(told(&found), @r"
    pending rack = 2: no machine holds work, 2 more are needed: node1 (dark), node2 (dark)
    web.g: 3 instances wait: of the 5 machines that could hold it none is left; not usable: 3 dark, for which feed a of 10 A has no room left
    web.g: 2 instances wait, for which node1, node2 would do
    ");
    // The two that were chosen have taken their part, and boot; a machine without a feed needs no room.
    for host in &mut hosts[..2] {
        host.state = HostState::Starting;
    }
    assert_eq!(pending(&work, &hosts, &feed_with(2000), &Learnt::default()).count.0, 2);
    hosts.push(dark("node6"));
    assert_eq!(pending(&work, &hosts, &feed_with(2000), &Learnt::default()).count.0, 3);
}
