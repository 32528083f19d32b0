//! Story 6, again with work that arrives while a person switches an empty machine off. Goal: Nomad places nothing
//! on a machine that is about to go. Method: a job is sent while the machine shuts down.

use std::time::Duration;

use anyhow::{Result, ensure};
use nomad_api::{ClientStatus, QueryOptions};
use testkit::rig::{PATH_BOUND, Rig, RigSpec, fixed_policy};
use testkit::work::ShellJob;
use virtual_rack::machine::Phase;
use virtual_rack::relay::Power;

/// Longer than Nomad takes to place work on a node that may take some.
const SHUTDOWN: Duration = Duration::from_secs(4);

#[test]
fn work_that_arrives_while_an_empty_machine_is_switched_off_is_not_placed_there() {
    crate::story("a person's off and a placement", async {
        let policy = fixed_policy(1, 1, "");
        let spec = RigSpec { policy, shutdown: SHUTDOWN, ..RigSpec::dark(1) };
        let rig = Rig::start(&spec).await?;
        rig.until(1, Phase::Up).await?;
        rig.server.node_ready("node1").await?;

        let off = ["off", "node1", "--reason", "fan is loud"];
        let (said, sent) = tokio::join!(rig.power_agent(&off), send_during_shutdown(&rig));
        said?.success()?;
        sent?;
        ensure!(placed(&rig).await? == 0, "it was placed on a machine that shut down");
        ensure!(rig.edges("node1").await? == [Power::On, Power::Off], "not switched as ordered");

        // Its node takes work again once it may be lit.
        rig.power_agent(&["release", "node1"]).await?.success()?;
        rig.server.allocations_when("web", &ClientStatus::Running, 1, PATH_BOUND).await?;
        ensure!(placed(&rig).await? == 1, "it was placed more than once");
        Ok(())
    });
}

async fn send_during_shutdown(rig: &Rig) -> Result<()> {
    rig.rack.wait("node1", Phase::ShuttingDown, PATH_BOUND).await?;
    rig.server.run_job(&ShellJob::service("web", 1)).await.map(drop)
}

/// How often the work was placed.
async fn placed(rig: &Rig) -> Result<usize> {
    let api = rig.server.api();
    let (all, _) = api.job_allocations("default", "web", &QueryOptions::NOW).await?;
    Ok(all.len())
}
