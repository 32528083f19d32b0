//! What would happen.

use fleet::forecast::Doing;
use fleet::moment::millis;
use fleet::{DeviceName, MachineName, OperationId, PowerState};

use super::{
    FieldError, each, name, on_timeout, optional, optional_name, quarantines, span, verb,
    verb_number,
};
use crate::{DryRun, Forecast, ForecastStep, Foretold, Pending, wire};

/// Each doing with its number on the wire.
const DOINGS: &[(Doing, wire::Doing)] = &[
    (Doing::Drain, wire::Doing::Drain),
    (Doing::Undrain, wire::Doing::Undrain),
    (Doing::Wait(PowerState::Off), wire::Doing::WaitMinOn),
    (Doing::Wait(PowerState::On), wire::Doing::WaitMinOff),
    (Doing::AwaitRoom(PowerState::Off), wire::Doing::AwaitRoomToReturn),
    (Doing::AwaitRoom(PowerState::On), wire::Doing::AwaitRoom),
    (Doing::SoftOff, wire::Doing::SoftOff),
    (Doing::Settle, wire::Doing::Settle),
    (Doing::Drive(PowerState::Off), wire::Doing::Open),
    (Doing::Drive(PowerState::On), wire::Doing::Close),
    (Doing::Restore, wire::Doing::Restore),
    (Doing::Dwell, wire::Doing::Dwell),
    (Doing::Wake, wire::Doing::Wake),
];

fn doing(number: i32) -> Result<Doing, FieldError> {
    let known = wire::Doing::try_from(number).ok();
    let found = DOINGS.iter().find(|(_, other)| Some(*other) == known);
    found.map(|(doing, _)| *doing).ok_or_else(|| FieldError::unknown("doing", number, "doing"))
}

fn doing_number(doing: Doing) -> i32 {
    let found = DOINGS.iter().find(|(other, _)| *other == doing);
    found.map_or(wire::Doing::Unspecified, |(_, number)| *number).into()
}

impl From<&ForecastStep> for wire::ForecastStep {
    fn from(step: &ForecastStep) -> Self {
        let outlets = step.outlets.iter();
        Self {
            doing: doing_number(step.doing),
            from_ms: millis(step.from),
            by_ms: millis(step.by),
            lasts_ms: millis(step.lasts),
            outlets: outlets
                .map(|(device, number)| wire::Contact {
                    device: device.to_string(),
                    number: *number,
                })
                .collect(),
        }
    }
}

impl TryFrom<wire::ForecastStep> for ForecastStep {
    type Error = FieldError;
    fn try_from(step: wire::ForecastStep) -> Result<Self, FieldError> {
        let outlets = step.outlets.into_iter();
        let outlets = outlets.map(|contact| {
            Ok((name("outlets.device", contact.device, DeviceName::new)?, contact.number))
        });
        Ok(Self {
            doing: doing(step.doing)?,
            from: span(step.from_ms),
            by: span(step.by_ms),
            lasts: span(step.lasts_ms),
            outlets: outlets.collect::<Result<_, _>>()?,
        })
    }
}

impl From<&Forecast> for wire::Forecast {
    fn from(forecast: &Forecast) -> Self {
        Self {
            operation_id: forecast.operation.to_string(),
            verb: verb_number(forecast.verb),
            steps: forecast.steps.iter().map(Into::into).collect(),
            from_ms: millis(forecast.from),
            by_ms: millis(forecast.by),
            well: forecast.well,
            evidence: forecast.evidence.clone(),
            quarantine_on_timeout: quarantines(forecast.on_soft_off_timeout),
        }
    }
}

impl TryFrom<wire::Forecast> for Forecast {
    type Error = FieldError;
    fn try_from(forecast: wire::Forecast) -> Result<Self, FieldError> {
        Ok(Self {
            operation: name("operation_id", forecast.operation_id, OperationId::new)?,
            verb: verb("verb", forecast.verb)?,
            steps: each("steps", forecast.steps)?,
            from: span(forecast.from_ms),
            by: span(forecast.by_ms),
            well: forecast.well,
            evidence: forecast.evidence,
            on_soft_off_timeout: on_timeout(forecast.quarantine_on_timeout),
        })
    }
}

impl From<&DryRun> for wire::DryRunReply {
    fn from(run: &DryRun) -> Self {
        use wire::dry_run_reply::Answer;
        let answer = match &run.answer {
            Foretold::Refused(refusal) => Answer::Refused(refusal.into()),
            Foretold::Begins(forecast) => Answer::Begins(forecast.into()),
            Foretold::Joins(forecast) => Answer::Joins(forecast.into()),
            Foretold::Known => Answer::Known(wire::KnownOperation {}),
        };
        Self {
            answer: Some(answer),
            called_off: run.called_off.as_ref().map(Into::into),
            hold: run.hold.as_ref().map(Into::into),
            work: run.work.clone().unwrap_or_default(),
        }
    }
}

impl TryFrom<wire::DryRunReply> for DryRun {
    type Error = FieldError;
    fn try_from(reply: wire::DryRunReply) -> Result<Self, FieldError> {
        use wire::dry_run_reply::Answer;
        let answer = match reply.answer {
            None => return Err(FieldError::missing("answer")),
            Some(Answer::Refused(refusal)) => refusal
                .try_into()
                .map(Foretold::Refused)
                .map_err(|e: FieldError| e.within("refused")),
            Some(Answer::Begins(forecast)) => forecast
                .try_into()
                .map(Foretold::Begins)
                .map_err(|e: FieldError| e.within("begins")),
            Some(Answer::Joins(forecast)) => {
                forecast.try_into().map(Foretold::Joins).map_err(|e: FieldError| e.within("joins"))
            }
            Some(Answer::Known(wire::KnownOperation {})) => Ok(Foretold::Known),
        };
        Ok(Self {
            answer: answer?,
            called_off: optional("called_off", reply.called_off)?,
            hold: optional("hold", reply.hold)?,
            work: Some(reply.work).filter(|work| !work.is_empty()),
        })
    }
}

impl From<&Pending> for wire::PendingMachine {
    fn from(pending: &Pending) -> Self {
        Self {
            machine: pending.machine.to_string(),
            forecast: pending.forecast.as_ref().map(Into::into),
            owed: pending.owed.as_ref().map(ToString::to_string).unwrap_or_default(),
            relit_in_ms: pending.relit_in.map(millis),
        }
    }
}

impl TryFrom<wire::PendingMachine> for Pending {
    type Error = FieldError;
    fn try_from(pending: wire::PendingMachine) -> Result<Self, FieldError> {
        Ok(Self {
            machine: name("machine", pending.machine, MachineName::new)?,
            forecast: optional("forecast", pending.forecast)?,
            owed: optional_name("owed", pending.owed, OperationId::new)?,
            relit_in: pending.relit_in_ms.map(span),
        })
    }
}
