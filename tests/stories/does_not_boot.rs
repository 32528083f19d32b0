//! Story 13. Goal: a machine that does not boot is tried once more, then put aside with its reason, and the
//! next one does its work; a person's test boot returns it. Method: the virtual rack holds a machine's boots
//! back; asserted are the rack's edges, Nomad's nodes and what the agent keeps.

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;
use testkit::rig::{PATH_BOUND, Rig, RigSpec, fixed_policy};
use testkit::wait::{Probe, eventually};
use virtual_rack::machine::Phase;
use virtual_rack::relay::Power;

#[test]
fn a_machine_that_does_not_boot_is_cycled_once_and_quarantined_and_a_test_boot_returns_it() {
    crate::story("a machine that does not boot", async {
        let policy = fixed_policy(1, 2, "");
        let mut rig = Rig::prepare(&RigSpec { policy, ..RigSpec::dark(2) }).await?;
        shorten(&rig)?;
        rig.rack.fault("node1 no-boot").await?;
        rig.start_agent().await?;
        rig.start_autoscaler().await?;

        let cycled = [Power::On, Power::Off, Power::On];
        edges_are(&rig, "node1", &cycled).await?;
        ensure!(rig.edges("node2").await?.is_empty(), "none stands in while it is tried again");
        let told = machine_when(&rig, "node1", "in quarantine", |machine| {
            machine["quarantine"].is_object()
        });
        let told = told.await?;
        let reason = told["quarantine"]["reason"].as_str().unwrap_or_default().to_owned();
        ensure!(reason.contains("not after a power cycle either"), "{reason}");
        rig.rack.wait("node2", Phase::Up, PATH_BOUND).await?;
        rig.server.node_ready("node2").await?;
        let why = rig.lamplighter(&["why", "rack"]).await?.success()?;
        ensure!(why.contains("power-agent release node1"), "{why}");
        ensure!(rig.edges("node1").await? == cycled, "it is left as it is");

        rig.rack.heal("node1").await?;
        // Its node was never seen, so nothing proves that it is empty.
        let test_boot = ["cycle", "node1", "--force", "--reason", "a new power supply"];
        rig.power_agent(&test_boot).await?.success()?;
        rig.server.node_ready("node1").await?;
        let told = machine_when(&rig, "node1", "in service again", |machine| {
            machine["quarantine"].is_null()
        });
        let boots = told.await?["boots"].clone();
        ensure!(boots["missed"] == 2, "{boots}");
        ensure!(boots["last_ms"].is_u64() || boots["boots"][2]["end"] == "ready", "{boots}");
        Ok(())
    });
}

/// A boot that does not end in a quarter of a minute fails here, and a machine that can not be asked to shut
/// down is not waited for.
fn shorten(rig: &Rig) -> Result<()> {
    let file = rig.dir.join("agent.toml");
    let text = std::fs::read_to_string(&file)?;
    let short = text
        .replace("boot_deadline = \"60s\"", "boot_deadline = \"20s\"")
        .replace("deadline = \"60s\" }", "deadline = \"2s\" }");
    ensure!(short != text, "the rack file has other deadlines:\n{text}");
    std::fs::write(&file, short).context("the rack file")
}

async fn edges_are(rig: &Rig, machine: &str, wanted: &[Power]) -> Result<()> {
    eventually(&format!("{machine}'s edges {wanted:?}"), PATH_BOUND, async || {
        let edges = rig.edges(machine).await?;
        Ok(Probe::of((edges == wanted).then_some(()), || format!("{edges:?}")))
    })
    .await
}

/// What the agent says of a machine, once it is so.
async fn machine_when(
    rig: &Rig,
    machine: &str,
    what: &str,
    is: impl Fn(&Value) -> bool,
) -> Result<Value> {
    eventually(&format!("{machine} to be {what}"), PATH_BOUND, async || {
        let said = rig.power_agent(&["status", machine, "--json"]).await?.success()?;
        let told: Value = serde_json::from_str(&said)?;
        let found = told["machines"][0].clone();
        let text = found.to_string();
        Ok(Probe::of(is(&found).then_some(found), || text))
    })
    .await
}
