//! What is kept of a machine's boots: how each of the last ones ended and how long it took, and the
//! quarantine of a machine that does not do what it is switched for.

use std::time::Duration;

use crate::{Moment, OperationId, Origin, Reason};

/// How many boots of a machine are kept: enough to tell a slow day from a slow machine, and a row on an
/// SD card stays below two kilobytes.
pub const BOOTS_MAX: usize = 16;

/// How a boot ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum BootEnd {
    /// Its node was ready.
    Ready,
    /// Its node was not ready within the boot deadline.
    Missed,
}

/// One boot, as it ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Boot {
    /// The order that had given it power.
    pub operation: OperationId,
    /// How it ended.
    pub end: BootEnd,
    /// From the relay to the ready node, or to the missed deadline. `None`: nobody watched it, and it was
    /// ready when it was first looked at.
    pub took: Option<Duration>,
    /// When it ended.
    pub at: Moment,
}

/// How long a machine's boots took, of those that were watched to a ready node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BootTimes {
    /// The last one.
    pub last: Duration,
    /// Half of them took no longer.
    pub median: Duration,
    /// The longest.
    pub worst: Duration,
    /// How many they are.
    pub count: usize,
}

impl BootTimes {
    /// Of the boots that ended ready, given oldest first; `None` where there is none.
    #[must_use]
    pub fn of(took: impl IntoIterator<Item = Duration>) -> Option<Self> {
        let mut took: Vec<Duration> = took.into_iter().collect();
        let last = *took.last()?;
        took.sort();
        let median = *took.get((took.len() - 1) / 2)?;
        Some(Self { last, median, worst: *took.last()?, count: took.len() })
    }
}

/// Why a machine is in quarantine, as far as it decides what ends that.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum QuarantineCause {
    /// It was lit and its node did not come: a ready node speaks against it.
    NoBoot,
    /// It was asked to shut down and did not: only a boot that a person orders speaks against it.
    NoShutdown,
}

impl QuarantineCause {
    /// `"no boot"` or `"no shutdown"`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            QuarantineCause::NoBoot => "no boot",
            QuarantineCause::NoShutdown => "no shutdown",
        }
    }
}

/// A machine that is taken out of service: it does not count, is not lit and not stopped by any decision
/// of ours, until a person releases it or it proves itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Quarantine {
    /// The kind of reason.
    pub cause: QuarantineCause,
    /// The reason, as a sentence.
    pub reason: Reason,
    /// Since when.
    pub since: Moment,
    /// Who put it there.
    pub by: Origin,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn boot_times_are_the_last_the_median_and_the_worst() {
        let seconds = |all: &[u64]| BootTimes::of(all.iter().map(|s| Duration::from_secs(*s)));
        assert_eq!(seconds(&[]), None);
        let times = seconds(&[40, 90, 50, 45]).unwrap();
        assert_eq!(times.last, Duration::from_secs(45));
        assert_eq!(times.median, Duration::from_secs(45), "the lower of the middle two");
        assert_eq!(times.worst, Duration::from_secs(90));
        assert_eq!(times.count, 4);
    }
}
