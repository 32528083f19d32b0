//! Story 14, the pools. Goal: what is done for one pool of an agent touches neither the machines nor the fence nor
//! the lease of another. Method: two pools on one agent and one rack, each with a policy and an autoscaler of its own;
//! the one grows while the other shrinks, then the one changes hands and has its fence reset.

use anyhow::{Context as _, Result, ensure};
use testkit::rig::{Rig, RigSpec};
use testkit::work::ShellJob;
use virtual_rack::machine::Phase;
use virtual_rack::relay::Power;

use crate::several::{edges, filling_job, running};

/// A job that fills machines of one pool.
fn job_of(pool: &str, count: u32) -> ShellJob {
    let class =
        format!("constraint {{\n  attribute = \"${{node.class}}\"\n  value = {pool:?}\n}}\n");
    ShellJob { in_job: class, ..filling_job(pool, count) }
}

/// The agent's line of the fence of a pool.
async fn fence_line(rig: &Rig, pool: &str) -> Result<Option<String>> {
    let listed = rig.power_agent(&["fence", "list"]).await?.success()?;
    let of_pool = format!("pool {pool}:");
    Ok(listed.lines().find(|line| line.contains(&of_pool)).map(str::to_owned))
}

#[test]
fn of_two_pools_on_one_agent_one_grows_while_the_other_shrinks_and_a_hand_over_of_one_leaves_the_other()
 {
    crate::story("several pools", async {
        let mut spec = RigSpec::dark(4);
        "rack".clone_into(&mut spec.machine.node_class);
        let mut rig = Rig::prepare(&spec).await?;
        let policy = rig.split_pool(4, 2)?;
        rig.start_agent().await?;
        let of_rack = rig.another_autoscaler("of-rack", false).await?;
        let rack = rig.lease_of_above("rack", 0).await?;
        // Who runs has read its policies; the next ones find only the other.
        std::fs::rename(rig.dir.join("policies/rack.hcl"), rig.dir.join("rack.hcl"))?;
        std::fs::write(rig.dir.join("policies/other.hcl"), policy)?;
        let of_other = rig.another_autoscaler("of-other", false).await?;
        let other = rig.lease_of_above("other", 0).await?;

        rig.server.run_job(&job_of("other", 2)).await?;
        running(&rig, "other", 2).await?;
        let lit = edges(&rig).await?;
        ensure!(lit.keys().eq(["node3", "node4"]), "{lit:?}");

        rig.server.stop_job("other").await?;
        rig.server.run_job(&job_of("rack", 2)).await?;
        running(&rig, "rack", 2).await?;
        rig.until(2, Phase::Dark).await?;
        let moved = edges(&rig).await?;
        for (name, edges) in &moved {
            let is_other = ["node3", "node4"].contains(&name.as_str());
            let expected: &[Power] = if is_other { &[Power::On, Power::Off] } else { &[Power::On] };
            ensure!(edges == expected && moved.len() == 4, "{moved:?}");
        }

        // The other pool changes hands, and its fence is forgotten: nothing of the first is touched.
        let fence = fence_line(&rig, "rack").await?.context("the rack's fence")?;
        of_other.process.kill().await?;
        let _next = rig.another_autoscaler("next", false).await?;
        rig.lease_of_above("other", other.fence).await?;
        let told = ["fence", "reset", "other", "--reason", "a story"];
        rig.power_agent(&told).await?.success()?;
        rig.server.run_job(&job_of("other", 1)).await?;
        running(&rig, "other", 1).await?;
        rig.heartbeats(2).await?;
        let is = rig.lease_of("rack").await?.context("the record stands")?;
        ensure!(is == rack, "{rack:?}, then {is:?}\n{}", testkit::process::tail_of(&of_rack.log));
        ensure!(fence_line(&rig, "rack").await? == Some(fence), "the rack's fence has moved");
        ensure!(fence_line(&rig, "other").await?.is_some(), "nobody has claimed the other anew");
        let untouched = edges(&rig).await?;
        for name in ["node1", "node2"] {
            ensure!(untouched[name] == [Power::On], "{untouched:?}");
        }
        Ok(())
    });
}
