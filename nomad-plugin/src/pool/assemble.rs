//! One view of a pool, made of what Nomad and the agents said. Pure: times of agents are ages, made moments here.

use std::collections::BTreeMap;
use std::time::Duration;

use agent_api::{AgentAddress, Event, Machine};
use fleet::{
    AgentFacts, Boot, Commanded, FeedName, Fence, FleetView, MachineName, MachineView, Milliamps,
    Moment, NodeFilter, OperationFacts, Origin, Phase, PoolName, Power, Progress, Quarantine,
};

use super::feeds;
use super::nomad_side::{NomadFacts, node_view};
use super::record::Members;

/// What an agent has said.
#[derive(Debug, Clone, Default)]
pub struct Heard {
    /// Whether it still answers.
    pub answers: bool,
    /// Its machines, each with the moment at which it was told of: its ages count from there.
    pub machines: BTreeMap<MachineName, (Machine, Moment)>,
    /// The highest fences that it knows.
    pub fences: Vec<Fence>,
    /// When its host booted, if it says so.
    pub host_booted: Option<Moment>,
    /// What its feeds may carry.
    pub feeds: BTreeMap<FeedName, Milliamps>,
}

impl Heard {
    /// Whether it knows this fence, and so obeys no older one any more.
    #[must_use]
    pub fn knows(&self, fence: &Fence) -> bool {
        let same = |known: &&Fence| known.cluster == fence.cluster && known.pool == fence.pool;
        self.fences.iter().filter(same).any(|known| known.number >= fence.number)
    }

    /// Takes an event of the agent's watch stream.
    pub fn take(&mut self, event: Event, now: Moment) {
        self.answers = true;
        match event {
            Event::Snapshot(inventory) => {
                let machines = inventory.machines.into_iter();
                self.machines =
                    machines.map(|machine| (machine.name.clone(), (machine, now))).collect();
                self.fences = inventory.fences;
                let feeds = inventory.feeds.into_iter();
                self.feeds = feeds.map(|sum| (sum.feed, sum.room.budget)).collect();
                self.host_booted = inventory.host_up.map(|up| now.ago(up));
            }
            Event::Changed(machine) => {
                self.machines.insert(machine.name.clone(), (*machine, now));
            }
        }
    }
}

/// The machines that several agents tell of, whichever pools they say that they are in.
#[must_use]
pub fn contested(
    agents: &BTreeMap<AgentAddress, Option<Heard>>,
) -> BTreeMap<MachineName, Vec<AgentAddress>> {
    let mut by_name: BTreeMap<&MachineName, Vec<AgentAddress>> = BTreeMap::new();
    for (address, heard) in agents {
        for name in heard.iter().flat_map(|heard| heard.machines.keys()) {
            by_name.entry(name).or_default().push(address.clone());
        }
    }
    let several = by_name.into_iter().filter(|(_, agents)| agents.len() > 1);
    several.map(|(name, agents)| (name.clone(), agents)).collect()
}

/// The pool as seen now. An agent that has gone silent leaves its machines in the view without their facts; so does one
/// that does not know the fence of who looks, because it may still obey an older lease.
#[must_use]
pub fn assemble(
    pool: &PoolName,
    nomad: &NomadFacts,
    (agents, members): (&BTreeMap<AgentAddress, Option<Heard>>, &Members),
    filters: &[NodeFilter],
    fence: Option<&Fence>,
) -> FleetView {
    let mut view = FleetView { nomad_answers: nomad.answers, ..FleetView::default() };
    let speaks = |heard: &Heard| heard.answers && fence.is_none_or(|fence| heard.knows(fence));
    let contested = contested(agents);
    for (address, heard) in agents {
        match heard {
            Some(heard) if speaks(heard) => view.agents_heard += 1,
            _ => view.agents_missing.push(address.to_string()),
        }
        let Some(heard) = heard else { continue };
        let all = heard.machines.values().map(|(machine, _)| machine);
        let budgets = heard.feeds.iter().map(|(feed, budget)| (feed, *budget));
        view.feeds.rooms.extend(feeds::rooms(address, budgets, all).rooms);
        for (name, (machine, at)) in &heard.machines {
            if machine.pool.as_ref() == Some(pool) {
                // Until Nomad was asked about this node, its silence about it says nothing.
                view.nomad_answers &= nomad.names.contains(&machine.node);
                let told_by = contested.get(name);
                if let Some(agents) = told_by {
                    let agents = agents.iter().map(ToString::to_string).collect();
                    view.contested.insert(name.clone(), agents);
                }
                let told = speaks(heard) && told_by.is_none();
                let agent = told.then(|| agent_facts(machine, *at, heard.host_booted));
                let seen = seen(&machine.node, agent, machine.boot_deadline, nomad, filters);
                let seen = MachineView { fed: feeds::fed(address, machine), ..seen };
                view.machines.insert(name.clone(), seen);
            }
        }
    }
    for (name, node) in unheard(agents, members) {
        view.nomad_answers &= nomad.names.contains(node);
        let boot_deadline = Duration::ZERO; // of an order that nobody can give now
        let seen = seen(node, None, boot_deadline, nomad, filters);
        view.machines.entry(name.clone()).or_insert(seen);
    }
    view
}

