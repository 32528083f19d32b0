//! Whose an ineligibility is, by a node's own list of events.

use std::time::Duration;

use fleet::marks::{Bearing, INTENT_MAX, MARK_BEYOND_MAX, Mark, Ownership, Restored, Unanswered};
use fleet::{MachineName, Moment, NodeId, NodeStatus, NodeView, Resources, Touch, TouchKind};

fn id(name: &str) -> NodeId {
    NodeId::new(name).unwrap()
}

fn node(touches: &[(u64, TouchKind)], oldest: Option<u64>, newest: u64) -> NodeView {
    NodeView {
        id: id("n1"),
        index: newest,
        status: NodeStatus::Ready,
        eligible: false,
        draining: false,
        create_index: 1,
        selected: true,
        touches: touches.iter().map(|(index, kind)| Touch { index: *index, kind: *kind }).collect(),
        oldest_event: oldest,
        newest_event: newest,
        resources: Resources::default(),
        allocs: Vec::new(),
    }
}

#[test]
fn untouched_it_is_ours_and_the_end_of_our_drain_is_no_other_hand() {
    let mark = Mark::new(id("n1"), 20);
    let ours = node(&[(15, TouchKind::Eligible), (20, TouchKind::DrainSet)], None, 20);
    assert_eq!(mark.judge(&ours), Ownership::Ours);
    let ended = node(&[(20, TouchKind::DrainSet), (30, TouchKind::DrainComplete)], None, 44);
    assert_eq!(mark.judge(&ended), Ownership::Ours);
}

#[test]
fn any_later_drain_or_eligibility_is_theirs() {
    use TouchKind::{DrainSet, DrainUnset, Eligible, Ineligible};
    for kind in [DrainSet, DrainUnset, Eligible, Ineligible] {
        let touched = node(&[(20, DrainSet), (31, kind)], None, 31);
        assert_eq!(Mark::new(id("n1"), 20).judge(&touched), Ownership::Theirs(31));
    }
}

#[test]
fn what_has_rotated_out_unseen_is_lost_and_what_was_looked_at_is_not() {
    let mut mark = Mark::new(id("n1"), 20);
    let rotated = node(&[], Some(40), 50);
    assert_eq!(mark.judge(&rotated), Ownership::Lost);
    mark.look(&node(&[(20, TouchKind::DrainSet)], Some(12), 41));
    assert_eq!(mark.seen, 41);
    assert_eq!(mark.judge(&rotated), Ownership::Ours);
    mark.look(&node(&[(45, TouchKind::Eligible)], Some(40), 50));
    assert_eq!(mark.seen, 41, "a look at what others did is no proof for later");
    let other = NodeView { id: id("n2"), ..node(&[], None, 20) };
    assert_eq!(mark.judge(&other), Ownership::Lost);
}

#[test]
fn a_mark_written_ahead_takes_the_first_ineligibility_for_ours_and_nothing_else() {
    let mark = Mark::intended(id("n1"), 20);
    assert!(mark.is_intended());
    assert_eq!(mark.judge(&node(&[(25, TouchKind::Ineligible)], None, 25)), Ownership::Ours);
    let freed = node(&[(25, TouchKind::Ineligible), (27, TouchKind::Eligible)], None, 27);
    assert_eq!(mark.judge(&freed), Ownership::Theirs(27));
    assert!(!Mark::new(id("n1"), 20).is_intended());
}

#[test]
fn a_write_without_an_answer_is_settled_in_time_and_takes_no_later_hand_for_ours() {
    use TouchKind::{DrainSet, Eligible, Ineligible};
    let (name, now) = (MachineName::new("n1").unwrap(), Moment::from_millis(5_000));
    let settled = |mark: &Mark, touches: &[(u64, TouchKind)]| {
        let newest = touches.last().map_or(20, |(index, _)| *index);
        let (mut mark, mut unanswered) = (mark.clone(), Unanswered::default());
        let node = node(touches, None, newest);
        for at in [now, now + (INTENT_MAX - Duration::from_millis(1))] {
            unanswered.settle(&name, &mut mark, &node, at);
            assert!(mark.is_intended(), "it may still come");
        }
        unanswered.settle(&name, &mut mark, &node, now + INTENT_MAX);
        mark
    };
    // As a snapshot has it that was taken between our ineligibility and our drain.
    let intended = Mark { node: id("n1"), index: 20, seen: 0 };
    let never = settled(&intended, &[(20, Ineligible)]);
    assert_eq!(never, Mark::new(id("n1"), 20));
    let later = node(&[(20, Ineligible), (60, Ineligible)], None, 60);
    assert_eq!(never.judge(&later), Ownership::Theirs(60));
    assert_eq!(
        intended.judge(&later),
        Ownership::Ours,
        "without it, somebody's hand is taken for ours"
    );

    let came =
        settled(&intended, &[(20, Ineligible), (25, DrainSet), (40, Eligible), (41, Ineligible)]);
    assert_eq!(came, Mark::new(id("n1"), 25));

    let (mut mark, mut unanswered) = (intended, Unanswered::default());
    let before = node(&[(20, Ineligible)], None, 20);
    unanswered.settle(&name, &mut mark, &before, now);
    unanswered.ask(&name, now + INTENT_MAX);
    unanswered.settle(&name, &mut mark, &before, now + INTENT_MAX);
    assert!(mark.is_intended(), "it was ordered anew");
}

