//! The test kit's own cluster: a machine runs work, and a power cut ends it at once.

use nomad_api::{ClientStatus, JobType, NodeStatus, NodeStub, QueryOptions};
use testkit::wait::{Probe, eventually};
use testkit::work::ShellJob;

use crate::{BOUND, Cluster};

pub(crate) async fn a_machine_runs_a_script_and_its_output_is_found_in_the_storys_folder(
    cluster: Cluster,
) {
    let (_machine, _on, id) = cluster.machine("node1").await;
    let out = cluster.dir.path().join("out");
    let script = format!("echo \"lit by $NOMAD_ALLOC_ID\" > {}", out.display());
    cluster.server.run_job(&ShellJob::batch("sums", 1, &script)).await.unwrap();
    let ended =
        cluster.server.allocations_when("sums", &ClientStatus::Complete, 1, BOUND).await.unwrap();
    assert_eq!(ended[0].node_name, "node1");
    assert_eq!(std::fs::read_to_string(out).unwrap(), format!("lit by {}\n", ended[0].id));

    let (all, _) = cluster.server.api().node_allocations(&id, &QueryOptions::NOW).await.unwrap();
    assert_eq!(all[0].job.as_ref().unwrap().job_type, JobType::Batch);
    assert_eq!(all[0].resources.total(), (100, 64, 300));
    assert!(all[0].client_status.is_terminal());
}

pub(crate) async fn a_power_cut_ends_a_task_at_once_and_its_work_waits_again(cluster: Cluster) {
    let (_machine, on, _id) = cluster.machine("node1").await;
    let beat = cluster.dir.path().join("beat");
    let mut job = ShellJob::service("web", 1);
    job.script = format!("while :; do date +%s%N > {}; sleep 0.02; done", beat.display());
    cluster.server.run_job(&job).await.unwrap();
    let first = eventually("a first beat", BOUND, || async {
        Ok(Probe::Met(std::fs::read_to_string(&beat)?))
    })
    .await
    .unwrap();
    eventually("a later beat", BOUND, || async {
        let now = std::fs::read_to_string(&beat)?;
        Ok(Probe::of((now != first).then_some(()), || now))
    })
    .await
    .unwrap();

    on.kill().await.unwrap();
    // The kernel takes some milliseconds to end them all; a beat that goes on differs at each look.
    let mut last = String::from("no look yet");
    eventually("the beat to stop", BOUND, async || {
        let now = std::fs::read_to_string(&beat)?;
        let before = std::mem::replace(&mut last, now.clone());
        Ok(Probe::of((before == now).then_some(()), || now))
    })
    .await
    .unwrap();
    let down = |node: &NodeStub| node.status == NodeStatus::Down;
    cluster.server.node_when("node1", "down", BOUND, down).await.unwrap();
    assert_eq!(std::fs::read_to_string(&beat).unwrap(), last, "the task outlived the power cut");
    cluster.server.allocations_when("web", &ClientStatus::Lost, 1, BOUND).await.unwrap();
    eventually("the work to wait again", BOUND, || async {
        let (all, _) = cluster.server.api().blocked_evaluations(&QueryOptions::NOW).await?;
        Ok(Probe::of((all.len() == 1).then_some(()), || format!("{all:?}")))
    })
    .await
    .unwrap();
}
