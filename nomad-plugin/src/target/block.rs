//! A policy's target block, from the host's map of strings to types.

use std::collections::BTreeMap;
use std::time::Duration;

use fleet::demand::Caller;
use fleet::{
    DemandName, Knobs, NodeFilter, NodeStatus, OnSoftOffTimeout, PoolName, Selector, Terms,
    WhileStarting,
};

use crate::host::{Config, Fault};
use crate::settings::duration;

/// The voice of a policy that names none.
pub const VOICE_DEFAULT: &str = "default";

/// The host's default evaluation interval.
const TICK_DEFAULT: Duration = Duration::from_secs(10);

/// The shortest `demand_ttl`: twice the host's default cooldown, during which a policy is silent.
const DEMAND_TTL_MIN: Duration = Duration::from_secs(10 * 60);

/// The host's deadline for `Status`, three quarters of the evaluation interval, as it passes it.
const GRPC_TIMEOUT: &str = "_nomad_autoscaler_grpc_timeout";

/// Keys that are known and change nothing here: the host's own, those that a cluster target of a cloud
/// would need, and those by which a pool that drains would be frozen (ours never is).
pub(crate) const PASSIVE_KEYS: &[&str] = &[
    "dry-run",
    "Job",
    "Group",
    "Namespace",
    "node_filter_ignore_init",
    "node_filter_ignore_drain",
    "node_filter_ignore_ineligible",
];

/// Keys that are read.
pub(crate) const KEYS: &[&str] = &[
    "pool",
    "demand",
    "node_class",
    "node_pool",
    "datacenter",
    "node_drain_deadline",
    "node_drain_ignore_system_jobs",
    "node_purge",
    "node_selector_strategy",
    "scale_in_window",
    "demand_ttl",
    "idle_time",
    "min_on",
    "min_off",
    "while_starting",
    "drain_patience",
    "drain_batch",
    "drain_retry",
    "on_soft_off_timeout",
];

/// A target block.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Block {
    /// The pool that it scales.
    pub pool: PoolName,
    /// The name of its demand.
    pub voice: String,
    /// Its knobs, and which nodes may be chosen.
    pub terms: Terms,
    /// The policy's evaluation interval.
    pub tick: Duration,
}

impl Block {
    /// Reads a target block; keys that nobody knows are named in `warnings`.
    ///
    /// # Errors
    /// Where `pool` is missing or a value can not be read: with key, what was found, what is expected.
    pub fn read(config: &Config, warnings: &mut Vec<String>) -> Result<Self, Fault> {
        for key in config.keys().filter(|key| !key.starts_with('_')) {
            if !KEYS.contains(&key.as_str()) && !PASSIVE_KEYS.contains(&key.as_str()) {
                warnings.push(format!(
                    "target key {key:?} is not known and ignored; known are {}",
                    KEYS.join(", ")
                ));
            }
        }
        let pool = config.get("pool").ok_or_else(|| {
            Fault::failed(
                "the target block names no pool; expected pool = \"NAME\", a pool of the agents",
            )
        })?;
        let pool = PoolName::new(pool.as_str())
            .map_err(|error| Fault::caused("the target block's pool", &error))?;
        let voice = config.get("demand").map_or(VOICE_DEFAULT, String::as_str);
        let voice = DemandName::new(voice)
            .map_err(|error| Fault::caused("the target block's demand", &error))?;
        let filter = NodeFilter {
            node_class: config.get("node_class").cloned(),
            node_pool: config.get("node_pool").cloned(),
            datacenter: config.get("datacenter").cloned(),
        };
        let timeout = config.get(GRPC_TIMEOUT).and_then(|text| {
            fleet::duration::parse_duration(text).ok().filter(|timeout| !timeout.is_zero())
        });
        Ok(Self {
            pool,
            voice: voice.as_str().to_owned(),
            terms: Terms { knobs: knobs(config)?, filter },
            tick: timeout.map_or(TICK_DEFAULT, |timeout| timeout * 4 / 3),
        })
    }

    /// The policy as it calls.
    #[must_use]
    pub fn caller(&self) -> Caller<'_> {
        let while_starting = self.terms.knobs.while_starting;
        Caller { voice: &self.voice, tick: self.tick, while_starting }
    }
}

