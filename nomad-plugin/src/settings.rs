//! What the operator's `config` block says, with what the host adds of its own Nomad configuration.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use agent_api::{AgentAddress, Credentials};
use fleet::ClusterId;
use fleet::duration::parse_duration;

use crate::host::{Config, Fault};

/// Where an agent listens when nobody says otherwise.
pub const AGENTS_DEFAULT: &str = "unix:/run/lamplighter/agent.sock";

/// How often the holder of a pool's lease writes its heartbeat, when nobody says otherwise. A successor
/// waits three of them: half a minute without a planner is no harm to machines that take minutes to boot.
pub const HEARTBEAT_DEFAULT: Duration = Duration::from_secs(10);

/// The shortest heartbeat that is taken: each is a write through Raft.
pub const HEARTBEAT_MIN: Duration = Duration::from_millis(500);

/// Under which path of Nomad's variables the pools' records stand, when nobody says otherwise.
pub const RECORD_PATH_DEFAULT: &str = "lamplighter/pools";

/// Keys of the operator's block that are ours; `nomad_*` is the host's.
pub(crate) const KEYS: &[&str] = &[
    "agents",
    "agents_ca_file",
    "agents_cert_file",
    "agents_key_file",
    "heartbeat",
    "record_path",
    "record_dir",
    "cluster",
    "metrics",
];

/// The settings of one plugin process.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// How to reach Nomad.
    pub nomad: nomad_api::Config,
    /// The agents.
    pub agents: Vec<AgentAddress>,
    /// By what agents on the network know us, and we them; `None`: no agent is there.
    pub credentials: Option<Credentials>,
    /// The lease's heartbeat.
    pub heartbeat: Duration,
    /// Where the pools' records stand.
    pub records: Records,
    /// What this cluster is called in fences. `None`: by its region.
    pub cluster: Option<ClusterId>,
    /// Where the target tells Prometheus of itself; on the loopback interface.
    pub metrics: Option<SocketAddr>,
}

/// Where the pools' records stand.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Records {
    /// In Nomad variables under this path: they move along with the autoscaler.
    Variables(String),
    /// In a directory: for one autoscaler only, that never moves.
    Directory(PathBuf),
}

impl Settings {
    /// Reads the block. Keys that nobody knows are named in `warnings` and otherwise ignored, as the
    /// host's own plugins do.
    ///
    /// # Errors
    /// Where a value of ours can not be read: the host then refuses to start, which is right for a typing
    /// error and would be wrong for anything that may pass.
    pub fn read(config: &Config, warnings: &mut Vec<String>) -> Result<Self, Fault> {
        for key in config.keys() {
            if !KEYS.contains(&key.as_str()) && !key.starts_with("nomad_") {
                warnings.push(format!(
                    "config key {key:?} is not known and ignored; known are {}",
                    KEYS.join(", ")
                ));
            }
        }
        let agents = config.get("agents").map_or(AGENTS_DEFAULT, String::as_str);
        let agents = AgentAddress::parse_list(agents)
            .map_err(|error| Fault::caused(&format!("config agents = {agents:?}"), &error))?;
        let credentials = credentials(config, &agents, warnings)?;
        let heartbeat = duration(config, "heartbeat")?.unwrap_or(HEARTBEAT_DEFAULT);
        if heartbeat < HEARTBEAT_MIN {
            return Err(Fault::failed(format!(
                "config heartbeat = {:?}: expected at least {HEARTBEAT_MIN:?}",
                config.get("heartbeat").map_or("", String::as_str)
            )));
        }
        let records = match (config.get("record_dir"), config.get("record_path")) {
            (Some(_), Some(_)) => {
                return Err(Fault::failed(
                    "config names both record_dir and record_path; records stand in one place",
                ));
            }
            (Some(directory), None) => {
                warnings.push(format!(
                    "config record_dir = {directory:?}: records in a directory are for one \
                     autoscaler only, which stays on this host; leave record_dir out to keep them \
                     in Nomad's variables"
                ));
                Records::Directory(directory.into())
            }
            (None, path) => {
                let path = path.map_or(RECORD_PATH_DEFAULT, String::as_str);
                Records::Variables(path.trim_matches('/').to_owned())
            }
        };
        let cluster = match config.get("cluster") {
            Some(name) => {
                let name = ClusterId::new(name.as_str());
                Some(name.map_err(|error| Fault::caused("config cluster", &error))?)
            }
            None => None,
        };
        let nomad = nomad_api::Config::from_autoscaler_map(config)
            .map_err(|error| Fault::caused("config", &error))?;
        let metrics = config.get("metrics").map(|text| loopback(text)).transpose()?;
        Ok(Self { nomad, agents, credentials, heartbeat, records, cluster, metrics })
    }
}

