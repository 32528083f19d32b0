//! Orders to light: given once each, followed until the agent's inventory shows them.

use super::{Done, Effect, Reconciler};
use crate::scale_in::{CALL_RETRY, ORDER_UNSEEN_MAX, REFUSAL_REST};
use crate::{MachineName, MachineView, Moment, NodeCount, OperationId, Reason};

/// A machine that was ordered on, until its agent's inventory shows the order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Lighting {
    pub(super) operation: OperationId,
    pub(super) calling: bool,
    pub(super) accepted: bool,
    /// Since when the agent answers and does not show it.
    pub(super) unseen: Moment,
    pub(super) retry_at: Moment,
}

/// Ids of orders: the process's own prefix and a number.
#[derive(Debug)]
pub(super) struct OperationIds {
    pub(super) prefix: OperationId,
    pub(super) next: u64,
}

impl OperationIds {
    pub(super) fn take(&mut self) -> OperationId {
        self.next += 1;
        let text = format!("{}-{}", self.prefix, self.next);
        // The prefix is a valid id and shorter than the bound by far; should it not be, it alone will do.
        OperationId::new(text).unwrap_or_else(|_| self.prefix.clone())
    }
}

impl Reconciler {
    /// What the agents' inventories show of the orders to light.
    pub(super) fn follow_orders(&mut self, now: Moment) {
        let (view, memory) = (&self.view, &mut self.memory);
        self.lighting.retain(|name, lighting| {
            let agent = view.machines.get(name).and_then(|machine| machine.agent.as_ref());
            let Some(agent) = agent else {
                lighting.unseen = now;
                return true;
            };
            let shown = agent.operation.as_ref().is_some_and(|op| op.id == lighting.operation);
            if shown || lighting.calling || now.since(lighting.unseen) < ORDER_UNSEEN_MAX {
                return lighting.calling || !shown;
            }
            let why = if lighting.accepted {
                "its agent took the order to light it and does not show it"
            } else {
                "its agent does not answer the order to light it"
            };
            memory.entry(name.clone()).or_default().rests =
                Some((now + REFUSAL_REST, why.to_owned()));
            false
        });
    }

    /// Orders on what the plan wants lit.
    pub(super) fn light(&mut self, desired: NodeCount, effects: &mut Vec<Effect>, now: Moment) {
        let count = self.view.count(now);
        let reason = Reason::new(&format!("the pool wants {desired} and counts {count}"));
        for name in &self.last_plan.light {
            let ids = &mut self.operations;
            let lighting = self.lighting.entry(name.clone()).or_insert_with(|| Lighting {
                operation: ids.take(),
                calling: false,
                accepted: false,
                unseen: now,
                retry_at: now,
            });
            let tended = self.cares.get(name).is_some_and(|care| care.calling);
            if !tended && !lighting.calling && !lighting.accepted && lighting.retry_at <= now {
                lighting.calling = true;
                let operation = lighting.operation.clone();
                let (machine, reason) = (name.clone(), reason.clone());
                if self.view.machines.get(name).is_some_and(MachineView::is_off) {
                    self.dark.insert(name.clone(), operation.clone());
                } else {
                    self.dark.remove(name);
                }
                effects.push(Effect::Light { machine, operation, reason });
            }
        }
    }

    pub(super) fn lit(&mut self, name: &MachineName, done: Done, now: Moment) {
        let Some(lighting) = self.lighting.get_mut(name) else { return };
        lighting.calling = false;
        lighting.retry_at = now + CALL_RETRY;
        match done {
            Done::Accepted => {
                lighting.accepted = true;
                lighting.unseen = now;
            }
            Done::Refused(why) => {
                let memory = self.memory.entry(name.clone()).or_default();
                memory.rests = Some((now + REFUSAL_REST, why));
                self.lighting.remove(name);
            }
            // An order without an answer is asked again under the same id.
            Done::Failed(_) | Done::Written { .. } | Done::Read(_) => {}
        }
    }
}
