//! What operations of this agent owe Nomad: nodes that they drained and could not give back, because Nomad was away or
//! the agent was gone.

use fleet::{MachineName, OperationId};
use tokio::time::timeout;

use super::{Agent, NOMAD_PATIENCE};
use crate::node::chain;

impl Agent {
    /// Gives back what can be given back now. A running operation does so itself at its end.
    pub(crate) async fn give_back_drains(&self) {
        let rack = self.rack();
        for machine in rack.machines.values() {
            let owed = {
                let state = machine.state();
                state.owed.clone().filter(|_| state.live.is_none())
            };
            let Some(operation) = owed else { continue };
            let undrained = rack.nodes.undrain(&machine.config.node, &operation);
            match timeout(NOMAD_PATIENCE, undrained).await {
                Ok(Ok(())) => self.forget_debt(&machine.config.name, &operation).await,
                Ok(Err(err)) => {
                    tracing::debug!(machine = %machine.config.name, %operation, err, "drain not taken back yet");
                }
                Err(_elapsed) => return, // nor will Nomad answer for the next one
            }
        }
    }

    async fn forget_debt(&self, name: &MachineName, operation: &OperationId) {
        let _book = self.book.lock().await;
        // Under the lock: a reload may have put another in its place.
        let Ok(machine) = self.machine(name) else { return };
        let mut memory = machine.memory();
        // An operation that has ended meanwhile may owe something of its own.
        if memory.owed.as_ref() != Some(operation) {
            return;
        }
        memory.owed = None;
        match self.write_machine(name, memory, None).await {
            Ok(()) => {
                machine.state().owed = None;
                tracing::info!(machine = %name, %operation, "drain taken back at last");
            }
            Err(error) => {
                tracing::error!(machine = %name, err = chain(&error), "a drain that was taken back could not be written off");
            }
        }
    }
}
