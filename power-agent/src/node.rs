//! What Nomad says of a machine's node, and the drain that a person asked for. Asks and executes; decides nothing.

use std::collections::BTreeMap;

use fleet::OperationId;
use fleet::arbiter::Work;
use fleet::sequencer::{Eligible, NodeSign};
use nomad_api::{
    Allocation, Client, DrainDeadline, DrainSpec, Eligibility, Error, JobType, NodeStatus,
    NodeStub, QueryOptions, TokenSource,
};

use crate::config::NomadConfig;

/// How many allocations are named in a sentence; the rest is counted.
const NAMED_MAX: usize = 5;

/// Where a drain of ours says which operation it belongs to, in Nomad's record of the drain.
const MARK: &str = "lamplighter-operation";

/// Where it says that the node took work before, so that a drain whose answer was lost can be taken back whole.
const BEFORE: &str = "lamplighter-eligible-before";

/// A rule that the agent's token lacks.
#[derive(Debug)]
pub(crate) struct Lack {
    /// As it is written in a policy.
    pub(crate) rule: String,
    /// What can not be done for want of it.
    pub(crate) without: &'static str,
    /// How Nomad refused.
    pub(crate) nomads_words: String,
}

/// The nodes of all machines, as Nomad tells of them.
#[derive(Debug, Clone)]
pub(crate) struct Nodes {
    client: Option<Client>,
}

impl Nodes {
    /// Connects with the first question. Without a configuration, nothing can be told of any node.
    ///
    /// # Errors
    /// Where the settings can not work.
    pub(crate) fn new(config: Option<&NomadConfig>) -> Result<Self, Error> {
        let Some(config) = config else { return Ok(Self { client: None }) };
        let settings = nomad_api::Config {
            region: config.region.clone(),
            token: config.token_file.clone().map_or(TokenSource::None, TokenSource::File),
            ca_file: config.ca_file.clone(),
            client_cert_file: config.cert_file.clone(),
            client_key_file: config.key_file.clone(),
            tls_server_name: config.tls_server_name.clone(),
            ..nomad_api::Config::at(&config.address)
        };
        Client::new(&settings).map(|client| Self { client: Some(client) })
    }

    /// The rules that the token lacks, of those that an agent needs. Changes nothing.
    ///
    /// # Errors
    /// What Nomad said where it did not answer the question.
    pub(crate) async fn rights(&self) -> Result<Vec<Lack>, Error> {
        let Some(client) = &self.client else { return Ok(Vec::new()) };
        // The rule to write grants reading, too.
        let mut lacks: Vec<Lack> = match client.may_write_nodes().await {
            Ok(()) => Vec::new(),
            Err(error) => vec![lack(error, "no node can be drained or made as it was")?],
        };
        for error in client.work_unseen().await? {
            lacks.push(lack(error, "no node can be proven empty")?);
        }
        Ok(lacks)
    }

    /// Whether the node is empty. What is not answered is not proof, nor is a name that Nomad does not know.
    pub(crate) async fn work(&self, node: &str) -> Work {
        let Some(client) = &self.client else {
            return Work::NoProof(
                "this agent's file has no [nomad] section, hence nobody to ask".to_owned(),
            );
        };
        let asked = async {
            if registrations(client, node).await?.is_empty() {
                return Ok(Work::NoProof(format!(
                    "Nomad knows no node {node:?}; if it has another name there, give it as `node` of the machine"
                )));
            }
            Ok(left(client, node).await?.map_or(Work::Empty, Work::Runs))
        };
        asked.await.unwrap_or_else(|error: Error| Work::NoProof(chain(&error)))
    }

