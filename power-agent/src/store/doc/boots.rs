//! How a quarantine and the boot ledger look on the disk.

use std::time::Duration;

use fleet::moment::millis;
use fleet::{Boot, BootEnd, NameError, OperationId, Quarantine, QuarantineCause, Reason};
use serde::{Deserialize, Serialize};

use super::{Epoch, OriginDoc};

#[derive(Serialize, Deserialize)]
pub(super) struct QuarantineDoc {
    cause: CauseDoc,
    reason: String,
    since_ms: u64,
    by: OriginDoc,
}

#[derive(Clone, Copy, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum CauseDoc {
    NoBoot,
    NoShutdown,
}

#[derive(Serialize, Deserialize)]
pub(super) struct BootDoc {
    operation: String,
    end: EndDoc,
    took_ms: Option<u64>,
    at_ms: u64,
}

#[derive(Clone, Copy, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum EndDoc {
    Ready,
    Missed,
}

impl QuarantineDoc {
    pub(super) fn of(quarantine: &Quarantine) -> Self {
        Self {
            cause: match quarantine.cause {
                QuarantineCause::NoBoot => CauseDoc::NoBoot,
                QuarantineCause::NoShutdown => CauseDoc::NoShutdown,
            },
            reason: quarantine.reason.to_string(),
            since_ms: quarantine.since.as_millis(),
            by: (&quarantine.by).into(),
        }
    }

    pub(super) fn into_quarantine(self, epoch: Epoch) -> Result<Quarantine, NameError> {
        Ok(Quarantine {
            cause: match self.cause {
                CauseDoc::NoBoot => QuarantineCause::NoBoot,
                CauseDoc::NoShutdown => QuarantineCause::NoShutdown,
            },
            reason: Reason::new(&self.reason),
            since: epoch.at(self.since_ms),
            by: self.by.try_into()?,
        })
    }
}

impl BootDoc {
    pub(super) fn of(boot: &Boot) -> Self {
        Self {
            operation: boot.operation.to_string(),
            end: match boot.end {
                BootEnd::Ready => EndDoc::Ready,
                BootEnd::Missed => EndDoc::Missed,
            },
            took_ms: boot.took.map(millis),
            at_ms: boot.at.as_millis(),
        }
    }

    pub(super) fn into_boot(self, epoch: Epoch) -> Result<Boot, NameError> {
        Ok(Boot {
            operation: OperationId::new(self.operation)?,
            end: match self.end {
                EndDoc::Ready => BootEnd::Ready,
                EndDoc::Missed => BootEnd::Missed,
            },
            took: self.took_ms.map(Duration::from_millis),
            at: epoch.at(self.at_ms),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::super::machine_from;
    use crate::clock::BootId;

    #[test]
    fn a_machine_of_a_journal_without_quarantines_and_boots_is_in_service() {
        let kept = r#"{"boot":"b","wall_ms":1,"value":{"running":null,"last":null,
            "commanded":null,"hold":null,"last_seen":null}}"#;
        let memory = machine_from(kept.as_bytes(), &BootId::new("b")).unwrap();
        assert_eq!((memory.quarantine, memory.boots), (None, Vec::new()));
    }
}