/// The machines that the record knows of agents that have not been heard since this process started.
pub fn unheard<'a>(
    agents: &'a BTreeMap<AgentAddress, Option<Heard>>,
    members: &'a Members,
) -> impl Iterator<Item = (&'a MachineName, &'a String)> {
    let silent = agents.iter().filter(|(_, heard)| heard.is_none());
    silent.filter_map(|(address, _)| members.get(&address.to_string())).flatten()
}

/// The pool's machines of the agents that have been heard.
#[must_use]
pub fn heard_members(pool: &PoolName, agents: &BTreeMap<AgentAddress, Option<Heard>>) -> Members {
    let heard = agents.iter().filter_map(|(address, heard)| Some((address, heard.as_ref()?)));
    let own = heard.map(|(address, heard)| {
        let machines = heard.machines.values().map(|(machine, _)| machine);
        let machines = machines.filter(|machine| machine.pool.as_ref() == Some(pool));
        let own = machines.map(|machine| (machine.name.clone(), machine.node.clone())).collect();
        (address.to_string(), own)
    });
    own.collect()
}

fn seen(
    node: &str,
    agent: Option<AgentFacts>,
    boot_deadline: Duration,
    nomad: &NomadFacts,
    filters: &[NodeFilter],
) -> MachineView {
    let facts = nomad.nodes.get(node);
    let node = facts.and_then(|facts| {
        let allocs = nomad.allocs.get(&facts.node.id).cloned().unwrap_or_default();
        node_view(facts, allocs, filters)
    });
    let own = facts.is_some_and(|facts| nomad.own_node.as_deref() == Some(facts.node.id.as_str()));
    MachineView { agent, node, own, boot_deadline, ..MachineView::default() }
}

fn agent_facts(machine: &Machine, at: Moment, host_booted: Option<Moment>) -> AgentFacts {
    let commanded = machine.commanded.as_ref().map(|commanded| Commanded {
        state: commanded.state,
        at: at.ago(commanded.age),
        origin: commanded.origin.clone(),
        operation: commanded.operation.clone(),
    });
    let operation = machine.operation.as_ref().map(|operation| OperationFacts {
        id: operation.id.clone(),
        verb: operation.verb,
        progress: match operation.phase {
            Phase::Done => Progress::Done,
            Phase::Failed => Progress::Failed(operation.evidence.clone()),
            _ => Progress::Running,
        },
        by_hand: matches!(operation.origin, Origin::Person(_)),
        changed: operation.changed,
    });
    let quarantine = machine.quarantine.as_ref().map(|quarantine| Quarantine {
        cause: quarantine.cause,
        reason: quarantine.reason.clone(),
        since: at.ago(quarantine.age),
        by: quarantine.by.clone(),
    });
    let last_boot = machine.boots.last().map(|boot| Boot {
        operation: boot.operation.clone(),
        end: boot.end,
        took: boot.took,
        at: at.ago(boot.age),
    });
    AgentFacts {
        power: Power {
            reading: machine.reading.map(|(state, age)| (state, at.ago(age))),
            commanded,
        },
        held_by: machine.hold.as_ref().map(|hold| hold.by.clone()),
        never_off: machine.locks.never_off || machine.paths.on_only,
        operation,
        quarantine,
        last_boot,
        host_booted,
    }
}

#[cfg(test)]
mod tests;
