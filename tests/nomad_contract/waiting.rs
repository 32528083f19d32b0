//! Work that waits: what a blocked evaluation tells, and what it does not.

use nomad_api::{ClientStatus, EvalStatus, Evaluation, GroupSummary, JobType, QueryOptions};
use testkit::wait::{Probe, eventually};
use testkit::work::ShellJob;

use crate::{BOUND, Cluster};

async fn blocked(cluster: &Cluster, job: &str) -> Evaluation {
    eventually("a blocked evaluation", BOUND, || async {
        let (all, _) = cluster.server.api().blocked_evaluations(&QueryOptions::NOW).await?;
        let state = format!("{all:?}");
        Ok(Probe::of(all.into_iter().find(|evaluation| evaluation.job_id == job), || state))
    })
    .await
    .unwrap()
}

async fn group(cluster: &Cluster, job: &str) -> GroupSummary {
    let summary = cluster.server.api().job_summary("default", job).await.unwrap().unwrap();
    summary.groups.get("group").cloned().unwrap()
}

pub(crate) async fn on_an_empty_cluster_a_job_of_three_waits_as_one_failure_with_two_more(
    cluster: Cluster,
) {
    let api = cluster.server.api();
    let cause = cluster.server.run_job(&ShellJob::service("web", 3)).await.unwrap();
    let waiting = blocked(&cluster, "web").await;
    assert_eq!(waiting.status, EvalStatus::Blocked);
    assert_eq!(waiting.job_type, JobType::Service);
    assert_eq!(waiting.previous_eval, cause);
    assert_eq!(waiting.failed_groups.get("group").unwrap().coalesced_failures, 2);
    // The blocked evaluation does not count; the one that it came from and the summary do.
    assert!(waiting.queued.is_empty(), "{:?}", waiting.queued);
    let complete = eventually("its cause to be complete", BOUND, || async {
        let cause = api.evaluation(&cause).await?.unwrap();
        let state = format!("{cause:?}");
        Ok(Probe::of((cause.status == EvalStatus::Complete).then_some(cause), || state))
    })
    .await
    .unwrap();
    assert_eq!(complete.queued.get("group"), Some(&3));
    assert_eq!(complete.blocked_eval, waiting.id);
    assert_eq!(group(&cluster, "web").await.queued, 3);

    let job = api.job("default", "web").await.unwrap().unwrap();
    let asked = &job.task_groups[0];
    assert_eq!((asked.count, asked.tasks[0].resources.memory_mb), (3, 64));
    assert_eq!((asked.tasks[0].resources.cpu_mhz, asked.ephemeral_disk.size_mb), (100, 300));
    assert_eq!(job.datacenters, ["*"]);
}

pub(crate) async fn after_a_part_found_room_the_blocked_evaluation_is_stale_and_the_summary_is_right(
    cluster: Cluster,
) {
    let mut job = ShellJob::service("web", 3);
    job.memory_mb = 600;
    cluster.server.run_job(&job).await.unwrap();
    let before = blocked(&cluster, "web").await;
    let (_machine, _on, _id) = cluster.machine("node1").await;
    cluster.server.allocations_when("web", &ClientStatus::Running, 1, BOUND).await.unwrap();
    let after = blocked(&cluster, "web").await;
    // One of three runs, but the reblocked evaluation still tells of three.
    assert_eq!(after.id, before.id);
    assert!(after.modify_index > before.modify_index);
    assert_eq!(after.failed_groups.get("group").unwrap().coalesced_failures, 2);
    assert_eq!(group(&cluster, "web").await.queued, 2);
}

pub(crate) async fn a_stopped_job_no_longer_waits(cluster: Cluster) {
    let api = cluster.server.api();
    cluster.server.run_job(&ShellJob::batch("sums", 2, "true")).await.unwrap();
    blocked(&cluster, "sums").await;
    cluster.server.stop_job("sums").await.unwrap();
    eventually("no blocked evaluation", BOUND, || async {
        let (all, _) = api.blocked_evaluations(&QueryOptions::NOW).await?;
        Ok(Probe::of(all.is_empty().then_some(()), || format!("{all:?}")))
    })
    .await
    .unwrap();
    let job = api.job("default", "sums").await.unwrap().unwrap();
    assert!(job.stop);
    api.deregister_job("default", "sums", true).await.unwrap();
    assert_eq!(api.job("default", "sums").await.unwrap(), None);
}

#[tokio::test]
async fn a_mistake_in_a_job_file_is_told_in_nomads_words() {
    let cluster = Cluster::start().await;
    let error = cluster.server.api().parse_job("job \"web\" {\n  tyype = 1\n}").await.unwrap_err();
    assert!(error.to_string().contains("answered 400 while parsing a job file"), "{error}");
    assert!(error.to_string().contains("tyype"), "{error}");
}
