//! Two kinds of supply: machines first on the way up, groups first on the way down.

use std::collections::BTreeMap;
use std::time::Duration;

use fleet::planner::{Blocked, Memory, Plan, Scene, plan};
use fleet::{
    AgentFacts, AllocId, AllocView, Commanded, FleetView, GroupView, JobKind, Knobs, MachineName,
    MachineView, Moment, NodeCount, NodeId, NodeStatus, NodeView, OperationId, PoolName, Power,
    PowerState, Resources,
};

fn name(text: &str) -> MachineName {
    MachineName::new(text).unwrap()
}

fn group(name: &str, count: u32) -> GroupView {
    GroupView { name: name.to_owned(), count: NodeCount(count), max: NodeCount(3) }
}

fn ready(place: usize) -> NodeView {
    NodeView {
        id: NodeId::new(format!("id-{place}")).unwrap(),
        index: 1,
        status: NodeStatus::Ready,
        eligible: true,
        draining: false,
        create_index: 1,
        selected: true,
        touches: Vec::new(),
        oldest_event: None,
        newest_event: 1,
        resources: Resources::default(),
        allocs: Vec::new(),
    }
}

fn rack(on: usize, of: usize, groups: &[u32]) -> FleetView {
    let mut view = FleetView { nomad_answers: true, agents_heard: 1, ..FleetView::default() };
    for place in 0..of {
        let state = if place < on { PowerState::On } else { PowerState::Off };
        let power = Power { reading: Some((state, Moment::ZERO)), commanded: None };
        let agent = Some(AgentFacts { power, ..AgentFacts::default() });
        let node = (place < on).then(|| ready(place));
        let machine = MachineView { agent, node, ..MachineView::default() };
        view.machines.insert(name(&format!("n{place}")), machine);
    }
    view.groups = groups.iter().zip(["spot", "full"]).map(|(n, name)| group(name, *n)).collect();
    view
}

fn planned(desired: u32, view: &FleetView) -> Plan {
    let (pool, memory, knobs) = (PoolName::new("rack").unwrap(), BTreeMap::new(), Knobs::default());
    let scene = Scene { pool: &pool, view, memory: &memory, knobs: &knobs };
    plan(NodeCount(desired), scene, Moment::from_millis(1000))
}

#[test]
fn machines_are_lit_first_and_groups_take_the_overflow_in_order() {
    let plan = planned(7, &rack(1, 2, &[0, 0]));
    assert_eq!(plan.light, [name("n1")]);
    assert_eq!(plan.resize, [("spot".to_owned(), NodeCount(3)), ("full".to_owned(), NodeCount(2))]);
    assert_eq!(plan.short, 0);
    assert_eq!(planned(9, &rack(1, 2, &[0, 0])).short, 1);
}

#[test]
fn the_last_overflow_goes_first_and_no_machine_before_it() {
    let plan = planned(3, &rack(2, 2, &[3, 2]));
    assert_eq!(plan.resize, [("full".to_owned(), NodeCount(0)), ("spot".to_owned(), NodeCount(1))]);
    assert_eq!((plan.retire, plan.surplus), (vec![], 0));
}

#[test]
fn with_nomad_silent_no_group_shrinks() {
    let mut view = rack(2, 2, &[3, 2]);
    view.nomad_answers = false;
    let plan = planned(3, &view);
    assert_eq!((plan.resize, plan.surplus), (vec![], 4));
    assert_eq!(plan.blocked[0], (name("n0"), Blocked::NomadSilent));
}

#[test]
fn what_is_wanted_already_changes_nothing() {
    assert_eq!(planned(5, &rack(2, 2, &[3, 0])), Plan::default());
}

#[test]
fn a_machine_with_work_is_not_drained_while_an_idle_one_only_has_to_wait() {
    let mut view = rack(3, 3, &[]);
    let busy = view.machines.get_mut(&name("n0")).and_then(|machine| machine.node.as_mut());
    busy.unwrap().allocs.push(AllocView {
        id: AllocId::new("web-1").unwrap(),
        what: "web".to_owned(),
        kind: JobKind::Service,
        live: true,
        hands_over: false,
        used: Resources::default(),
    });
    let (pool, knobs) = (PoolName::new("rack").unwrap(), Knobs::default());
    let now = Moment::from_millis(10_000_000);
    let idle = |seconds| Memory {
        idle_since: Some(now.ago(Duration::from_secs(seconds))),
        adopted: true,
        ..Memory::default()
    };
    // The one with work was lit by our order; the idle ones were adopted, and one still waits for its gate.
    let lit = Commanded {
        state: PowerState::On,
        at: Moment::ZERO,
        origin: crate::world::agent::autoscaler(),
        operation: OperationId::new("op-1").unwrap(),
    };
    let agent = view.machines.get_mut(&name("n0")).and_then(|machine| machine.agent.as_mut());
    agent.unwrap().power.commanded = Some(lit);
    let memory = BTreeMap::from([(name("n1"), idle(590)), (name("n2"), idle(700))]);
    let scene = Scene { pool: &pool, view: &view, memory: &memory, knobs: &knobs };
    let planned = plan(NodeCount(1), scene, now);
    assert_eq!(planned.retire, [name("n2")]);
    let wait = Duration::from_secs(10);
    assert!(planned.blocked.contains(&(name("n0"), Blocked::IdleFirst(wait))), "{planned:?}");
    assert_eq!(plan(NodeCount(0), scene, now).retire, [name("n2"), name("n0")], "all are to go");
}
