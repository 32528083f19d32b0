//! The autoscaler's side: a go-plugin server, indistinguishable from one written in Go.
//!
//! Wire types, environment, signals and the log channel stop here; plugins implement the traits of
//! `seam`. What is decided, counted or remembered about pools is not here.

use std::time::Duration;

mod answers;
mod clock;
mod ending;
mod fault;
mod go_plugin;
mod hclog;
mod launch;
mod log;
mod seam;
mod serve;
mod server;
mod signals;
mod socket;
pub mod wire;

pub use ending::Ending;
pub use fault::{Fault, FaultClass};
pub use launch::launched_by_a_host;
pub use seam::{
    Apm, Config, Direction, Kind, Point, ScalingAction, Target, TargetStatus, TimeRange,
};
pub use serve::{refuse_bare_start, refuse_start, serve_apm, serve_target};
pub use server::{ServerError, converse_apm, converse_target};

/// How long a plugin may take to end in order. The host kills two seconds after its Shutdown.
pub const STOP_WAIT_MAX: Duration = Duration::from_secs(1);

/// How long a query may take: three quarters of the host's default interval of ten seconds, the
/// share that it gives to `Status`. For queries it has no deadline, and a hung one stops its policy.
pub const QUERY_WAIT_MAX: Duration = Duration::from_millis(7_500);
