//! What the agent tells of its machines, followed by its watch.

use std::collections::BTreeMap;

use agent_api::{Event, Machine, Watch};
use fleet::OperationId;
use testkit::bench::{Bench, PATIENCE};
use tokio::time::timeout;

/// All machines as they were told last.
pub(crate) struct View {
    watch: Watch,
    machines: BTreeMap<String, Machine>,
}

impl View {
    pub(crate) async fn of(bench: &Bench) -> Self {
        let watch = bench.client.watch().await.expect("a watch");
        Self { watch, machines: BTreeMap::new() }
    }

    /// Waits until what is told is so.
    pub(crate) async fn until(&mut self, what: &str, so: impl Fn(&Self) -> bool) {
        let wait = async {
            while self.machines.is_empty() || !so(self) {
                match self.watch.next().await.expect("the watch goes on") {
                    None => panic!("the agent ended the watch"),
                    Some(Event::Snapshot(inventory)) => {
                        let machines = inventory.machines.into_iter();
                        self.machines = machines.map(|m| (m.name.to_string(), m)).collect();
                    }
                    Some(Event::Changed(machine)) => {
                        self.machines.insert(machine.name.to_string(), *machine);
                    }
                }
            }
        };
        if timeout(PATIENCE, wait).await.is_err() {
            let told = self.machines.values().map(|machine| {
                let operation = machine.operation.as_ref();
                let last = operation.map(|op| format!("{} {:?} {}", op.id, op.phase, op.evidence));
                format!("{}: {:?}, {last:?}", machine.name, trouble(machine))
            });
            panic!("waited too long until {what}: {:#?}", told.collect::<Vec<_>>());
        }
    }

    /// Whether it was told so last.
    pub(crate) fn is(&self, so: impl Fn(&Self) -> bool) -> bool {
        so(self)
    }

    /// Why a machine's outlet can not be told; `None`: it can, or is only assumed.
    pub(crate) fn trouble(&self, machine: &str) -> Option<String> {
        self.machines.get(machine).and_then(trouble)
    }

    /// Whether an operation has ended.
    pub(crate) fn has_ended(&self, machine: &str, id: &OperationId) -> bool {
        let operation = self.machines.get(machine).and_then(|machine| machine.operation.as_ref());
        operation.is_some_and(|operation| operation.id == *id && operation.phase.is_finished())
    }
}

fn trouble(machine: &Machine) -> Option<String> {
    machine.outlets.iter().find_map(|outlet| outlet.trouble.clone())
}
