//! `cargo xtask demo`: the whole path live in the terminal, on the real hosts or on their stand-ins, and nothing left
//! behind.

use std::collections::BTreeMap;
use std::io::{IsTerminal as _, Write as _};
use std::time::Duration;

use anyhow::{Result, bail};
use nomad_api::{ClientStatus, QueryOptions};
use testkit::cluster::Hosts;
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

/// How wide a terminal has to be for the words of the phases, too.
const WORDS_COLUMNS: usize = 120;

/// A terminal that does not say how wide it is.
const COLUMNS_DEFAULT: usize = 80;

/// Builds what is needed and shows the path: on the hosts that were asked for, else on the real ones where they are
/// there. Ctrl-C cleans up as the end does.
pub(crate) async fn run(asked: Option<Hosts>) -> Result<()> {
    let hosts = match asked {
        Some(hosts) => hosts,
        None if hosts::built()? => Hosts::Real,
        None => Hosts::StandIn,
    };
    println!("{}", runs_on(hosts));
    println!("Plugin and agent are as shipped; the rack is virtual, its serial lines are not.");
    setup::for_demo(hosts).await?;
    if hosts == Hosts::Real
        && let Err(missing) = hosts::available()
    {
        bail!("{missing}; or run `cargo xtask demo --stand-in`, which needs neither of them");
    }
    let build = command("cargo", &["build", "--workspace", "--bins"]);
    step("building Lamplighter", build, &mut Tally::default()).await?;
    if hosts == Hosts::Real {
        hosts::nomad().await?;
        hosts::autoscaler().await?;
    }
    tokio::select! {
        shown = show(hosts) => shown,
        interrupted = tokio::signal::ctrl_c() => {
            interrupted?;
            println!("\nstopped; everything that the demo started is gone");
            Ok(())
        }
    }
}

/// What the demo runs on; all else in it is the same.
const fn runs_on(hosts: Hosts) -> &'static str {
    match hosts {
        Hosts::Real => "On the real Nomad and the real Nomad Autoscaler.",
        Hosts::StandIn => {
            "On stand-ins for Nomad and its Autoscaler; `--real` builds the real ones."
        }
    }
}

/// The path itself. Dropping the rig, at the end or on Ctrl-C, kills everything that it started.
async fn show(hosts: Hosts) -> Result<()> {
    println!(
        "\nStarting Nomad, a rack of {MACHINES} dark machines, the power agent, the autoscaler …"
    );
    let spec = RigSpec { boot: Duration::from_secs(2), ..RigSpec::dark_on(hosts, MACHINES) };
    let rig = Rig::start(&spec).await?;
    let mut picture = Picture::new();
    if !picture.words {
        let phases = [Phase::Dark, Phase::Booting, Phase::Up, Phase::ShuttingDown, Phase::Halted];
        let legend = phases.map(lamp).map(|(lamp, word)| format!("{lamp} {word}"));
        println!("{}", legend.join("   "));
    }
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

    /// The line of the picture, with the words of the phases or without.
    fn line(&self, words: bool) -> String {
        let machines = self.machines.iter().map(|(name, (phase, _))| match lamp(*phase) {
            (lamp, word) if words => format!("{lamp} {name} {word:<10}"),
            (lamp, _) => format!("{lamp} {name} "),
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

const fn lamp(phase: Phase) -> (&'static str, &'static str) {
    match phase {
        Phase::Dark => ("○", "dark"),
        Phase::Booting => ("◐", "boots"),
        Phase::Up => ("●", "up"),
        Phase::ShuttingDown => ("◑", "shuts down"),
        Phase::Halted => ("◌", "halted"),
    }
}

/// How wide the terminal of the output is; none where it is no terminal, or one that can not go back in a line.
fn columns() -> Option<usize> {
    let stdout = std::io::stdout();
    if !stdout.is_terminal() || std::env::var_os("TERM").is_some_and(|term| term == "dumb") {
        return None;
    }
    let size = rustix::termios::tcgetwinsize(&stdout).ok();
    let columns = size.map(|size| usize::from(size.ws_col)).filter(|columns| *columns > 0);
    Some(columns.unwrap_or(COLUMNS_DEFAULT))
}

/// The picture in the terminal: one line that changes in place, or a line for each change where the
/// output is no terminal.
struct Picture {
    began: Instant,
    live: bool,
    /// Whether there is room for the words of the phases.
    words: bool,
    last: String,
}

impl Picture {
    fn new() -> Self {
        let columns = columns();
        let words = columns.is_none_or(|columns| columns >= WORDS_COLUMNS);
        Self { began: Instant::now(), live: columns.is_some(), words, last: String::new() }
    }

    fn say(&mut self, text: &str) {
        if self.live && !self.last.is_empty() {
            println!();
        }
        self.last.clear();
        println!("\n{:>6.1} s  {text}", self.began.elapsed().as_secs_f64());
    }

    fn draw(&mut self, seen: &Seen) -> Result<()> {
        let line = seen.line(self.words);
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
