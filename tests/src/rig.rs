//! A whole installation on one host: Nomad server, virtual rack, power agent, autoscaler with our plugin.

mod autoscaler;

use std::fmt::Write as _;
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, Result};
use rustix::process::Signal;
use virtual_rack::control::Client as Rack;
use virtual_rack::edges::EdgeRecord;
use virtual_rack::machine::Phase;
use virtual_rack::relay::Power;

use crate::access::{grant, token_file};
use crate::cluster::{Access, Hosts, MachineSpec, NomadMachine, Server};
use crate::hosts;
use crate::ports::Port;
use crate::process::{Process, tail_of};
use crate::programs::program;
use crate::said::run;
pub use crate::said::{Said, said};
use crate::wait::{Probe, eventually};

/// How long a program of ours may take to be there.
pub const READY_BOUND: Duration = Duration::from_secs(180);

/// How long a machine may take from a waiting job to a ready node, or from the end of its work to the
/// open relay, on a busy host of two cores.
pub const PATH_BOUND: Duration = Duration::from_secs(300);

/// How long a program of ours may take to end.
const STOP_PATIENCE: Duration = Duration::from_secs(30);

/// Channels of a board of the rack, where nothing else is said.
const CHANNELS: usize = 4;

/// What to build.
#[derive(Debug, Clone)]
pub struct RigSpec {
    /// What stands for Nomad and for the autoscaler.
    pub hosts: Hosts,
    /// How many machines, named `node1` and so on.
    pub machines: usize,
    /// How many of them hang on one board.
    pub channels: usize,
    /// `lcus-ascii` boards can be read, `lcus-silent` ones can not.
    pub board: &'static str,
    /// Machines that are on from the start.
    pub on: usize,
    /// From the closed relay to the started Nomad client.
    pub boot: Duration,
    /// From soft off to halted.
    pub shutdown: Duration,
    /// What each machine's Nomad client says of itself, but for its name.
    pub machine: MachineSpec,
    /// The policy's HCL.
    pub policy: String,
    /// What Nomad asks: a token of autoscaler, plugin and agent each ([`crate::access`]), or nothing.
    pub access: Access,
    /// Where the machines' clients reach the server.
    pub seen_at: Ipv4Addr,
}

impl RigSpec {
    /// Machines that are dark and boot in a second, scaled by the work that waits.
    #[must_use]
    pub fn dark(machines: usize) -> Self {
        Self {
            hosts: Hosts::Real,
            machines,
            channels: CHANNELS,
            board: "lcus-ascii",
            on: 0,
            boot: Duration::from_secs(1),
            shutdown: Duration::from_millis(500),
            machine: MachineSpec::named("any"),
            policy: waiting_policy(0, machines, ""),
            access: Access::Tokens,
            seen_at: Ipv4Addr::LOCALHOST,
        }
    }

    /// As [`RigSpec::dark`], on these hosts: the stand-in asks for no tokens.
    #[must_use]
    pub fn dark_on(hosts: Hosts, machines: usize) -> Self {
        let access = match hosts {
            Hosts::Real => Access::Tokens,
            Hosts::StandIn => Access::Open,
        };
        Self { hosts, access, ..Self::dark(machines) }
    }

    /// Dark machines, scaled to have this share of their CPU allocated.
    #[must_use]
    pub fn utilised(machines: usize, percent: u32, target: &str) -> Self {
        let mut spec = Self::dark(machines);
        UTILISED_CLASS.clone_into(&mut spec.machine.node_class);
        spec.policy = utilisation_policy(machines, percent, target);
        spec
    }
}

/// A policy that scales pool `rack` by the work that waits; `target` is added to its target block.
#[must_use]
pub fn waiting_policy(min: usize, max: usize, target: &str) -> String {
    let check = r#"
    check "waiting" {
      source = "lamplighter"
      query  = "pending rack"
      strategy "pass-through" {}
    }"#;
    policy(min, max, check, target)
}

/// The spans of a policy's target block: short, so that a story sees in seconds what takes minutes
/// beside a real rack.
const SPANS: [(&str, &str); 5] = [
    ("scale_in_window", "3s"),
    ("idle_time", "3s"),
    ("min_on", "1s"),
    ("min_off", "1s"),
    ("drain_retry", "5s"),
];