    /// What still runs on a node that was drained, as a sentence; `None`: nothing, and it takes no work. Somebody else
    /// may have ended the drain: work may be placed there then, and what is empty now is no proof.
    ///
    /// # Errors
    /// Why that can not be told, as a sentence.
    pub(crate) async fn left(&self, node: &str) -> Result<Option<String>, String> {
        let client = self.asked()?;
        let asked = async {
            if self.takes_work(node).await? {
                let ended = "nothing, but somebody has ended its drain, and it takes work again";
                return Ok(Some(ended.to_owned()));
            }
            left(client, node).await
        };
        asked.await.map_err(|error: Error| chain(&error))
    }

    /// Whether the node is up and takes work; not, where there is no Nomad to ask.
    ///
    /// # Errors
    /// Nomad could not be asked.
    pub(crate) async fn takes_work(&self, node: &str) -> Result<bool, Error> {
        let Some(client) = &self.client else { return Ok(false) };
        let takes = |node: &NodeStub| node.eligibility == Eligibility::Eligible;
        Ok(alive(client, node).await?.iter().any(takes))
    }

    /// That the node still takes no work, or is down, where there is a Nomad to ask.
    ///
    /// # Errors
    /// As a sentence: it takes work, or nobody could tell.
    pub(crate) async fn keeps_out_work(&self, node: &str) -> Result<(), String> {
        match self.takes_work(node).await {
            Ok(true) => Err("its node takes work again: somebody has freed it since".to_owned()),
            Ok(false) => Ok(()),
            Err(error) => {
                Err(format!("nobody can tell whether its node takes work: {}", chain(&error)))
            }
        }
    }

    /// Whether the node is down.
    pub(crate) async fn sign(&self, node: &str) -> NodeSign {
        let Some(client) = &self.client else { return NodeSign::NotKnown };
        match registrations(client, node).await {
            Err(error) => {
                tracing::debug!(node, err = %error, "Nomad did not tell of a node");
                NodeSign::Silent
            }
            Ok(nodes) if nodes.is_empty() => NodeSign::NotKnown,
            Ok(nodes) if nodes.iter().all(|node| beats_no_more(&node.status)) => NodeSign::Down,
            Ok(_) => NodeSign::Up,
        }
    }

    /// What Nomad will say of a node whose machine shuts down.
    pub(crate) const fn sign_to_come(&self) -> NodeSign {
        match &self.client {
            Some(_) => NodeSign::Down,
            None => NodeSign::NotKnown,
        }
    }

    /// Drains the node, without a deadline and without its system jobs. Tells how it was before; where the drain of the
    /// operation that is `owed` has not been taken back, how it was before that one.
    ///
    /// # Errors
    /// Why it is not drained, as a sentence; it may have been ordered all the same.
    pub(crate) async fn drain(
        &self,
        node: &str,
        operation: &OperationId,
        owed: Option<&OperationId>,
    ) -> Result<Eligible, String> {
        let client = self.asked()?;
        let spec = DrainSpec { deadline: DrainDeadline::None, ignore_system_jobs: true };
        let mut all = Eligible::No;
        // One that is down too: it may come up before the cut, and would take work then.
        for stub in registrations(client, node).await.map_err(|error| chain(&error))? {
            let eligible = stub.eligibility == Eligibility::Eligible;
            let owed = owed.and_then(|owed| drained_by(&stub, owed));
            let found = if eligible { Eligible::Yes } else { Eligible::No };
            let before = drained_by(&stub, operation).or(owed).unwrap_or(found);
            let drained = client.drain_node(&stub.id, spec, &mark(operation, before)).await;
            match drained {
                Ok(_) if before == Eligible::Yes => all = before,
                Err(error) if stub.status != NodeStatus::Down => return Err(chain(&error)),
                Ok(_) | Err(_) => {}
            }
        }
        Ok(all)
    }

