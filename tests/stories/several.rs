//! Story 14. Goal: of everything there may be several, and whichever of them dies, stops or comes back, no
//! machine moves but those that are meant to. Method: two agents on the boards of one rack, two autoscalers
//! on one Nomad, killed and stopped in mid scale-out.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use agent_api::{AgentAddress, Answer, Client};
use anyhow::{Context as _, Result, bail, ensure};
use fleet::{
    ClusterId, Fence, FenceNumber, MachineName, OnSoftOffTimeout, OperationId, Order, Origin,
    PoolName, Reason, RefusalCode, Verb,
};
use nomad_api::ClientStatus;
use rustix::process::Signal;
use testkit::process::tail_of;
use testkit::rig::{PATH_BOUND, Rig, RigSpec};
use testkit::wait::{Probe, eventually};
use testkit::work::ShellJob;
use virtual_rack::machine::Phase;
use virtual_rack::relay::Power;

/// A job of which one instance fills one machine.
pub(crate) fn filling_job(id: &str, count: u32) -> ShellJob {
    ShellJob { cpu_mhz: 1500, ..ShellJob::service(id, count) }
}

/// The edges of each machine that has any.
pub(crate) async fn edges(rig: &Rig) -> Result<BTreeMap<String, Vec<Power>>> {
    let mut found: BTreeMap<String, Vec<Power>> = BTreeMap::new();
    for edge in rig.all_edges().await? {
        found.entry(edge.machine.unwrap_or_default()).or_default().push(edge.edge);
    }
    Ok(found)
}

/// So many machines have been lit, once each, and none was cut.
pub(crate) async fn assert_lit(rig: &Rig, count: usize) -> Result<()> {
    let found = edges(rig).await?;
    let once = found.values().all(|edges| edges == &[Power::On]);
    ensure!(once && found.len() == count, "{found:?} instead of {count} machines lit once");
    Ok(())
}

/// Waits until so many relays have closed.
async fn lit(rig: &Rig, count: usize) -> Result<()> {
    eventually(&format!("{count} closed relays"), PATH_BOUND, async || {
        let found = edges(rig).await?;
        Ok(Probe::of((found.len() >= count).then_some(()), || format!("{found:?}")))
    })
    .await
    .with_context(|| rig.logs())
}

pub(crate) async fn running(rig: &Rig, id: &str, count: usize) -> Result<()> {
    let found = rig.server.allocations_when(id, &ClientStatus::Running, count, PATH_BOUND).await;
    found.map(drop).with_context(|| rig.logs())
}

#[test]
fn of_two_agents_one_dies_in_a_scale_out_and_stands_still_in_a_scale_in() {
    crate::story("several agents", async {
        let spec = RigSpec { channels: 2, ..RigSpec::dark(4) };
        let mut rig = Rig::prepare(&spec).await?;
        rig.split_agent()?;
        rig.start_agent().await?;
        let second = rig.start_second_agent().await?;
        rig.start_autoscaler().await?;
        rig.lease_above(0).await?;
        rig.heartbeats(2).await?;

        // The other agent's machines are lit; its own are not, and it is named.
        second.kill().await?;
        rig.server.run_job(&filling_job("web", 3)).await?;
        running(&rig, "web", 2).await?;
        why_says(&rig, &["second.sock", "does not answer"]).await?;
        rig.heartbeats(2).await?;
        assert_lit(&rig, 2).await?;

        // A plugin that starts now has never heard it, and neither lights nor cuts by guesses.
        let second = rig.start_second_agent().await?;
        running(&rig, "web", 3).await?;
        assert_lit(&rig, 3).await?;
        let on_second = [rig.edges("node3").await?, rig.edges("node4").await?].concat();
        ensure!(on_second == [Power::On], "{on_second:?}");

        // Of an agent that stands still nothing is switched, and nothing is lit in its place.
        second.signal(Signal::STOP)?;
        why_says(&rig, &["second.sock", "does not answer"]).await?;
        rig.stop_autoscaler().await?;
        rig.start_autoscaler().await?;
        why_says(&rig, &["second.sock", "does not answer"]).await?;
        rig.heartbeats(3).await?;
        assert_lit(&rig, 3).await?;
        rig.server.stop_job("web").await?;
        rig.until(1, Phase::Up).await?;
        rig.heartbeats(3).await?;
        ensure!(rig.machines_in(Phase::Up).await? == 1, "{:?}", edges(&rig).await?);

        second.signal(Signal::CONT)?;
        rig.until(4, Phase::Dark).await?;
        let found = edges(&rig).await?;
        let once = found.values().all(|edges| edges == &[Power::On, Power::Off]);
        ensure!(once && found.len() == 3, "{found:?}");
        Ok(())
    });
}

#[test]
fn an_autoscaler_that_dies_in_a_scale_out_is_followed_by_one_with_a_higher_fence() {
    crate::story("hand-over", async {
        let boot = Duration::from_secs(3);
        let spec = RigSpec { boot, ..RigSpec::dark(3) };
        let mut rig = Rig::prepare(&spec).await?;
        rig.start_agent().await?;
        let first = rig.elected_autoscaler("first").await?;
        let was = rig.lease_above(0).await.with_context(|| tail_of(&first.log))?;
        let _second = rig.elected_autoscaler("second").await?;
        rig.heartbeats(1).await?;
        rig.server.run_job(&filling_job("web", 3)).await?;
        lit(&rig, 1).await?;
        first.process.kill().await?;
        let is = rig.lease_above(was.fence).await?;
        ensure!(is.holder != was.holder, "{was:?}, then {is:?}");
        running(&rig, "web", 3).await?;
        rig.heartbeats(2).await?;
        assert_lit(&rig, 3).await
    });
}

