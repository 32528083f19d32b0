//! What a real Nomad 1.10.0 sent (`recorded/`), read into our types: nulls, maps, nested numbers.
//!
//! The recordings were made with `nomad operator api PATH`: a draining node with one of two allocations of a job, the other waiting.

use nomad_api::{
    Allocation, AllocationStub, ClientStatus, DesiredStatus, DrainStatus, Eligibility, EvalStatus,
    Evaluation, Job, JobSummary, JobType, Node, NodeStatus, NodeStub,
};

fn read<T: serde::de::DeserializeOwned>(text: &str) -> T {
    serde_json::from_str(text).expect("what Nomad sent is read")
}

#[test]
fn a_list_of_nodes_carries_resources_and_the_last_drain() {
    let nodes: Vec<NodeStub> = read(include_str!("recorded/nodes.json"));
    let node = &nodes[0];
    assert_eq!((node.name.as_str(), node.datacenter.as_str()), ("node1", "dc1"));
    assert_eq!((&node.status, &node.eligibility), (&NodeStatus::Ready, &Eligibility::Ineligible));
    assert!(node.drain);
    assert_eq!(node.resources.cpu.cpu_shares, 2000);
    assert_eq!((node.resources.memory.memory_mb, node.resources.disk.disk_mb), (1024, 10_000));
    assert_eq!(node.reserved.memory.memory_mb, 0);
    assert_eq!(node.last_drain.as_ref().map(|d| &d.status), Some(&DrainStatus::Draining));
}

#[test]
fn a_node_carries_attributes_events_and_its_drain() {
    let node: Node = read(include_str!("recorded/node.json"));
    assert_eq!(node.attributes.get("kernel.name").map(String::as_str), Some("linux"));
    assert!(node.meta.contains_key("connect.log_level"));
    let drain = node.drain_strategy.expect("a drain goes on");
    assert_eq!((drain.deadline_ns, drain.ignore_system_jobs), (600_000_000_000, true));
    let last = node.last_drain.expect("the drain is the last one");
    assert_eq!(last.meta.get("drained_by").map(String::as_str), Some("lamplighter"));
    let event = node.events.last().expect("the drain wrote an event");
    assert_eq!((event.subsystem.as_str(), event.create_index), ("Drain", 17));
    assert!(event.details.is_empty(), "null details are none");
}

#[test]
fn a_nodes_allocation_carries_its_job_and_what_it_takes() {
    let all: Vec<Allocation> = read(include_str!("recorded/node_allocations.json"));
    let one = &all[0];
    assert_eq!(
        (&one.client_status, &one.desired_status),
        (&ClientStatus::Running, &DesiredStatus::Run)
    );
    assert_eq!(one.resources.total(), (100, 600, 200));
    assert_eq!(one.job.as_ref().map(|job| &job.job_type), Some(&JobType::Service));
    assert!(one.migrates_disk());
    assert!(!one.client_status.is_terminal());

    let stubs: Vec<AllocationStub> = read(include_str!("recorded/allocations.json"));
    assert_eq!((&stubs[0].id, stubs[0].resources.total()), (&one.id, (100, 600, 200)));
    assert_eq!(stubs[0].job_type, JobType::Service);
}

#[test]
fn a_blocked_evaluation_carries_why_and_how_many() {
    let all: Vec<Evaluation> = read(include_str!("recorded/blocked_evaluations.json"));
    let one = &all[0];
    assert_eq!((&one.status, one.job_id.as_str()), (&EvalStatus::Blocked, "web"));
    let failure = one.failed_groups.get("group").expect("the group that failed");
    assert_eq!((failure.coalesced_failures, failure.nodes_exhausted), (0, 1));
    assert_eq!(failure.dimension_exhausted.get("memory"), Some(&1));
    assert!(!one.class_eligibility.is_empty());
    assert!(one.queued.is_empty());

    let summary: JobSummary = read(include_str!("recorded/job_summary.json"));
    let group = summary.groups.get("group").expect("the group");
    assert_eq!((group.queued, group.running), (1, 1));
}

#[test]
fn a_job_carries_its_constraints_at_all_three_levels() {
    let job: Job = read(include_str!("recorded/job.json"));
    let group = &job.task_groups[0];
    let all = [&job.constraints[0], &group.constraints[0], &group.tasks[0].constraints[0]];
    let told: Vec<_> =
        all.iter().map(|c| format!("{} {} {}", c.left, c.operand, c.right)).collect();
    assert_eq!(
        told,
        ["${attr.kernel.name} = linux", "${meta.rack} != b", "${meta.gpu} is_not_set "]
    );
    assert_eq!((group.count, group.ephemeral_disk.size_mb), (2, 200));
    assert!(group.ephemeral_disk.migrate && !job.stop);
    assert_eq!(group.tasks[0].resources.memory_mb, 600);
    assert_eq!((job.node_pool.as_str(), job.datacenters.len()), ("default", 1));
}

#[test]
fn what_is_missing_null_or_new_is_no_error() {
    let node: Node = read(
        r#"{"ID":"n","Meta":null,"Events":null,"LastDrain":null,"NodeResources":null,
            "Status":"hibernating","Novelty":[1]}"#,
    );
    assert_eq!(node.status, NodeStatus::Other("hibernating".to_owned()));
    assert_eq!(node.status.to_string(), "hibernating");
    assert!(node.events.is_empty() && node.meta.is_empty() && node.last_drain.is_none());
}