    /// Ends the operation's drain and leaves the node as it was before. What others did to it since stays.
    ///
    /// # Errors
    /// Why not, as a sentence.
    pub(crate) async fn undrain(&self, node: &str, operation: &OperationId) -> Result<(), String> {
        let client = self.asked()?;
        for stub in registrations(client, node).await.map_err(|error| chain(&error))? {
            let Some(before) = drained_by(&stub, operation) else { continue };
            let eligibility = match before {
                Eligible::Yes => Eligibility::Eligible,
                Eligible::No => Eligibility::Ineligible,
            };
            let mark = mark(operation, before);
            let done = client.cancel_drain(&stub.id, eligibility, &mark).await;
            done.map_err(|error| chain(&error))?;
        }
        Ok(())
    }

    fn asked(&self) -> Result<&Client, String> {
        self.client.as_ref().ok_or_else(|| "this agent's file has no [nomad] section".to_owned())
    }
}

fn lack(error: Error, without: &'static str) -> Result<Lack, Error> {
    match error {
        Error::Forbidden { needs, body, .. } => {
            Ok(Lack { rule: needs, without, nomads_words: body })
        }
        other => Err(other),
    }
}

fn mark(operation: &OperationId, before: Eligible) -> BTreeMap<String, String> {
    let before = if before == Eligible::Yes { "true" } else { "false" };
    BTreeMap::from([
        (MARK.to_owned(), operation.to_string()),
        (BEFORE.to_owned(), before.to_owned()),
    ])
}

/// How a node was before the operation drained it; `None`: somebody else drained it last, or nobody did.
fn drained_by(node: &NodeStub, operation: &OperationId) -> Option<Eligible> {
    let meta = &node.last_drain.as_ref()?.meta;
    meta.get(MARK).filter(|mark| *mark == operation.as_str())?;
    let yes = meta.get(BEFORE).is_some_and(|before| before == "true");
    Some(if yes { Eligible::Yes } else { Eligible::No })
}

/// All that has registered under a name; more than one where a client lost its state and came back with a new id.
async fn registrations(client: &Client, name: &str) -> Result<Vec<NodeStub>, Error> {
    let (nodes, _) = client.nodes(&QueryOptions::NOW).await?;
    Ok(nodes.into_iter().filter(|node| node.name == name).collect())
}

async fn alive(client: &Client, name: &str) -> Result<Vec<NodeStub>, Error> {
    let mut nodes = registrations(client, name).await?;
    nodes.retain(|node| node.status != NodeStatus::Down);
    Ok(nodes)
}

fn beats_no_more(status: &NodeStatus) -> bool {
    matches!(status, NodeStatus::Down | NodeStatus::Disconnected)
}

/// What a token may not see would look like nothing, so that is asked first.
async fn left(client: &Client, name: &str) -> Result<Option<String>, Error> {
    client.sees_all_work().await?;
    let mut running = Vec::new();
    for node in alive(client, name).await? {
        let (allocations, _) = client.node_allocations(&node.id, &QueryOptions::NOW).await?;
        for allocation in allocations.into_iter().filter(is_work) {
            let (name, job) = (&allocation.name, &allocation.job_id);
            if !allocation.client_status.is_terminal() {
                running.push(format!("{name} of job {job} ({})", allocation.client_status));
            } else if client.awaits_disk(&allocation).await? {
                running.push(format!("the disk of {name} of job {job} (not fetched yet)"));
            }
        }
    }
    if running.is_empty() {
        return Ok(None);
    }
    let count = running.len();
    let mut sentence = running.into_iter().take(NAMED_MAX).collect::<Vec<_>>().join(", ");
    if count > NAMED_MAX {
        sentence.push_str(&format!(" and {} more", count - NAMED_MAX));
    }
    Ok(Some(sentence))
}

/// System jobs run on every node and go with it; all else is work.
fn is_work(allocation: &Allocation) -> bool {
    let job = allocation.job.as_ref();
    !job.is_some_and(|job| matches!(job.job_type, JobType::System | JobType::Sysbatch))
}

/// An error with its causes, in one line.
pub(crate) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(inner) = cause {
        text.push_str(": ");
        text.push_str(&inner.to_string());
        cause = inner.source();
    }
    text
}

#[cfg(test)]
mod tests;