#[test]
fn a_leader_that_stood_still_and_comes_back_is_refused_and_steps_down() {
    crate::story("a stale leader", async {
        let mut rig = Rig::prepare(&RigSpec::dark(3)).await?;
        rig.start_agent().await?;
        let first = rig.elected_autoscaler("first").await?;
        let was = rig.lease_above(0).await.with_context(|| tail_of(&first.log))?;
        let _second = rig.elected_autoscaler("second").await?;
        rig.server.run_job(&filling_job("web", 2)).await?;
        lit(&rig, 1).await?;
        first.process.signal(Signal::STOP)?;
        let is = rig.lease_above(was.fence).await?;
        rig.server.run_job(&filling_job("web", 3)).await?;
        running(&rig, "web", 3).await?;
        assert_lit(&rig, 3).await?;

        // An order that was under way when it stood still, as the agent would hear it now.
        stale_order_is_refused(&rig, was.fence).await?;
        first.process.signal(Signal::CONT)?;
        first.says(&["another autoscaler has written the pool's record"]).await?;
        rig.heartbeats(5).await?;
        let now = rig.lease().await?.context("the record stands")?;
        ensure!(now == is, "{is:?}, then {now:?}");
        assert_lit(&rig, 3).await
    });
}

#[test]
fn an_autoscaler_whose_token_lacks_its_lock_ends_and_the_least_policy_says_what_it_lacked() {
    crate::story("an election without the right", async {
        let mut rig = Rig::prepare(&RigSpec::dark(1)).await?;
        // The host's own call and its own words: they name neither the variable nor the capability.
        let mut denied = rig.another_autoscaler("denied", true).await?;
        const WORDS: &str = "locks: Unexpected response code: 403 (Permission denied)";
        denied.says(&[WORDS]).await?;
        let status = eventually("the host's end", PATH_BOUND, async || {
            Ok(Probe::of(denied.process.ended()?, || "it runs".to_owned()))
        });
        ensure!(!status.await?.success(), "it ended as if all were well");
        // What a person finds by these words: the policy that has the rule, and it is enough.
        for file in ["docs/policies.md", "examples/acl/autoscaler-ha.hcl"] {
            let root = Path::new(env!("CARGO_MANIFEST_DIR")).with_file_name("");
            let text = std::fs::read_to_string(root.join(file))?;
            ensure!(text.contains(WORDS), "{file} does not say so");
        }
        let granted = rig.elected_autoscaler("granted").await?;
        granted.says(&["running in HA mode"]).await?;
        rig.start_agent().await?;
        rig.lease_above(0).await.with_context(|| tail_of(&granted.log)).map(drop)
    });
}

/// The agent refuses an order under this fence, and says so in its log.
async fn stale_order_is_refused(rig: &Rig, fence: u64) -> Result<()> {
    let socket = format!("unix:{}", rig.dir.join("agent.sock").display());
    let client = Client::connect_lazy(&socket.parse::<AgentAddress>()?);
    let order = Order {
        operation: OperationId::new("from-the-past")?,
        machine: MachineName::new("node1")?,
        verb: Verb::Off,
        reason: Reason::new("an order that was under way"),
        origin: Origin::Autoscaler(Fence {
            cluster: ClusterId::new("global")?,
            pool: PoolName::new("rack")?,
            number: FenceNumber(fence),
        }),
        valid_for: Duration::from_secs(30),
        on_soft_off_timeout: OnSoftOffTimeout::Cut,
        force: false,
        drain: false,
        plan: None,
    };
    match client.set_power(&order).await? {
        Answer::Refused(refusal) => {
            ensure!(refusal.code == RefusalCode::StaleFence, "{refusal:?}");
        }
        Answer::Accepted { operation, .. } => bail!("obeyed: {operation:?}"),
    }
    let log = std::fs::read_to_string(rig.dir.join("agent.log"))?;
    let told = |line: &str| line.contains("order refused") && line.contains("from-the-past");
    ensure!(log.lines().any(told), "the refusal is not in the agent's log");
    Ok(())
}

#[test]
fn of_two_autoscalers_that_were_started_by_mistake_one_acts_and_the_other_says_why_not() {
    crate::story("two autoscalers", async {
        let mut rig = Rig::prepare(&RigSpec::dark(3)).await?;
        rig.start_agent().await?;
        let first = rig.another_autoscaler("first", false).await?;
        let was = rig.lease_above(0).await?;
        let second = rig.another_autoscaler("second", false).await?;
        second.says(&["Status is answered not ready", "holds the pool's lease"]).await?;
        second.says(&["policy_handler", "target is not ready"]).await?;
        rig.server.run_job(&filling_job("web", 2)).await?;
        running(&rig, "web", 2).await?;
        rig.heartbeats(3).await?;
        let is = rig.lease().await?.context("the record stands")?;
        ensure!(is == was, "the lease has wandered: {was:?}, then {is:?}");
        assert_lit(&rig, 2).await?;

        first.process.kill().await?;
        rig.lease_above(was.fence).await?;
        rig.server.run_job(&filling_job("web", 3)).await?;
        running(&rig, "web", 3).await?;
        assert_lit(&rig, 3).await
    });
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
