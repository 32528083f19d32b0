//! What a drain does to work: services move, batch work ends by itself, system work stays.

use std::collections::BTreeMap;

use nomad_api::{
    Allocation, ClientStatus, DesiredStatus, DrainStatus, Eligibility, Node, QueryOptions,
};
use testkit::wait::{Probe, eventually};
use testkit::work::ShellJob;

use crate::{BOUND, Cluster, PATIENT};

async fn drained(cluster: &Cluster, id: &str) -> Node {
    eventually("the drain's end", BOUND, || async {
        let node = cluster.server.api().node(id).await?.unwrap();
        let state = format!("{:?}", node.last_drain);
        let complete = node.last_drain.as_ref().is_some_and(|d| d.status == DrainStatus::Complete);
        Ok(Probe::of(complete.then_some(node), || state))
    })
    .await
    .unwrap()
}

async fn on_node(cluster: &Cluster, id: &str, job: &str) -> Option<Allocation> {
    let (all, _) = cluster.server.api().node_allocations(id, &QueryOptions::NOW).await.unwrap();
    all.into_iter().find(|allocation| allocation.job_id == job)
}

pub(crate) async fn batch_work_runs_to_its_end_under_a_drain_and_system_work_stays(
    cluster: Cluster,
) {
    let (_machine, _on, id) = cluster.machine("node1").await;
    let go = cluster.dir.path().join("go");
    let out = cluster.dir.path().join("out");
    let script = format!(
        "until [ -e {} ]; do sleep 0.05; done; echo whole > {}",
        go.display(),
        out.display()
    );
    cluster.server.run_job(&ShellJob::batch("sums", 1, &script)).await.unwrap();
    cluster.server.run_job(&ShellJob::system("watch")).await.unwrap();
    for job in ["sums", "watch"] {
        cluster.server.allocations_when(job, &ClientStatus::Running, 1, BOUND).await.unwrap();
    }
    cluster.server.api().drain_node(&id, PATIENT, &BTreeMap::new()).await.unwrap();
    let batch = on_node(&cluster, &id, "sums").await.unwrap();
    assert_eq!(
        (batch.client_status, batch.desired_status),
        (ClientStatus::Running, DesiredStatus::Run)
    );
    assert!(!batch.desired_transition.migrate, "batch work is not asked to move");

    std::fs::write(&go, "").unwrap();
    let node = drained(&cluster, &id).await;
    assert_eq!(node.eligibility, Eligibility::Ineligible);
    assert_eq!(std::fs::read_to_string(out).unwrap(), "whole\n");
    let batch = on_node(&cluster, &id, "sums").await.unwrap();
    assert_eq!(batch.client_status, ClientStatus::Complete);
    let system = on_node(&cluster, &id, "watch").await.unwrap();
    assert_eq!(
        (system.client_status, system.desired_status),
        (ClientStatus::Running, DesiredStatus::Run)
    );
}

#[tokio::test]
async fn a_service_moves_with_its_disk_and_both_allocations_name_each_other() {
    let cluster = Cluster::start().await;
    let (_machine1, _on1, from) = cluster.machine("node1").await;
    let mut job = ShellJob::service("keeper", 1);
    job.in_group = "ephemeral_disk {\n migrate = true\n sticky = true\n size = 200\n}".to_owned();
    let out = cluster.dir.path().join("out");
    job.script = format!(
        "cat $NOMAD_ALLOC_DIR/data/memory >> {}; echo kept > $NOMAD_ALLOC_DIR/data/memory; \
         exec sleep 1000000",
        out.display()
    );
    cluster.server.run_job(&job).await.unwrap();
    cluster.server.allocations_when("keeper", &ClientStatus::Running, 1, BOUND).await.unwrap();
    let (_machine2, _on2, to) = cluster.machine("node2").await;

    cluster.server.api().drain_node(&from, PATIENT, &BTreeMap::new()).await.unwrap();
    drained(&cluster, &from).await;
    let old = on_node(&cluster, &from, "keeper").await.unwrap();
    assert!(old.desired_transition.migrate && old.migrates_disk());
    assert_eq!(old.desired_status, DesiredStatus::Stop);
    assert!(old.client_status.is_terminal(), "{}", old.client_status);
    let new = eventually("the replacement to run", BOUND, || async {
        let new = on_node(&cluster, &to, "keeper").await;
        let state = format!("{new:?}");
        let running = new.filter(|a| a.client_status == ClientStatus::Running);
        Ok(Probe::of(running, || state))
    })
    .await
    .unwrap();
    assert_eq!((&old.next_allocation, &new.previous_allocation), (&new.id, &old.id));
    eventually("the disk's content", BOUND, || async {
        let text = std::fs::read_to_string(&out)?;
        Ok(Probe::of((text == "kept\n").then_some(()), || text))
    })
    .await
    .unwrap();
}

