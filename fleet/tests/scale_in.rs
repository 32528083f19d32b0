//! Goal: what a scale-in asks for at each of its stages, and when it waits. Method: the stage is set, `next` is asked;
//! the whole way is walked in `reconciler`.
#![expect(clippy::unwrap_used, reason = "a helper that fails fails its test")]

use std::time::Duration;

use fleet::effect::Effect;
use fleet::marks::Mark;
use fleet::scale_in::{Ending, Keep, NODE_SILENCE_MAX, Next, ScaleIn, Sight, Stage};
use fleet::view::{AgentFacts, OperationFacts, Progress};
use fleet::{
    Knobs, MachineName, MachineView, Moment, NodeId, NodeStatus, NodeView, OperationId, Resources,
    Verb,
};

const NOW: Moment = Moment::from_millis(1_000_000);

fn node() -> NodeView {
    NodeView {
        id: NodeId::new("n1").unwrap(),
        index: 50,
        status: NodeStatus::Ready,
        eligible: false,
        draining: false,
        create_index: 3,
        selected: true,
        touches: Vec::new(),
        oldest_event: None,
        newest_event: 40,
        resources: Resources::default(),
        allocs: Vec::new(),
    }
}

/// Its agent answers, and its node is ready.
fn machine() -> MachineView {
    MachineView { agent: Some(AgentFacts::default()), node: Some(node()), ..MachineView::default() }
}

/// The machine while a person's order runs on it.
fn in_hand() -> MachineView {
    let operation = OperationFacts {
        id: OperationId::new("theirs").unwrap(),
        verb: Verb::Cycle,
        progress: Progress::Running,
        by_hand: true,
        changed: false,
    };
    let agent = AgentFacts { operation: Some(operation), ..AgentFacts::default() };
    MachineView { agent: Some(agent), ..machine() }
}

fn next_at(stage: Stage, machine: &MachineView, nomad_answers: bool, now: Moment) -> Next {
    let name = MachineName::new("node1").unwrap();
    let knobs = Knobs::default();
    let mut retired = ScaleIn::chosen(name, &node(), &knobs, NOW);
    retired.stage = stage;
    // Ours, and written after all that the list of the node's events has.
    let mark = Mark::intended(node().id, 40);
    let sight = Sight { machine, mark: Some(&mark), nomad_answers };
    retired.next(sight, &knobs, now)
}

fn order() -> OperationId {
    OperationId::new("op-1").unwrap()
}

fn keep() -> Keep {
    Keep::new("wanted again", Duration::ZERO)
}

#[test]
fn a_node_is_read_at_the_index_of_our_own_write_or_a_later_one() {
    for stage in [Stage::Confirming(41), Stage::Proving(41)] {
        let Next::Do(Effect::ReadNode { at_least, .. }) = next_at(stage, &machine(), true, NOW)
        else {
            unreachable!("it is read")
        };
        assert_eq!(at_least, 41, "an older answer may lack what was placed before the write");
    }
}

#[test]
fn a_proof_is_not_begun_nor_used_while_the_agent_would_take_no_order() {
    let held = AgentFacts { held_by: Some("ada".to_owned()), ..AgentFacts::default() };
    let held = MachineView { agent: Some(held), ..machine() };
    let silent = MachineView { agent: None, ..machine() };
    for stage in [Stage::Proving(41), Stage::Proven(order())] {
        for machine in [&held, &silent] {
            assert_eq!(next_at(stage.clone(), machine, true, NOW), Next::Wait(None), "{stage:?}");
        }
        assert_eq!(next_at(stage.clone(), &machine(), false, NOW), Next::Wait(None), "{stage:?}");
        let next = next_at(stage.clone(), &machine(), true, NOW);
        assert!(matches!(next, Next::Do(_)), "{stage:?}: {next:?}");
    }
}

#[test]
fn a_node_is_not_made_eligible_while_its_agent_drains_it_for_a_person() {
    let stage = || Stage::Cancelling(keep());
    assert_eq!(next_at(stage(), &in_hand(), true, NOW), Next::Wait(None));
    let next = next_at(stage(), &machine(), true, NOW);
    assert!(matches!(next, Next::Do(Effect::MakeEligible { .. })), "{next:?}");
    assert_eq!(next_at(stage(), &machine(), false, NOW), Next::Wait(None), "Nomad is silent");
}

#[test]
fn a_machine_whose_node_outlives_its_power_for_too_long_is_kept_as_a_contradiction() {
    let until = NOW + NODE_SILENCE_MAX;
    let gone = || Stage::Gone(NOW);
    let before = Moment::from_millis(999_999) + NODE_SILENCE_MAX;
    assert_eq!(next_at(gone(), &machine(), true, before), Next::Wait(Some(until)));
    let Next::Over(Ending::Kept(keep)) = next_at(gone(), &machine(), true, until) else {
        unreachable!("it is over")
    };
    assert_eq!(
        keep,
        Keep::new("it was switched off, but its node still heartbeats", NODE_SILENCE_MAX)
    );
    assert_eq!(next_at(gone(), &machine(), false, until), Next::Wait(Some(until)), "who knows");
}
