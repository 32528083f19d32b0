//! The only place where the rack reads a clock.

use std::time::Duration;
use std::time::Instant;
use std::time::SystemTime;

use crate::moment::Moment;

/// The rack's two clocks: a monotonic one that starts with the rack, and the wall's.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Clock {
    origin: Instant,
}

impl Clock {
    /// A clock whose origin is now.
    #[expect(clippy::disallowed_methods, reason = "this file owns the rack's clocks")]
    pub(crate) fn start() -> Self {
        Self { origin: Instant::now() }
    }

    /// The rack's own time.
    pub(crate) fn now(&self) -> Moment {
        Moment::START + self.origin.elapsed()
    }

    /// The instant of a moment, to wait for it.
    pub(crate) fn instant(&self, moment: Moment) -> Instant {
        self.origin + moment.since(Moment::START)
    }

    /// The wall clock's reading at a moment of the recent past, in microseconds since 1970.
    #[expect(clippy::disallowed_methods, reason = "this file owns the rack's clocks")]
    pub(crate) fn wall_us(&self, moment: Moment) -> u64 {
        let since_1970 =
            SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or(Duration::ZERO);
        let age = self.now().since(moment);
        u64::try_from(since_1970.saturating_sub(age).as_micros()).unwrap_or(u64::MAX)
    }
}
