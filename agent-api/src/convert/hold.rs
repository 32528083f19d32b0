//! Locks of people.

use fleet::arbiter::HoldKind;
use fleet::moment::millis;
use fleet::{MachineName, Reason};

use super::{FieldError, each, name, optional, span};
use crate::{Hold, HoldEnds, Locks, Release, Released, TakeHold, Taken, wire};

fn kind_number(kind: HoldKind) -> i32 {
    match kind {
        HoldKind::Off => wire::HoldKind::Off,
        HoldKind::Hold => wire::HoldKind::Hold,
        HoldKind::Reservation => wire::HoldKind::Reservation,
        HoldKind::Maintenance => wire::HoldKind::Maintenance,
        HoldKind::Flapping => wire::HoldKind::Flapping,
    }
    .into()
}

fn kind(number: i32) -> Result<HoldKind, FieldError> {
    match wire::HoldKind::try_from(number) {
        Ok(wire::HoldKind::Off) => Ok(HoldKind::Off),
        Ok(wire::HoldKind::Hold) => Ok(HoldKind::Hold),
        Ok(wire::HoldKind::Reservation) => Ok(HoldKind::Reservation),
        Ok(wire::HoldKind::Maintenance) => Ok(HoldKind::Maintenance),
        Ok(wire::HoldKind::Flapping) => Ok(HoldKind::Flapping),
        Err(_) => Err(FieldError::unknown("kind", number, "kind of hold")),
    }
}

/// A kind that a newer agent tells stands against policies as any hold does: the machine stays as it is.
fn told_kind(number: i32) -> HoldKind {
    kind(number).unwrap_or(HoldKind::Hold)
}

impl From<&Hold> for wire::Hold {
    fn from(hold: &Hold) -> Self {
        let (ends_in_ms, end_lost) = match hold.ends {
            HoldEnds::Released => (None, false),
            // What has a moment left has not expired.
            HoldEnds::In(left) => (Some(millis(left).max(1)), false),
            HoldEnds::Expired => (Some(0), false),
            HoldEnds::Lost => (None, true),
        };
        Self {
            by: hold.by.clone(),
            reason: hold.reason.to_string(),
            age_ms: millis(hold.age),
            kind: kind_number(hold.kind),
            ends_in_ms,
            end_lost,
        }
    }
}

impl TryFrom<wire::Hold> for Hold {
    type Error = FieldError;
    fn try_from(hold: wire::Hold) -> Result<Self, FieldError> {
        let ends = match (hold.ends_in_ms, hold.end_lost) {
            (_, true) => HoldEnds::Lost,
            (None, false) => HoldEnds::Released,
            (Some(0), false) => HoldEnds::Expired,
            (Some(left), false) => HoldEnds::In(span(left)),
        };
        Ok(Self {
            by: hold.by,
            reason: Reason::new(&hold.reason),
            age: span(hold.age_ms),
            kind: told_kind(hold.kind),
            ends,
        })
    }
}

/// Nothing at all where nothing stands against orders.
pub(super) fn wire_locks(locks: &Locks) -> Option<wire::Locks> {
    (*locks != Locks::default()).then(|| wire::Locks {
        holds: locks.holds.iter().map(Into::into).collect(),
        never_off: locks.never_off,
    })
}

impl TryFrom<wire::Locks> for Locks {
    type Error = FieldError;
    fn try_from(locks: wire::Locks) -> Result<Self, FieldError> {
        Ok(Self { holds: each("holds", locks.holds)?, never_off: locks.never_off })
    }
}

impl From<&TakeHold> for wire::SetHoldRequest {
    fn from(asked: &TakeHold) -> Self {
        Self {
            machine: asked.machine.to_string(),
            kind: kind_number(asked.kind),
            by: asked.by.clone(),
            reason: asked.reason.to_string(),
            span_ms: asked.span.map(millis),
            force: asked.force,
        }
    }
}

impl TryFrom<wire::SetHoldRequest> for TakeHold {
    type Error = FieldError;
    fn try_from(asked: wire::SetHoldRequest) -> Result<Self, FieldError> {
        if kind(asked.kind)? == HoldKind::Flapping {
            return Err(FieldError::unknown("kind", asked.kind, "hold that a person takes"));
        }
        Ok(Self {
            machine: name("machine", asked.machine, MachineName::new)?,
            kind: kind(asked.kind)?,
            by: asked.by,
            reason: Reason::new(&asked.reason),
            span: asked.span_ms.map(span),
            force: asked.force,
        })
    }
}

impl From<&Taken> for wire::SetHoldReply {
    fn from(taken: &Taken) -> Self {
        let answer = match taken {
            Taken::Held(hold) => wire::set_hold_reply::Answer::Held(hold.into()),
            Taken::Refused(refusal) => wire::set_hold_reply::Answer::Refused(refusal.into()),
        };
        Self { answer: Some(answer) }
    }
}

impl TryFrom<wire::SetHoldReply> for Taken {
    type Error = FieldError;
    fn try_from(reply: wire::SetHoldReply) -> Result<Self, FieldError> {
        match reply.answer {
            None => Err(FieldError::missing("answer")),
            Some(wire::set_hold_reply::Answer::Held(hold)) => {
                hold.try_into().map(Self::Held).map_err(|error: FieldError| error.within("held"))
            }
            Some(wire::set_hold_reply::Answer::Refused(refusal)) => refusal
                .try_into()
                .map(Self::Refused)
                .map_err(|error: FieldError| error.within("refused")),
        }
    }
}

impl From<&Release> for wire::ReleaseRequest {
    fn from(asked: &Release) -> Self {
        Self {
            machine: asked.machine.to_string(),
            by: asked.by.clone(),
            kind: asked.kind.map(kind_number),
            force: asked.force,
        }
    }
}

impl TryFrom<wire::ReleaseRequest> for Release {
    type Error = FieldError;
    fn try_from(asked: wire::ReleaseRequest) -> Result<Self, FieldError> {
        Ok(Self {
            machine: name("machine", asked.machine, MachineName::new)?,
            by: asked.by,
            kind: asked.kind.map(kind).transpose()?,
            force: asked.force,
        })
    }
}

impl From<&Released> for wire::ReleaseReply {
    fn from(released: &Released) -> Self {
        Self {
            was_held: !released.ended.is_empty(),
            was_quarantined: released.was_quarantined,
            ended: released.ended.iter().map(Into::into).collect(),
            refused: released.refused.as_ref().map(Into::into),
        }
    }
}

impl TryFrom<wire::ReleaseReply> for Released {
    type Error = FieldError;
    fn try_from(reply: wire::ReleaseReply) -> Result<Self, FieldError> {
        Ok(Self {
            ended: each("ended", reply.ended)?,
            was_quarantined: reply.was_quarantined,
            refused: optional("refused", reply.refused)?,
        })
    }
}
