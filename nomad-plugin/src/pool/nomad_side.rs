//! Nomad as a pool sees it: two blocking queries kept open, and node views made of what they bring.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use fleet::{
    AllocId, AllocView, JobKind, NodeFilter, NodeId, NodeView, Resources, Shape, Touch, TouchKind,
};
use nomad_api::{
    Allocation, AllocationStub, Client, Eligibility, JobType, Node, NodeEvent, QueryOptions,
};

use crate::target::block::node_status;

/// How long one blocking query waits: so long is a Nomad that has gone silent believed.
pub const NOMAD_WAIT: Duration = Duration::from_secs(10);

/// How many reads believe that the token sees all work before that is asked again: it takes a question for
/// each namespace, and a policy is seldom changed. Before a cut it is asked each time ([`read_node`]).
const SIGHT_READS: u32 = 16;

/// Events that Nomad keeps of a node (nomad: structs.MaxRetainedNodeEvents).
const NODE_EVENTS_KEPT: usize = 10;

/// What Nomad answered last.
#[derive(Debug, Clone, Default)]
pub struct NomadFacts {
    /// Whether the last question was answered.
    pub answers: bool,
    /// The node names that were asked about: of others nothing is known.
    pub names: BTreeSet<String>,
    /// The newest registration of each node name.
    pub nodes: BTreeMap<String, NodeFacts>,
    /// The allocations of each of those nodes by node id.
    pub allocs: BTreeMap<String, Vec<AllocView>>,
    /// The node on which this autoscaler runs.
    pub own_node: Option<String>,
}

/// One node with the index at which the list was read that showed it.
#[derive(Debug, Clone)]
pub struct NodeFacts {
    /// The whole node.
    pub node: Node,
    /// The list's index.
    pub index: u64,
}

/// Reads what a pool needs of Nomad, and waits for changes of it.
#[derive(Debug)]
pub struct NomadReader {
    client: Client,
    names: BTreeSet<String>,
    cache: BTreeMap<String, Node>,
    nodes_index: u64,
    allocs_index: u64,
    own_alloc: Option<String>,
    reads_until_sight: u32,
}

impl NomadReader {
    /// A reader of the nodes with these names. `own_alloc`: the allocation of the autoscaler itself.
    #[must_use]
    pub const fn new(client: Client, names: BTreeSet<String>, own_alloc: Option<String>) -> Self {
        Self {
            client,
            names,
            cache: BTreeMap::new(),
            nodes_index: 0,
            allocs_index: 0,
            own_alloc,
            reads_until_sight: 0,
        }
    }

    /// Waits until nodes or allocations have changed since the last read, or [`NOMAD_WAIT`] is over.
    ///
    /// # Errors
    /// Where Nomad does not answer or refuses.
    pub async fn changed(&self) -> Result<(), nomad_api::Error> {
        let nodes = QueryOptions::after(self.nodes_index, NOMAD_WAIT);
        let allocs = QueryOptions::after(self.allocs_index, NOMAD_WAIT);
        tokio::select! {
            answer = self.client.nodes(&nodes) => answer.map(drop),
            answer = self.client.allocations(None, &allocs) => answer.map(drop),
        }
    }

    /// The node on which this autoscaler runs. The list leaves out what the token may not read; asked for
    /// alone, that is refused with its remedy: not to know one's own machine would be to take it.
    async fn own_node(&self, stubs: &[AllocationStub]) -> Result<Option<String>, nomad_api::Error> {
        let Some(own) = &self.own_alloc else { return Ok(None) };
        if let Some(stub) = stubs.iter().find(|stub| stub.id == *own) {
            return Ok(Some(stub.node_id.clone()));
        }
        let own = self.client.allocation(own).await?;
        Ok(own.map(|alloc| alloc.node_id))
    }

    /// A node whose work the token may not see looks idle, and would be the first to go.
    async fn sees_all_work(&mut self) -> Result<(), nomad_api::Error> {
        if self.reads_until_sight == 0 {
            self.client.sees_all_work().await?;
            self.reads_until_sight = SIGHT_READS;
        }
        self.reads_until_sight -= 1;
        Ok(())
    }

