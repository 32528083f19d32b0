//! Story 14, the snapshot. Goal: a Nomad that is restored to a state of before moves no machine, and its work goes on:
//! what runs, and what is new, once the clients that Nomad has forgotten were started anew, as `why` says. Method: one
//! snapshot, restored under a living autoscaler, under none, and under none while the agent was away as well.

use std::collections::BTreeMap;

use anyhow::{Context as _, Result, ensure};
use nomad_api::{ClientStatus, NodeStatus, QueryOptions};
use testkit::rig::{PATH_BOUND, Rig, RigSpec, waiting_policy};
use testkit::wait::{Probe, eventually};
use virtual_rack::relay::Power;

use crate::several::{edges, filling_job, running};

/// How often a person has started each machine anew.
#[derive(Default)]
struct Cycles(BTreeMap<String, usize>);

impl Cycles {
    /// Starts the machines anew whose nodes Nomad has forgotten, as `why` says it of them. Those that come back by
    /// themselves (a client whose fingerprint has just changed registers again) are left alone.
    async fn of_forgotten(&mut self, rig: &Rig) -> Result<()> {
        for machine in edges(rig).await?.into_keys() {
            let what = format!("{machine}'s node");
            let forgotten = eventually(&what, PATH_BOUND, async || {
                let (nodes, _) = rig.server.api().nodes(&QueryOptions::NOW).await?;
                let ready =
                    nodes.iter().any(|n| n.name == machine && n.status == NodeStatus::Ready);
                let why = rig.lamplighter(&["why", "rack"]).await?;
                let said = format!("{machine}: is on, and Nomad does not know its node");
                let told = why.out.contains(&said);
                let seen = match (ready, told) {
                    (true, _) => Some(false),
                    (false, true) => Some(true),
                    (false, false) => None,
                };
                Ok(Probe::of(seen, || format!("{why:?}")))
            });
            if forgotten.await.with_context(|| rig.logs())? {
                let why = "Nomad was restored from a snapshot";
                let argv = ["cycle", &machine, "--force", "--reason", why];
                rig.power_agent(&argv).await?.success()?;
                *self.0.entry(machine).or_default() += 1;
            }
        }
        Ok(())
    }

    /// So many machines have been lit once, and none was cut but by the person.
    async fn assert_lit(&self, rig: &Rig, count: usize) -> Result<()> {
        let found = edges(rig).await?;
        let as_told = found.iter().all(|(machine, edges)| {
            let cycles = self.0.get(machine).copied().unwrap_or_default();
            let cycled = [Power::Off, Power::On].repeat(cycles);
            *edges == [vec![Power::On], cycled].concat()
        });
        ensure!(as_told && found.len() == count, "{found:?}, {count} lit, cycled {:?}", self.0);
        Ok(())
    }
}

/// The highest fence that the agent knows.
async fn known_fence(rig: &Rig) -> Result<u64> {
    let listed = rig.power_agent(&["fence", "list"]).await?.success()?;
    let known = listed.trim().strip_prefix("cluster global, pool rack: ");
    Ok(known.with_context(|| listed.clone())?.parse()?)
}

async fn restore(rig: &Rig, file: &str) -> Result<()> {
    rig.server.cli(&["operator", "snapshot", "restore", file], None).await.map(drop)
}

/// Restores the state of before, and returns the fence of its record, which is below all that have been.
async fn restore_below(rig: &Rig, file: &str, fence: u64) -> Result<u64> {
    restore(rig, file).await?;
    let restored = rig.lease().await?.context("the record stands")?.fence;
    ensure!(restored < fence, "the snapshot is of before {fence}, and has {restored}");
    Ok(restored)
}

#[test]
fn after_nomad_is_restored_from_a_snapshot_the_pool_goes_on_under_a_higher_fence() {
    crate::story("a restored snapshot", async {
        // Machines whose work Nomad has forgotten stay on until that work is asked for again.
        let policy = waiting_policy(0, 4, "min_on = \"10m\"\nidle_time = \"10m\"");
        let mut rig = Rig::start(&RigSpec { policy, ..RigSpec::dark(4) }).await?;
        rig.server.run_job(&filling_job("web", 1)).await?;
        running(&rig, "web", 1).await?;
        let kept =
            rig.server.allocations_when("web", &ClientStatus::Running, 1, PATH_BOUND).await?;
        let file = rig.dir.join("nomad.snap");
        let file = file.to_str().context("a path of letters")?;
        rig.server.cli(&["operator", "snapshot", "save", file], None).await?;

        // Two more lives of the autoscaler, whose fences the agent learns and the snapshot has not.
        let mut cycles = Cycles::default();
        let mut fence = rig.lease_above(0).await?.fence;
        for count in [2, 2] {
            rig.stop_autoscaler().await?;
            rig.start_autoscaler().await?;
            fence = rig.lease_above(fence).await?.fence;
            rig.server.run_job(&filling_job("web", count)).await?;
            running(&rig, "web", 2).await?;
        }
        restore(&rig, file).await?;
        rig.lease_above(fence).await?;
        rig.server.run_job(&filling_job("web", 3)).await?;
        cycles.of_forgotten(&rig).await?;
        running(&rig, "web", 3).await?;
        cycles.assert_lit(&rig, 3).await?;

        // And a plugin that starts with the restored record knows of the fences by the agents alone.
        let fence = rig.lease().await?.context("the record stands")?.fence;
        rig.stop_autoscaler().await?;
        restore_below(&rig, file, fence).await?;
        rig.start_autoscaler().await?;
        rig.lease_above(fence).await?;
        ensure!(known_fence(&rig).await? >= fence, "the agent has forgotten who ordered");
        rig.server.run_job(&filling_job("more", 3)).await?;
        cycles.of_forgotten(&rig).await?;
        running(&rig, "more", 3).await?;
        cycles.assert_lit(&rig, 4).await?;

        // Of an agent that was away as well nobody knew: once it is back, the holder goes above it.
        let fence = known_fence(&rig).await?;
        rig.stop_autoscaler().await?;
        rig.stop_agent().await?;
        let restored = restore_below(&rig, file, fence).await?;
        rig.start_autoscaler().await?;
        let taken = rig.lease_above(restored).await?.fence;
        ensure!(taken < fence, "{taken} is above {fence}, of which nobody could tell");
        rig.start_agent().await?;
        rig.lease_above(fence).await?;
        rig.server.run_job(&filling_job("web", 4)).await?;
        cycles.of_forgotten(&rig).await?;
        running(&rig, "web", 4).await?;
        ensure!(known_fence(&rig).await? > fence, "the agent has not heard of it");
        cycles.assert_lit(&rig, 4).await?;

        // The one that the snapshot knew has run through all of it.
        let runs =
            rig.server.allocations_when("web", &ClientStatus::Running, 4, PATH_BOUND).await?;
        let still = runs.iter().any(|run| run.id == kept[0].id);
        ensure!(still, "{:?} runs no more", kept[0].id);
        Ok(())
    });
}
