//! The APM kind's only look at a clock: monotonic, from the start of the process on.

use fleet::{Moment, moment};
use tokio::time::Instant;

/// A monotonic clock.
#[derive(Debug, Clone, Copy)]
pub(super) struct Clock {
    started: Instant,
}

impl Clock {
    pub(super) fn start() -> Self {
        Self { started: Instant::now() }
    }

    pub(super) fn now(&self) -> Moment {
        Moment::from_millis(moment::millis(self.started.elapsed()))
    }
}