fn knobs(config: &Config) -> Result<Knobs, Fault> {
    let default = Knobs::default();
    let span = |key, default| duration(config, key).map(|found| found.unwrap_or(default));
    Ok(Knobs {
        scale_in_window: span("scale_in_window", default.scale_in_window)?,
        demand_ttl: demand_ttl(config, default.demand_ttl)?,
        idle_time: span("idle_time", default.idle_time)?,
        min_on: span("min_on", default.min_on)?,
        min_off: span("min_off", default.min_off)?,
        while_starting: word(
            config,
            "while_starting",
            default.while_starting,
            &[("ready", WhileStarting::Ready), ("wait", WhileStarting::Wait)],
        )?,
        drain_patience: span("drain_patience", default.drain_patience)?,
        node_drain_deadline: duration(config, "node_drain_deadline")?,
        node_drain_ignore_system_jobs: truth(config, "node_drain_ignore_system_jobs")?,
        drain_batch: truth(config, "drain_batch")?,
        drain_retry: span("drain_retry", default.drain_retry)?,
        node_purge: truth(config, "node_purge")?,
        selector: word(
            config,
            "node_selector_strategy",
            default.selector,
            &[
                Selector::LeastBusy,
                Selector::NewestCreateIndex,
                Selector::OldestCreateIndex,
                Selector::Empty,
                Selector::EmptyIgnoreSystem,
            ]
            .map(|selector| (selector.as_str(), selector)),
        )?,
        on_soft_off_timeout: word(
            config,
            "on_soft_off_timeout",
            default.on_soft_off_timeout,
            &[("cut", OnSoftOffTimeout::Cut), ("quarantine", OnSoftOffTimeout::Quarantine)],
        )?,
    })
}

/// A demand must outlast the silence of a cooldown.
fn demand_ttl(config: &Config, default: Duration) -> Result<Duration, Fault> {
    let found = duration(config, "demand_ttl")?.unwrap_or(default);
    if found < DEMAND_TTL_MIN {
        return Err(Fault::failed(format!(
            "demand_ttl = {:?}: expected at least {DEMAND_TTL_MIN:?}: a policy is silent during its cooldown",
            config.get("demand_ttl").map_or("", String::as_str)
        )));
    }
    Ok(found)
}

fn word<T: Copy>(
    config: &BTreeMap<String, String>,
    key: &str,
    default: T,
    words: &[(&str, T)],
) -> Result<T, Fault> {
    let Some(found) = config.get(key) else { return Ok(default) };
    let known = words.iter().find(|(word, _)| word == found);
    known.map(|(_, value)| *value).ok_or_else(|| {
        let words: Vec<String> = words.iter().map(|(word, _)| format!("{word:?}")).collect();
        Fault::failed(format!("{key} = {found:?}: expected one of {}", words.join(", ")))
    })
}

fn truth(config: &BTreeMap<String, String>, key: &str) -> Result<bool, Fault> {
    // The host's own targets take what Go's ParseBool takes, and so do policies that were theirs.
    let found = config.get(key).map(String::as_str);
    match found {
        None | Some("0" | "f" | "F" | "FALSE" | "False") => Ok(false),
        Some("1" | "t" | "T" | "TRUE" | "True") => Ok(true),
        Some(_) => word(config, key, false, &[("true", true), ("false", false)]),
    }
}

/// A node's status by Nomad's word.
#[must_use]
pub fn node_status(status: &nomad_api::NodeStatus) -> NodeStatus {
    match status {
        nomad_api::NodeStatus::Ready => NodeStatus::Ready,
        nomad_api::NodeStatus::Initializing => NodeStatus::Initializing,
        nomad_api::NodeStatus::Disconnected => NodeStatus::Disconnected,
        _ => NodeStatus::Down,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(pairs: &[(&str, &str)]) -> Result<Block, Fault> {
        let config: Config =
            pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
        Block::read(&config, &mut Vec::new())
    }

    #[test]
    fn the_tick_is_read_off_the_hosts_deadline() {
        let block = read(&[("pool", "rack"), (GRPC_TIMEOUT, "7.5s")]).unwrap();
        assert_eq!(block.tick, Duration::from_secs(10));
    }

    #[test]
    fn a_wrong_type_names_key_value_and_what_is_expected() {
        let error = |pairs: &[(&str, &str)]| read(pairs).unwrap_err().to_string();
        assert!(error(&[]).contains("pool = \"NAME\""));
        let text = error(&[("pool", "rack"), ("node_selector_strategy", "emptyy")]);
        assert!(text.contains("\"emptyy\"") && text.contains("\"empty_ignore_system\""), "{text}");
        let text = error(&[("pool", "rack"), ("idle_time", "5")]);
        assert!(text.contains("idle_time = \"5\"") && text.contains("90s"), "{text}");
        let text = error(&[("pool", "rack"), ("node_purge", "yes")]);
        assert!(text.contains("\"true\""), "{text}");
    }

    #[test]
    fn a_truth_is_written_as_the_hosts_own_targets_take_it() {
        let purges =
            |text| read(&[("pool", "rack"), ("node_purge", text)]).unwrap().terms.knobs.node_purge;
        assert!(["1", "t", "T", "true", "TRUE", "True"].into_iter().all(purges));
        assert!(!["0", "f", "F", "false", "FALSE", "False"].into_iter().any(purges));
    }

    #[test]
    fn the_drain_deadline_is_sent_only_where_it_is_named() {
        assert_eq!(read(&[("pool", "rack")]).unwrap().terms.knobs.node_drain_deadline, None);
        let block = read(&[("pool", "rack"), ("node_drain_deadline", "15m")]).unwrap();
        assert_eq!(block.terms.knobs.node_drain_deadline, Some(Duration::from_secs(900)));
    }
}