/// An address that only this host reaches: what is told there is told to whoever asks.
fn loopback(text: &str) -> Result<SocketAddr, Fault> {
    let address = text.parse::<SocketAddr>().ok().filter(|address| address.ip().is_loopback());
    address.ok_or_else(|| {
        Fault::failed(format!(
            "config metrics = {text:?}: expected an address of the loopback interface such as \"127.0.0.1:9465\""
        ))
    })
}

/// The files for agents on the network. One that can not be used yet is a warning: who renews certificates may be at it,
/// and each connecting reads the files anew.
fn credentials(
    config: &Config,
    agents: &[AgentAddress],
    warnings: &mut Vec<String>,
) -> Result<Option<Credentials>, Fault> {
    let Some(network) = agents.iter().find(|agent| agent.is_network()) else { return Ok(None) };
    let file = |key: &str| match config.get(key) {
        Some(path) if !path.is_empty() => Ok(PathBuf::from(path)),
        _ => Err(Fault::failed(format!(
            "config agents names {network}, and {key} is missing; agents on the network speak mutual TLS: \
             agents_ca_file, agents_cert_file and agents_key_file name the files, and `power-agent certs` makes them"
        ))),
    };
    let credentials = Credentials {
        ca_file: file("agents_ca_file")?,
        cert_file: file("agents_cert_file")?,
        key_file: file("agents_key_file")?,
    };
    if let Err(error) = credentials.read() {
        warnings.push(format!("config agents_{error}; no agent on the network can be reached so"));
    }
    Ok(Some(credentials))
}

/// Reads a duration of a block's map, where it is there.
///
/// # Errors
/// Where it can not be read: with key, what was found, and what is expected.
pub fn duration(map: &BTreeMap<String, String>, key: &str) -> Result<Option<Duration>, Fault> {
    let Some(text) = map.get(key) else { return Ok(None) };
    match parse_duration(text) {
        Ok(duration) => Ok(Some(duration)),
        Err(error) => Err(Fault::failed(format!(
            "{key} = {text:?}: {error}; expected a duration such as \"90s\" or \"1h30m\""
        ))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(pairs: &[(&str, &str)]) -> (Result<Settings, Fault>, Vec<String>) {
        let mut config: Config =
            pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
        config.insert("nomad_address".to_owned(), "http://127.0.0.1:4646".to_owned());
        let mut warnings = Vec::new();
        (Settings::read(&config, &mut warnings), warnings)
    }

    #[test]
    fn an_empty_block_has_its_defaults() {
        let (settings, warnings) = read(&[]);
        let settings = settings.unwrap();
        assert_eq!(settings.agents.len(), 1);
        assert_eq!(settings.records, Records::Variables("lamplighter/pools".to_owned()));
        assert_eq!(warnings, Vec::<String>::new());
    }

    #[test]
    fn records_in_a_directory_are_said_to_be_for_one_autoscaler_only() {
        let (settings, warnings) = read(&[("record_dir", "/var/lib/lamplighter")]);
        assert!(matches!(settings.unwrap().records, Records::Directory(_)));
        assert!(warnings[0].contains("record_dir") && warnings[0].contains("one autoscaler only"));
    }

    #[test]
    fn an_unknown_key_is_warned_about_and_a_wrong_value_refused_with_its_remedy() {
        let (settings, warnings) = read(&[("agent", "unix:/x")]);
        assert!(settings.is_ok());
        assert!(warnings[0].contains("\"agent\"") && warnings[0].contains("agents"));
        let error = read(&[("heartbeat", "soon")]).0.unwrap_err().to_string();
        assert!(error.contains("heartbeat = \"soon\"") && error.contains("90s"), "{error}");
        let error = read(&[("record_dir", "/x"), ("record_path", "y")]).0.unwrap_err().to_string();
        assert!(error.contains("one place"), "{error}");
        assert!(read(&[("agents", "tcp:10.0.0.1")]).0.is_err());
        let error = read(&[("metrics", "0.0.0.0:9464")]).0.unwrap_err().to_string();
        assert!(
            error.contains("metrics = \"0.0.0.0:9464\"") && error.contains("loopback"),
            "{error}"
        );
        assert!(read(&[("metrics", "127.0.0.1:9464")]).0.unwrap().metrics.is_some());
    }

    #[test]
    fn an_agent_on_the_network_takes_three_files_and_one_that_is_not_there_yet_is_a_warning() {
        let mut keys = vec![("agents", "unix:/x,https://rack-a")];
        for key in ["agents_ca_file", "agents_cert_file", "agents_key_file"] {
            let error = read(&keys).0.unwrap_err().to_string();
            assert!(error.contains(&format!("{key} is missing")), "{error}");
            keys.push((key, "/nowhere/x.pem"));
        }
        let (settings, warnings) = read(&keys);
        assert!(settings.unwrap().credentials.is_some());
        assert!(warnings[0].contains("agents_ca_file /nowhere/x.pem: "), "{warnings:?}");
    }
}
