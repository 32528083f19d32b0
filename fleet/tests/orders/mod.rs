//! An order as most tests of sequences give it. It owns nothing that one of them alone needs.

use std::time::Duration;

use fleet::sequencer::{Paths, Task};
use fleet::{Moment, OnSoftOffTimeout, Verb};

/// By outlets alone, on no feed, asked to shut down before its power is taken, and free to be switched at once.
pub(crate) fn task(verb: Verb) -> Task {
    Task {
        verb,
        on_soft_off_timeout: OnSoftOffTimeout::Cut,
        drain: None,
        soft_off: Some(Duration::from_secs(60)),
        settle: Duration::from_secs(5),
        off_dwell: Duration::from_secs(10),
        may_cut_at: Moment::ZERO,
        may_wake_until: Moment::ZERO,
        may_light_at: Moment::ZERO,
        fed: false,
        paths: Paths::default(),
    }
}