/// The class of the machines of [`RigSpec::utilised`].
const UTILISED_CLASS: &str = "utilised";

/// A policy that keeps the share of CPU that is allocated at `percent`, by the host's own APM and
/// strategy. It never asks for none: its APM can not.
#[must_use]
pub fn utilisation_policy(max: usize, percent: u32, target: &str) -> String {
    let check = format!(
        r#"
    check "utilisation" {{
      source = "nomad-apm"
      query  = "node_percentage-allocated_cpu/{UTILISED_CLASS}/class"
      strategy "target-value" {{
        target = "{percent}"
      }}
    }}"#
    );
    policy(1, max, &check, &format!("while_starting = \"wait\"\n{target}"))
}

/// A policy that wants this count, whatever the work is.
#[must_use]
pub fn fixed_policy(count: usize, max: usize, target: &str) -> String {
    let check = format!(
        r#"
    check "fixed" {{
      source = "lamplighter"
      strategy "fixed-value" {{
        value = "{count}"
      }}
    }}"#
    );
    policy(0, max, &check, target)
}

/// A policy with this check; `target` is added to its target block, in which all spans that it does not
/// name itself are short.
#[must_use]
pub fn policy(min: usize, max: usize, check: &str, target: &str) -> String {
    let own = SPANS.iter().filter(|(key, _)| !target.contains(key));
    let spans: String = own.map(|(key, span)| format!("      {key} = {span:?}\n")).collect();
    format!(
        r#"scaling "rack" {{
  enabled = true
  min     = {min}
  max     = {max}
  policy {{
    cooldown            = "1s"
    evaluation_interval = "1s"
{check}
    target "lamplighter" {{
      pool = "rack"
{spans}      {target}
    }}
  }}
}}
"#
    )
}

/// The installation. Dropping it kills everything.
pub struct Rig {
    /// Where everything stands.
    pub dir: PathBuf,
    /// The Nomad server.
    pub server: Server,
    /// The rack's control socket.
    pub rack: Rack,
    /// The agent, while it runs.
    pub agent: Option<Process>,
    /// The autoscaler, while it runs.
    pub autoscaler: Option<Process>,
    /// The plugin's `agents`; read by [`Rig::write_autoscaler_config`].
    pub agents: String,
    /// More keys of both plugin blocks, as HCL: by what agents on the network know the plugin.
    pub agents_config: String,
    /// The target's `heartbeat`; read by [`Rig::write_autoscaler_config`].
    pub heartbeat: &'static str,
    /// More lines of the target's `config`; read as those above.
    pub target_config: String,
    /// Whether the autoscaler takes policies from Nomad's jobs too. Where it does and Nomad is silent,
    /// v0.4.6 starts all policies anew every ten seconds.
    pub job_policies: bool,
    /// The autoscaler's own token for Nomad, none where Nomad asks for none; read as those above.
    pub token: Option<String>,
    rack_process: Process,
    /// Hold the ports of clients that are still to boot.
    _clients: Vec<NomadMachine>,
    http: Port,
    // Last, so that it outlives those who write into it.
    _folder: tempfile::TempDir,
}

impl Rig {
    /// Builds and starts everything.
    ///
    /// # Errors
    /// Where something does not start; the message has the end of its log.
    pub async fn start(spec: &RigSpec) -> Result<Self> {
        let mut rig = Self::prepare(spec).await?;
        rig.start_agent().await?;
        rig.start_autoscaler().await?;
        Ok(rig)
    }

    /// Builds everything and starts Nomad and the rack, with the machines that are on from the start.
    ///
    /// # Errors
    /// Where something does not start; the message has the end of its log.
    pub async fn prepare(spec: &RigSpec) -> Result<Self> {
        let rig = Self::prepare_rack(spec, |dir, server| {
            let mut clients = Vec::new();
            for number in 1..=spec.machines {
                let machine = MachineSpec { name: format!("node{number}"), ..spec.machine.clone() };
                clients.push(server.machine(dir, &machine)?);
            }
            std::fs::write(dir.join("agent.toml"), agent_toml(dir, spec, server)?)?;
            Ok((rack_toml(dir, spec, &clients), clients))
        })
        .await?;
        for number in 1..=spec.on {
            rig.server.node_ready(&format!("node{number}")).await?;
        }
        Ok(rig)
    }

