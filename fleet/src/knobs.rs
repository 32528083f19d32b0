//! What a policy's target block may set, typed, with the defaults that hold where it is silent.

use std::time::Duration;

use crate::OnSoftOffTimeout;
use crate::demand::Damping;

/// The knobs of one pool.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Knobs {
    /// A lower count takes effect only when every ask of this span was lower.
    pub scale_in_window: Duration,
    /// A demand whose policy has not called Status for this long lapses. A cooldown silences Status, so it
    /// is longer than that.
    pub demand_ttl: Duration,
    /// Machines without demand work for this long go first; a gate for machines that our orders did not light.
    pub idle_time: Duration,
    /// A machine stops no sooner than this after it was lit.
    pub min_on: Duration,
    /// A machine starts no sooner than this after it was cut.
    pub min_off: Duration,
    /// What Status tells while machines start.
    pub while_starting: WhileStarting,
    /// Our patience with a drain: after it the drain is cancelled and the machine stays.
    pub drain_patience: Duration,
    /// Nomad kills what is left after this. Sent only where the policy names it.
    pub node_drain_deadline: Option<Duration>,
    /// System jobs stay while a node drains.
    pub node_drain_ignore_system_jobs: bool,
    /// Machines with running batch work may be chosen, last.
    pub drain_batch: bool,
    /// A machine whose drain was given up is not chosen again for this long.
    pub drain_retry: Duration,
    /// Purge the node from Nomad once its machine is off.
    pub node_purge: bool,
    /// Which machine goes first.
    pub selector: Selector,
    /// What happens when a machine does not go down by itself.
    pub on_soft_off_timeout: OnSoftOffTimeout,
}

impl Default for Knobs {
    fn default() -> Self {
        const MINUTE: Duration = Duration::from_secs(60);
        Self {
            scale_in_window: 5 * MINUTE,
            demand_ttl: 30 * MINUTE,
            idle_time: 10 * MINUTE,
            min_on: 5 * MINUTE,
            min_off: Duration::from_secs(30),
            while_starting: WhileStarting::Ready,
            drain_patience: 60 * MINUTE,
            node_drain_deadline: None,
            node_drain_ignore_system_jobs: false,
            drain_batch: false,
            drain_retry: 60 * MINUTE,
            node_purge: false,
            selector: Selector::LeastBusy,
            on_soft_off_timeout: OnSoftOffTimeout::Cut,
        }
    }
}

impl Knobs {
    /// How slowly the pool forgets what was asked of it.
    #[must_use]
    pub const fn damping(&self) -> Damping {
        Damping { window: self.scale_in_window, ttl: self.demand_ttl }
    }
}

/// What Status tells while machines start.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WhileStarting {
    /// Ready, with the starting machines counted: for strategies that count work.
    Ready,
    /// Not ready: for utilisation strategies, which would ratchet during a slow boot. And silence while a
    /// machine leaves is not taken for content.
    Wait,
}

/// Which machine goes first: the host's `node_selector_strategy`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Selector {
    /// The one with the smallest share of CPU and memory taken.
    LeastBusy,
    /// The one that registered last.
    NewestCreateIndex,
    /// The one that registered first.
    OldestCreateIndex,
    /// Only machines with no allocation at all.
    Empty,
    /// Only machines with no allocation but system ones.
    EmptyIgnoreSystem,
}

impl Selector {
    /// Its word in the target block.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Selector::LeastBusy => "least_busy",
            Selector::NewestCreateIndex => "newest_create_index",
            Selector::OldestCreateIndex => "oldest_create_index",
            Selector::Empty => "empty",
            Selector::EmptyIgnoreSystem => "empty_ignore_system",
        }
    }

    /// Whether it chooses only machines without work.
    #[must_use]
    pub const fn is_strict(self) -> bool {
        matches!(self, Selector::Empty | Selector::EmptyIgnoreSystem)
    }
}

/// Which nodes a policy lets us choose: all that are named must match.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct NodeFilter {
    /// `node_class`.
    pub node_class: Option<String>,
    /// `node_pool`.
    pub node_pool: Option<String>,
    /// `datacenter`.
    pub datacenter: Option<String>,
}

impl NodeFilter {
    /// Whether a node of this class, pool and datacenter may be chosen.
    #[must_use]
    pub fn takes(&self, node_class: &str, node_pool: &str, datacenter: &str) -> bool {
        let agrees = |wanted: &Option<String>, is: &str| wanted.as_deref().is_none_or(|w| w == is);
        agrees(&self.node_class, node_class)
            && agrees(&self.node_pool, node_pool)
            && agrees(&self.datacenter, datacenter)
    }
}
