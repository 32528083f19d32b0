//! Story 5. Goal: a policy of the host's own utilisation strategy neither ratchets up while a machine
//! boots slowly nor loses a machine in a lull. Method: the share of CPU that is allocated is set by jobs.

use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use nomad_api::ClientStatus;
use testkit::evidence::between;
use testkit::rig::{PATH_BOUND, Rig, RigSpec};
use testkit::wait::{Probe, eventually};
use testkit::work::ShellJob;
use virtual_rack::machine::Phase;
use virtual_rack::relay::Power;

/// Eight ticks of the policy: at each of them it would ask for more.
const SLOW_BOOT: Duration = Duration::from_secs(8);

/// The window that a lull is to be shorter than: long beside its two ticks; and another one for a host on which it is not.
const WINDOWS: [u64; 2] = [10, 45];

/// The heartbeats of a window, a second each, and some more.
const AFTER_WINDOW: u64 = 3;

#[test]
fn a_utilisation_policy_asks_for_more_once_while_a_machine_boots_slowly() {
    crate::story("utilisation during a slow boot", slow_boot());
}

#[test]
fn a_lull_shorter_than_the_window_costs_no_machine() {
    crate::story("utilisation in a lull", async {
        for window in WINDOWS {
            if lull(window).await? == Lull::Short {
                return Ok(());
            }
        }
        bail!("no lull was shorter than its window: nothing is shown")
    });
}

async fn slow_boot() -> Result<()> {
    let spec = RigSpec { boot: SLOW_BOOT, on: 1, ..RigSpec::utilised(4, 60, "") };
    let rig = Rig::start(&spec).await?;
    // 90 % of one machine is 45 % of two: one more is right.
    let job = ShellJob { cpu_mhz: 1800, ..ShellJob::service("busy", 1) };
    rig.server.run_job(&job).await?;
    rig.server.allocations_when("busy", &ClientStatus::Running, 1, PATH_BOUND).await?;
    rig.until(2, Phase::Up).await?;
    for edge in rig.all_edges().await? {
        rig.server.node_ready(&edge.machine.context("an edge of no machine")?).await?;
    }
    rig.heartbeats(3).await?;
    let edges = rig.all_edges().await?;
    ensure!(edges.len() == 1 && edges[0].edge == Power::On, "one on-edge is right: {edges:?}");
    Ok(())
}

/// How a lull was.
#[derive(Debug, PartialEq, Eq)]
enum Lull {
    Short,
    /// The host is slow, and nothing is shown.
    Long,
}

async fn lull(window: u64) -> Result<Lull> {
    let target = format!("scale_in_window = \"{window}s\"");
    let rig = Rig::start(&RigSpec::utilised(2, 60, &target)).await?;
    let busy = |id: &str| ShellJob { cpu_mhz: 1500, ..ShellJob::service(id, 1) };
    let running = ClientStatus::Running;
    rig.until(1, Phase::Up).await?;
    rig.server.run_job(&ShellJob { cpu_mhz: 300, ..ShellJob::service("always", 1) }).await?;
    rig.server.run_job(&busy("before")).await?;
    rig.until(2, Phase::Up).await?;

    rig.server.stop_job("before").await?;
    let lull = rig.now().await?;
    eventually("the policy to ask for less", PATH_BOUND, async || {
        let why = rig.lamplighter(&["why", "rack"]).await?.success()?;
        let asks = why.contains("asks for fewer than 2");
        Ok(Probe::of(asks.then_some(()), || why))
    })
    .await
    .with_context(|| rig.logs())?;
    rig.server.run_job(&busy("after")).await?;
    rig.server.allocations_when("after", &running, 1, PATH_BOUND).await?;
    let over = between(lull, rig.now().await?);
    if over >= Duration::from_secs(window) {
        eprintln!("the lull took {over:?}, longer than its window of {window} s");
        return Ok(Lull::Long);
    }

    // A machine that the window let go would be ineligible at once.
    let shown = Duration::from_secs(window + AFTER_WINDOW);
    while between(lull, rig.now().await?) <= shown {
        rig.heartbeats(1).await?;
    }
    for machine in ["node1", "node2"] {
        let edges = rig.edges(machine).await?;
        ensure!(edges == [Power::On], "{machine} has {edges:?}");
        rig.ensure_untouched(machine).await?;
    }
    Ok(Lull::Short)
}