    /// As [`Rig::prepare`], with a rack of a story's own, whose control socket is `rack.sock`: `lay_out` returns its file
    /// and the clients that its machines run. The agent's file, `agent.toml`, is the story's too.
    ///
    /// # Errors
    /// Where something does not start; the message has the end of its log.
    pub async fn prepare_rack(
        spec: &RigSpec,
        lay_out: impl FnOnce(&Path, &Server) -> Result<(String, Vec<NomadMachine>)>,
    ) -> Result<Self> {
        let folder = tempfile::Builder::new().prefix("lamplighter-").tempdir()?;
        let dir = folder.path().to_owned();
        let server = Server::start_at(spec.hosts, &dir, spec.access, spec.seen_at).await?;
        let (rack, clients) = lay_out(&dir, &server)?;
        std::fs::write(dir.join("rack.toml"), rack)?;
        std::fs::create_dir_all(dir.join("policies"))?;
        std::fs::write(dir.join("policies/rack.hcl"), &spec.policy)?;

        let virtual_rack = program("virtual-rack")?;
        let rack_file = dir.join("rack.toml");
        let argv = [virtual_rack.as_os_str(), "run".as_ref(), rack_file.as_os_str()];
        let rack_process = Process::start("rack", &argv, &dir)?;
        let rack = Rack::new(dir.join("rack.sock"));
        eventually("the virtual rack", READY_BOUND, || async {
            Ok(Probe::Met(rack.state().await?))
        })
        .await
        .with_context(|| rack_process.log_tail())?;
        let http = Port::take()?;
        Ok(Self {
            agents: format!("unix:{}", dir.join("agent.sock").display()),
            heartbeat: "1s",
            agents_config: String::new(),
            target_config: String::new(),
            job_policies: true,
            token: grant(&server, spec.access, &dir).await?,
            dir,
            server,
            rack,
            agent: None,
            autoscaler: None,
            rack_process,
            _clients: clients,
            http,
            _folder: folder,
        })
    }

    /// Starts the agent and waits until it answers.
    ///
    /// # Errors
    /// Where it does not; the message has the end of its log.
    pub async fn start_agent(&mut self) -> Result<()> {
        let agent = program("power-agent")?;
        let config = self.dir.join("agent.toml");
        let argv = [agent.as_os_str(), "serve".as_ref(), "--config".as_ref(), config.as_os_str()];
        let process = Process::start("agent", &argv, &self.dir)?;
        eventually("the power agent", READY_BOUND, || async {
            Ok(Probe::Met(self.power_agent(&["status", "--json"]).await?.success()?))
        })
        .await
        .with_context(|| process.log_tail())?;
        self.agent = Some(process);
        Ok(())
    }

    /// Starts the autoscaler with our plugin.
    ///
    /// # Errors
    /// Where it can not be started.
    pub async fn start_autoscaler(&mut self) -> Result<()> {
        self.link_plugin()?;
        let config = self.write_autoscaler_config()?;
        let (host, role, option) = match self.server.hosts() {
            Hosts::Real => (hosts::autoscaler().await?, "agent", "-config"),
            Hosts::StandIn => (program("standin")?, "autoscaler", "--config"),
        };
        let argv = [host.as_os_str(), role.as_ref(), option.as_ref(), config.as_os_str()];
        self.autoscaler = Some(Process::start("autoscaler", &argv, &self.dir)?);
        Ok(())
    }

    /// Makes the folder with the plugin, which is the autoscaler's `plugin_dir`, and returns its path.
    ///
    /// # Errors
    /// Where it can not be made.
    pub fn link_plugin(&self) -> Result<PathBuf> {
        let plugins = self.dir.join("plugins");
        std::fs::create_dir_all(&plugins)?;
        let link = plugins.join("lamplighter");
        if !link.exists() {
            std::os::unix::fs::symlink(program("lamplighter")?, &link)?;
        }
        Ok(plugins)
    }

    /// Writes the autoscaler's configuration as this rig's fields have it, and returns its path.
    ///
    /// # Errors
    /// Where it can not be written.
    pub fn write_autoscaler_config(&self) -> Result<PathBuf> {
        let config = self.dir.join("autoscaler.hcl");
        std::fs::write(&config, self.autoscaler_hcl())?;
        Ok(config)
    }

