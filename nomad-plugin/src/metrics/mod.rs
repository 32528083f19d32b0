//! What the target tells Prometheus: every pool as its last turn left it, and its calls counted.

mod serve;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use fleet::PoolName;
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;

pub use serve::serve;

/// What all names begin with.
const PREFIX: &str = "lamplighter_plugin";

/// Seconds, upwards from a turn that finds nothing to do to one that keeps Status waiting.
const TURN_BUCKETS: [f64; 7] = [0.000_1, 0.001, 0.005, 0.01, 0.05, 0.1, 1.0];

/// The labels of a series.
pub type Labels = Vec<(&'static str, String)>;

/// A number of a pool that goes up and down.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Name {
    /// What is desired.
    Desired,
    /// What Status counts.
    Counted,
    /// What each demand asks for.
    Asked,
    /// Demands by whose name several policies go.
    SharedDemands,
    /// Machines by state.
    Machines,
    /// Wanted, and nothing can supply them.
    Short,
    /// Too many, and nothing may take them.
    Surplus,
    /// Not taken, by reason.
    Blocked,
    /// Whether Status is answered ready.
    Ready,
    /// Whether we hold the pool's lease.
    LeaseHeld,
    /// By which fence.
    Fence,
    /// Whether Nomad can be read.
    NomadUp,
    /// Whether an agent answers.
    AgentUp,
}

/// Their names and what they are, for a person.
const NAMES: [(Name, &str, &str); 13] = [
    (Name::Desired, "desired_machines", "Machines that the pool is to have on"),
    (Name::Counted, "counted_machines", "Machines on, and starting within their deadline"),
    (Name::Asked, "asked_machines", "Machines that each demand asks for"),
    (
        Name::SharedDemands,
        "shared_demands",
        "Demands by whose name several policies go, so that their counts take turns",
    ),
    (Name::Machines, "machines", "Machines by state"),
    (Name::Short, "short_machines", "Machines wanted that nothing can supply"),
    (Name::Surplus, "surplus_machines", "Machines on that are not wanted and may not be stopped"),
    (Name::Blocked, "blocked_machines", "Machines that were not lit or not stopped, by reason"),
    (Name::Ready, "ready", "Whether Status is answered ready"),
    (Name::LeaseHeld, "lease_held", "Whether this autoscaler holds the pool's lease"),
    (Name::Fence, "fence", "The number of the lease that this autoscaler holds"),
    (Name::NomadUp, "nomad_up", "Whether Nomad can be read"),
    (Name::AgentUp, "agent_up", "Whether an agent answers"),
];

/// The metrics of a process; clones share them.
#[derive(Debug, Clone)]
pub struct Metrics {
    registry: Arc<Registry>,
    gauges: Arc<BTreeMap<Name, Family<Labels, Gauge>>>,
    calls: Family<Labels, Counter>,
    turns: Family<Labels, Histogram, fn() -> Histogram>,
}

impl Default for Metrics {
    fn default() -> Self {
        let mut registry = Registry::with_prefix(PREFIX);
        let mut gauges = BTreeMap::new();
        for (name, text, help) in NAMES {
            let family = Family::<Labels, Gauge>::default();
            registry.register(text, help, family.clone());
            gauges.insert(name, family);
        }
        let calls = Family::<Labels, Counter>::default();
        let help = "Calls to Nomad, to agents, and of the pool's record, by their end";
        registry.register("calls", help, calls.clone());
        let histogram: fn() -> Histogram = || Histogram::new(TURN_BUCKETS);
        let turns = Family::new_with_constructor(histogram);
        registry.register(
            "turn_seconds",
            "How long a turn of the pool's loop takes",
            turns.clone(),
        );
        Self { registry: Arc::new(registry), gauges: Arc::new(gauges), calls, turns }
    }
}

impl Metrics {
    /// All of them, as Prometheus reads them.
    #[must_use]
    pub fn text(&self) -> String {
        let mut text = String::new();
        // Writing to a String can not fail.
        encode(&mut text, &self.registry).ok();
        text
    }

    /// Those of one pool.
    #[must_use]
    pub fn of_pool(&self, pool: &PoolName) -> PoolMetrics {
        PoolMetrics { metrics: self.clone(), pool: pool.to_string(), shown: BTreeMap::new() }
    }
}

/// The metrics of one pool. What it shows no more, and a pool that has ended, has no series.
#[derive(Debug)]
pub struct PoolMetrics {
    metrics: Metrics,
    pool: String,
    shown: BTreeMap<(Name, Labels), i64>,
}

impl PoolMetrics {
    /// Shows these, and no others of the pool. The pool's name is added to their labels.
    pub fn show(&mut self, numbers: Vec<(Name, Labels, i64)>) {
        let own = |(name, labels, number)| ((name, self.labels(labels)), number);
        let numbers: BTreeMap<_, _> = numbers.into_iter().map(own).collect();
        for ((name, labels), _) in self.shown.iter().filter(|(key, _)| !numbers.contains_key(*key))
        {
            self.metrics.gauges.get(name).map(|family| family.remove(labels));
        }
        for ((name, labels), number) in &numbers {
            if self.shown.get(&(*name, labels.clone())) != Some(number)
                && let Some(family) = self.metrics.gauges.get(name)
            {
                family.get_or_create(labels).set(*number);
            }
        }
        self.shown = numbers;
    }

    /// Counts a call: of whom, and how it ended.
    pub fn called(&self, to: &'static str, end: &'static str) {
        let labels = self.labels(vec![("end", end.to_owned()), ("to", to.to_owned())]);
        self.metrics.calls.get_or_create(&labels).inc();
    }

    /// A turn of the pool's loop took so long.
    pub fn turned(&self, took: Duration) {
        self.metrics.turns.get_or_create(&self.labels(Vec::new())).observe(took.as_secs_f64());
    }

    fn labels(&self, mut own: Labels) -> Labels {
        own.insert(0, ("pool", self.pool.clone()));
        own
    }
}

impl Drop for PoolMetrics {
    fn drop(&mut self) {
        self.show(Vec::new());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_pool_shows_no_more_has_no_series() {
        let metrics = Metrics::default();
        let mut pool = metrics.of_pool(&PoolName::new("rack").unwrap());
        let asks = |voice: &str| (Name::Asked, vec![("demand", voice.to_owned())], 2);
        pool.show(vec![(Name::Desired, Vec::new(), 3), asks("web"), asks("batch")]);
        pool.called("nomad", "done");
        let text = metrics.text();
        assert!(text.contains("lamplighter_plugin_desired_machines{pool=\"rack\"} 3\n"), "{text}");
        assert!(text.contains("asked_machines{pool=\"rack\",demand=\"batch\"} 2\n"), "{text}");
        assert!(
            text.contains("calls_total{pool=\"rack\",end=\"done\",to=\"nomad\"} 1\n"),
            "{text}"
        );
        pool.show(vec![asks("web")]);
        let text = metrics.text();
        assert!(text.contains("demand=\"web\"") && !text.contains("demand=\"batch\""), "{text}");
        assert!(!text.contains("desired_machines{"), "{text}");
        drop(pool);
        assert!(!metrics.text().contains("demand=\"web\""));
    }
}
