//! Orders over the agent's socket, and what it tells of a machine.

use std::time::Duration;

use agent_api::{Answer, Event, Machine, Operation, Order, Release, Released, Watch};
use fleet::{
    ClusterId, Fence, FenceNumber, MachineName, OnSoftOffTimeout, OperationId, Origin, Phase,
    PoolName, PowerState, Reason, Verb,
};
use tokio::time::timeout;

use super::{Bench, PATIENCE, until};

/// The agent refills ten orders within it. Whoever asks much oftener is turned away as a flood.
const QUOTA_REFILLS: Duration = Duration::from_secs(1);

impl Bench {
    /// Gives an order that must be taken, and waits for its end.
    pub async fn done(&self, order: &Order) -> Operation {
        let mut watch = self.client.watch().await.expect("a watch");
        let operation = self.accepted(order).await;
        ended(&mut watch, &operation.id).await
    }

    /// Gives an order that must be taken: again, where a fast host has given more than the agent takes of one within a minute.
    pub async fn accepted(&self, order: &Order) -> Operation {
        let answer =
            until("the agent takes orders", async || match self.client.set_power(order).await {
                Err(error) if error.to_string().contains("and that is the limit") => {
                    tokio::time::sleep(QUOTA_REFILLS).await;
                    None
                }
                answer => Some(answer),
            });
        match answer.await.expect("an answer") {
            Answer::Accepted { operation, .. } => operation,
            Answer::Refused(refusal) => panic!("refused: {}", refusal.text),
        }
    }

    /// Ends all locks of a machine that a person may end without force.
    pub async fn release(&self, machine: &str) -> Released {
        let by = "ada".to_owned();
        let asked = Release { machine: name(machine), by, kind: None, force: false };
        self.client.release(&asked).await.expect("an answer")
    }

    /// What the agent tells of a machine.
    pub async fn machine(&self, name: &str) -> Machine {
        let inventory = self.client.inventory().await.expect("an inventory");
        let found = inventory.machines.into_iter().find(|machine| machine.name.as_str() == name);
        found.expect("the machine is there")
    }
}

/// Waits for the end of an operation.
pub async fn ended(watch: &mut Watch, id: &OperationId) -> Operation {
    let wait = async {
        loop {
            let machines = match watch.next().await.expect("the watch goes on") {
                None => panic!("the agent ended the watch"),
                Some(Event::Snapshot(inventory)) => inventory.machines,
                Some(Event::Changed(machine)) => vec![*machine],
            };
            let operations = machines.into_iter().filter_map(|machine| machine.operation);
            let mut ours = operations.filter(|op| op.id == *id && op.phase.is_finished());
            if let Some(operation) = ours.next() {
                return operation;
            }
        }
    };
    timeout(PATIENCE, wait).await.expect("the operation ends in time")
}

/// A machine's name.
#[must_use]
pub fn name(name: &str) -> MachineName {
    MachineName::new(name).expect("a name")
}

/// The autoscaler of pool `rack` with this fence.
#[must_use]
pub fn autoscaler(number: u64) -> Origin {
    Origin::Autoscaler(Fence {
        cluster: ClusterId::new("global").expect("a name"),
        pool: PoolName::new("rack").expect("a name"),
        number: FenceNumber(number),
    })
}

/// The person of the tests.
#[must_use]
pub fn person() -> Origin {
    Origin::Person("ada".to_owned())
}

/// An order that is valid for half a minute; a person's says that it needs no proof.
#[must_use]
pub fn order(id: &str, machine: &str, verb: Verb, origin: Origin) -> Order {
    Order {
        operation: OperationId::new(id).expect("an id"),
        machine: name(machine),
        verb,
        reason: Reason::new("test"),
        force: matches!(origin, Origin::Person(_)),
        origin,
        valid_for: Duration::from_secs(30),
        on_soft_off_timeout: OnSoftOffTimeout::Cut,
        drain: false,
        plan: None,
    }
}

/// What a machine reads.
#[must_use]
pub fn reading(machine: &Machine) -> Option<PowerState> {
    machine.reading.map(|(state, _)| state)
}

/// How far a machine's last operation is.
#[must_use]
pub fn phase(machine: &Machine) -> Option<Phase> {
    machine.operation.as_ref().map(|operation| operation.phase)
}