    /// Reads everything as it is now.
    ///
    /// # Errors
    /// Where Nomad does not answer or refuses.
    pub async fn read(&mut self) -> Result<NomadFacts, nomad_api::Error> {
        self.sees_all_work().await?;
        let (stubs, allocs_meta) = self.client.allocations(None, &QueryOptions::NOW).await?;
        let (nodes, nodes_meta) = self.client.nodes(&QueryOptions::NOW).await?;
        self.allocs_index = allocs_meta.index;
        self.nodes_index = nodes_meta.index;

        let names = self.names.clone();
        let mut facts = NomadFacts { answers: true, names, ..NomadFacts::default() };
        let mut cache = BTreeMap::new();
        for stub in nodes.into_iter().filter(|stub| self.names.contains(&stub.name)) {
            let known = self.cache.remove(&stub.id);
            let node = match known.filter(|node| node.modify_index == stub.modify_index) {
                Some(node) => node,
                None => match self.client.node(&stub.id).await? {
                    Some(node) => node,
                    None => continue,
                },
            };
            cache.insert(stub.id.clone(), node.clone());
            let newer = facts
                .nodes
                .get(&node.name)
                .is_none_or(|other: &NodeFacts| rank(&node) > rank(&other.node));
            if newer {
                let index = nodes_meta.index;
                facts.nodes.insert(node.name.clone(), NodeFacts { node, index });
            }
        }
        self.cache = cache;
        facts.own_node = self.own_node(&stubs).await?;
        let ids: BTreeSet<&str> = facts.nodes.values().map(|f| f.node.id.as_str()).collect();
        for stub in &stubs {
            if ids.contains(stub.node_id.as_str())
                && let Some(alloc) = from_stub(stub)
            {
                facts.allocs.entry(stub.node_id.clone()).or_default().push(alloc);
            }
        }
        self.add_handovers(&mut facts).await?;
        Ok(facts)
    }

    /// On nodes that are ineligible, reads whose data has not arrived elsewhere yet.
    async fn add_handovers(&self, facts: &mut NomadFacts) -> Result<(), nomad_api::Error> {
        let leaving = facts.nodes.values().map(|facts| &facts.node);
        let leaving = leaving.filter(|node| node.eligibility != Eligibility::Eligible);
        let ids: Vec<String> = leaving.map(|node| node.id.clone()).collect();
        for id in ids {
            let (whole, _) = self.client.node_allocations(&id, &QueryOptions::NOW).await?;
            let mut views = Vec::new();
            for alloc in &whole {
                views.extend(from_alloc(&self.client, alloc).await?);
            }
            facts.allocs.insert(id, views);
        }
        Ok(())
    }
}

/// Of several registrations under one name the one that lives, then the newest, is meant.
fn rank(node: &Node) -> (bool, u64) {
    let down = matches!(node.status, nomad_api::NodeStatus::Down);
    (!down, node.create_index)
}

/// Reads one node and its allocations, not before an index.
///
/// # Errors
/// Where Nomad does not answer or refuses.
pub async fn read_node(
    client: &Client,
    id: &NodeId,
    at_least: u64,
    filters: &[NodeFilter],
) -> Result<Option<NodeView>, nomad_api::Error> {
    // Nomad answers a blocking query once its index is above the one given.
    let options = QueryOptions::after(at_least.saturating_sub(1), NOMAD_WAIT);
    let (_, meta) = client.nodes(&options).await?;
    client.sees_all_work().await?;
    let (whole, _) = client.node_allocations(id.as_str(), &QueryOptions::NOW).await?;
    let Some(node) = client.node(id.as_str()).await? else { return Ok(None) };
    let mut allocs = Vec::new();
    for alloc in &whole {
        allocs.extend(from_alloc(client, alloc).await?);
    }
    Ok(node_view(&NodeFacts { node, index: meta.index.max(at_least) }, allocs, filters))
}

