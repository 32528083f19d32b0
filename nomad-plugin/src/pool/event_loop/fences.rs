//! By which fence is ordered, and whom.

use std::collections::BTreeMap;

use agent_api::{AgentAddress, Client as Agent};
use fleet::{ClusterId, Fence, FenceNumber, MachineName};

use super::Pool;
use crate::pool::assemble::contested;

impl Pool {
    pub(super) fn highest_fence(&self) -> FenceNumber {
        let cluster = self.cluster_id();
        let fences = self.heard.values().flatten().flat_map(|heard| heard.fences.iter());
        let ours = fences.filter(|fence| {
            fence.pool == self.parts.pool && Some(&fence.cluster) == cluster.as_ref()
        });
        ours.map(|fence| fence.number).max().unwrap_or_default()
    }

    /// What this cluster is called in fences: as configured, else by its region.
    pub(super) fn cluster_id(&self) -> Option<ClusterId> {
        self.cluster.clone().or_else(|| {
            let region = self.parts.settings.nomad.region.as_deref().unwrap_or("global");
            ClusterId::new(region).ok()
        })
    }

    /// Who switches which machine. One that several agents have is switched by none.
    pub(super) fn switches(&self) -> BTreeMap<MachineName, (AgentAddress, Agent)> {
        let contested = contested(&self.heard);
        let mut switches = BTreeMap::new();
        for (address, heard) in &self.heard {
            let Some(agent) = self.agents.get(address) else { continue };
            let names = heard.iter().flat_map(|heard| heard.machines.keys());
            for name in names.filter(|name| !contested.contains_key(*name)) {
                switches.insert(name.clone(), (address.clone(), agent.clone()));
            }
        }
        switches
    }

    /// The fence by which is ordered, while the lease is ours.
    pub(super) fn fence(&self) -> Option<Fence> {
        let (number, cluster) = (self.office.fence()?, self.cluster_id()?);
        Some(Fence { cluster, pool: self.parts.pool.clone(), number })
    }
}
