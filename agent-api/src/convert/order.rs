//! Orders and answers.

use fleet::moment::millis;
use fleet::{
    ClusterId, Fence, FenceNumber, MachineName, OnSoftOffTimeout, OperationId, Order, Origin,
    PlanId, PoolName, Reason, Refusal, RefusalCode,
};

use super::{FieldError, name, optional_name, required, span, verb, verb_number};
use crate::{Answer, wire};

impl From<&Fence> for wire::Fence {
    fn from(fence: &Fence) -> Self {
        Self {
            cluster: fence.cluster.to_string(),
            pool: fence.pool.to_string(),
            number: fence.number.0,
        }
    }
}

impl TryFrom<wire::Fence> for Fence {
    type Error = FieldError;
    fn try_from(fence: wire::Fence) -> Result<Self, FieldError> {
        Ok(Self {
            cluster: name("cluster", fence.cluster, ClusterId::new)?,
            pool: name("pool", fence.pool, PoolName::new)?,
            number: FenceNumber(fence.number),
        })
    }
}

impl From<&Origin> for wire::Origin {
    fn from(origin: &Origin) -> Self {
        let who = match origin {
            Origin::Autoscaler(fence) => wire::origin::Who::Autoscaler(fence.into()),
            Origin::Person(name) => {
                wire::origin::Who::Person(wire::Person { name: name.to_owned() })
            }
            Origin::Agent => wire::origin::Who::Agent(wire::Own {}),
        };
        Self { who: Some(who) }
    }
}

impl TryFrom<wire::Origin> for Origin {
    type Error = FieldError;
    fn try_from(origin: wire::Origin) -> Result<Self, FieldError> {
        match origin.who {
            None => Err(FieldError::missing("who")),
            Some(wire::origin::Who::Person(person)) => Ok(Origin::Person(person.name)),
            Some(wire::origin::Who::Agent(wire::Own {})) => Ok(Origin::Agent),
            Some(wire::origin::Who::Autoscaler(fence)) => Fence::try_from(fence)
                .map(Origin::Autoscaler)
                .map_err(|error| error.within("autoscaler")),
        }
    }
}

impl From<&Order> for wire::SetPowerRequest {
    fn from(order: &Order) -> Self {
        let timeout = match order.on_soft_off_timeout {
            OnSoftOffTimeout::Cut => wire::OnSoftOffTimeout::Cut,
            OnSoftOffTimeout::Quarantine => wire::OnSoftOffTimeout::Quarantine,
        };
        Self {
            operation_id: order.operation.to_string(),
            machine: order.machine.to_string(),
            verb: verb_number(order.verb),
            reason: order.reason.to_string(),
            origin: Some((&order.origin).into()),
            valid_for_ms: millis(order.valid_for),
            on_soft_off_timeout: timeout.into(),
            force: order.force,
            drain: order.drain,
            plan: order.plan.as_ref().map(ToString::to_string).unwrap_or_default(),
        }
    }
}

impl TryFrom<wire::SetPowerRequest> for Order {
    type Error = FieldError;
    fn try_from(order: wire::SetPowerRequest) -> Result<Self, FieldError> {
        let number = order.on_soft_off_timeout;
        let on_soft_off_timeout = match wire::OnSoftOffTimeout::try_from(number) {
            // Unspecified is what a client sends that has no wish.
            Ok(wire::OnSoftOffTimeout::Unspecified | wire::OnSoftOffTimeout::Cut) => {
                OnSoftOffTimeout::Cut
            }
            Ok(wire::OnSoftOffTimeout::Quarantine) => OnSoftOffTimeout::Quarantine,
            Err(_) => {
                let expected = "soft-off timeout action";
                return Err(FieldError::unknown("on_soft_off_timeout", number, expected));
            }
        };
        Ok(Self {
            operation: name("operation_id", order.operation_id, OperationId::new)?,
            machine: name("machine", order.machine, MachineName::new)?,
            verb: verb("verb", order.verb)?,
            reason: Reason::new(&order.reason),
            origin: required("origin", order.origin)?,
            valid_for: span(order.valid_for_ms),
            on_soft_off_timeout,
            force: order.force,
            drain: order.drain,
            plan: optional_name("plan", order.plan, PlanId::new)?,
        })
    }
}

