//! Story 10. Goal: agent and autoscaler run as Nomad's own jobs, and an agent that Nomad restarts is the same
//! agent. Method: the files of `jobs/` on a controller beside the rack; the agent is restarted by Nomad, and
//! its journal, its hold and the relays are compared.

use std::os::unix::fs::MetadataExt as _;

use anyhow::{Context as _, Result, ensure};
use nomad_api::ClientStatus;
use testkit::cluster::MachineSpec;
use testkit::hosts;
use testkit::programs::program;
use testkit::rig::{PATH_BOUND, Rig, RigSpec};
use testkit::wait::{Probe, eventually};
use testkit::work::ShellJob;
use virtual_rack::machine::Phase;
use virtual_rack::relay::Power;

const AGENT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../jobs/power-agent.nomad.hcl");
const AUTOSCALER: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../jobs/autoscaler.nomad.hcl");

/// The controller's name: short, because the path of a Unix socket is, and Nomad puts one into each task's folder.
const CONTROLLER: &str = "hub";

#[test]
fn agent_and_autoscaler_run_as_jobs_and_an_agent_that_nomad_restarts_keeps_its_journal_and_holds() {
    crate::story("as jobs", async {
        let rig = Rig::prepare(&RigSpec::dark(2)).await?;
        // Beside the rack: no relay switches it, and no work of the story fits on it.
        let mut spec = MachineSpec { cpu_mhz: 500, ..MachineSpec::named(CONTROLLER) };
        spec.meta.insert("rack_controller".to_owned(), "true".to_owned());
        let controller = rig.server.machine(&rig.dir, &spec)?;
        let _power = controller.power_on()?;
        rig.server.node_ready(CONTROLLER).await?;

        let agent = program("power-agent")?.display().to_string();
        let rack_file = rig.dir.join("agent.toml").display().to_string();
        run(&rig, AGENT, &[("binary", &agent), ("rack_file", &rack_file)]).await?;
        answering(&rig).await?;
        rig.power_agent(&["off", "node2", "--reason", "new fan"]).await?.success()?;
        run_autoscaler(&rig).await?;
        rig.server.run_job(&ShellJob { cpu_mhz: 1500, ..ShellJob::service("web", 1) }).await?;
        rig.server.allocations_when("web", &ClientStatus::Running, 1, PATH_BOUND).await?;
        let before = kept(&rig).await?;
        ensure!(before[1].1 == "new fan", "node2 is not held: {before:?}");

        restart_agent(&rig).await?;
        let after = kept(&rig).await?;
        ensure!(after == before, "the agent came back with {after:?} instead of {before:?}");
        ensure!(rig.edges("node1").await? == [Power::On], "node1 was switched by a restart");
        rig.server.stop_job("web").await?;
        rig.until(2, Phase::Dark).await?;
        ensure!(
            rig.edges("node1").await? == [Power::On, Power::Off],
            "{:?}",
            rig.all_edges().await
        );
        ensure!(rig.edges("node2").await?.is_empty(), "node2 was switched though it is held");
        Ok(())
    });
}

async fn run(rig: &Rig, file: &str, variables: &[(&str, &str)]) -> Result<()> {
    let variables: Vec<String> =
        variables.iter().map(|(name, value)| format!("-var={name}={value}")).collect();
    let mut arguments = vec!["job", "run", "-detach"];
    arguments.extend(variables.iter().map(String::as_str));
    arguments.push(file);
    rig.server.cli(&arguments, None).await.map(drop)
}

/// The autoscaler's job, with the policies that its file names, by the commands that it names.
async fn run_autoscaler(rig: &Rig) -> Result<()> {
    let examples = concat!(env!("CARGO_MANIFEST_DIR"), "/../examples/acl");
    for part in ["autoscaler", "plugin"] {
        let (name, file) = (format!("lamplighter-{part}"), format!("{examples}/{part}.hcl"));
        let job = ["-namespace", "default", "-job", "autoscaler"];
        let apply = [&["acl", "policy", "apply"][..], &job[..], &[&*name, &*file][..]].concat();
        rig.server.cli(&apply, None).await?;
    }
    let binary = hosts::autoscaler().await?.display().to_string();
    let plugins = rig.link_plugin()?.display().to_string();
    let policies = rig.dir.join("policies").display().to_string();
    let variables = [
        ("binary", &*binary),
        ("plugins", &plugins),
        ("policies", &policies),
        ("agents", &rig.agents),
    ];
    run(rig, AUTOSCALER, &variables).await
}

async fn answering(rig: &Rig) -> Result<()> {
    eventually("the agent's job", PATH_BOUND, || async {
        Ok(Probe::Met(rig.power_agent(&["status", "--json"]).await?.success()?))
    })
    .await
    .map(drop)
}

/// What the agent knows of each machine that only its journal can have told it: who ordered what, and the hold.
async fn kept(rig: &Rig) -> Result<Vec<(String, String)>> {
    let status = rig.power_agent(&["status", "--json"]).await?.success()?;
    let status: serde_json::Value = serde_json::from_str(&status)?;
    let text = |value: &serde_json::Value, path: &str| {
        value.pointer(path).and_then(serde_json::Value::as_str).unwrap_or_default().to_owned()
    };
    let machines = status["machines"].as_array().context("machines")?;
    let kept = |machine| (text(machine, "/commanded/operation"), text(machine, "/hold/reason"));
    Ok(machines.iter().map(kept).collect())
}

/// Has Nomad restart the agent's task, and waits until another process answers at the socket.
async fn restart_agent(rig: &Rig) -> Result<()> {
    let socket = || {
        let meta = std::fs::metadata(rig.dir.join("agent.sock"))?;
        Ok::<_, std::io::Error>((meta.ino(), meta.ctime(), meta.ctime_nsec()))
    };
    let running = rig.server.allocations_when("power-agent", &ClientStatus::Running, 1, PATH_BOUND);
    let alloc = running.await?.remove(0).id;
    let before = socket()?;
    rig.server.cli(&["alloc", "restart", &alloc], None).await?;
    eventually("another socket of the agent's", PATH_BOUND, || async {
        Ok(Probe::of((socket()? != before).then_some(()), || format!("{before:?}")))
    })
    .await?;
    answering(rig).await
}
