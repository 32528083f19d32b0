//! Quarantines and boots.

use fleet::moment::millis;
use fleet::{BootEnd, MachineName, OperationId, QuarantineCause, Reason};

use super::{FieldError, name, required, span};
use crate::{Boot, Quarantine, Service, wire};

fn cause(number: i32) -> Result<QuarantineCause, FieldError> {
    match wire::QuarantineCause::try_from(number) {
        Ok(wire::QuarantineCause::NoBoot) => Ok(QuarantineCause::NoBoot),
        Ok(wire::QuarantineCause::NoShutdown) => Ok(QuarantineCause::NoShutdown),
        Ok(wire::QuarantineCause::Unspecified) | Err(_) => {
            Err(FieldError::unknown("cause", number, "quarantine cause"))
        }
    }
}

/// A cause that a newer agent tells keeps the machine aside until somebody releases it, which is what the stricter of ours
/// does; why it is aside stands in the agent's own words beside it.
fn told_cause(number: i32) -> Result<QuarantineCause, FieldError> {
    match wire::QuarantineCause::try_from(number) {
        Ok(_) => cause(number),
        Err(_) => Ok(QuarantineCause::NoShutdown),
    }
}

fn cause_number(cause: QuarantineCause) -> i32 {
    match cause {
        QuarantineCause::NoBoot => wire::QuarantineCause::NoBoot,
        QuarantineCause::NoShutdown => wire::QuarantineCause::NoShutdown,
    }
    .into()
}

impl From<&Quarantine> for wire::Quarantine {
    fn from(quarantine: &Quarantine) -> Self {
        Self {
            cause: cause_number(quarantine.cause),
            reason: quarantine.reason.to_string(),
            age_ms: millis(quarantine.age),
            by: Some((&quarantine.by).into()),
        }
    }
}

impl TryFrom<wire::Quarantine> for Quarantine {
    type Error = FieldError;
    fn try_from(quarantine: wire::Quarantine) -> Result<Self, FieldError> {
        Ok(Self {
            cause: told_cause(quarantine.cause)?,
            reason: Reason::new(&quarantine.reason),
            age: span(quarantine.age_ms),
            by: required("by", quarantine.by)?,
        })
    }
}

impl From<&Boot> for wire::Boot {
    fn from(boot: &Boot) -> Self {
        let end = match boot.end {
            BootEnd::Ready => wire::BootEnd::Ready,
            BootEnd::Missed => wire::BootEnd::Missed,
        };
        Self {
            operation_id: boot.operation.to_string(),
            end: end.into(),
            took_ms: boot.took.map(millis),
            age_ms: millis(boot.age),
        }
    }
}

impl TryFrom<wire::Boot> for Boot {
    type Error = FieldError;
    fn try_from(boot: wire::Boot) -> Result<Self, FieldError> {
        let end = match wire::BootEnd::try_from(boot.end) {
            Ok(wire::BootEnd::Ready) => BootEnd::Ready,
            // What is no ready node missed its deadline, by whatever word a newer agent has for it.
            Ok(wire::BootEnd::Missed) | Err(_) => BootEnd::Missed,
            Ok(wire::BootEnd::Unspecified) => {
                return Err(FieldError::unknown("end", boot.end, "end of a boot"));
            }
        };
        Ok(Self {
            operation: name("operation_id", boot.operation_id, OperationId::new)?,
            end,
            took: boot.took_ms.map(span),
            age: span(boot.age_ms),
        })
    }
}

/// The ledger; none where it is empty, so that an inventory without boots is the bytes that it was.
pub(super) fn boots(boots: &[Boot]) -> Option<wire::Boots> {
    let last: Vec<wire::Boot> = boots.iter().map(Into::into).collect();
    (!last.is_empty()).then_some(wire::Boots { last })
}

impl From<&Service> for wire::SetQuarantineRequest {
    fn from(service: &Service) -> Self {
        Self {
            machine: service.machine.to_string(),
            origin: Some((&service.origin).into()),
            quarantined: service.quarantine.is_some(),
            cause: service.quarantine.map_or_else(Default::default, cause_number),
            reason: service.reason.to_string(),
        }
    }
}

impl TryFrom<wire::SetQuarantineRequest> for Service {
    type Error = FieldError;
    fn try_from(request: wire::SetQuarantineRequest) -> Result<Self, FieldError> {
        Ok(Self {
            machine: name("machine", request.machine, MachineName::new)?,
            origin: required("origin", request.origin)?,
            quarantine: request.quarantined.then(|| cause(request.cause)).transpose()?,
            reason: Reason::new(&request.reason),
        })
    }
}
