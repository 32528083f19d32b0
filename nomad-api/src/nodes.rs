//! Nodes: what they offer, what was done to them, and the calls that drain them.

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::json;

use crate::allocations::Allocation;
use crate::client::{Ask, Client, QueryMeta, QueryOptions, READ_JOB_EVERYWHERE};
use crate::error::Error;
use crate::wire::{from_nomad, words};

const READ: &str = "node { policy = \"read\" }";
const WRITE: &str = "node { policy = \"write\" }";

words! {
    /// What Nomad knows of a node's client.
    pub enum NodeStatus {
        /// It has registered and has not said yet that it is ready.
        Initializing = "initializing",
        /// It heartbeats.
        Ready = "ready",
        /// It misses its heartbeats.
        Down = "down",
        /// It misses its heartbeats and has work that may reconnect.
        Disconnected = "disconnected",
    }

    /// Whether the scheduler places work on a node.
    pub enum Eligibility {
        /// It does.
        Eligible = "eligible",
        /// It does not.
        Ineligible = "ineligible",
    }

    /// How the last drain of a node stands.
    pub enum DrainStatus {
        /// It goes on.
        Draining = "draining",
        /// It came to its end.
        Complete = "complete",
        /// Someone cancelled it.
        Canceled = "canceled",
    }
}

