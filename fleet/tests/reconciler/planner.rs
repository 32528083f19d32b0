//! Two kinds of supply: machines first on the way up, groups first on the way down.

use std::collections::BTreeMap;

use fleet::planner::{Blocked, Plan, Scene, plan};
use fleet::{
    AgentFacts, FleetView, GroupView, Knobs, MachineName, MachineView, Moment, NodeCount, PoolName,
    Power, PowerState,
};

fn name(text: &str) -> MachineName {
    MachineName::new(text).unwrap()
}

fn group(name: &str, count: u32) -> GroupView {
    GroupView { name: name.to_owned(), count: NodeCount(count), max: NodeCount(3) }
}

fn rack(on: usize, of: usize, groups: &[u32]) -> FleetView {
    let mut view = FleetView { nomad_answers: true, agents_heard: 1, ..FleetView::default() };
    for place in 0..of {
        let state = if place < on { PowerState::On } else { PowerState::Off };
        let power = Power { reading: Some((state, Moment::ZERO)), commanded: None };
        let agent = Some(AgentFacts { power, ..AgentFacts::default() });
        let machine = MachineView { agent, ..MachineView::default() };
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
