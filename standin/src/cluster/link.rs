//! The line between the stand-in and its clients: JSON, a message a line. Nomad's own is another; nobody but
//! the two ends of this one speaks it.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use tokio::io::{
    AsyncBufRead, AsyncBufReadExt as _, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _,
    BufReader,
};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

use super::node::Registration;
use super::work::ClientStatus;
use super::{Cluster, state};

/// The longest line: the work of a node, each with its script.
const LINE_BYTES_MAX: u64 = 1 << 20;

/// Clients at once: as many as there may be nodes.
const CLIENTS_MAX: usize = 1000;

/// How long a client that has been connected may take to say who it is.
const HELLO_WAIT: Duration = Duration::from_secs(10);

/// What a client says.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum ToServer {
    /// Who it is; the first line.
    Register(Registration),
    /// It is there.
    Beat,
    /// How an allocation stands.
    Report {
        /// The allocation.
        id: String,
        /// How it stands.
        status: ClientStatus,
    },
}

/// What a client is told: all work of its node that is not over.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct ToClient {
    /// Its work.
    pub(crate) work: Vec<Order>,
}

/// An allocation of a node, as its client has to know it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Order {
    pub(crate) id: String,
    pub(crate) job: String,
    /// Whether it is to run; else it is to stop.
    pub(crate) runs: bool,
    pub(crate) command: String,
    pub(crate) args: Vec<String>,
}

/// Reads a message; none at the end of the line.
pub(crate) async fn read_line<T: DeserializeOwned>(
    from: &mut (impl AsyncBufRead + Unpin),
) -> Result<Option<T>> {
    let mut line = Vec::new();
    let read = from.take(LINE_BYTES_MAX).read_until(b'\n', &mut line).await?;
    match line.last() {
        None => Ok(None),
        Some(b'\n') => Ok(Some(serde_json::from_slice(&line)?)),
        Some(_) => bail!("a line without an end after {read} bytes"),
    }
}

/// Writes a message.
pub(crate) async fn write_line(
    to: &mut (impl AsyncWrite + Unpin),
    message: &(impl Serialize + Sync),
) -> Result<()> {
    let mut line = serde_json::to_vec(message)?;
    line.push(b'\n');
    Ok(to.write_all(&line).await?)
}

pub(super) async fn serve(listener: TcpListener, cluster: Arc<Cluster>) -> Result<()> {
    let mut clients = JoinSet::new();
    loop {
        let (stream, _) = listener.accept().await?;
        while clients.try_join_next().is_some() {}
        if clients.len() < CLIENTS_MAX {
            clients.spawn(converse(stream, Arc::clone(&cluster)));
        }
    }
}

/// One client, until either side has enough. What ends it is of no matter: the node is down when its
/// heartbeats are missed, as Nomad's are.
async fn converse(stream: TcpStream, cluster: Arc<Cluster>) -> Result<()> {
    let (from, to) = stream.into_split();
    let mut from = BufReader::new(from);
    let hello = tokio::time::timeout(HELLO_WAIT, read_line(&mut from)).await??;
    let Some(ToServer::Register(own)) = hello else { bail!("a client did not say who it is") };
    let id = own.id.clone();
    let registered = cluster.write(|state, now| state.register_node(own, now));
    if let Err(refusal) = registered {
        bail!("{refusal:?}");
    }
    tokio::select! {
        ended = hear(&id, from, &cluster) => ended,
        ended = tell(&id, to, &cluster) => ended,
    }
}

async fn hear(node: &str, mut from: BufReader<OwnedReadHalf>, cluster: &Cluster) -> Result<()> {
    while let Some(said) = read_line(&mut from).await? {
        let is_known = match said {
            ToServer::Beat => cluster.write(|state, now| state.heard(node, now)),
            ToServer::Report { id, status } => {
                cluster.write(|state, _| state.reported(node, &id, status));
                true
            }
            ToServer::Register(_) => bail!("a client said twice who it is"),
        };
        if !is_known {
            bail!("the node was given up or purged: its client is to register again");
        }
    }
    Ok(())
}

async fn tell(node: &str, mut to: OwnedWriteHalf, cluster: &Cluster) -> Result<()> {
    let mut changes = cluster.changed.subscribe();
    let mut told = None;
    loop {
        changes.mark_unchanged();
        let work = cluster.read().work_of(node);
        if told.as_ref() != Some(&work) {
            write_line(&mut to, &work).await?;
            told = Some(work);
        }
        changes.changed().await.context("the stand-in ends")?;
    }
}

impl state::State {
    fn work_of(&self, node: &str) -> ToClient {
        let on_it =
            self.allocations.iter().filter(|alloc| alloc.node_id == node && !alloc.is_over());
        let order = |alloc: &super::work::Allocation| {
            let config = &alloc.job.group().task().config;
            Order {
                id: alloc.id.clone(),
                job: alloc.job.id.clone(),
                runs: alloc.is_wanted,
                command: config.command.clone(),
                args: config.args.clone(),
            }
        };
        ToClient { work: on_it.map(order).collect() }
    }
}