/// A node as decisions see it. `None` where Nomad's id for it is none.
#[must_use]
pub fn node_view(
    facts: &NodeFacts,
    allocs: Vec<AllocView>,
    filters: &[NodeFilter],
) -> Option<NodeView> {
    let node = &facts.node;
    let full = node.events.len() >= NODE_EVENTS_KEPT;
    let indexes = || node.events.iter().map(|event| event.create_index);
    Some(NodeView {
        id: NodeId::new(node.id.as_str()).ok()?,
        index: facts.index,
        status: node_status(&node.status),
        eligible: node.eligibility == Eligibility::Eligible,
        draining: node.drain_strategy.is_some(),
        create_index: node.create_index,
        selected: filters
            .iter()
            .all(|filter| filter.takes(&node.node_class, &node.node_pool, &node.datacenter)),
        touches: node.events.iter().filter_map(touch).collect(),
        oldest_event: full.then(|| indexes().min().unwrap_or_default()),
        newest_event: indexes().max().unwrap_or_default(),
        resources: resources(node),
        allocs,
    })
}

/// Which of a node's events somebody wrote by draining it or changing its eligibility
/// (nomad: structs.NodeEventSubsystemDrain and the messages of node_endpoint.go).
fn touch(event: &NodeEvent) -> Option<Touch> {
    let message = event.message.to_lowercase();
    let kind = if event.subsystem == "Drain" {
        if message.contains("complete") {
            TouchKind::DrainComplete
        } else if message.contains("disabled") {
            TouchKind::DrainUnset
        } else {
            TouchKind::DrainSet
        }
    } else if message.contains("ineligible") {
        TouchKind::Ineligible
    } else if message.contains("eligible") {
        TouchKind::Eligible
    } else {
        return None;
    };
    Some(Touch { index: event.create_index, kind })
}

/// What work can use of a node: its total, less what it reserves.
#[must_use]
pub fn resources(node: &Node) -> Resources {
    let total = Resources {
        cpu_mhz: node.resources.cpu.cpu_shares,
        memory_mb: node.resources.memory.memory_mb,
        disk_mb: node.resources.disk.disk_mb,
    };
    total.less(&Resources {
        cpu_mhz: node.reserved.cpu.cpu_shares,
        memory_mb: node.reserved.memory.memory_mb,
        disk_mb: node.reserved.disk.disk_mb,
    })
}

/// A node's shape as an agent keeps it. `unique.` attributes differ from boot to boot and from machine
/// to machine, and no constraint that several machines could meet asks about them.
#[must_use]
pub fn shape(node: &Node) -> Shape {
    let attributes = node.attributes.iter().filter(|(key, _)| !key.starts_with("unique."));
    let attributes = attributes.map(|(key, value)| (format!("attr.{key}"), value.clone()));
    let meta = node.meta.iter().map(|(key, value)| (format!("meta.{key}"), value.clone()));
    Shape {
        resources: resources(node),
        datacenter: node.datacenter.clone(),
        node_pool: node.node_pool.clone(),
        node_class: node.node_class.clone(),
        attributes: attributes.chain(meta).collect(),
    }
}

fn from_stub(stub: &AllocationStub) -> Option<AllocView> {
    let (cpu_mhz, memory_mb, disk_mb) = stub.resources.total();
    Some(AllocView {
        id: AllocId::new(stub.id.as_str()).ok()?,
        what: format!("{}.{}", stub.job_id, stub.task_group),
        kind: job_kind(&stub.job_type),
        live: !stub.client_status.is_terminal(),
        hands_over: false,
        used: Resources { cpu_mhz, memory_mb, disk_mb },
    })
}

/// An allocation with the question whether its data is still to arrive.
async fn from_alloc(
    client: &Client,
    alloc: &Allocation,
) -> Result<Option<AllocView>, nomad_api::Error> {
    let (cpu_mhz, memory_mb, disk_mb) = alloc.resources.total();
    let Ok(id) = AllocId::new(alloc.id.as_str()) else { return Ok(None) };
    let job_type = alloc.job.as_ref().map_or(&JobType::Service, |job| &job.job_type);
    Ok(Some(AllocView {
        id,
        what: format!("{}.{}", alloc.job_id, alloc.task_group),
        kind: job_kind(job_type),
        live: !alloc.client_status.is_terminal(),
        hands_over: client.awaits_disk(alloc).await?,
        used: Resources { cpu_mhz, memory_mb, disk_mb },
    }))
}

const fn job_kind(kind: &JobType) -> JobKind {
    match kind {
        JobType::Batch => JobKind::Batch,
        JobType::System => JobKind::System,
        JobType::Sysbatch => JobKind::Sysbatch,
        _ => JobKind::Service,
    }
}

#[cfg(test)]
mod tests;
