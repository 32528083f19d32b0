//! Does what the reconciler asks for, and decides nothing.

use std::collections::BTreeMap;
use std::time::Duration;

use agent_api::{AgentAddress, Answer, Boot, Client as Agent, Service};
use fleet::reconciler::{Done, Effect};
use fleet::{
    Fence, MachineName, NodeFilter, NodeId, OnSoftOffTimeout, OperationId, Order, Origin, PlanId,
    QuarantineCause, Reason, Verb,
};
use nomad_api::{Client as Nomad, DrainDeadline, DrainSpec, Eligibility};

use super::nomad_side::read_node;

/// How long an order stays valid after its arrival at the agent: it is planned anew every few seconds,
/// so one that could not begin within half a minute speaks of a pool that is not that way any more.
const ORDER_VALID: Duration = Duration::from_secs(30);

/// Who a drain of ours says it is by, in the node's last drain, as the host's own targets do.
const DRAINED_BY: &str = "lamplighter";

/// What effects are executed with.
#[derive(Debug, Clone)]
pub struct Executor {
    /// Nomad.
    pub nomad: Nomad,
    /// The agent of each machine.
    pub agents: BTreeMap<MachineName, (AgentAddress, Agent)>,
    /// The lease by which is ordered.
    pub fence: Fence,
    /// The plan that is carried out.
    pub plan: Option<PlanId>,
    /// Which nodes the policies let us choose.
    pub filters: Vec<NodeFilter>,
}

impl Executor {
    /// Does it, and says what came of it.
    pub async fn execute(&self, effect: &Effect) -> Done {
        match effect {
            Effect::Light { machine, operation, reason } => {
                let timeout = OnSoftOffTimeout::Cut;
                self.order(machine, Verb::On, operation, reason, timeout).await
            }
            Effect::PowerOff { machine, operation, reason, on_timeout } => {
                self.order(machine, Verb::Off, operation, reason, *on_timeout).await
            }
            Effect::Cycle { machine, operation, reason } => {
                let timeout = OnSoftOffTimeout::Cut;
                self.order(machine, Verb::Cycle, operation, reason, timeout).await
            }
            Effect::Quarantine { machine, cause, reason } => {
                self.serve(machine, Some(*cause), reason).await
            }
            Effect::LiftQuarantine { machine, reason } => self.serve(machine, None, reason).await,
            Effect::RecordBoot { machine, operation, end, took } => {
                let (operation, end, took) = (operation.clone(), *end, *took);
                self.record(machine, Boot { operation, end, took, age: Duration::ZERO }).await
            }
            Effect::MakeIneligible { node, .. } => {
                let wanted = Eligibility::Ineligible;
                written(self.nomad.set_eligibility(node.as_str(), &wanted).await)
            }
            Effect::MakeEligible { node, .. } => self.make_eligible(node).await,
            Effect::ReadNode { node, at_least, .. } => {
                match read_node(&self.nomad, node, *at_least, &self.filters).await {
                    Ok(node) => Done::Read(node.map(Box::new)),
                    Err(error) => Done::Failed(chain(&error)),
                }
            }
            Effect::Drain { node, deadline, ignore_system, .. } => {
                let spec = DrainSpec {
                    deadline: deadline.map_or(DrainDeadline::None, DrainDeadline::After),
                    ignore_system_jobs: *ignore_system,
                };
                let pool = self.fence.pool.to_string();
                let meta = BTreeMap::from([
                    ("drained_by".to_owned(), DRAINED_BY.to_owned()),
                    ("lamplighter_pool".to_owned(), pool),
                ]);
                written(self.nomad.drain_node(node.as_str(), spec, &meta).await)
            }
            Effect::Purge { node, .. } => written(self.nomad.purge_node(node.as_str()).await),
        }
    }

    /// Nomad refuses to make a draining node eligible, and writes no event where it cancels a drain that
    /// is not there; so the one or the other. A drain of somebody else's is left alone: it may have come
    /// since this was asked for, and whoever ordered it builds upon it.
    async fn make_eligible(&self, node: &NodeId) -> Done {
        let found = match self.nomad.node(node.as_str()).await {
            Ok(found) => found,
            Err(error) => return Done::Failed(chain(&error)),
        };
        let eligible = Eligibility::Eligible;
        let Some(found) = found.filter(|node| node.drain_strategy.is_some()) else {
            return written(self.nomad.set_eligibility(node.as_str(), &eligible).await);
        };
        let by = found.last_drain.as_ref().and_then(|drain| drain.meta.get("drained_by"));
        if by.is_none_or(|by| by != DRAINED_BY) {
            return Done::Failed("somebody else drains its node".to_owned());
        }
        let meta = BTreeMap::from([("drained_by".to_owned(), DRAINED_BY.to_owned())]);
        written(self.nomad.cancel_drain(node.as_str(), eligible, &meta).await)
    }

    /// Says whether a machine is in service.
    async fn serve(
        &self,
        machine: &MachineName,
        quarantine: Option<QuarantineCause>,
        reason: &Reason,
    ) -> Done {
        let Some((_, agent)) = self.agents.get(machine) else {
            return Done::Failed(format!("no agent has {machine}"));
        };
        let service = Service {
            machine: machine.clone(),
            origin: Origin::Autoscaler(self.fence.clone()),
            quarantine,
            reason: reason.clone(),
        };
        match agent.set_quarantine(&service).await {
            Ok(Ok(_changed)) => Done::Accepted,
            Ok(Err(refusal)) => Done::Refused(refusal.text),
            Err(error) => Done::Failed(chain(&error)),
        }
    }

    async fn record(&self, machine: &MachineName, boot: Boot) -> Done {
        let Some((_, agent)) = self.agents.get(machine) else {
            return Done::Failed(format!("no agent has {machine}"));
        };
        match agent.record_boot(machine, &boot).await {
            Ok(()) => Done::Accepted,
            Err(error) => Done::Failed(chain(&error)),
        }
    }

    async fn order(
        &self,
        machine: &MachineName,
        verb: Verb,
        operation: &OperationId,
        reason: &Reason,
        on_soft_off_timeout: OnSoftOffTimeout,
    ) -> Done {
        let Some((_, agent)) = self.agents.get(machine) else {
            return Done::Failed(format!("no agent has {machine}"));
        };
        let order = Order {
            operation: operation.clone(),
            machine: machine.clone(),
            verb,
            reason: reason.clone(),
            origin: Origin::Autoscaler(self.fence.clone()),
            valid_for: ORDER_VALID,
            on_soft_off_timeout,
            force: false,
            drain: false,
            plan: self.plan.clone(),
        };
        match agent.set_power(&order).await {
            Ok(Answer::Accepted { .. }) => Done::Accepted,
            Ok(Answer::Refused(refusal)) => Done::Refused(refusal.text),
            Err(error) => Done::Failed(chain(&error)),
        }
    }
}

fn written(result: Result<nomad_api::NodeChange, nomad_api::Error>) -> Done {
    match result {
        Ok(change) => Done::Written { index: change.index },
        Err(error) => Done::Failed(chain(&error)),
    }
}

/// An error with its causes, in one line; what a cause only repeats is left out.
#[must_use]
pub fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let said = error.to_string();
        if !text.contains(&said) {
            text.push_str(": ");
            text.push_str(&said);
        }
        cause = error.source();
    }
    text
}

#[cfg(test)]
mod tests;
