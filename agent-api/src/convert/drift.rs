//! Drift: a machine that reads otherwise than it was last ordered.

use fleet::DriftPolicy;
use fleet::moment::millis;

use super::{FieldError, span, state, state_number};
use crate::{Drift, wire};

fn policy(number: i32) -> Result<DriftPolicy, FieldError> {
    match wire::DriftPolicy::try_from(number) {
        // Of a newer agent's word only this much is sure: that it tells of the drift.
        Ok(wire::DriftPolicy::Report) | Err(_) => Ok(DriftPolicy::Report),
        Ok(wire::DriftPolicy::Enforce) => Ok(DriftPolicy::Enforce),
        Ok(wire::DriftPolicy::Unspecified) => {
            Err(FieldError::unknown("policy", number, "drift policy"))
        }
    }
}

impl From<&Drift> for wire::Drift {
    fn from(drift: &Drift) -> Self {
        let policy = match drift.policy {
            DriftPolicy::Report => wire::DriftPolicy::Report,
            DriftPolicy::Enforce => wire::DriftPolicy::Enforce,
        };
        Self {
            age_ms: millis(drift.age),
            wanted: state_number(drift.wanted),
            read: state_number(drift.read),
            policy: policy.into(),
            tries: drift.tries,
            gave_up: drift.gave_up,
        }
    }
}

impl TryFrom<wire::Drift> for Drift {
    type Error = FieldError;
    fn try_from(drift: wire::Drift) -> Result<Self, FieldError> {
        Ok(Self {
            age: span(drift.age_ms),
            wanted: state("wanted", drift.wanted)?,
            read: state("read", drift.read)?,
            policy: policy(drift.policy)?,
            tries: drift.tries,
            gave_up: drift.gave_up,
        })
    }
}
