//! The rack file: one TOML file, read once into types, with all of its findings told in one run.
//!
//! Nothing here opens a device; what the file says is checked, and whether a port exists.

mod access;
mod feeds;
mod finding;
mod page;
mod paths;
mod placeholder;
mod ports;
mod read;
mod rules;
mod section;

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use fleet::arbiter::Limits;
use fleet::sequencer::{Cut, Paths};
use fleet::{DeviceName, DriftPolicy, FeedName, MachineName, Milliamps, PoolName, Shape, Supply};

use crate::drivers::wol::WakeCall;
use crate::drivers::{DriverConfig, OutletNumber};
use crate::presence::PresenceConfig;
use crate::roles::Access;
use crate::tls::Trust;

pub use access::{Network, TlsConfig};
pub use finding::{Finding, Findings, Severity};
pub use fleet::duration::{DurationError, parse_duration, show_duration};
pub use page::PageConfig;
pub use placeholder::fill;
pub(crate) use section::{At, Item, Section};

/// The largest rack file that is read, in bytes: a thousand machines with shapes are some 300 KiB.
pub const FILE_BYTES_MAX: u64 = 4 << 20;

/// Where an agent listens if nothing else is said.
pub const SOCKET_DEFAULT: &str = "/run/lamplighter/agent.sock";

/// Where an agent keeps its state if nothing else is said.
pub const STATE_DEFAULT: &str = "/var/lib/lamplighter";

/// All that one agent is told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    /// The agent itself.
    pub agent: AgentConfig,
    /// How to reach Nomad; `None`: this agent can prove no node empty.
    pub nomad: Option<NomadConfig>,
    /// The devices, by name.
    pub devices: BTreeMap<DeviceName, DriverConfig>,
    /// What each feed may carry.
    pub feeds: BTreeMap<FeedName, Milliamps>,
    /// The pools that are declared.
    pub pools: BTreeSet<PoolName>,
    /// The machines, by name.
    pub machines: BTreeMap<MachineName, MachineConfig>,
    /// Where the agent listens on the network; `None`: nowhere.
    pub network: Option<Network>,
    /// Where the page is served; `None`: nowhere.
    pub page: Option<PageConfig>,
    /// Who may what.
    pub access: Access,
}

/// The agent itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AgentConfig {
    /// Its name; by default the host's.
    pub name: String,
    /// The Unix socket on which it listens.
    pub socket: PathBuf,
    /// The directory of its journal.
    pub state: PathBuf,
    /// How often every device is read.
    pub poll: Duration,
    /// Where metrics are answered, on this host alone; `None`: nowhere.
    pub metrics: Option<SocketAddr>,
}

/// How to reach Nomad.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NomadConfig {
    /// `http://…`, `https://…` or `unix:///…`.
    pub address: String,
    /// The file that holds the token; read again when it changes.
    pub token_file: Option<PathBuf>,
    /// The certificate authority that signs Nomad's certificate, PEM.
    pub ca_file: Option<PathBuf>,
    /// Our certificate, PEM.
    pub cert_file: Option<PathBuf>,
    /// Our certificate's key, PEM.
    pub key_file: Option<PathBuf>,
    /// The region that is asked; by default the server's own.
    pub region: Option<String>,
    /// The name in the server's certificate where it is not the address's.
    pub tls_server_name: Option<String>,
}

/// One machine, its pool's defaults already applied.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MachineConfig {
    /// Its name.
    pub name: MachineName,
    /// Its pool, if it is in one.
    pub pool: Option<PoolName>,
    /// Its node's name in Nomad.
    pub node: String,
    /// What switches it: one or more.
    pub outlets: Vec<OutletPath>,
    /// What it takes of which feed, each feed once; empty: of none that has a budget.
    pub supplies: Vec<Supply>,
    /// From the relay to the ready node.
    pub boot_deadline: Duration,
    /// How long a cycle keeps it off: what its power supply needs to lose its charge.
    pub off_dwell: Duration,
    /// Silence after the signs of being down, before the cut.
    pub settle: Duration,
    /// How long a person's `--drain` waits for the node to become empty.
    pub drain_deadline: Duration,
    /// How soon and how often its hardware may be switched.
    pub limits: Limits,
    /// Whether its power is never taken by a policy, and by a person only with `--force`.
    pub never_off: bool,
    /// How it is asked to shut down before it is cut; `None`: it is cut at once.
    pub soft_off: Option<SoftOffConfig>,
    /// What it offers to work, as declared.
    pub shape: Option<Shape>,
    /// What is done when it reads otherwise than it was ordered.
    pub drift: DriftPolicy,
    /// What wakes it; `None`: its power is enough.
    pub wake: Option<WakeConfig>,
    /// Whether its outlets open only where it does not go down by itself.
    pub last_resort: bool,
    /// How it shows on the network that it is on.
    pub presence: Option<PresenceConfig>,
}

