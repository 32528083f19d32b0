//! Observing agents and nodes once, for a question that is asked now: inventories gathered side by side
//! with a deadline, and the machine's node found by its name. It judges nothing.
//!
//! Who follows changes instead (the target's pools) keeps streams open; this is for a single look.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use agent_api::{AgentAddress, Credentials, Inventory};
use fleet::Moment;
use futures_util::StreamExt;
use futures_util::future::join_all;
use futures_util::stream;
use nomad_api::{Node, NodeStatus, NodeStub};

/// How long one look at the agents may take: they answer from memory, on this host or this site.
pub const AGENTS_WAIT_MAX: Duration = Duration::from_secs(3);

/// How long an agent is waited for that did not answer the last time: while one stands still, the answer to
/// each query must not come so late that the host's next tick takes the policy for content.
pub const AGENTS_SILENT_WAIT_MAX: Duration = Duration::from_millis(300);

/// How many nodes are read at once: Nomad answers each from memory, and a rack is read in a moment.
const NODE_READS: usize = 16;

/// What one agent said last.
#[derive(Debug, Clone)]
pub struct AgentSight {
    /// The agent.
    pub address: AgentAddress,
    /// Its last inventory and when it came: its ages count from there. `None`: never heard.
    pub inventory: Option<(Inventory, Moment)>,
    /// Why it does not answer now; `None`: it does.
    pub problem: Option<String>,
}

/// The agents that are asked, with what each said last.
#[derive(Debug)]
pub struct Agents {
    clients: BTreeMap<AgentAddress, agent_api::Client>,
    last: BTreeMap<AgentAddress, (Inventory, Moment)>,
    /// Those that did not answer the last time.
    silent: BTreeSet<AgentAddress>,
}

impl Agents {
    /// Agents at these addresses; nothing is asked yet. Needs a tokio runtime.
    #[must_use]
    pub fn at(addresses: &[AgentAddress], credentials: Option<&Credentials>) -> Self {
        let client = |address: &AgentAddress| {
            (address.clone(), agent_api::Client::connect_lazy_with(address, credentials))
        };
        Self {
            clients: addresses.iter().map(client).collect(),
            last: BTreeMap::new(),
            silent: BTreeSet::new(),
        }
    }

    /// A client of each agent.
    #[must_use]
    pub const fn clients(&self) -> &BTreeMap<AgentAddress, agent_api::Client> {
        &self.clients
    }

    /// Asks all agents at once, each for at most [`AGENTS_WAIT_MAX`], or
    /// [`AGENTS_SILENT_WAIT_MAX`] where it did not answer the last time. Never fails: who does not answer
    /// is in the result with the problem, and with what it said before.
    pub async fn look(&mut self, now: Moment) -> Vec<AgentSight> {
        let silent = &self.silent;
        let asked = self.clients.iter().map(|(address, client)| async move {
            let patience =
                if silent.contains(address) { AGENTS_SILENT_WAIT_MAX } else { AGENTS_WAIT_MAX };
            let answer = tokio::time::timeout(patience, client.inventory()).await;
            let answer = match answer {
                Ok(answer) => answer.map_err(|error| error.to_string()),
                Err(_elapsed) => Err("it does not answer in time".to_owned()),
            };
            (address.clone(), answer)
        });
        let mut sights = Vec::new();
        for (address, answer) in join_all(asked).await {
            let problem = match answer {
                Ok(inventory) => {
                    self.last.insert(address.clone(), (inventory, now));
                    self.silent.remove(&address);
                    None
                }
                Err(problem) => {
                    self.silent.insert(address.clone());
                    Some(problem)
                }
            };
            let inventory = self.last.get(&address).cloned();
            sights.push(AgentSight { address, inventory, problem });
        }
        sights
    }
}

/// Reads whole nodes, and those only again that have changed.
#[derive(Debug, Default)]
pub struct NodeReader {
    known: BTreeMap<String, Node>,
}

impl NodeReader {
    /// The newest registration of each of these node names; `stubs` are all nodes as just listed.
    ///
    /// # Errors
    /// Where Nomad does not answer or refuses. What was read until then is kept for the next time.
    pub async fn read(
        &mut self,
        nomad: &nomad_api::Client,
        stubs: &[NodeStub],
        names: &BTreeSet<&str>,
    ) -> Result<BTreeMap<String, Node>, nomad_api::Error> {
        let wanted = newest(stubs, names);
        let ids: BTreeSet<&str> = wanted.values().map(|stub| stub.id.as_str()).collect();
        self.known.retain(|id, _| ids.contains(id.as_str()));
        let changed: Vec<String> = wanted
            .values()
            .filter(|stub| {
                self.known.get(&stub.id).is_none_or(|node| node.modify_index != stub.modify_index)
            })
            .map(|stub| stub.id.clone())
            .collect();
        let reads = changed.into_iter().map(|id| async move { nomad.node(&id).await });
        let mut reads = stream::iter(reads).buffer_unordered(NODE_READS);
        while let Some(node) = reads.next().await {
            if let Some(node) = node? {
                self.known.insert(node.id.clone(), node);
            }
        }
        let found = wanted.into_iter().filter_map(|(name, stub)| {
            self.known.get(&stub.id).map(|node| (name.to_owned(), node.clone()))
        });
        Ok(found.collect())
    }
}

/// Of several registrations under one name the one that lives, then the newest, is meant: a machine that
/// boots from the network registers anew each time.
fn newest<'s>(stubs: &'s [NodeStub], names: &BTreeSet<&str>) -> BTreeMap<&'s str, &'s NodeStub> {
    let rank = |stub: &NodeStub| (stub.status != NodeStatus::Down, stub.create_index);
    let mut newest: BTreeMap<&str, &NodeStub> = BTreeMap::new();
    for stub in stubs.iter().filter(|stub| names.contains(stub.name.as_str())) {
        let known = newest.entry(&stub.name).or_insert(stub);
        if rank(stub) > rank(known) {
            *known = stub;
        }
    }
    newest
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_several_registrations_under_one_name_the_living_one_then_the_newest_is_meant() {
        let stub = |id: &str, status, create_index| NodeStub {
            id: id.into(),
            name: "node1".into(),
            status,
            create_index,
            ..NodeStub::default()
        };
        let stubs = [
            stub("old", NodeStatus::Down, 1),
            stub("alive", NodeStatus::Ready, 2),
            stub("newer", NodeStatus::Down, 3),
        ];
        let of = |stubs: &[NodeStub]| newest(stubs, &["node1"].into())["node1"].id.clone();
        assert_eq!(of(&stubs), "alive");
        assert_eq!(of(&[stubs[0].clone(), stubs[2].clone()]), "newer");
        assert!(newest(&stubs, &["node2"].into()).is_empty());
    }
}
