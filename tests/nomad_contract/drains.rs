//! Draining: which node events our calls write, and which index each carries. "Is the ineligibility ours?"
//! stands on this.

use std::collections::BTreeMap;

use nomad_api::{ClientStatus, DrainStatus, Eligibility, Node, NodeEvent};
use testkit::wait::{Probe, eventually};
use testkit::work::ShellJob;

use crate::{BOUND, Cluster, PATIENT, map};

async fn node(cluster: &Cluster, id: &str) -> Node {
    cluster.server.api().node(id).await.unwrap().expect("the node is known")
}

fn last(node: &Node) -> (&str, &str, u64) {
    let event: &NodeEvent = node.events.last().expect("a node has events");
    (&event.subsystem, &event.message, event.create_index)
}

pub(crate) async fn each_of_our_calls_writes_one_node_event_with_the_index_that_it_returned(
    cluster: Cluster,
) {
    let api = cluster.server.api();
    let (_machine, _on, id) = cluster.machine("node1").await;
    // Batch work runs to its end, so that the drain goes on.
    cluster.server.run_job(&ShellJob::batch("sums", 1, "exec sleep 1000000")).await.unwrap();
    cluster.server.allocations_when("sums", &ClientStatus::Running, 1, BOUND).await.unwrap();

    let change = api.set_eligibility(&id, &Eligibility::Ineligible).await.unwrap();
    assert_eq!(
        last(&node(&cluster, &id).await),
        ("Cluster", "Node marked as ineligible for scheduling", change.index)
    );
    let again = api.set_eligibility(&id, &Eligibility::Ineligible).await.unwrap();
    assert_eq!(again.index, 0, "an ineligibility that stands is not written again");

    let meta = map(&[("by", "lamplighter")]);
    let change = api.drain_node(&id, PATIENT, &meta).await.unwrap();
    let drained = node(&cluster, &id).await;
    let set = drained.events.iter().find(|event| event.create_index == change.index).unwrap();
    assert_eq!((&*set.subsystem, &*set.message), ("Drain", "Node drain strategy set"));
    let strategy = drained.drain_strategy.expect("the drain goes on");
    assert_eq!((strategy.deadline_ns, strategy.ignore_system_jobs), (0, true));
    assert_eq!(drained.last_drain.unwrap().meta, meta);

    let change = api.drain_node(&id, PATIENT, &meta).await.unwrap();
    let updated = node(&cluster, &id).await;
    let event = updated.events.iter().find(|event| event.create_index == change.index).unwrap();
    assert_eq!((&*event.subsystem, &*event.message), ("Drain", "Node drain strategy updated"));

    let refused = api.set_eligibility(&id, &Eligibility::Eligible).await.unwrap_err();
    assert!(refused.to_string().contains("while it is draining"), "{refused}");

    let change = api.cancel_drain(&id, Eligibility::Eligible, &BTreeMap::new()).await.unwrap();
    let cancelled = node(&cluster, &id).await;
    assert_eq!(last(&cancelled), ("Drain", "Node drain disabled", change.index));
    assert_eq!(cancelled.eligibility, Eligibility::Eligible);
    assert_eq!(cancelled.last_drain.unwrap().status, DrainStatus::Canceled);
}

pub(crate) async fn a_drain_of_an_empty_node_completes_at_once_and_leaves_it_ineligible(
    cluster: Cluster,
) {
    let api = cluster.server.api();
    let (_machine, _on, id) = cluster.machine("node1").await;
    let change = api.drain_node(&id, PATIENT, &map(&[("by", "us")])).await.unwrap();
    let done = eventually("the drain's end", BOUND, || async {
        let node = node(&cluster, &id).await;
        let state = format!("{:?} {:?}", node.drain_strategy, node.events);
        Ok(Probe::of(node.drain_strategy.is_none().then_some(node), || state))
    })
    .await
    .unwrap();
    assert_eq!(done.eligibility, Eligibility::Ineligible);
    assert_eq!(done.last_drain.as_ref().unwrap().status, DrainStatus::Complete);
    // Ours is there, and Nomad's own end of it follows: also of subsystem Drain.
    let (subsystem, message, index) = last(&done);
    assert_eq!((subsystem, message), ("Drain", "Node drain complete"));
    assert!(index > change.index);
    assert!(done.events.iter().any(|event| event.create_index == change.index));

    // Without a drain, cancelling makes it eligible in a write that leaves no event.
    let before = done.events.len();
    let change = api.cancel_drain(&id, Eligibility::Eligible, &BTreeMap::new()).await.unwrap();
    let after = node(&cluster, &id).await;
    assert_eq!((after.eligibility, after.events.len()), (Eligibility::Eligible, before));
    assert_eq!(after.modify_index, change.index);
}

pub(crate) async fn a_power_cut_and_a_boot_keep_the_node_its_ineligibility_and_our_event(
    cluster: Cluster,
) {
    let api = cluster.server.api();
    let (machine, on, id) = cluster.machine("node1").await;
    let change = api.set_eligibility(&id, &Eligibility::Ineligible).await.unwrap();
    on.kill().await.unwrap();
    let down = |node: &nomad_api::NodeStub| node.status == nomad_api::NodeStatus::Down;
    cluster.server.node_when("node1", "down", BOUND, down).await.unwrap();
    let _on = machine.power_on().unwrap();
    let back = cluster.server.node_ready("node1").await.unwrap();
    assert_eq!((back.id, back.eligibility), (id.clone(), Eligibility::Ineligible));
    let node = node(&cluster, &id).await;
    let ours = node.events.iter().position(|e| e.create_index == change.index).unwrap();
    let later: Vec<_> =
        node.events[ours + 1..].iter().map(|e| (&*e.subsystem, &*e.message)).collect();
    assert_eq!(
        later,
        [("Cluster", "Node heartbeat missed"), ("Cluster", "Node reregistered by heartbeat")]
    );
}

pub(crate) async fn what_does_not_exist_is_none_or_says_not_found(cluster: Cluster) {
    let api = cluster.server.api();
    const NOBODY: &str = "00000000-0000-0000-0000-000000000000";
    assert_eq!(api.node(NOBODY).await.unwrap(), None);
    assert_eq!(api.allocation(NOBODY).await.unwrap(), None);
    assert_eq!(api.evaluation(NOBODY).await.unwrap(), None);
    assert_eq!(api.job("default", "nothing").await.unwrap(), None);
    assert_eq!(api.job_summary("default", "nothing").await.unwrap(), None);
    let error = api.drain_node(NOBODY, PATIENT, &BTreeMap::new()).await.unwrap_err();
    assert!(error.is_not_found(), "{error}");
}
