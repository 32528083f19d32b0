//! Time as the decisions see it: an argument, never a clock that is read.

use std::fmt;
use std::ops::Add;
use std::time::Duration;

/// A point on one monotonic clock, in milliseconds since that clock's origin.
///
/// `std::time::Instant` cannot be built from a number, hence not stored, replayed or simulated.
/// Moments of different clocks (two hosts, two boots) must never be compared; what crosses a
/// border is an age.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Moment(u64);

impl Moment {
    /// The clock's origin.
    pub const ZERO: Moment = Moment(0);

    /// A moment `millis` milliseconds after the clock's origin.
    #[must_use]
    pub const fn from_millis(millis: u64) -> Self {
        Self(millis)
    }

    /// Milliseconds since the clock's origin.
    #[must_use]
    pub const fn as_millis(self) -> u64 {
        self.0
    }

    /// How long ago `earlier` was; zero where it lies ahead.
    #[must_use]
    pub const fn since(self, earlier: Moment) -> Duration {
        Duration::from_millis(self.0.saturating_sub(earlier.0))
    }

    /// The moment `age` before this one, or the origin where that lies before it.
    #[must_use]
    pub fn ago(self, age: Duration) -> Moment {
        Moment(self.0.saturating_sub(millis(age)))
    }
}

impl Add<Duration> for Moment {
    type Output = Moment;

    /// Saturates at the end of the clock (584 million years).
    fn add(self, wait: Duration) -> Moment {
        Moment(self.0.saturating_add(millis(wait)))
    }
}

impl fmt::Display for Moment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{:03}s", self.0 / 1000, self.0 % 1000)
    }
}

/// Whole milliseconds of a duration, saturating.
#[must_use]
pub fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_earlier_moment_is_never_a_negative_age() {
        assert_eq!(Moment::from_millis(5).since(Moment::from_millis(9)), Duration::ZERO);
        assert_eq!(Moment::from_millis(5).ago(Duration::from_millis(9)), Moment::ZERO);
    }

    #[test]
    fn the_end_of_the_clock_saturates() {
        let end = Moment::from_millis(u64::MAX);
        assert_eq!(end + Duration::MAX, end);
    }
}
