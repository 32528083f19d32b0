//! Bad input. Goal: one clear error with place and remedy each; nothing moves, the plugin stays up and goes
//! on once it is mended. Method: mistakes in every file that a person writes, beside a rack that would show
//! a relay that moves.

use std::path::Path;
use std::time::Duration;

use anyhow::{Result, ensure};
use nomad_api::ClientStatus;
use testkit::diary::Diary;
use testkit::process::Process;
use testkit::programs::program;
use testkit::rig::{PATH_BOUND, READY_BOUND, Rig, RigSpec, said, waiting_policy};
use testkit::work::ShellJob;
use virtual_rack::control::Client as Rack;
use virtual_rack::machine::Phase;
use virtual_rack::relay::Power;

/// The exit code of a refusal.
const REFUSED: i32 = 2;

/// The exit code of a rack file with errors.
const RACK_FILE: i32 = 65;

/// A rack whose machines are on.
const BOARDS: &str = r#"
socket = "rack.sock"
edge_log = "edges.jsonl"
[boards.a]
kind = "lcus-ascii"
channels = 4
link = "board-a"
[machines.node1]
board = "a"
channel = 1
on = true
boot_ms = 50
shutdown_ms = 50
watts = 5.0
[machines.node2]
board = "a"
channel = 2
on = true
boot_ms = 50
shutdown_ms = 50
watts = 5.0
"#;

/// The agent's file beside it, without a mistake.
const RACK: &str = r#"[agent]
name = "bench"
socket = "agent.sock"
state = "state"
[devices.board-a]
driver = "lcus"
port = "board-a"
channels = 4
status = "ascii"
[machines.node1]
outlets = [{ device = "board-a", outlet = 1 }]
[machines.node2]
outlets = [{ device = "board-a", outlet = 2 }]
"#;

/// What is written instead of what; the line of the mistake; what is said, with the remedy.
const MISTAKES: [(&str, &str, usize, &[&str]); 4] = [
    (
        "channels = 4\n",
        "chanels = 4\n",
        8,
        &["unknown key `chanels` in [devices.board-a]", "`channels`"],
    ),
    ("outlet = 2", "outlet = 1", 13, &["outlet 1 of board-a is used twice", "help: correct"]),
    (
        "outlets = [{ device = \"board-a\", outlet = 2 }]\n",
        "",
        12,
        &["[machines.node2] has no `outlets`", "help: add a line like"],
    ),
    ("port = \"board-a\"\n", "", 5, &["[devices.board-a] has no `port`", "help: add a line like"]),
];

#[tokio::test]
async fn a_rack_file_with_a_mistake_is_not_served_and_the_rack_hears_nothing() {
    let home = tempfile::tempdir().expect("a folder");
    refused_rack_files(home.path()).await.expect("rack files with mistakes are refused");
}

async fn refused_rack_files(home: &Path) -> Result<()> {
    let boards = home.join("boards.toml");
    std::fs::write(&boards, BOARDS)?;
    let binary = program("virtual-rack")?;
    let _rack =
        Process::start("rack", &[binary.as_os_str(), "run".as_ref(), boards.as_os_str()], home)?;
    let rack = Rack::ready(home.join("rack.sock"), READY_BOUND).await?;
    for (right, wrong, line, words) in MISTAKES {
        ensure!(RACK.matches(right).count() == 1, "{right:?} stands once in the file");
        let file = home.join("rack.toml");
        std::fs::write(&file, RACK.replacen(right, wrong, 1))?;
        let file = file.to_string_lossy();
        for arguments in [&["check", &file][..], &["serve", "--config", &file]] {
            let said = said("power-agent", arguments).await?;
            ensure!(said.code == RACK_FILE, "{arguments:?}: {said:?}");
            let place = format!("rack.toml:{line}:");
            let told = [place.as_str()].iter().chain(words).all(|words| said.err.contains(words));
            ensure!(told, "{arguments:?}: {words:?} at line {line} is not said: {}", said.err);
        }
    }
    let state = rack.state().await?;
    let heard = state.boards["a"].frames;
    ensure!(heard == Default::default(), "the board has heard {heard:?}");
    ensure!(rack.edges().await?.is_empty(), "a relay has moved");
    ensure!(state.machines.values().all(|machine| machine.state == Phase::Up), "{state:?}");
    Ok(())
}

#[test]
fn a_policy_with_a_wrong_type_is_told_with_its_remedy_and_scales_once_it_is_mended() {
    crate::story("a policy with a wrong type", async {
        let policy = waiting_policy(0, 2, "idle_time = \"soon\"");
        let rig = Rig::start(&RigSpec { policy, ..RigSpec::dark(2) }).await?;
        rig.server.run_job(&ShellJob::service("web", 1)).await?;
        rig.told_in_log(&["idle_time", "soon", "expected a duration such as", "90s"]).await?;
        ensure!(rig.all_edges().await?.is_empty(), "a relay has moved by a policy with a mistake");

        // The host caches the content of a file that it has read: the mended policy is another file.
        std::fs::remove_file(rig.dir.join("policies/rack.hcl"))?;
        std::fs::write(rig.dir.join("policies/mended.hcl"), waiting_policy(0, 2, ""))?;
        rig.reload_autoscaler()?;
        assert_scales(&rig).await
    });
}

