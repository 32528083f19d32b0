//! Story 1. Goal: a job with count 3 waits, three machines are lit, it runs; it is stopped, the rack goes
//! dark. Method: the whole installation with four dark machines, each with room for one instance.

use anyhow::{Result, ensure};
use nomad_api::ClientStatus;
use testkit::rig::{PATH_BOUND, Rig, RigSpec};
use testkit::work::ShellJob;
use virtual_rack::machine::Phase;
use virtual_rack::relay::Power;

/// A job of which one instance fills one machine.
fn filling_job(id: &str, count: u32) -> ShellJob {
    ShellJob { cpu_mhz: 1500, ..ShellJob::service(id, count) }
}

#[test]
fn a_waiting_job_lights_three_machines_and_an_empty_cluster_goes_dark() {
    crate::story("from dark", async {
        let rig = Rig::start(&RigSpec::dark(4)).await?;
        rig.server.run_job(&filling_job("web", 3)).await?;
        rig.until(3, Phase::Up).await?;
        rig.server.allocations_when("web", &ClientStatus::Running, 3, PATH_BOUND).await?;
        assert_edges(&rig, &[Power::On]).await?;

        rig.server.stop_job("web").await?;
        rig.until(4, Phase::Dark).await?;
        assert_edges(&rig, &[Power::On, Power::Off]).await
    });
}

/// Three machines have exactly these edges, the fourth has none.
async fn assert_edges(rig: &Rig, expected: &[Power]) -> Result<()> {
    let mut lit = 0;
    for number in 1..=4 {
        let edges = rig.edges(&format!("node{number}")).await?;
        if !edges.is_empty() {
            ensure!(edges == expected, "node{number}: {edges:?} instead of {expected:?}");
            lit += 1;
        }
    }
    ensure!(lit == 3, "{lit} machines have edges instead of 3");
    Ok(())
}
