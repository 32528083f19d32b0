//! The seam between the autoscaler's wire and the plugins: typed, and free of gRPC.

use std::collections::BTreeMap;
use std::future::Future;
use std::time::SystemTime;

use super::Fault;

/// The string map that the autoscaler sends: a plugin block's `config`, or a policy's target block.
///
/// Keys that begin with `_nomad_autoscaler` are the host's own and never a person's mistake.
pub type Config = BTreeMap<String, String>;

/// What a process of this binary is for the autoscaler.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Scales a pool: `target "lamplighter" { args = ["target"] }`.
    Target,
    /// Answers queries: `apm "lamplighter" { args = ["apm"] }`.
    Apm,
}

impl Kind {
    /// The word that selects this kind on the command line and names it in the log.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Kind::Target => "target",
            Kind::Apm => "apm",
        }
    }
}

/// The direction that a strategy gave its count.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Direction {
    /// The count is as it should be; also sent with a dry run.
    None,
    /// Fewer.
    Down,
    /// More.
    Up,
}

/// What a policy asks of a target.
#[derive(Debug, Clone, PartialEq)]
pub struct ScalingAction {
    /// The absolute number of machines asked for; negative means dry run.
    pub count: i64,
    /// Why, in the strategy's words. May be empty.
    pub reason: String,
    /// Whether the strategy failed and this action is its fallback.
    pub error: bool,
    /// Where `count` lies from the count that the strategy was given.
    pub direction: Direction,
    /// What the host and the strategy add, for example `nomad_policy_id`. May be empty.
    pub meta: serde_json::Map<String, serde_json::Value>,
}

impl ScalingAction {
    /// Whether the policy only rehearses: nothing may move, and the answer is OK.
    ///
    /// Hosts say it by a negative count, by `nomad_autoscaler.dry_run` in the meta, or both. The
    /// target block's own `dry-run` key is in the config and not seen here.
    #[must_use]
    pub fn is_dry_run(&self) -> bool {
        let said = self.meta.get("nomad_autoscaler.dry_run");
        self.count < 0 || said.is_some_and(|value| value == true || value == "true")
    }
}

/// A target's answer to `Status`.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct TargetStatus {
    /// Whether the policy may be evaluated now; `false` skips the tick without an error.
    pub ready: bool,
    /// Machines that count; a wrong number moves machines, so send the last known one when unsure.
    pub count: i64,
    /// For the host; `nomad_autoscaler.last_event` makes it sleep and is never to be sent.
    pub meta: BTreeMap<String, String>,
}

/// The span that a query asks about, on the host's wall clock. Instant queries have `from == to`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TimeRange {
    /// The earlier end.
    pub from: SystemTime,
    /// The later end: the host's now.
    pub to: SystemTime,
}

/// One sample of an answer to a query.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Point {
    /// When it held; [`TimeRange::to`] for something observed just now.
    pub at: SystemTime,
    /// The value, in the query's unit.
    pub value: f64,
}

/// A target plugin. Calls overlap: `status`, `scale` and `set_config` may all run at once.
///
/// A future is dropped when its caller goes away, so state is changed in one step after the last
/// await, or in a task of the plugin's own. A panic answers INTERNAL and the process lives on.
pub trait Target: Send + Sync + 'static {
    /// Takes the plugin block's config, at the start and again at every SIGHUP of the host.
    ///
    /// An error here kills the plugin and with it the autoscaler's start: only for what a person
    /// must correct, never for something that is out of reach.
    fn set_config(&self, config: Config) -> impl Future<Output = Result<(), Fault>> + Send;

    /// Says how many machines there are, from memory: the host gives it a deadline.
    ///
    /// An error at a policy's first call kills that policy; out of reach is `ready: false`.
    fn status(&self, config: Config) -> impl Future<Output = Result<TargetStatus, Fault>> + Send;

    /// Records what is wanted, durably, and returns; an error is tried again at every tick.
    fn scale(
        &self,
        action: ScalingAction,
        config: Config,
    ) -> impl Future<Output = Result<(), Fault>> + Send;

    /// Ends in order: gives the lease back. Cut after [`STOP_WAIT_MAX`](super::STOP_WAIT_MAX).
    fn stop(&self) -> impl Future<Output = ()> + Send;
}

/// An APM plugin. The remarks on overlap, dropped futures and panics at [`Target`] hold here too.
pub trait Apm: Send + Sync + 'static {
    /// As [`Target::set_config`].
    fn set_config(&self, config: Config) -> impl Future<Output = Result<(), Fault>> + Send;

    /// Answers the policy's `query` verbatim; an answer without a point is an error to the host.
    ///
    /// Cut after [`QUERY_WAIT_MAX`](super::QUERY_WAIT_MAX): the host itself would wait for ever.
    fn query(
        &self,
        query: String,
        range: TimeRange,
    ) -> impl Future<Output = Result<Vec<Point>, Fault>> + Send;

    /// As [`Target::stop`].
    fn stop(&self) -> impl Future<Output = ()> + Send;
}
