//! Story 17. Goal: a job that waits wakes a machine by its network card, and without work it is shut down by ssh, is shown as
//! no more than assumed off, and is woken again. Method: `examples/wake-on-lan-closet.toml` in network namespaces, where a card stands
//! by on a real interface and the machine behind it is a cell with an init, an sshd and a Nomad client of its own.

use std::fmt::Write as _;
use std::net::Ipv4Addr;
use std::path::Path;

use anyhow::{Context as _, Result, ensure};
use nomad_api::NodeStatus;
use testkit::closet::{Card, Closet, in_closet};
use testkit::cluster::{Access, MachineSpec, NomadMachine, Server};
use testkit::hosts;
use testkit::network::sh;
use testkit::rig::{PATH_BOUND, Rig, RigSpec};
use testkit::wait::{Probe, eventually};

use crate::examples::{self, TICKS, load, load_ends, put};

const CLOSET: &str = include_str!("../../examples/wake-on-lan-closet.toml");
const NAME: &str = "closet::a_job_that_waits_wakes_a_machine_by_its_card_and_ssh_shuts_it_down";

/// What the example says of `mini1`; it does not hear the first packet of each sleep.
const MINI1: Card<'_> =
    Card { mac: "52:54:00:12:34:56", password: None, deaf: 1, address: "10.9.0.21/24" };
/// The host's own address in the machine's network.
const HOST: Ipv4Addr = Ipv4Addr::new(10, 9, 0, 1);

#[test]
fn a_job_that_waits_wakes_a_machine_by_its_card_and_ssh_shuts_it_down() {
    crate::story("a closet", async {
        // Before the network is cut off, by which they may still be fetched.
        hosts::nomad().await?;
        hosts::autoscaler().await?;
        in_closet(NAME, async || {
            if let Err(error) = woken_and_shut_down().await {
                panic!("{error:#}");
            }
        })
        .await;
        Ok(())
    });
}

async fn woken_and_shut_down() -> Result<()> {
    let keys = tempfile::tempdir()?;
    let closet = Closet::lay_out(keys.path(), &["mini1"]).await?;
    // The example calls the machine by its node's name.
    let names = keys.path().join("hosts");
    std::fs::write(&names, "127.0.0.1 localhost\n10.9.0.21 mini1\n")?;
    sh(&format!("mount --bind {} /etc/hosts; ip -n shelf link set lo up", names.display())).await;

    let pool = format!("pool = \"closet\"\n      {}", examples::SPANS);
    let of_closet = [("rack", "closet"), ("pool = \"closet\"\n", &*pool)];
    let policy = put(examples::WAITING, &[&TICKS[..], &of_closet[..]].concat())?;
    let spec = RigSpec { access: Access::Open, policy, seen_at: HOST, ..RigSpec::dark(0) };
    let mut rig = Rig::prepare_rack(&spec, |dir, server| wall(dir, server, &closet)).await?;
    std::fs::write(rig.dir.join("agent.toml"), rack_file(&rig, keys.path())?)?;
    rig.start_agent().await?;
    rig.start_autoscaler().await?;

    rig.power_agent(&["hold", "mini2", "--reason", "no machine here"]).await?.success()?;
    let job = ["-var=count=1", "-var=node_class=closet", "-var=seconds=1"];
    for round in 1..=2 {
        let round_of = format!("-var=memory={}", 500 + round);
        load(&rig, &[&job[..], &[&*round_of]].concat()).await?;
        let ran = load_ends(&rig, round).await?;
        ensure!(ran.iter().all(|one| one.node_name == "mini1"), "{ran:?}");
        let told = said_times(&rig, "the machine is off ended=", round).await?;
        ensure!(told.matches("the machine is on").count() == round, "{told}");
        is_assumed_off(&rig).await?;
    }
    // Nothing was cut: what the machine hangs on has power still.
    ensure!(rig.all_edges().await?.is_empty(), "{:?}", rig.all_edges().await?);
    let history = rig.power_agent(&["history"]).await?.success()?;
    ensure!(history.matches("awake after").count() == 2, "{history}");
    Ok(())
}

/// A wall socket: what hangs there has power from the start, and no agent switches it.
fn wall(dir: &Path, server: &Server, closet: &Closet) -> Result<(String, Vec<NomadMachine>)> {
    let node_class = "closet".to_owned();
    let (cpu_mhz, memory_mb, disk_mb) = (8000, 15_500, 200_000);
    let spec =
        MachineSpec { node_class, cpu_mhz, memory_mb, disk_mb, ..MachineSpec::named("mini1") };
    let client = server.machine(dir, &spec)?;
    let here = dir.display();
    let mut text = format!("socket = \"{here}/rack.sock\"\nedge_log = \"{here}/edges.jsonl\"\n");
    write!(
        text,
        "[boards.wall]\nkind = \"lcus-ascii\"\nchannels = 1\nlink = \"{here}/wall\"\n\
         [machines.mini1]\nboard = \"wall\"\nchannel = 1\non = true\nboot_ms = 0\nshutdown_ms = 0\nwatts = 10.0\n\
         command = {:?}\ncommand_log = \"{here}/card.log\"\n",
        closet.cell(&MINI1, &client, dir)?
    )?;
    Ok((text, vec![client]))
}

/// The example as the agent of this rig reads it.
fn rack_file(rig: &Rig, keys: &Path) -> Result<String> {
    let dir = rig.dir.display();
    let nomad = format!("[nomad]\naddress = \"{}\"", rig.server.address());
    put(
        CLOSET,
        &[
            ("/run/lamplighter/agent.sock", &format!("{dir}/agent.sock")),
            ("/var/lib/lamplighter", &format!("{dir}/agent")),
            ("/etc/lamplighter", &keys.display().to_string()),
            ("# [nomad]\n# address = \"http://127.0.0.1:4646\"", &nomad),
            ("\"eth0\"", "\"lan\""),
            ("\"10.0.0.", "\"10.9.0."),
            ("poll = \"10s\"", "poll = \"1s\""),
            ("settle = \"10s\"", "settle = \"1s\"\noff_dwell = \"1s\""),
        ],
    )
}

/// What the card tells, once it has told this so often.
async fn said_times(rig: &Rig, what: &str, times: usize) -> Result<String> {
    eventually(&format!("{what:?} {times} times"), PATH_BOUND, async || {
        let told = std::fs::read_to_string(rig.dir.join("card.log"))?;
        let is = told.matches(what).count() == times;
        Ok(if is { Probe::Met(told) } else { Probe::of(None, || told) })
    })
    .await
    .with_context(|| rig.logs())
}

/// Nobody reads its power: silence, an order of ours and a node that is down are all that there is.
async fn is_assumed_off(rig: &Rig) -> Result<()> {
    let down = |node: &nomad_api::NodeStub| node.status == NodeStatus::Down;
    rig.server.node_when("mini1", "down", PATH_BOUND, down).await?;
    eventually("mini1 assumed off", PATH_BOUND, async || {
        let status = rig.power_agent(&["status"]).await?.success()?;
        let line = status.lines().find(|line| line.starts_with("mini1"));
        let off = line.is_some_and(|line| line.contains("assumed off"));
        Ok(Probe::of(off.then_some(()), || status))
    })
    .await
    .with_context(|| rig.logs())
}