pub(crate) async fn a_service_moves_and_both_allocations_name_each_other(cluster: Cluster) {
    let (_machine1, _on1, from) = cluster.machine("node1").await;
    cluster.server.run_job(&ShellJob::service("web", 1)).await.unwrap();
    cluster.server.allocations_when("web", &ClientStatus::Running, 1, BOUND).await.unwrap();
    let (_machine2, _on2, to) = cluster.machine("node2").await;
    let api = cluster.server.api();
    api.drain_node(&from, PATIENT, &BTreeMap::new()).await.unwrap();
    drained(&cluster, &from).await;
    let old = on_node(&cluster, &from, "web").await.unwrap();
    assert!(old.desired_transition.migrate, "{old:?}");
    assert_eq!(old.desired_status, DesiredStatus::Stop);
    assert!(old.client_status.is_terminal(), "{}", old.client_status);
    let new = on_node(&cluster, &to, "web").await.unwrap();
    assert_eq!((&old.next_allocation, &new.previous_allocation), (&new.id, &old.id));
    cluster.server.allocations_when("web", &ClientStatus::Running, 1, BOUND).await.unwrap();
}

pub(crate) async fn a_service_that_has_nowhere_to_go_is_stopped_and_waits(cluster: Cluster) {
    let (_machine1, _on1, from) = cluster.machine("node1").await;
    cluster.server.run_job(&ShellJob::service("web", 1)).await.unwrap();
    cluster.server.allocations_when("web", &ClientStatus::Running, 1, BOUND).await.unwrap();
    let api = cluster.server.api();
    api.drain_node(&from, PATIENT, &BTreeMap::new()).await.unwrap();
    drained(&cluster, &from).await;
    let old = on_node(&cluster, &from, "web").await.unwrap();
    assert_eq!(old.desired_status, DesiredStatus::Stop);
    let (waiting, _) = api.blocked_evaluations(&QueryOptions::NOW).await.unwrap();
    assert_eq!(waiting.len(), 1, "{waiting:?}");
    // Once there is room another is begun, and neither names the other.
    let (_machine2, _on2, to) = cluster.machine("node2").await;
    cluster.server.allocations_when("web", &ClientStatus::Running, 1, BOUND).await.unwrap();
    let new = on_node(&cluster, &to, "web").await.unwrap();
    let old = on_node(&cluster, &from, "web").await.unwrap();
    assert_eq!((&*old.next_allocation, &*new.previous_allocation), ("", ""));
}

pub(crate) async fn a_drain_that_is_cancelled_leaves_the_work_where_it_is(cluster: Cluster) {
    let api = cluster.server.api();
    let (_machine, _on, id) = cluster.machine("node1").await;
    // Two are wanted and one has room: Nomad moves none of a group that is short, and the drain waits.
    let mut job = ShellJob::service("web", 2);
    job.memory_mb = 600;
    cluster.server.run_job(&job).await.unwrap();
    cluster.server.allocations_when("web", &ClientStatus::Running, 1, BOUND).await.unwrap();
    let before = on_node(&cluster, &id, "web").await.unwrap();
    api.drain_node(&id, PATIENT, &BTreeMap::new()).await.unwrap();
    let change = api.cancel_drain(&id, Eligibility::Eligible, &BTreeMap::new()).await.unwrap();
    assert!(change.index > 0);
    let after = on_node(&cluster, &id, "web").await.unwrap();
    assert_eq!((&after.id, after.client_status), (&before.id, ClientStatus::Running));
    assert_eq!(after.desired_status, DesiredStatus::Run);
}