#[test]
fn agents_that_can_not_be_reached_are_named_and_the_pool_scales_once_their_address_is_mended() {
    crate::story("an unreachable agent", async {
        let mut rig = Rig::prepare(&RigSpec::dark(2)).await?;
        rig.start_agent().await?;
        let right = rig.agents.clone();
        rig.agents = format!("unix:{}", rig.dir.join("nobody.sock").display());
        rig.start_autoscaler().await?;
        rig.server.run_job(&ShellJob::service("web", 1)).await?;
        rig.told_not_ready().await?;
        rig.told_in_log(&["an agent does not answer", "nobody.sock", "check that"]).await?;
        rig.heartbeats(2).await?;
        ensure!(rig.all_edges().await?.is_empty(), "a relay has moved by nobody's order");

        rig.agents = right;
        rig.write_autoscaler_config()?;
        rig.reload_autoscaler()?;
        assert_scales(&rig).await
    });
}

/// What the plugin's token is to have.
const PLUGIN: &str = include_str!("../../examples/acl/plugin.hcl");

/// Lets the token in, and shows it nothing that matters.
const NEARLY_NOTHING: &str = "namespace \"default\" {\n  capabilities = [\"read-job\"]\n}\n";

#[test]
fn a_token_without_a_capability_is_told_which_and_the_pool_scales_once_it_has_it() {
    crate::story("a token without a capability", async {
        let mut rig = Rig::prepare(&RigSpec::dark(2)).await?;
        let apply = ["acl", "policy", "apply", "plugin", "-"];
        rig.server.cli(&apply, Some(NEARLY_NOTHING)).await?;
        rig.start_agent().await?;
        rig.start_autoscaler().await?;
        rig.server.run_job(&ShellJob::service("web", 1)).await?;
        rig.told_in_log(&["external_plugin", "refused listing", "every namespace", "read-job"])
            .await?;
        rig.told_not_ready().await?;

        let without_write = PLUGIN.replace("[\"read\", \"write\"]", "[\"read\"]");
        rig.server.cli(&apply, Some(&without_write)).await?;
        rig.told_in_log(&["refused writing", "lamplighter/pools/rack", "capabilities", "write"])
            .await?;
        ensure!(rig.all_edges().await?.is_empty(), "a relay has moved without the record");

        rig.server.cli(&apply, Some(PLUGIN)).await?;
        assert_scales(&rig).await
    });
}

/// The agent's, but it sees one namespace alone; Nomad leaves what is in others out of its answers.
const SHORT_SIGHT: &str = r#"
node {
  policy = "write"
}
namespace "default" {
  capabilities = ["read-job"]
}
"#;

/// What the agent's token is to have.
const AGENT: &str = include_str!("../../examples/acl/agent.hcl");

#[test]
fn work_that_a_token_does_not_see_is_no_empty_machine_and_the_refusal_says_what_it_lacks() {
    crate::story("work that a token does not see", async {
        let rig = Rig::start(&RigSpec::dark(1)).await?;
        rig.server.cli(&["namespace", "apply", "elsewhere"], None).await?;
        let diary = Diary::new(&rig.dir);
        let job = diary.service("unseen", "", Duration::ZERO);
        rig.server
            .run_job(&ShellJob { in_job: "namespace = \"elsewhere\"".to_owned(), ..job })
            .await?;
        diary.said_when("unseen", "begin", 1, PATH_BOUND).await?;

        let apply = ["acl", "policy", "apply", "agent", "-"];
        let off = ["off", "node1", "--reason", "looks idle"];
        for (policy, words) in [
            (SHORT_SIGHT, "namespace \"*\" { capabilities = [\"read-job\"] }"),
            (AGENT, "of job unseen ("),
        ] {
            rig.server.cli(&apply, Some(policy)).await?;
            let said = rig.power_agent(&off).await?;
            ensure!(said.code == REFUSED && said.out.contains(words), "{words}: {said:?}");
        }
        ensure!(rig.edges("node1").await? == [Power::On], "{:?}", rig.all_edges().await?);
        Ok(())
    });
}

/// The waiting job lights one machine, once, and runs there.
async fn assert_scales(rig: &Rig) -> Result<()> {
    rig.server.allocations_when("web", &ClientStatus::Running, 1, PATH_BOUND).await?;
    let edges = rig.all_edges().await?;
    ensure!(edges.len() == 1 && edges[0].edge == Power::On, "{edges:?} instead of one on-edge");
    Ok(())
}
