//! `cargo xtask demo`: the whole path live in the terminal, on the real hosts, and nothing left behind.

use std::collections::BTreeMap;
use std::io::{IsTerminal as _, Write as _};
use std::time::Duration;

use anyhow::{Result, bail};
use nomad_api::{ClientStatus, QueryOptions};
use testkit::hosts;
use testkit::rig::{PATH_BOUND, Rig, RigSpec};
use testkit::work::ShellJob;
use tokio::time::Instant;
use virtual_rack::machine::Phase;

use crate::setup;
use crate::steps::{Tally, command, step};

/// Machines of the demo's rack.
const MACHINES: usize = 4;

/// How many of them the job needs.
const WANTED: u32 = 3;

/// How often the picture is drawn.
const FRAME: Duration = Duration::from_millis(200);

/// Builds what is needed and shows the path. Ctrl-C cleans up as the end does.
pub(crate) async fn run() -> Result<()> {
    setup::for_demo().await?;
    if let Err(missing) = hosts::available() {
        bail!("the demo runs on the real Nomad and the real Nomad Autoscaler, and {missing}");
    }
    let build = command("cargo", &["build", "--quiet", "--workspace", "--bins"]);
    step("building Lamplighter", build, &mut Tally::default()).await?;
    hosts::nomad().await?;
    hosts::autoscaler().await?;
    tokio::select! {
        shown = show() => shown,
        interrupted = tokio::signal::ctrl_c() => {
            interrupted?;
            println!("\nstopped; everything that the demo started is gone");
            Ok(())
        }
    }
}

/// The path itself. Dropping the rig, at the end or on Ctrl-C, kills everything that it started.
async fn show() -> Result<()> {
    println!(
        "\nOn the real Nomad and the real Nomad Autoscaler; the rack is virtual, its serial lines are not."
    );
    println!(
        "Starting a Nomad server, a rack of {MACHINES} dark machines, the power agent, the autoscaler …"
    );
    let spec = RigSpec { boot: Duration::from_secs(2), ..RigSpec::dark(MACHINES) };
    let rig = Rig::start(&spec).await?;
    let mut picture = Picture::new();
    picture.say("the rack is dark, and no machine runs a Nomad client");

    let job = ShellJob { cpu_mhz: 1500, ..ShellJob::service("web", WANTED) };
    rig.server.run_job(&job).await?;
    picture.say(&format!("a job with {WANTED} instances waits; each needs most of a machine"));
    picture.until(&rig, "the job runs", |seen| seen.running == 3).await?;
    picture.say("all instances run");

    rig.server.stop_job("web").await?;
    picture.say("the job is stopped; its machines are drained, shut down, and cut");
    picture
        .until(&rig, "the rack is dark", |seen| {
            seen.machines.values().all(|(phase, _)| *phase == Phase::Dark)
        })
        .await?;
    picture.say("the rack is dark again");

    println!("\nWhat the relays did, by the rack's own edge log:");
    for edge in rig.all_edges().await? {
        let machine = edge.machine.unwrap_or_default();
        println!(
            "  {:>7.2} s  {machine}  {:?}",
            edge.at_us.since(virtual_rack::moment::Moment::START).as_secs_f64(),
            edge.edge
        );
    }
    Ok(())
}

/// What is seen of the installation.
struct Seen {
    machines: BTreeMap<String, (Phase, f64)>,
    watts: f64,
    running: usize,
    waiting: usize,
}

impl Seen {
    async fn now(rig: &Rig) -> Result<Self> {
        let rack = rig.rack.state().await?;
        let api = rig.server.api();
        let (allocs, _) = api.job_allocations("default", "web", &QueryOptions::NOW).await?;
        let running =
            allocs.iter().filter(|alloc| alloc.client_status == ClientStatus::Running).count();
        let summary = api.job_summary("default", "web").await?;
        let queued = summary.iter().flat_map(|summary| summary.groups.values()).map(|g| g.queued);
        Ok(Self {
            machines: rack
                .machines
                .into_iter()
                .map(|(name, machine)| (name, (machine.state, machine.watts)))
                .collect(),
            watts: rack.watts,
            running,
            waiting: usize::try_from(queued.sum::<u64>()).unwrap_or(usize::MAX),
        })
    }

    fn line(&self) -> String {
        let machines = self.machines.iter().map(|(name, (phase, _))| {
            let (lamp, word) = match phase {
                Phase::Dark => ("○", "dark"),
                Phase::Booting => ("◐", "boots"),
                Phase::Up => ("●", "up"),
                Phase::ShuttingDown => ("◑", "shuts down"),
                Phase::Halted => ("◌", "halted"),
            };
            format!("{lamp} {name} {word:<10}")
        });
        let machines: Vec<String> = machines.collect();
        format!(
            "{}  {:>5.1} W   {} waiting, {} running",
            machines.join(" "),
            self.watts,
            self.waiting,
            self.running
        )
    }
}

/// The picture in the terminal: one line that changes in place, or a line for each change where the
/// output is no terminal.
struct Picture {
    began: Instant,
    live: bool,
    last: String,
}

impl Picture {
    fn new() -> Self {
        Self { began: Instant::now(), live: std::io::stdout().is_terminal(), last: String::new() }
    }

    fn say(&mut self, text: &str) {
        if self.live && !self.last.is_empty() {
            println!();
        }
        self.last.clear();
        println!("\n{:>6.1} s  {text}", self.began.elapsed().as_secs_f64());
    }

    fn draw(&mut self, seen: &Seen) -> Result<()> {
        let line = seen.line();
        if line == self.last {
            return Ok(());
        }
        let at = self.began.elapsed().as_secs_f64();
        let mut out = std::io::stdout();
        if self.live {
            write!(out, "\r\x1b[2K{at:>6.1} s  {line}")?;
        } else {
            writeln!(out, "{at:>6.1} s  {line}")?;
        }
        out.flush()?;
        self.last = line;
        Ok(())
    }

    async fn until(&mut self, rig: &Rig, what: &str, holds: impl Fn(&Seen) -> bool) -> Result<()> {
        let deadline = Instant::now() + PATH_BOUND;
        loop {
            let seen = Seen::now(rig).await?;
            self.draw(&seen)?;
            if holds(&seen) {
                return Ok(());
            }
            if Instant::now() > deadline {
                bail!("waited {PATH_BOUND:?} until {what}\n{}", rig.logs());
            }
            tokio::time::sleep(FRAME).await;
        }
    }
}
