//! Story 16. Goal: who takes the examples has what they say. Method: the files of `examples/` and `jobs/` themselves, on
//! the real hosts beside a virtual rack; ports, addresses and spans alone are put in their places.

use std::ffi::OsStr;
use std::fmt::Write as _;
use std::path::Path;

use anyhow::{Context as _, Result, ensure};
use nomad_api::{AllocationStub, ClientStatus};
use testkit::cluster::{Access, MachineSpec, NomadMachine, Server};
use testkit::hosts;
use testkit::ports::Port;
use testkit::process::Process;
use testkit::programs::program;
use testkit::rig::{PATH_BOUND, Rig, RigSpec};
use testkit::wait::{Probe, eventually};
use virtual_rack::machine::Phase;
use virtual_rack::relay::Power;

/// Everything that may stand in a rack file.
const RACK: &str = include_str!("../../examples/rack.toml");
pub(crate) const WAITING: &str = include_str!("../../examples/policies/rack.hcl");
const PLUGIN: &str = include_str!("../../examples/policies/autoscaler.hcl");
const TWO_POLICIES: &str = include_str!("../../examples/policies/shelf.hcl");
const LOAD: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../jobs/load.nomad.hcl");

/// Ten minutes in the example, and five in its default.
pub(crate) const SPANS: &str = "scale_in_window = \"3s\"\n      idle_time = \"3s\"\n      min_on = \"1s\"\n      min_off = \"1s\"\n";
/// Nobody watches a test for ten seconds.
pub(crate) const TICKS: [(&str, &str); 2] = [
    ("evaluation_interval = \"10s\"", "evaluation_interval = \"1s\""),
    ("cooldown            = \"10s\"", "cooldown            = \"1s\""),
];