impl From<&Refusal> for wire::Refusal {
    fn from(refusal: &Refusal) -> Self {
        let code = match refusal.code {
            RefusalCode::Held => wire::RefusalCode::Held,
            RefusalCode::StaleFence => wire::RefusalCode::StaleFence,
            RefusalCode::Busy => wire::RefusalCode::Busy,
            RefusalCode::NotEmpty => wire::RefusalCode::NotEmpty,
            RefusalCode::WrongPool => wire::RefusalCode::WrongPool,
            RefusalCode::Expired => wire::RefusalCode::Expired,
            RefusalCode::Forbidden => wire::RefusalCode::Forbidden,
            RefusalCode::Quarantined => wire::RefusalCode::Quarantined,
            RefusalCode::TooManyCycles => wire::RefusalCode::TooManyCycles,
            RefusalCode::Flapping => wire::RefusalCode::Flapping,
            RefusalCode::FeedFull => wire::RefusalCode::FeedFull,
            RefusalCode::NeverOff => wire::RefusalCode::NeverOff,
            RefusalCode::Reserved => wire::RefusalCode::Reserved,
            RefusalCode::Unknown => wire::RefusalCode::Unspecified,
        };
        Self { code: code.into(), text: refusal.text.clone() }
    }
}

impl TryFrom<wire::Refusal> for Refusal {
    type Error = FieldError;
    fn try_from(refusal: wire::Refusal) -> Result<Self, FieldError> {
        let code = match wire::RefusalCode::try_from(refusal.code) {
            Ok(wire::RefusalCode::Held) => RefusalCode::Held,
            Ok(wire::RefusalCode::StaleFence) => RefusalCode::StaleFence,
            Ok(wire::RefusalCode::Busy) => RefusalCode::Busy,
            Ok(wire::RefusalCode::NotEmpty) => RefusalCode::NotEmpty,
            Ok(wire::RefusalCode::WrongPool) => RefusalCode::WrongPool,
            Ok(wire::RefusalCode::Expired) => RefusalCode::Expired,
            Ok(wire::RefusalCode::Forbidden) => RefusalCode::Forbidden,
            Ok(wire::RefusalCode::Quarantined) => RefusalCode::Quarantined,
            Ok(wire::RefusalCode::TooManyCycles) => RefusalCode::TooManyCycles,
            Ok(wire::RefusalCode::Flapping) => RefusalCode::Flapping,
            Ok(wire::RefusalCode::FeedFull) => RefusalCode::FeedFull,
            Ok(wire::RefusalCode::NeverOff) => RefusalCode::NeverOff,
            Ok(wire::RefusalCode::Reserved) => RefusalCode::Reserved,
            Ok(wire::RefusalCode::Unspecified) => {
                return Err(FieldError::unknown("code", refusal.code, "refusal code"));
            }
            // Refused is refused, for a reason that a newer agent has a word for.
            Err(_) => RefusalCode::Unknown,
        };
        Ok(Self { code, text: refusal.text })
    }
}

impl From<&Answer> for wire::SetPowerReply {
    fn from(answer: &Answer) -> Self {
        match answer {
            Answer::Accepted { operation, repeated } => Self {
                answer: Some(wire::set_power_reply::Answer::Accepted(operation.into())),
                repeated: *repeated,
            },
            Answer::Refused(refusal) => Self {
                answer: Some(wire::set_power_reply::Answer::Refused(refusal.into())),
                repeated: false,
            },
        }
    }
}

impl TryFrom<wire::SetPowerReply> for Answer {
    type Error = FieldError;
    fn try_from(reply: wire::SetPowerReply) -> Result<Self, FieldError> {
        match reply.answer {
            None => Err(FieldError::missing("answer")),
            Some(wire::set_power_reply::Answer::Accepted(operation)) => Ok(Answer::Accepted {
                operation: operation
                    .try_into()
                    .map_err(|error: FieldError| error.within("accepted"))?,
                repeated: reply.repeated,
            }),
            Some(wire::set_power_reply::Answer::Refused(refusal)) => refusal
                .try_into()
                .map(Answer::Refused)
                .map_err(|error: FieldError| error.within("refused")),
        }
    }
}
