//! The pool's ears: one task that follows Nomad, one for each agent. They tell, and decide nothing.

use std::collections::BTreeSet;
use std::time::Duration;

use agent_api::{AgentAddress, Client as Agent, Event};
use nomad_api::Client as Nomad;
use tokio::sync::{mpsc, watch};

use super::executor::chain;
use super::nomad_side::{NomadFacts, NomadReader};

/// How long a question that failed rests: short beside a boot, long beside a server that restarts.
const RETRY: Duration = Duration::from_secs(1);

/// How long is waited between two reads of Nomad, whatever has changed: each reads the lists of all nodes
/// and allocations, which a busy cluster changes many times in a second.
const READ_GAP: Duration = Duration::from_millis(200);

/// What was heard.
#[derive(Debug)]
pub(super) enum News {
    /// Nomad as it is now.
    Nomad(Box<NomadFacts>),
    /// Nomad did not answer, and why.
    NomadSilent(String),
    /// An agent told of its machines.
    Agent(AgentAddress, Box<Event>),
    /// An agent did not answer, and why.
    AgentSilent(AgentAddress, String),
}

/// Follows Nomad until nobody listens. `names`: of the nodes that matter.
pub(super) async fn follow_nomad(
    client: Nomad,
    mut names: watch::Receiver<BTreeSet<String>>,
    own_alloc: Option<String>,
    news: mpsc::Sender<News>,
) {
    loop {
        let wanted = names.borrow_and_update().clone();
        let mut reader = NomadReader::new(client.clone(), wanted, own_alloc.clone());
        loop {
            let read = reader.read().await;
            let failed = read.is_err();
            let told = match read {
                Ok(facts) => News::Nomad(Box::new(facts)),
                Err(error) => News::NomadSilent(chain(&error)),
            };
            if news.send(told).await.is_err() {
                return;
            }
            tokio::select! {
                () = tokio::time::sleep(RETRY), if failed => {}
                // An error of the wait shows again in the read that follows.
                waited = paced(&reader), if !failed => drop(waited),
                renamed = names.changed() => match renamed {
                    Ok(()) => break,
                    Err(_) => return,
                },
            }
        }
    }
}

async fn paced(reader: &NomadReader) -> Result<(), nomad_api::Error> {
    tokio::time::sleep(READ_GAP).await;
    reader.changed().await
}

/// Follows one agent until nobody listens.
pub(super) async fn follow_agent(address: AgentAddress, client: Agent, news: mpsc::Sender<News>) {
    loop {
        let why = match client.watch().await {
            Ok(mut watch) => loop {
                match watch.next().await {
                    Ok(Some(event)) => {
                        let told = News::Agent(address.clone(), Box::new(event));
                        if news.send(told).await.is_err() {
                            return;
                        }
                    }
                    Ok(None) => break "it ended the stream".to_owned(),
                    Err(error) => break chain(&error),
                }
            },
            Err(error) => chain(&error),
        };
        if news.send(News::AgentSilent(address.clone(), why)).await.is_err() {
            return;
        }
        tokio::time::sleep(RETRY).await;
    }
}
