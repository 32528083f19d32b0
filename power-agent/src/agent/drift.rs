//! After a device was read: what reads otherwise than it was ordered is told, and lit again where the rack file says so.
//! What is done is decided by [`fleet::drift`]; the order that follows is heard like any other.

use std::sync::{Arc, PoisonError};
use std::time::Duration;

use agent_api::Answer;
use fleet::drift::{TRIES_MAX, Verdict};
use fleet::{OnSoftOffTimeout, OperationId, Order, Origin, Reason, Verb};

use super::Agent;
use crate::audit::Who;
use crate::clock::Clock;
use crate::device::DeviceHandle;
use crate::machine::Machine;
use crate::node::chain;

/// Begun later than this after the reading that led to it, the order is void: the next reading leads to another.
const VALID_FOR: Duration = Duration::from_secs(10);

/// Where the kernel gives an id that nobody else gives.
const IDS: &str = "/proc/sys/kernel/random/uuid";

impl Agent {
    /// Weighs all machines whose first outlet hangs on a device that has just been read: each machine once per round.
    pub(crate) fn weigh_drift(self: &Arc<Self>, device: &DeviceHandle) {
        for machine in self.rack().machines.values() {
            if machine.outlets.first().is_some_and(|outlet| outlet.device.is_same(device)) {
                self.weigh_one(machine);
            }
        }
    }

    fn weigh_one(self: &Arc<Self>, machine: &Arc<Machine>) {
        let now = Clock.now();
        let verdict = {
            let mut relit = self.relit.lock().unwrap_or_else(PoisonError::into_inner);
            let verdict = machine.weigh_drift(*relit, now);
            if matches!(verdict, Verdict::Enforce { .. }) {
                *relit = Some(now);
            }
            verdict
        };
        let name = &machine.config.name;
        match verdict {
            Verdict::Nothing => return,
            Verdict::Enforce { is_new: false } => {}
            Verdict::Report | Verdict::Enforce { is_new: true } => tell(machine),
            Verdict::GiveUp => tracing::error!(
                node = %name, tries = TRIES_MAX,
                "machine was lit again and does not stay on; nothing more is tried, look at its relay and its board"
            ),
            Verdict::Over => tracing::info!(node = %name, "machine reads as ordered again"),
        }
        self.publish(name);
        if matches!(verdict, Verdict::Enforce { .. }) {
            self.spawn(relight(Arc::clone(self), Arc::clone(machine)));
        }
    }
}

fn tell(machine: &Machine) {
    let Some(drift) = machine.drift(Clock.now()) else { return };
    tracing::error!(
        node = %machine.config.name, wanted = %drift.wanted, read = %drift.read, policy = drift.policy.as_str(),
        "machine reads otherwise than it was ordered"
    );
}

async fn relight(agent: Arc<Agent>, machine: Arc<Machine>) {
    let name = &machine.config.name;
    let operation = match tokio::fs::read_to_string(IDS).await {
        Ok(id) => {
            OperationId::new(format!("drift-{}", id.trim())).map_err(|error| error.to_string())
        }
        Err(error) => Err(format!("{IDS}: {error}")),
    };
    let operation = match operation {
        Ok(operation) => operation,
        Err(err) => {
            tracing::error!(node = %name, err, "machine is not lit again: there is no id for the order");
            return;
        }
    };
    let order = Order {
        operation,
        machine: name.clone(),
        verb: Verb::On,
        reason: Reason::new("drift"),
        origin: Origin::Agent,
        valid_for: VALID_FOR,
        on_soft_off_timeout: OnSoftOffTimeout::Quarantine,
        force: false,
        drain: false,
        plan: None,
    };
    match agent.order(order, Who::agent()).await {
        Ok(Answer::Accepted { .. }) => {
            machine.note_drift_try();
            agent.publish(name);
        }
        Ok(Answer::Refused(refusal)) => {
            tracing::info!(node = %name, refusal = refusal.text, "machine is not lit again");
        }
        Err(error) => {
            tracing::error!(node = %name, err = chain(&error), "machine is not lit again");
        }
    }
}
