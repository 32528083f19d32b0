//! Story 7. Goal: whatever comes first, and whatever is asked, the installation finds its way or says why
//! not. Method: its parts are started out of order and configured anew, and work waits that fits nowhere.

use anyhow::{Result, ensure};
use nomad_api::ClientStatus;
use testkit::rig::{PATH_BOUND, Rig, RigSpec};
use testkit::wait::{Probe, eventually};
use testkit::work::ShellJob;
use virtual_rack::relay::Power;

#[test]
fn an_autoscaler_that_starts_before_the_agent_converges_once_the_agent_comes() {
    crate::story("late agent", async {
        let mut rig = Rig::prepare(&RigSpec::dark(2)).await?;
        rig.server.run_job(&filling_job("web", 1)).await?;
        rig.start_autoscaler().await?;
        rig.heartbeats(2).await?;
        ensure!(rig.all_edges().await?.is_empty(), "a relay has moved without an agent");

        rig.start_agent().await?;
        rig.server.allocations_when("web", &ClientStatus::Running, 1, PATH_BOUND).await?;
        assert_lit(&rig, 1).await
    });
}

#[test]
fn an_autoscaler_that_starts_before_nomad_converges_once_nomad_comes() {
    crate::story("late Nomad", async {
        let mut rig = Rig::prepare(&RigSpec::dark(2)).await?;
        rig.start_agent().await?;
        rig.server.run_job(&filling_job("web", 1)).await?;
        rig.server.stop().await?;
        rig.job_policies = false;
        rig.start_autoscaler().await?;
        rig.told_not_ready().await?;
        ensure!(rig.all_edges().await?.is_empty(), "a relay has moved without Nomad");

        rig.server.run().await?;
        rig.server.allocations_when("web", &ClientStatus::Running, 1, PATH_BOUND).await?;
        assert_lit(&rig, 1).await
    });
}

#[test]
fn after_a_sighup_with_other_agents_and_another_heartbeat_the_pool_goes_on_where_it_was() {
    crate::story("SIGHUP", async {
        let mut rig = Rig::start(&RigSpec::dark(3)).await?;
        rig.server.run_job(&filling_job("web", 1)).await?;
        rig.server.allocations_when("web", &ClientStatus::Running, 1, PATH_BOUND).await?;

        // An agent that never answers: a pool with a record does not wait for it.
        rig.agents.push_str(&format!(",unix:{}", rig.dir.join("nobody.sock").display()));
        rig.heartbeat = "2s";
        rig.write_autoscaler_config()?;
        rig.reload_autoscaler()?;
        let silent = "nobody.sock";
        why_says(&rig, &[silent, "does not answer"]).await?;
        rig.server.run_job(&filling_job("web", 2)).await?;
        rig.server.allocations_when("web", &ClientStatus::Running, 2, PATH_BOUND).await?;
        assert_lit(&rig, 2).await
    });
}

#[test]
fn a_job_that_fits_no_machine_lights_nothing_and_why_names_it_and_what_it_lacks() {
    crate::story("a job that fits nowhere", async {
        let rig = Rig::start(&RigSpec::dark(2)).await?;
        rig.server.run_job(&ShellJob { cpu_mhz: 90_000, ..ShellJob::service("giant", 1) }).await?;
        why_says(&rig, &["giant", "90000 MHz"]).await?;
        rig.heartbeats(3).await?;
        ensure!(rig.all_edges().await?.is_empty(), "a relay has moved for work that fits nowhere");

        rig.server.run_job(&filling_job("web", 1)).await?;
        rig.server.allocations_when("web", &ClientStatus::Running, 1, PATH_BOUND).await?;
        assert_lit(&rig, 1).await
    });
}

/// A job of which one instance fills one machine.
fn filling_job(id: &str, count: u32) -> ShellJob {
    ShellJob { cpu_mhz: 1500, ..ShellJob::service(id, count) }
}

/// Waits until a line of `lamplighter why rack` has all these words.
async fn why_says(rig: &Rig, words: &[&str]) -> Result<()> {
    eventually(&format!("`why` to say {words:?}"), PATH_BOUND, async || {
        let said = rig.lamplighter(&["why", "rack"]).await?;
        let told = said.out.lines().any(|line| words.iter().all(|word| line.contains(word)));
        Ok(Probe::of(told.then_some(()), || format!("{said:?}")))
    })
    .await
}

/// So many machines have been lit, once, and none was cut.
async fn assert_lit(rig: &Rig, count: usize) -> Result<()> {
    let edges = rig.all_edges().await?;
    let lit = edges.iter().all(|edge| edge.edge == Power::On);
    ensure!(lit && edges.len() == count, "{edges:?} instead of {count} on-edges");
    Ok(())
}
