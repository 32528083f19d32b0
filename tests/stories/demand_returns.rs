//! Story 3. Goal: work that comes while a machine drains gets that machine, and no relay moves. Method: a
//! system job that ends when the story lets it holds the drain of an idle machine open; work that has room
//! nowhere else comes meanwhile. And once more while Nomad itself still drains, with a plugin that takes over from
//! the one that began it: a service that is held in the same way, and a policy that wants its machine again.

use anyhow::{Context as _, Result, ensure};
use nomad_api::{ClientStatus, Eligibility, Node};
use testkit::diary::Diary;
use testkit::rig::{PATH_BOUND, Rig, RigSpec, fixed_policy};
use testkit::work::ShellJob;
use virtual_rack::relay::Power;

#[test]
fn demand_that_returns_during_a_drain_cancels_it_and_no_relay_moves() {
    crate::story("the demand returns during a drain", demand_returns());
}

#[test]
fn a_drain_that_another_plugin_began_is_cancelled_when_its_machine_is_wanted_again() {
    crate::story("a drain changes hands", drain_changes_hands());
}

async fn drain_changes_hands() -> Result<()> {
    let spec = RigSpec { policy: fixed_policy(2, 2, ""), ..RigSpec::dark(2) };
    let mut rig = Rig::start(&spec).await?;
    let diary = Diary::new(&rig.dir);
    let gate = rig.dir.join("gate");
    let slow = ShellJob { cpu_mhz: 1500, count: 2, ..diary.held_service("slow", &gate) };
    rig.server.run_job(&slow).await?;
    diary.said_when("slow", "begin", 2, PATH_BOUND).await?;

    rig.stop_autoscaler().await?;
    rig.start_autoscaler_with(&fixed_policy(1, 2, "")).await?;
    let asked = diary.said_when("slow", "asked", 1, PATH_BOUND).await?;
    let draining = node(&rig, &asked.node).await?;
    ensure!(draining.drain_strategy.is_some(), "{} does not drain: {draining:?}", asked.node);

    rig.stop_autoscaler().await?;
    rig.start_autoscaler_with(&fixed_policy(2, 2, "")).await?;
    let eligible =
        |node: &nomad_api::NodeStub| node.eligibility == Eligibility::Eligible && !node.drain;
    rig.server.node_when(&asked.node, "is eligible again", PATH_BOUND, eligible).await?;
    ensure!(diary.said("slow", "end")?.is_empty(), "it was not held: nothing is shown");

    // What the drain had asked to stop ends, and begins again where there is room: on its own machine.
    std::fs::write(&gate, "")?;
    let back = diary.said_when("slow", "begin", 3, PATH_BOUND).await?;
    ensure!(back.node == asked.node, "{back:?} instead of on {}", asked.node);
    rig.heartbeats(3).await?;
    for machine in ["node1", "node2"] {
        let edges = rig.edges(machine).await?;
        ensure!(edges == [Power::On], "{machine} has {edges:?}: a relay has moved");
    }
    Ok(())
}

/// A job of which one instance fills one machine.
fn filling_job(id: &str) -> ShellJob {
    ShellJob { cpu_mhz: 1500, ..ShellJob::service(id, 1) }
}

async fn demand_returns() -> Result<()> {
    let rig = Rig::start(&RigSpec::dark(2)).await?;
    let diary = Diary::new(&rig.dir);
    let gate = rig.dir.join("gate");
    let slow = diary.held_service("slow", &gate);
    rig.server.run_job(&ShellJob { job_type: "system".to_owned(), ..slow }).await?;
    rig.server.run_job(&filling_job("stays")).await?;
    rig.server.run_job(&filling_job("goes")).await?;
    let running = ClientStatus::Running;
    let goes = rig.server.allocations_when("goes", &running, 1, PATH_BOUND).await?;
    let machine = goes[0].node_name.clone();
    diary.said_when("slow", "begin", 2, PATH_BOUND).await?;

    rig.server.stop_job("goes").await?;
    let asked = diary.said_when("slow", "asked", 1, PATH_BOUND).await?;
    ensure!(asked.node == machine, "{} drains, but {machine} is idle", asked.node);
    // Nomad calls a drain complete as soon as only system work is left, and while that still stops.
    let leaving = node(&rig, &machine).await?;
    ensure!(leaving.eligibility == Eligibility::Ineligible, "{machine} is {leaving:?}");
    ensure!(leaving.last_drain.is_some(), "{machine} was not drained: {leaving:?}");

    rig.server.run_job(&filling_job("comes")).await?;
    let comes = rig.server.allocations_when("comes", &running, 1, PATH_BOUND).await?;
    ensure!(diary.said("slow", "end")?.is_empty(), "it was not held: nothing is shown");
    ensure!(comes[0].node_name == machine, "it runs on {}", comes[0].node_name);
    let kept = node(&rig, &machine).await?;
    ensure!(kept.drain_strategy.is_none(), "{machine} still drains: {kept:?}");
    ensure!(kept.eligibility == Eligibility::Eligible, "{machine} is {:?}", kept.eligibility);

    // What the drain had asked to stop ends and comes back; nothing else follows from it.
    std::fs::write(&gate, "")?;
    diary.said_when("slow", "end", 1, PATH_BOUND).await?;
    let back = diary.said_when("slow", "begin", 3, PATH_BOUND).await?;
    ensure!(back.node == machine, "{back:?} instead of on {machine}");
    rig.heartbeats(3).await?;
    for machine in ["node1", "node2"] {
        let edges = rig.edges(machine).await?;
        ensure!(edges == [Power::On], "{machine} has {edges:?}: a relay has moved");
    }
    rig.server.allocations_when("comes", &running, 1, PATH_BOUND).await?;
    Ok(())
}

/// A node as it is now.
async fn node(rig: &Rig, name: &str) -> Result<Node> {
    let stub = rig.server.node_ready(name).await?;
    rig.server.api().node(&stub.id).await?.context("a node that is listed is there")
}
