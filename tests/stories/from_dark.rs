//! Story 1. Goal: a job with count 3 waits, three machines are lit, it runs; it is stopped, the rack goes
//! dark. Method: the whole installation with four dark machines, each with room for one instance; once more on the
//! stand-ins for Nomad and for the autoscaler, for those who have no Go.

use std::time::Duration;

use agent_api::{AgentAddress, Client, Plan, PlanLine};
use anyhow::{Context as _, Result, ensure};
use fleet::{ClusterId, Fence, FenceNumber, MachineName, OnSoftOffTimeout, PlanId, PoolName, Verb};
use nomad_api::ClientStatus;
use serde_json::Value;
use testkit::cluster::Hosts;
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
    crate::story("from dark", from_dark(Hosts::Real));
}

#[test]
fn on_the_stand_in_a_waiting_job_lights_three_machines_and_an_empty_cluster_goes_dark() {
    crate::told("from dark on the stand-in", from_dark(Hosts::StandIn));
}

async fn from_dark(hosts: Hosts) -> Result<()> {
    let rig = Rig::start(&RigSpec::dark_on(hosts, 4)).await?;
    rig.server.run_job(&filling_job("web", 3)).await?;
    rig.until(3, Phase::Up).await?;
    rig.server.allocations_when("web", &ClientStatus::Running, 3, PATH_BOUND).await?;
    assert_edges(&rig, &[Power::On]).await?;
    plans_are_told(&rig).await?;

    rig.server.stop_job("web").await?;
    rig.until(4, Phase::Dark).await?;
    assert_edges(&rig, &[Power::On, Power::Off]).await
}

#[test]
fn a_plan_is_told_with_what_its_orders_would_do_and_nothing_moves() {
    crate::story("a plan foretold", async {
        let mut rig = Rig::prepare(&RigSpec::dark(1)).await?;
        rig.start_agent().await?;
        let socket = format!("unix:{}", rig.dir.join("agent.sock").display());
        let client = Client::connect_lazy(&socket.parse::<AgentAddress>()?);
        let (pool, cluster) = (PoolName::new("rack")?, ClusterId::new("global")?);
        client.claim(&Fence { cluster, pool: pool.clone(), number: FenceNumber(1) }).await?;
        let line = |text: &str, verb| {
            let machine = Some(MachineName::new("node1")?);
            anyhow::Ok(PlanLine { machine, text: text.to_owned(), verb })
        };
        let plan = Plan {
            id: PlanId::new("plan-7")?,
            pool,
            author: "target".to_owned(),
            lines: vec![line("is being lit", Some(Verb::On))?],
            age: Duration::ZERO,
            inputs: vec![line("off; no node", None)?],
            on_soft_off_timeout: OnSoftOffTimeout::Cut,
        };
        client.record_plan(&plan).await?;
        let said = rig.lamplighter(&["plan", "rack"]).await?.success()?;
        for part in [
            "rack: plan plan-7 (target,",
            "node1: is being lit",
            "on at unix:",
            "would begin at once",
            " closes\n",
            "made from:\n    node1: off; no node",
        ] {
            ensure!(said.contains(part), "{part:?} is missing in\n{said}");
        }
        let why = rig.lamplighter(&["why", "node1"]).await?.success()?;
        ensure!(why.contains("plan plan-7 (target):") && why.contains("in pool rack"), "{why}");
        let nobody = rig.lamplighter(&["why", "node9"]).await?;
        ensure!(nobody.code == 2, "{nobody:?}");
        ensure!(rig.all_edges().await?.is_empty(), "nothing was ordered");
        Ok(())
    });
}

/// Each order is part of a plan: history names it, and it can be read as it was.
async fn plans_are_told(rig: &Rig) -> Result<()> {
    let told = rig.power_agent(&["--json", "history"]).await?.success()?;
    let told: Value = serde_json::from_str(&told)?;
    let orders = told["operations"].as_array().context("a list")?;
    ensure!(orders.len() == 3, "{told:#}");
    for order in orders {
        let (machine, plan) = (order["machine"].as_str(), order["plan"].as_str());
        let (machine, plan) = machine.zip(plan).with_context(|| format!("of no plan: {order}"))?;
        let past = rig.lamplighter(&["plan", "rack", "--id", plan]).await?.success()?;
        ensure!(past.contains(&format!("{machine}: is being lit")), "{past}");
        ensure!(past.contains("made from:") && past.contains("Nomad answers"), "{past}");
        let why = rig.lamplighter(&["why", machine]).await?.success()?;
        for part in [plan, "on: done in", "read back on", "reads on,"] {
            ensure!(why.contains(part), "{part:?} is missing in\n{why}");
        }
    }
    Ok(())
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
