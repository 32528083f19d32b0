//! Plans and shapes.

use fleet::moment::millis;
use fleet::{MachineName, PlanId, PoolName, Resources, Shape};

use super::{
    FieldError, each, name, on_timeout, optional_name, quarantines, span, verb, verb_number,
};
use crate::{Plan, PlanLine, wire};

impl From<&Shape> for wire::Shape {
    fn from(shape: &Shape) -> Self {
        Self {
            cpu_mhz: shape.resources.cpu_mhz,
            memory_mb: shape.resources.memory_mb,
            disk_mb: shape.resources.disk_mb,
            datacenter: shape.datacenter.clone(),
            node_pool: shape.node_pool.clone(),
            node_class: shape.node_class.clone(),
            attributes: shape.attributes.clone(),
        }
    }
}

impl From<wire::Shape> for Shape {
    fn from(shape: wire::Shape) -> Self {
        Self {
            resources: Resources {
                cpu_mhz: shape.cpu_mhz,
                memory_mb: shape.memory_mb,
                disk_mb: shape.disk_mb,
            },
            datacenter: shape.datacenter,
            node_pool: shape.node_pool,
            node_class: shape.node_class,
            attributes: shape.attributes,
        }
    }
}

impl From<&PlanLine> for wire::PlanLine {
    fn from(line: &PlanLine) -> Self {
        Self {
            machine: line.machine.as_ref().map(ToString::to_string).unwrap_or_default(),
            text: line.text.clone(),
            verb: line.verb.map_or(0, verb_number),
        }
    }
}

impl TryFrom<wire::PlanLine> for PlanLine {
    type Error = FieldError;
    fn try_from(line: wire::PlanLine) -> Result<Self, FieldError> {
        Ok(Self {
            machine: optional_name("machine", line.machine, MachineName::new)?,
            text: line.text,
            verb: if line.verb == 0 { None } else { Some(verb("verb", line.verb)?) },
        })
    }
}

impl From<&Plan> for wire::Plan {
    fn from(plan: &Plan) -> Self {
        Self {
            id: plan.id.to_string(),
            pool: plan.pool.to_string(),
            author: plan.author.clone(),
            lines: plan.lines.iter().map(Into::into).collect(),
            age_ms: millis(plan.age),
            inputs: plan.inputs.iter().map(Into::into).collect(),
            quarantine_on_timeout: quarantines(plan.on_soft_off_timeout),
        }
    }
}

impl TryFrom<wire::Plan> for Plan {
    type Error = FieldError;
    fn try_from(plan: wire::Plan) -> Result<Self, FieldError> {
        Ok(Self {
            id: name("id", plan.id, PlanId::new)?,
            pool: name("pool", plan.pool, PoolName::new)?,
            author: plan.author,
            lines: each("lines", plan.lines)?,
            age: span(plan.age_ms),
            inputs: each("inputs", plan.inputs)?,
            on_soft_off_timeout: on_timeout(plan.quarantine_on_timeout),
        })
    }
}
