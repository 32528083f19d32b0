//! Every call that a part of ours makes, and what no other test here looks at of them.

use std::future::Future;
use std::pin::Pin;

use nomad_api::{
    Client, ClientStatus, DrainDeadline, DrainSpec, DrainStatus, Eligibility, Error, QueryOptions,
};
use testkit::wait::{Probe, eventually};
use testkit::work::ShellJob;

use crate::{BOUND, Cluster, PATIENT, map};

/// A call of a part: its name, and how it is made. What it is about does not exist, so that nothing is changed.
pub(crate) type Call =
    (&'static str, fn(Client) -> Pin<Box<dyn Future<Output = Result<(), Error>> + Send>>);

const NOBODY: &str = "00000000-0000-0000-0000-000000000000";
const RECORD: &str = "lamplighter/pools/nobody";

/// What does not exist was asked for, and that is an answer.
fn allowed<T>(result: Result<T, Error>) -> Result<(), Error> {
    match result {
        Err(error) if !error.is_not_found() => Err(error),
        _ => Ok(()),
    }
}

macro_rules! calls {
    ($name:ident, $doc:literal: $($call:literal => |$api:ident| $made:expr,)*) => {
        #[doc = $doc]
        pub(crate) const $name: &[Call] = &[$(
            ($call, |$api| Box::pin(async move { allowed($made.await) })),
        )*];
    };
}

calls! { PLUGIN, "What the plugin asks.":
    "nodes" => |api| api.nodes(&QueryOptions::NOW),
    "node" => |api| api.node(NOBODY),
    "node_allocations" => |api| api.node_allocations(NOBODY, &QueryOptions::NOW),
    "drain_node" => |api| api.drain_node(NOBODY, PATIENT, &map(&[])),
    "cancel_drain" => |api| api.cancel_drain(NOBODY, Eligibility::Eligible, &map(&[])),
    "set_eligibility" => |api| api.set_eligibility(NOBODY, &Eligibility::Eligible),
    "purge_node" => |api| api.purge_node(NOBODY),
    "allocations" => |api| api.allocations(None, &QueryOptions::NOW),
    "allocation" => |api| api.allocation(NOBODY),
    "sees_all_work" => |api| api.sees_all_work(),
    "sees_all_jobs" => |api| api.sees_all_jobs(),
    "blocked_evaluations" => |api| api.blocked_evaluations(&QueryOptions::NOW),
    "jobs" => |api| api.jobs(None, &QueryOptions::NOW),
    "job" => |api| api.job("default", "nobody"),
    "job_summary" => |api| api.job_summary("default", "nobody"),
    "variable" => |api| api.variable(RECORD),
    "watch_variable" => |api| api.watch_variable(RECORD, &QueryOptions::NOW),
    "put_variable" => |api| api.put_variable(RECORD, &map(&[("k", "v")]), 9),
}

calls! { AGENT, "What an agent asks.":
    "nodes" => |api| api.nodes(&QueryOptions::NOW),
    "node_allocations" => |api| api.node_allocations(NOBODY, &QueryOptions::NOW),
    "drain_node" => |api| api.drain_node(NOBODY, PATIENT, &map(&[])),
    "cancel_drain" => |api| api.cancel_drain(NOBODY, Eligibility::Eligible, &map(&[])),
    "job" => |api| api.job("default", "nobody"),
    "sees_all_work" => |api| api.sees_all_work(),
}

pub(crate) async fn every_call_of_plugin_and_agent_is_answered(cluster: Cluster) {
    for (name, call) in PLUGIN.iter().chain(AGENT) {
        call(cluster.server.api().clone()).await.unwrap_or_else(|error| panic!("{name}: {error}"));
    }
}

pub(crate) async fn lists_are_narrowed_as_the_plugin_asks(cluster: Cluster) {
    const LIVING: &str =
        "ClientStatus != \"complete\" and ClientStatus != \"failed\" and ClientStatus != \"lost\"";
    let api = cluster.server.api();
    let (_machine, _on, _id) = cluster.machine("node1").await;
    cluster.server.run_job(&ShellJob::batch("sums", 1, "true")).await.unwrap();
    cluster.server.run_job(&ShellJob::service("web", 1)).await.unwrap();
    cluster.server.run_job(&ShellJob::system("watch")).await.unwrap();
    cluster.server.allocations_when("sums", &ClientStatus::Complete, 1, BOUND).await.unwrap();
    for job in ["web", "watch"] {
        cluster.server.allocations_when(job, &ClientStatus::Running, 1, BOUND).await.unwrap();
    }
    let (living, _) = api.allocations(Some(LIVING), &QueryOptions::NOW).await.unwrap();
    let mut jobs: Vec<&str> = living.iter().map(|alloc| alloc.job_id.as_str()).collect();
    jobs.sort_unstable();
    assert_eq!(jobs, ["watch", "web"]);
    let (all, _) = api.allocations(None, &QueryOptions::NOW).await.unwrap();
    assert_eq!(all.len(), 3);
    let (system, _) = api.jobs(Some("Type == \"system\""), &QueryOptions::NOW).await.unwrap();
    assert_eq!(system.iter().map(|job| job.id.as_str()).collect::<Vec<_>>(), ["watch"]);
}

pub(crate) async fn a_purged_node_that_lives_registers_anew(cluster: Cluster) {
    let api = cluster.server.api();
    let (_machine, _on, id) = cluster.machine("node1").await;
    let before = api.node(&id).await.unwrap().unwrap().create_index;
    api.set_eligibility(&id, &Eligibility::Ineligible).await.unwrap();
    api.purge_node(&id).await.unwrap();
    let anew = eventually("the node's return", BOUND, || async {
        let node = api.node(&id).await?;
        let state = format!("{node:?}");
        Ok(Probe::of(node.filter(|node| node.create_index > before), || state))
    })
    .await
    .unwrap();
    assert_eq!(anew.eligibility, Eligibility::Eligible, "its past is forgotten");
}

pub(crate) async fn a_deadline_ends_a_drain_that_batch_work_holds_up(cluster: Cluster) {
    let api = cluster.server.api();
    let (_machine, _on, id) = cluster.machine("node1").await;
    cluster.server.run_job(&ShellJob::batch("sums", 1, "exec sleep 1000000")).await.unwrap();
    cluster.server.allocations_when("sums", &ClientStatus::Running, 1, BOUND).await.unwrap();
    let deadline = DrainDeadline::After(std::time::Duration::from_secs(1));
    let impatient = DrainSpec { deadline, ignore_system_jobs: true };
    api.drain_node(&id, impatient, &map(&[])).await.unwrap();
    eventually("the drain's end", BOUND, || async {
        let node = api.node(&id).await?.unwrap();
        let state = format!("{:?}", node.last_drain);
        let complete = node.last_drain.as_ref().is_some_and(|d| d.status == DrainStatus::Complete);
        Ok(Probe::of(complete.then_some(()), || state))
    })
    .await
    .unwrap();
    eventually("the work's end", BOUND, || async {
        let (work, _) = api.node_allocations(&id, &QueryOptions::NOW).await?;
        let over = work.iter().all(|alloc| alloc.client_status.is_terminal());
        Ok(Probe::of((over && !work.is_empty()).then_some(()), || format!("{work:?}")))
    })
    .await
    .unwrap();
}