impl MachineConfig {
    /// By which ways it is switched.
    #[must_use]
    pub fn paths(&self) -> Paths {
        let cut = match (self.outlets.is_empty(), self.last_resort) {
            (true, _) => Cut::Never,
            (false, true) => Cut::LastResort,
            (false, false) => Cut::After,
        };
        Paths { cut, wake: self.wake.as_ref().map(|wake| wake.deadline) }
    }

    /// Whether nothing can switch it off.
    #[must_use]
    pub fn is_on_only(&self) -> bool {
        self.outlets.is_empty() && self.soft_off.is_none()
    }
}

/// What wakes a machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WakeConfig {
    /// The device that sends.
    pub device: DeviceName,
    /// Which card is to hear it.
    pub call: WakeCall,
    /// How long it may take from the first packet to a sign of life.
    pub deadline: Duration,
}

/// One switchable path.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct OutletPath {
    /// The device.
    pub device: DeviceName,
    /// The outlet's number, as printed on the device.
    pub outlet: OutletNumber,
}

/// How a machine is asked to shut down.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SoftOffConfig {
    /// By what means.
    pub way: SoftOffWay,
    /// How long the machine may take to go down, counted from the asking.
    pub deadline: Duration,
}

/// By what means a machine is asked to shut down.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SoftOffWay {
    /// A command on the agent's host.
    Exec {
        /// Program and arguments; `{machine}` and `{node}` stand for the names.
        argv: Vec<String>,
    },
    /// A command on the machine, by the host's `ssh`.
    Ssh(SshConfig),
}

/// How a machine is reached by ssh.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SshConfig {
    /// `user@host`; `{machine}` and `{node}` stand for the names.
    pub target: String,
    /// The port; by default what ssh's own configuration says.
    pub port: Option<u16>,
    /// The private key; by default what ssh's own configuration says.
    pub identity_file: Option<PathBuf>,
    /// The file of host keys that are trusted; by default what ssh's own configuration says.
    pub known_hosts: Option<PathBuf>,
    /// What runs on the machine.
    pub command: String,
}

impl Config {
    /// Reads and checks the rack file. With the config come warnings: what an agent can live with
    /// (a port that is not there yet), and a person should know.
    ///
    /// # Errors
    /// All findings of the file, where at least one is an error.
    pub fn load(file: &Path) -> Result<(Config, Findings), Findings> {
        let source = read_bounded(file).map_err(|why| Findings::of_file(file, why))?;
        // Absolute, so that the file means the same wherever the agent was started.
        let whole = std::path::absolute(file).unwrap_or_else(|_| file.to_owned());
        let base = whole.parent().unwrap_or(Path::new(""));
        let draft = read::parse(file, &source, base)?;
        let mut found = ports::look_at(&draft.devices);
        found.extend(feeds::unused(&draft));
        found.extend(feeds::unreadable(&draft));
        found.extend(
            draft
                .devices
                .iter()
                .filter_map(|device| device.config.as_ref())
                .flat_map(DriverConfig::look),
        );
        found.extend(paths::look(&draft));
        if let Some(Err(error)) = draft.access.tls().map(Trust::load) {
            found.push(draft.access.unusable(&error));
        }
        let findings = Findings::new(file, &source, found);
        if findings.has_errors() { Err(findings) } else { Ok((draft.into_config(), findings)) }
    }

    /// Checks the text of a rack file; `base` is where its relative paths begin. Looks at no port.
    ///
    /// # Errors
    /// All findings of the text.
    pub fn parse(file: &Path, source: &str, base: &Path) -> Result<Config, Findings> {
        read::parse(file, source, base).map(read::Draft::into_config)
    }

    /// The machines that hang on a device, by outlet.
    pub fn machines_on<'a>(
        &'a self,
        device: &'a DeviceName,
    ) -> impl Iterator<Item = (OutletNumber, &'a MachineName)> {
        self.machines.values().flat_map(move |machine| {
            let ours = machine.outlets.iter().filter(move |path| path.device == *device);
            ours.map(|path| (path.outlet, &machine.name))
        })
    }
}

fn read_bounded(file: &Path) -> Result<String, String> {
    let told = |error: std::io::Error| match error.kind() {
        std::io::ErrorKind::NotFound => "there is no such file".to_owned(),
        std::io::ErrorKind::InvalidData => "the file is not UTF-8 text".to_owned(),
        _ => error.to_string(),
    };
    let bytes = std::fs::metadata(file).map_err(told)?.len();
    if bytes > FILE_BYTES_MAX {
        return Err(format!("the file has {bytes} bytes; at most {FILE_BYTES_MAX} are read"));
    }
    std::fs::read_to_string(file).map_err(told)
}
