//! How close a machine is to what its rack file allows of switching.

use fleet::arbiter::{Dwell, Limits};
use fleet::moment::millis;

use super::span;
use crate::wire;

impl From<&Dwell> for wire::Dwell {
    fn from(dwell: &Dwell) -> Self {
        Self {
            min_on_ms: millis(dwell.limits.min_on),
            min_off_ms: millis(dwell.limits.min_off),
            cycles_per_hour: dwell.limits.cycles_per_hour,
            cut_in_ms: millis(dwell.cut_in),
            light_in_ms: millis(dwell.light_in),
            cycles: dwell.cycles,
            cycle_in_ms: millis(dwell.cycle_in),
        }
    }
}

impl From<wire::Dwell> for Dwell {
    fn from(dwell: wire::Dwell) -> Self {
        Self {
            limits: Limits {
                min_on: span(dwell.min_on_ms),
                min_off: span(dwell.min_off_ms),
                cycles_per_hour: dwell.cycles_per_hour,
            },
            cut_in: span(dwell.cut_in_ms),
            light_in: span(dwell.light_in_ms),
            cycles: dwell.cycles,
            cycle_in: span(dwell.cycle_in_ms),
        }
    }
}