#[test]
fn what_our_own_agent_has_done_for_a_person_is_shared_and_what_comes_after_it_is_not() {
    use TouchKind::{DrainSet, DrainUnset};
    let mut mark = Mark::new(id("n1"), 20);
    let by_a_person = node(&[(20, DrainSet), (30, DrainSet), (36, DrainUnset)], None, 36);
    assert_eq!(mark.judge(&by_a_person), Ownership::Theirs(30));
    mark.share(&by_a_person);
    assert_eq!(mark, Mark { node: id("n1"), index: 36, seen: 36 });
    assert_eq!(mark.judge(&by_a_person), Ownership::Ours);
    let rotated = node(&[], Some(34), 36);
    assert_eq!(mark.judge(&rotated), Ownership::Ours, "it was looked at");
    mark.share(&node(&[(20, DrainSet)], None, 20));
    assert_eq!(mark.index, 36, "an older view takes nothing back");
    let touched = node(&[(36, DrainUnset), (41, DrainUnset)], None, 41);
    assert_eq!(mark.judge(&touched), Ownership::Theirs(41));
}

#[test]
fn an_eligibility_that_was_written_is_never_shared_whether_before_a_persons_order_or_meanwhile() {
    use TouchKind::{DrainComplete, DrainSet, Eligible, Ineligible};
    for kind in [Eligible, Ineligible] {
        for touches in [
            [(20, DrainSet), (30, kind), (40, DrainSet), (41, DrainComplete)],
            [(20, DrainSet), (30, DrainSet), (31, DrainComplete), (40, kind)],
        ] {
            let touched = node(&touches, None, 41);
            let mut mark = Mark::new(id("n1"), 20);
            mark.share(&touched);
            assert_eq!(mark, Mark::new(id("n1"), 20), "{touches:?}");
            assert_eq!(mark.judge(&touched), Ownership::Theirs(30));
        }
    }
    let before_ours = node(&[(15, Ineligible), (20, DrainSet), (30, DrainSet)], None, 30);
    let mut mark = Mark::new(id("n1"), 20);
    mark.share(&before_ours);
    assert_eq!(mark.judge(&before_ours), Ownership::Ours, "ours is the later one");
}

#[test]
fn another_node_and_a_write_that_may_not_have_happened_are_not_shared() {
    let touched = node(&[(30, TouchKind::DrainSet)], None, 30);
    let mut other = Mark::new(id("n2"), 20);
    other.share(&touched);
    assert_eq!(other, Mark::new(id("n2"), 20));
    let mut intended = Mark::intended(id("n1"), 20);
    intended.share(&touched);
    assert_eq!(intended, Mark::intended(id("n1"), 20));
}

#[test]
fn after_a_restored_snapshot_a_mark_of_a_later_state_is_void_and_one_of_before_holds() {
    use TouchKind::Ineligible;
    let name = MachineName::new("n1").unwrap();
    let now = Moment::from_millis(5_000);
    let mark = Mark::new(id("n1"), 20);
    let mut restored = Restored::default();

    // Restored on the same servers: Nomad's index goes on, and our event is gone. Somebody had made the
    // node ineligible before the snapshot.
    let theirs = NodeView { index: 60, ..node(&[(12, Ineligible)], None, 12) };
    assert_eq!(mark.judge(&theirs), Ownership::Void);
    assert_eq!(restored.weigh(&name, &mark, &theirs, now), Bearing::Void);
    assert!(restored.is_void(&name));

    // On new servers: the index itself lies below the mark, and stays there.
    let mut restored = Restored::default();
    let older = NodeView { index: 15, ..node(&[(12, Ineligible)], None, 12) };
    assert_eq!(restored.weigh(&name, &mark, &older, now), Bearing::TooEarly, "it may lag");
    assert_eq!(restored.weigh(&name, &mark, &older, now + MARK_BEYOND_MAX), Bearing::Void);

    let ours = node(&[(20, Ineligible)], None, 20);
    assert_eq!(restored.weigh(&name, &mark, &ours, now), Bearing::Holds);
    assert!(!restored.is_void(&name));
}