/// Of the rack's machines: name, node, board, channel, MHz, MiB of memory and of disk. Each supply of `big1` is one here.
type Hangs = (&'static str, &'static str, &'static str, u8, [u32; 3]);
const SMALL: [u32; 3] = [6000, 3800, 25_000];
const BIG: [u32; 3] = [40_000, 128_000, 400_000];
const HANGS: [Hangs; 4] = [
    ("node1", "node1", "a", 1, SMALL),
    ("node2", "node2", "a", 2, SMALL),
    ("node3", "rack-a-node3", "a", 3, SMALL),
    ("big1", "big1", "a", 4, BIG),
];
const BARE: [(&str, u8); 2] = [("big1-right", 1), ("nas", 2)];

/// The exit code of a switch that no reading confirms.
const UNVERIFIED: i32 = 4;

/// A text with words in other places: each must be there.
pub(crate) fn put(text: &str, words: &[(&str, &str)]) -> Result<String> {
    words.iter().try_fold(text.to_owned(), |text, (from, to)| {
        ensure!(text.contains(from), "the example has no {from:?}:\n{text}");
        Ok(text.replace(from, to))
    })
}

/// Runs the load of `jobs/` with these variables.
pub(crate) async fn load(rig: &Rig, variables: &[&str]) -> Result<()> {
    let mut arguments = vec!["job", "run", "-detach"];
    arguments.extend(variables);
    arguments.push(LOAD);
    rig.server.cli(&arguments, None).await.map(drop)
}

/// Waits until all of the load's newest version has run to its end; returns its allocations.
pub(crate) async fn load_ends(rig: &Rig, count: usize) -> Result<Vec<AllocationStub>> {
    let complete = ClientStatus::Complete;
    let ended = rig.server.allocations_when("load", &complete, count, PATH_BOUND).await;
    ended.with_context(|| rig.logs())
}

fn hanging(dir: &Path, server: &Server) -> Result<(String, Vec<NomadMachine>)> {
    let here = dir.display();
    let mut text = format!(
        "socket = \"{here}/rack.sock\"\nedge_log = \"{here}/edges.jsonl\"\n\
         [boards.a]\nkind = \"lcus-ascii\"\nchannels = 4\nlink = \"{here}/board-a\"\n\
         [boards.b]\nkind = \"lcus-silent\"\nchannels = 2\nlink = \"{here}/board-b\"\n"
    );
    let nature = "boot_ms = 500\nshutdown_ms = 300\nwatts = 5.0";
    for (name, channel) in BARE {
        writeln!(text, "[machines.{name}]\nboard = \"b\"\nchannel = {channel}\n{nature}")?;
    }
    let mut clients = Vec::new();
    for (name, node, board, channel, [cpu_mhz, memory_mb, disk_mb]) in HANGS {
        let node_class = "rack".to_owned();
        let spec =
            MachineSpec { node_class, cpu_mhz, memory_mb, disk_mb, ..MachineSpec::named(node) };
        let client = server.machine(dir, &spec)?;
        writeln!(
            text,
            "[machines.{name}]\nboard = \"{board}\"\nchannel = {channel}\n{nature}\ncommand = {:?}\ncommand_log = \"{here}/{name}.log\"",
            client.argv()
        )?;
        clients.push(client);
    }
    Ok((text, clients))
}

/// The example as the agent of this rig reads it.
fn rack_file(rig: &Rig) -> Result<String> {
    let dir = rig.dir.display();
    let rack = program("virtual-rack")?;
    let halts =
        format!("exec = [{rack:?}, \"ctl\", \"--socket\", \"{dir}/rack.sock\", \"soft-off\",");
    let ssh = RACK.lines().find(|line| line.starts_with("soft_off")).context("soft_off")?;
    put(
        RACK,
        &[
            (ssh, &format!("soft_off = {{ {halts} \"{{machine}}\"], deadline = \"90s\" }}")),
            ("exec = [\"/usr/local/bin/shut-down\",", &halts),
            (
                "/dev/serial/by-path/platform-fd500000.pcie-usb-0:1.1:1.0-port0",
                &format!("{dir}/board-a"),
            ),
            (
                "/dev/serial/by-path/platform-fd500000.pcie-usb-0:1.2:1.0-port0",
                &format!("{dir}/board-b"),
            ),
            ("/run/lamplighter/agent.sock", &format!("{dir}/agent.sock")),
            ("/var/lib/lamplighter", &format!("{dir}/agent")),
            ("http://127.0.0.1:4646", &rig.server.address()),
            ("off_dwell = \"10s\"", "off_dwell = \"1s\""),
            ("settle = \"10s\"", "settle = \"1s\""),
        ],
    )
}

/// Starts the autoscaler with the example's blocks for the plugin, beside what they leave to it; its ports are returned.
async fn start_autoscaler(rig: &mut Rig) -> Result<[Port; 2]> {
    let ports = [Port::take()?, Port::take()?];
    let plugins = rig.link_plugin()?;
    let own = rig.dir.join("own.hcl");
    let text = format!(
        "plugin_dir = {plugins:?}\nhttp {{\n  bind_address = \"127.0.0.1\"\n  bind_port = {}\n}}\n\
         nomad {{\n  address = {:?}\n}}\npolicy {{\n  dir = {:?}\n}}\n",
        ports[0].number(),
        rig.server.address(),
        rig.dir.join("policies"),
    );
    std::fs::write(&own, text)?;
    let metrics = format!("127.0.0.1:{}", ports[1].number());
    let places = [("unix:/run/lamplighter/agent.sock", &*rig.agents), ("127.0.0.1:9465", &metrics)];
    let blocks = rig.dir.join("autoscaler.hcl");
    std::fs::write(&blocks, put(PLUGIN, &places)?)?;
    let host = hosts::autoscaler().await?;
    let config = OsStr::new("-config");
    let argv =
        [&*host.into_os_string(), "agent".as_ref(), config, own.as_ref(), config, blocks.as_ref()];
    rig.autoscaler = Some(Process::start("autoscaler", &argv, &rig.dir)?);
    Ok(ports)
}

#[test]
fn the_rack_with_everything_in_it_is_lit_and_goes_dark_and_what_is_in_no_pool_is_left_alone() {
    crate::story("everything that may stand in a rack file", async {
        let pool = format!("pool = \"rack\"\n      {SPANS}");
        let policy = put(WAITING, &[&TICKS[..], &[("pool = \"rack\"\n", &pool)]].concat())?;
        let spec = RigSpec { access: Access::Open, policy, ..RigSpec::dark(0) };
        let mut rig = Rig::prepare_rack(&spec, hanging).await?;
        std::fs::write(rig.dir.join("agent.toml"), rack_file(&rig)?)?;
        rig.start_agent().await?;
        let _ports = start_autoscaler(&mut rig).await?;
        let nas = rig.power_agent(&["on", "nas", "--reason", "films"]).await?;
        ensure!(nas.code == UNVERIFIED && nas.out.contains("assumed on"), "{nas:?}");

        // A node of another name than its machine.
        rig.power_agent(&["on", "node3", "--reason", "by hand"]).await?.success()?;
        rig.server.node_ready("rack-a-node3").await?;

        // What fits on the big one alone lights that, by both its supplies; small ones that are on do not stand for it.
        load(&rig, &["-var=count=1", "-var=memory=100000", "-var=seconds=1"]).await?;
        let ran = load_ends(&rig, 1).await?;
        ensure!(ran.iter().all(|one| one.node_name == "big1"), "{ran:?}");
        rig.until(5, Phase::Dark).await?;
        for (machine, pairs) in [("node3", 1..=2), ("big1", 1..=1), ("big1-right", 1..=1)] {
            let edges = rig.edges(machine).await?;
            let lit = edges.len() / 2;
            let alternate = edges == [Power::On, Power::Off].repeat(lit);
            ensure!(alternate && pairs.contains(&lit), "{machine}: {edges:?}");
        }
        ensure!(rig.edges("nas").await? == [Power::On], "it is in no pool");
        Ok(())
    });
}

#[test]
fn of_two_policies_on_one_pool_the_one_lights_for_work_and_the_other_room_ahead_of_it() {
    crate::story("the two policies of the example", async {
        let pool = format!("pool       = \"shelf\"\n      {SPANS}");
        let other = format!("pool           = \"shelf\"\n      {SPANS}");
        let own = [
            ("pool       = \"shelf\"\n", &*pool),
            ("pool           = \"shelf\"\n", &*other),
            ("cooldown            = \"2m\"", "cooldown            = \"1s\""),
        ];
        let policy = put(TWO_POLICIES, &[&TICKS[..], &own[..]].concat())?;
        let mut spec = RigSpec { policy, ..RigSpec::dark(4) };
        "shelf".clone_into(&mut spec.machine.node_class);
        let mut rig = Rig::prepare(&spec).await?;
        let file = rig.dir.join("agent.toml");
        let names = [("[pools.rack]", "[pools.shelf]"), ("pool = \"rack\"", "pool = \"shelf\"")];
        std::fs::write(&file, put(&std::fs::read_to_string(&file)?, &names)?)?;
        rig.start_agent().await?;
        rig.start_autoscaler().await?;
        rig.until(1, Phase::Up).await.context("min = 1")?;

        // Three quarters of two machines are given away: that is more than 70 percent, so a third one stands by.
        load(&rig, &["-var=node_class=shelf", "-var=cpu=1500", "-var=seconds=600"]).await?;
        rig.server.allocations_when("load", &ClientStatus::Running, 2, PATH_BOUND).await?;
        rig.until(3, Phase::Up).await?;
        eventually("both policies' asks", PATH_BOUND, async || {
            let why = rig.lamplighter(&["why", "shelf"]).await?.success()?;
            let both = why.contains("room asks") && why.contains("work asks");
            Ok(Probe::of(both.then_some(()), || why))
        })
        .await?;
        rig.server.stop_job("load").await?;
        rig.until(3, Phase::Dark).await?;
        ensure!(rig.machines_in(Phase::Up).await? == 1, "min = 1");
        Ok(())
    });
}