    /// Stops the autoscaler in order.
    ///
    /// # Errors
    /// Where it does not run or does not end.
    pub async fn stop_autoscaler(&mut self) -> Result<()> {
        let process = self.autoscaler.take().context("the autoscaler does not run")?;
        process.stop(STOP_PATIENCE).await?;
        Ok(())
    }

    /// Starts the autoscaler with another policy: one that runs keeps what it has read of the policy's file.
    ///
    /// # Errors
    /// Where it can not be started.
    pub async fn start_autoscaler_with(&mut self, policy: &str) -> Result<()> {
        std::fs::write(self.dir.join("policies/rack.hcl"), policy)?;
        self.start_autoscaler().await
    }

    /// Stops the agent in order.
    ///
    /// # Errors
    /// Where it does not run or does not end.
    pub async fn stop_agent(&mut self) -> Result<()> {
        let process = self.agent.take().context("the agent does not run")?;
        process.stop(STOP_PATIENCE).await?;
        Ok(())
    }

    /// Has the autoscaler read its configuration again.
    ///
    /// # Errors
    /// Where it does not run.
    pub fn reload_autoscaler(&self) -> Result<()> {
        let process = self.autoscaler.as_ref().context("the autoscaler does not run")?;
        process.signal(Signal::HUP)
    }

    /// Runs the agent's command line as a person would.
    ///
    /// # Errors
    /// Where it can not be started or does not end in time.
    pub async fn power_agent(&self, arguments: &[&str]) -> Result<Said> {
        let socket = format!("unix:{}", self.dir.join("agent.sock").display());
        let all: Vec<&str> =
            ["--agent", &socket].into_iter().chain(arguments.iter().copied()).collect();
        run(&program("power-agent")?, &all).await
    }

    /// Runs the plugin's command line as a person would.
    ///
    /// # Errors
    /// Where it can not be started or does not end in time.
    pub async fn lamplighter(&self, arguments: &[&str]) -> Result<Said> {
        let socket = format!("unix:{}", self.dir.join("agent.sock").display());
        let all: Vec<&str> = arguments.iter().copied().chain(["--agents", &socket]).collect();
        run(&program("lamplighter")?, &all).await
    }

    /// The edges so far of one machine, oldest first.
    ///
    /// # Errors
    /// Where the rack does not answer.
    pub async fn edges(&self, machine: &str) -> Result<Vec<Power>> {
        let edges = self.rack.edges().await?;
        let own = edges.iter().filter(|edge| edge.machine.as_deref() == Some(machine));
        Ok(own.map(|edge| edge.edge).collect())
    }

    /// Waits until a machine has lost its power, and returns that edge.
    ///
    /// # Errors
    /// Where it has not within [`PATH_BOUND`]; the message has the ends of all logs.
    pub async fn off_edge(&self, machine: &str) -> Result<EdgeRecord> {
        eventually(&format!("{machine} to lose its power"), PATH_BOUND, || async {
            let edges = self.rack.edges().await?;
            let state = format!("{edges:?}");
            let off = |edge: &EdgeRecord| {
                edge.machine.as_deref() == Some(machine) && edge.edge == Power::Off
            };
            Ok(Probe::of(edges.into_iter().find(off), || state))
        })
        .await
        .with_context(|| self.logs())
    }

    /// All edges so far.
    ///
    /// # Errors
    /// Where the rack does not answer.
    pub async fn all_edges(&self) -> Result<Vec<EdgeRecord>> {
        Ok(self.rack.edges().await?)
    }

    /// How many machines the rack has in a phase now.
    ///
    /// # Errors
    /// Where the rack does not answer.
    pub async fn machines_in(&self, phase: Phase) -> Result<usize> {
        let state = self.rack.state().await?;
        Ok(state.machines.values().filter(|machine| machine.state == phase).count())
    }