from_nomad! {
    /// A node as the list of nodes shows it: without attributes, metadata and events.
    pub struct NodeStub {
        /// The node's id.
        pub id: String = "ID",
        /// The node's name.
        pub name: String = "Name",
        /// Its datacenter.
        pub datacenter: String = "Datacenter",
        /// Its pool in Nomad.
        pub node_pool: String = "NodePool",
        /// Its class; empty where it has none.
        pub node_class: String = "NodeClass",
        /// Whether it is being drained.
        pub drain: bool = "Drain",
        /// Whether work is placed on it.
        pub eligibility: Eligibility = "SchedulingEligibility",
        /// What is known of its client.
        pub status: NodeStatus = "Status",
        /// What it has.
        pub resources: NodeResources = "NodeResources",
        /// What it keeps for itself.
        pub reserved: NodeResources = "ReservedResources",
        /// Its last drain.
        pub last_drain: Option<LastDrain> = "LastDrain",
        /// The index at which it registered for the first time.
        pub create_index: u64 = "CreateIndex",
        /// The index of its last change, heartbeat transitions included.
        pub modify_index: u64 = "ModifyIndex",
    }

    /// A node with everything that we read of it.
    pub struct Node {
        /// The node's id.
        pub id: String = "ID",
        /// The node's name.
        pub name: String = "Name",
        /// Its datacenter.
        pub datacenter: String = "Datacenter",
        /// Its pool in Nomad.
        pub node_pool: String = "NodePool",
        /// Its class; empty where it has none.
        pub node_class: String = "NodeClass",
        /// What its client found out: `kernel.name`, `cpu.arch`.
        pub attributes: BTreeMap<String, String> = "Attributes",
        /// What its operator says of it.
        pub meta: BTreeMap<String, String> = "Meta",
        /// What it has.
        pub resources: NodeResources = "NodeResources",
        /// What it keeps for itself.
        pub reserved: NodeResources = "ReservedResources",
        /// The class that Nomad computes: nodes of one are alike to constraints. Changes with the node's attributes.
        pub computed_class: String = "ComputedClass",
        /// The drain that goes on; none is no proof that nothing runs.
        pub drain_strategy: Option<DrainStrategy> = "DrainStrategy",
        /// Its last drain.
        pub last_drain: Option<LastDrain> = "LastDrain",
        /// Whether work is placed on it.
        pub eligibility: Eligibility = "SchedulingEligibility",
        /// What is known of its client.
        pub status: NodeStatus = "Status",
        /// The last ten things that happened to it, oldest first.
        pub events: Vec<NodeEvent> = "Events",
        /// The index at which it registered for the first time.
        pub create_index: u64 = "CreateIndex",
        /// The index of its last change, heartbeat transitions included.
        pub modify_index: u64 = "ModifyIndex",
    }

    /// What a node has, or what it keeps for itself.
    pub struct NodeResources {
        /// Processing.
        pub cpu: NodeCpu = "Cpu",
        /// Memory.
        pub memory: NodeMemory = "Memory",
        /// Disk.
        pub disk: NodeDisk = "Disk",
    }

    /// A node's processing.
    pub struct NodeCpu {
        /// In MHz, over all cores.
        pub cpu_shares: u64 = "CpuShares",
    }

    /// A node's memory.
    pub struct NodeMemory {
        /// In MiB.
        pub memory_mb: u64 = "MemoryMB",
    }

    /// A node's disk.
    pub struct NodeDisk {
        /// In MiB.
        pub disk_mb: u64 = "DiskMB",
    }

    /// Something that happened to a node.
    pub struct NodeEvent {
        /// In words, constant per kind of event.
        pub message: String = "Message",
        /// `Drain`, `Cluster`, `Driver`, `Heartbeat`, …
        pub subsystem: String = "Subsystem",
        /// More about it.
        pub details: BTreeMap<String, String> = "Details",
        /// The index of the write that caused it: the mark of who did it.
        pub create_index: u64 = "CreateIndex",
    }

    /// A drain that goes on.
    pub struct DrainStrategy {
        /// In nanoseconds since its start; 0 is none, negative is at once by force.
        pub deadline_ns: i64 = "Deadline",
        /// Whether system jobs stay.
        pub ignore_system_jobs: bool = "IgnoreSystemJobs",
        /// When Nomad stops what is left, RFC 3339; a zero time where never.
        pub force_deadline: String = "ForceDeadline",
        /// When it began, RFC 3339.
        pub started_at: String = "StartedAt",
    }

    /// The last drain of a node; it stays when someone else makes the node ineligible later.
    pub struct LastDrain {
        /// How it stands.
        pub status: DrainStatus = "Status",
        /// What its author wrote about it.
        pub meta: BTreeMap<String, String> = "Meta",
        /// When it began, RFC 3339.
        pub started_at: String = "StartedAt",
        /// When it last changed, RFC 3339.
        pub updated_at: String = "UpdatedAt",
    }

    /// What Nomad says of a change to a node.
    pub struct NodeChange {
        /// The index of the write; where it wrote a node event, that event's CreateIndex; 0 where nothing was written.
        pub index: u64 = "Index",
        /// The evaluations that the change caused.
        pub eval_ids: Vec<String> = "EvalIDs",
    }
}

/// What Nomad does to work that is still there after a while.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DrainDeadline {
    /// Nothing: the drain waits.
    None,
    /// It is stopped after this time.
    After(Duration),
}

/// How to drain a node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DrainSpec {
    /// What happens to work that is still there after a while.
    pub deadline: DrainDeadline,
    /// Whether system jobs stay.
    pub ignore_system_jobs: bool,
}

impl DrainSpec {
    fn to_json(self) -> serde_json::Value {
        let deadline_ns = match self.deadline {
            DrainDeadline::None => 0,
            // Zero would mean none, and so a deadline is at least a nanosecond.
            DrainDeadline::After(time) => i64::try_from(time.as_nanos()).unwrap_or(i64::MAX).max(1),
        };
        json!({ "Deadline": deadline_ns, "IgnoreSystemJobs": self.ignore_system_jobs })
    }
}

impl Client {
    /// All nodes, with their resources.
    ///
    /// # Errors
    /// As every question to Nomad: see [`Error`]; needs `node { policy = "read" }`.
    pub async fn nodes(&self, options: &QueryOptions) -> Result<(Vec<NodeStub>, QueryMeta), Error> {
        let ask = Ask::get(&["nodes"], "listing the nodes").needs(READ).with("resources", "true");
        self.query(ask, options).await
    }

