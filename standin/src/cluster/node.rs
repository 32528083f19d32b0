//! A node: what it has, how it stands, and what was done to it, with Nomad's own words.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

/// What Nomad keeps of a node's past.
const EVENTS_MAX: usize = 10;

/// What a client says of its machine.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Registration {
    pub(crate) id: String,
    pub(crate) name: String,
    pub(crate) datacenter: String,
    pub(crate) node_pool: String,
    pub(crate) node_class: String,
    pub(crate) cpu_mhz: u64,
    pub(crate) memory_mb: u64,
    pub(crate) disk_mb: u64,
}

/// A drain that goes on, as it was asked for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct DrainSpec {
    /// In nanoseconds; 0 is none, negative is at once.
    #[serde(default)]
    pub(crate) deadline: i64,
    #[serde(default)]
    pub(crate) ignore_system_jobs: bool,
}

/// A drain that goes on.
#[derive(Debug, Clone)]
pub(crate) struct Drain {
    pub(crate) spec: DrainSpec,
    /// When what is left is stopped.
    pub(crate) force_at: Option<Duration>,
}

/// A node that has registered.
#[derive(Debug, Clone)]
pub(crate) struct Node {
    pub(crate) own: Registration,
    pub(crate) is_up: bool,
    pub(crate) is_eligible: bool,
    pub(crate) drain: Option<Drain>,
    /// Status and meta of the last one.
    last_drain: Option<(&'static str, BTreeMap<String, String>)>,
    events: Vec<(&'static str, &'static str, u64)>,
    create_index: u64,
    modify_index: u64,
    /// When its client was heard last.
    pub(crate) heard: Duration,
}

impl Node {
    pub(crate) fn new(own: Registration, index: u64, now: Duration) -> Self {
        Self {
            own,
            is_up: true,
            is_eligible: true,
            drain: None,
            last_drain: None,
            // Nomad's own first event carries no index.
            events: vec![("Cluster", "Node registered", 0)],
            create_index: index,
            modify_index: index,
            heard: now,
        }
    }

    /// Its client is there (again).
    pub(crate) fn registered(&mut self, own: Registration, index: u64, now: Duration) {
        self.own = own;
        self.heard = now;
        self.modify_index = index;
        if !std::mem::replace(&mut self.is_up, true) {
            self.told("Cluster", "Node reregistered by heartbeat", index);
        }
    }

    pub(crate) fn missed(&mut self, index: u64) {
        self.is_up = false;
        self.told("Cluster", "Node heartbeat missed", index);
    }

    pub(crate) fn made_eligible(&mut self, eligible: bool, index: u64) {
        self.is_eligible = eligible;
        let message = if eligible {
            "Node marked as eligible for scheduling"
        } else {
            "Node marked as ineligible for scheduling"
        };
        self.told("Cluster", message, index);
    }

    pub(crate) fn drained(&mut self, drain: Drain, meta: BTreeMap<String, String>, index: u64) {
        let message = match self.drain.replace(drain) {
            None => "Node drain strategy set",
            Some(_) => "Node drain strategy updated",
        };
        self.is_eligible = false;
        self.last_drain = Some(("draining", meta));
        self.told("Drain", message, index);
    }

    /// Ends a drain by somebody's word. Where none goes on the eligibility changes all the same, but
    /// without an event.
    pub(crate) fn drain_cancelled(&mut self, eligible: bool, index: u64) {
        self.is_eligible |= eligible;
        self.modify_index = index;
        if self.drain.take().is_some() {
            self.drain_ended("canceled", "Node drain disabled", index);
        }
    }

    pub(crate) fn drain_completed(&mut self, index: u64) {
        self.drain = None;
        self.drain_ended("complete", "Node drain complete", index);
    }

    fn drain_ended(&mut self, status: &'static str, message: &'static str, index: u64) {
        if let Some((last, _)) = &mut self.last_drain {
            *last = status;
        }
        self.told("Drain", message, index);
    }

    fn told(&mut self, subsystem: &'static str, message: &'static str, index: u64) {
        self.modify_index = index;
        self.events.push((subsystem, message, index));
        let over = self.events.len().saturating_sub(EVENTS_MAX);
        self.events.drain(..over);
    }

    /// Whether the scheduler may place work here.
    pub(crate) const fn is_open(&self) -> bool {
        self.is_up && self.is_eligible && self.drain.is_none()
    }

    /// As the list of nodes has it.
    pub(crate) fn stub(&self) -> Value {
        let own = &self.own;
        let last = self.last_drain.as_ref();
        json!({
            "ID": own.id,
            "Name": own.name,
            "Datacenter": own.datacenter,
            "NodePool": own.node_pool,
            "NodeClass": own.node_class,
            "Drain": self.drain.is_some(),
            "SchedulingEligibility": if self.is_eligible { "eligible" } else { "ineligible" },
            "Status": if self.is_up { "ready" } else { "down" },
            "NodeResources": {
                "Cpu": { "CpuShares": own.cpu_mhz },
                "Memory": { "MemoryMB": own.memory_mb },
                "Disk": { "DiskMB": own.disk_mb },
            },
            "ReservedResources": null,
            "LastDrain": last.map(|(status, meta)| json!({ "Status": status, "Meta": meta })),
            "CreateIndex": self.create_index,
            "ModifyIndex": self.modify_index,
        })
    }

    /// As it is read alone.
    pub(crate) fn whole(&self) -> Value {
        let own = &self.own;
        let events = self.events.iter().map(|(subsystem, message, index)| {
            json!({ "Subsystem": subsystem, "Message": message, "Details": null, "CreateIndex": index })
        });
        let mut node = self.stub();
        if let Some(fields) = node.as_object_mut() {
            let more = [
                (
                    "Attributes",
                    json!({
                        "kernel.name": "linux",
                        "driver.raw_exec": "1",
                        "unique.hostname": own.name,
                    }),
                ),
                ("Meta", json!({})),
                // Nodes of one class are alike to constraints.
                (
                    "ComputedClass",
                    json!(format!("{}/{}/{}", own.datacenter, own.node_pool, own.node_class)),
                ),
                ("DrainStrategy", json!(self.drain.as_ref().map(|drain| &drain.spec))),
                ("Events", events.collect()),
            ];
            fields.extend(more.map(|(key, value)| (key.to_owned(), value)));
        }
        node
    }
}