    /// Waits until so many machines are in a phase.
    ///
    /// # Errors
    /// Where they are not within [`PATH_BOUND`]; the message has the ends of all logs.
    pub async fn until(&self, count: usize, phase: Phase) -> Result<()> {
        let what = format!("{count} machines {phase:?}");
        eventually(&what, PATH_BOUND, || async {
            let state = self.rack.state().await?;
            let phases: Vec<Phase> = state.machines.values().map(|machine| machine.state).collect();
            let found = phases.iter().filter(|found| **found == phase).count();
            Ok(Probe::of((found == count).then_some(()), || format!("{phases:?}")))
        })
        .await
        .with_context(|| self.logs())
    }

    /// The ends of the logs of all programs, for the message of a failure.
    #[must_use]
    pub fn logs(&self) -> String {
        let mut text = self.rack_process.log_tail();
        for name in ["agent", "autoscaler"] {
            text.push_str(&tail_of(&self.dir.join(format!("{name}.log"))));
        }
        text
    }
}

fn board_of(machine: usize, channels: usize) -> (usize, usize) {
    ((machine - 1) / channels + 1, (machine - 1) % channels + 1)
}

fn rack_toml(dir: &Path, spec: &RigSpec, clients: &[NomadMachine]) -> String {
    let dir = dir.display();
    let mut text = format!("socket = \"{dir}/rack.sock\"\nedge_log = \"{dir}/edges.jsonl\"\n");
    for board in 1..=spec.machines.div_ceil(spec.channels) {
        let kind = spec.board;
        write!(
            text,
            "[boards.board{board}]\nkind = \"{kind}\"\nchannels = {}\nlink = \"{dir}/board{board}\"\n",
            spec.channels
        )
        .ok();
    }
    for (index, client) in clients.iter().enumerate() {
        let (board, channel) = board_of(index + 1, spec.channels);
        let (name, on) = (client.name(), index < spec.on);
        write!(
            text,
            "[machines.{name}]\nboard = \"board{board}\"\nchannel = {channel}\non = {on}\n\
             boot_ms = {}\nshutdown_ms = {}\nwatts = 6.5\ncommand = {:?}\ncommand_log = \"{dir}/{name}.log\"\n",
            spec.boot.as_millis(),
            spec.shutdown.as_millis(),
            client.argv(),
        )
        .ok();
    }
    text
}

fn agent_toml(dir: &Path, spec: &RigSpec, server: &Server) -> Result<String> {
    let virtual_rack = program("virtual-rack")?;
    let status = if spec.board == "lcus-silent" { "none" } else { "ascii" };
    let token = server.token().map(|_| format!("token_file = {:?}\n", token_file(dir, "agent")));
    let token = token.unwrap_or_default();
    let dir = dir.display();
    let machine = &spec.machine;
    let class = match machine.node_class.as_str() {
        "" => String::new(),
        class => format!(", node_class = \"{class}\""),
    };
    let mut text = format!(
        "[agent]\nname = \"rig\"\nsocket = \"{dir}/agent.sock\"\nstate = \"{dir}/agent\"\npoll = \"1s\"\n\
         [nomad]\naddress = \"{}\"\n{token}\
         [pools.rack]\nboot_deadline = \"60s\"\noff_dwell = \"1s\"\nmin_on = \"0s\"\nmin_off = \"0s\"\ncycles_per_hour = 0\nsettle = \"1s\"\n\
         soft_off = {{ exec = [\"{}\", \"ctl\", \"--socket\", \"{dir}/rack.sock\", \"soft-off\", \"{{machine}}\"], deadline = \"60s\" }}\n\
         shape = {{ cpu = {}, memory = {}, disk = {}, datacenter = \"{}\", node_pool = \"{}\"{class} }}\n",
        server.address(),
        virtual_rack.display(),
        machine.cpu_mhz,
        machine.memory_mb,
        machine.disk_mb,
        machine.datacenter,
        machine.node_pool,
    );
    for board in 1..=spec.machines.div_ceil(spec.channels) {
        write!(
            text,
            "[devices.board{board}]\ndriver = \"lcus\"\nport = \"{dir}/board{board}\"\nchannels = {}\nstatus = \"{status}\"\n",
            spec.channels
        )
        .ok();
    }
    for number in 1..=spec.machines {
        let (board, channel) = board_of(number, spec.channels);
        write!(
            text,
            "[machines.node{number}]\npool = \"rack\"\noutlets = [{{ device = \"board{board}\", outlet = {channel} }}]\n"
        )
        .ok();
    }
    Ok(text)
}