    /// One node; none where Nomad does not know it (any more).
    ///
    /// # Errors
    /// As every question to Nomad: see [`Error`]; needs `node { policy = "read" }`.
    pub async fn node(&self, id: &str) -> Result<Option<Node>, Error> {
        self.read_optional(Ask::get(&["node", id], format!("reading node {id}")).needs(READ)).await
    }

    /// The allocations of a node, whole, with their jobs; those that ended are listed until they are collected.
    /// Allocations of namespaces that the token may not read are left out by Nomad, silently.
    ///
    /// # Errors
    /// As every question to Nomad: see [`Error`]; needs `node { policy = "read" }` and
    /// `namespace "*" { capabilities = ["read-job"] }`.
    pub async fn node_allocations(
        &self,
        id: &str,
        options: &QueryOptions,
    ) -> Result<(Vec<Allocation>, QueryMeta), Error> {
        let what = format!("reading the allocations of node {id}");
        let ask = Ask::get(&["node", id, "allocations"], what)
            .needs(format!("{READ} and {READ_JOB_EVERYWHERE}"));
        let (found, meta): (Option<Vec<Allocation>>, _) = self.query(ask, options).await?;
        Ok((found.unwrap_or_default(), meta))
    }

    /// Begins a drain, or changes the one that goes on; the node becomes ineligible in the same write.
    /// `meta` is kept with the node's last drain.
    ///
    /// # Errors
    /// As every question to Nomad: see [`Error`]; needs `node { policy = "write" }`.
    pub async fn drain_node(
        &self,
        id: &str,
        spec: DrainSpec,
        meta: &BTreeMap<String, String>,
    ) -> Result<NodeChange, Error> {
        let body = json!({ "NodeID": id, "DrainSpec": spec.to_json(), "Meta": meta });
        let path = ["node", id, "drain"];
        self.write(Ask::put(&path, format!("draining node {id}"), &body).needs(WRITE)).await
    }

    /// Ends a drain; the node is then as `eligibility` says. Where no drain goes on, Nomad changes the
    /// eligibility all the same, but writes no node event.
    ///
    /// # Errors
    /// As every question to Nomad: see [`Error`]; needs `node { policy = "write" }`.
    pub async fn cancel_drain(
        &self,
        id: &str,
        eligibility: Eligibility,
        meta: &BTreeMap<String, String>,
    ) -> Result<NodeChange, Error> {
        let mark = eligibility == Eligibility::Eligible;
        let body = json!({ "NodeID": id, "DrainSpec": null, "MarkEligible": mark, "Meta": meta });
        let what = format!("cancelling the drain of node {id}");
        self.write(Ask::put(&["node", id, "drain"], what, &body).needs(WRITE)).await
    }

    /// Makes a node eligible or ineligible; where it is so already, nothing is written and the index is 0.
    /// Nomad refuses to make a node eligible while it is drained.
    ///
    /// # Errors
    /// As every question to Nomad: see [`Error`]; needs `node { policy = "write" }`.
    pub async fn set_eligibility(
        &self,
        id: &str,
        eligibility: &Eligibility,
    ) -> Result<NodeChange, Error> {
        let body = json!({ "NodeID": id, "Eligibility": eligibility.as_str() });
        let what = format!("making node {id} {eligibility}");
        self.write(Ask::put(&["node", id, "eligibility"], what, &body).needs(WRITE)).await
    }

    /// Forgets a node, with its history; a client that still runs registers again.
    ///
    /// # Errors
    /// As every question to Nomad: see [`Error`]; needs `node { policy = "write" }`.
    pub async fn purge_node(&self, id: &str) -> Result<NodeChange, Error> {
        let what = format!("purging node {id}");
        self.write(Ask::put(&["node", id, "purge"], what, &json!({})).needs(WRITE)).await
    }
}
