//! How locks of people look on the disk.

use fleet::arbiter::{Expiry, Hold, HoldKind};
use fleet::{OperationId, Reason};
use serde::{Deserialize, Serialize};

use super::{DocError, Epoch};

#[derive(Serialize, Deserialize)]
pub(super) struct HoldDoc {
    /// Off, where an agent wrote it that knew no other kind.
    #[serde(default)]
    kind: KindDoc,
    by: String,
    reason: String,
    since_ms: u64,
    #[serde(default)]
    expiry: ExpiryDoc,
    operation: Option<String>,
}

#[derive(Clone, Copy, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum KindDoc {
    Maintenance,
    Reservation,
    #[default]
    Off,
    Hold,
}

#[derive(Clone, Copy, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum ExpiryDoc {
    #[default]
    Never,
    AtMs(u64),
    Lost,
}

impl HoldDoc {
    /// `None`: it is the breaker's, which follows from what else is kept.
    pub(super) fn of(hold: &Hold) -> Option<Self> {
        Some(Self {
            kind: match hold.kind {
                HoldKind::Maintenance => KindDoc::Maintenance,
                HoldKind::Reservation => KindDoc::Reservation,
                HoldKind::Off => KindDoc::Off,
                HoldKind::Hold => KindDoc::Hold,
                HoldKind::Flapping => return None,
            },
            by: hold.by.clone(),
            reason: hold.reason.to_string(),
            since_ms: hold.since.as_millis(),
            expiry: match hold.expiry {
                Expiry::Never => ExpiryDoc::Never,
                Expiry::At(end) => ExpiryDoc::AtMs(end.as_millis()),
                Expiry::Lost => ExpiryDoc::Lost,
            },
            operation: hold.operation.as_ref().map(ToString::to_string),
        })
    }

    pub(super) fn into_hold(self, epoch: Epoch) -> Result<Hold, DocError> {
        Ok(Hold {
            kind: match self.kind {
                KindDoc::Maintenance => HoldKind::Maintenance,
                KindDoc::Reservation => HoldKind::Reservation,
                KindDoc::Off => HoldKind::Off,
                KindDoc::Hold => HoldKind::Hold,
            },
            by: self.by,
            reason: Reason::new(&self.reason),
            since: epoch.at(self.since_ms),
            expiry: match self.expiry {
                ExpiryDoc::Never => Expiry::Never,
                // How long the host was down nobody knows: a span that ran over that can not be measured.
                ExpiryDoc::AtMs(end) if epoch.same_boot => Expiry::At(epoch.at(end)),
                ExpiryDoc::AtMs(_) | ExpiryDoc::Lost => Expiry::Lost,
            },
            operation: self.operation.map(OperationId::new).transpose()?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str, same_boot: bool) -> Hold {
        let doc: HoldDoc = serde_json::from_str(text).unwrap();
        doc.into_hold(Epoch { same_boot }).unwrap()
    }

    #[test]
    fn a_hold_of_an_agent_that_knew_one_kind_is_an_off_that_never_ends() {
        let text = r#"{"by":"ada","reason":"fan","since_ms":7,"operation":"op-1"}"#;
        let hold = read(text, true);
        assert_eq!((hold.kind, hold.expiry), (HoldKind::Off, Expiry::Never));
        assert_eq!(hold.operation, Some(OperationId::new("op-1").unwrap()));
    }

    #[test]
    fn a_span_over_a_reboot_is_lost_and_stays_lost() {
        let text = r#"{"kind":"reservation","by":"ada","reason":"","since_ms":7,"expiry":{"at_ms":900},"operation":null}"#;
        let end = fleet::Moment::from_millis(900);
        assert_eq!(read(text, true).expiry, Expiry::At(end));
        let lost = read(text, false);
        assert_eq!((lost.expiry, lost.binds(end)), (Expiry::Lost, true));
        let again = serde_json::to_string(&HoldDoc::of(&lost).unwrap()).unwrap();
        assert_eq!(read(&again, true).expiry, Expiry::Lost);
    }
}
