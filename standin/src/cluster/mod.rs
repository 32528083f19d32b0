//! In Nomad's place: the calls of its HTTP API that Lamplighter makes, and nothing else; a scheduler that
//! places shell work on nodes with room; and the line to the clients of the nodes.

mod api;
mod filter;
pub(crate) mod id;
mod job;
mod link;
mod node;
mod question;
mod schedule;
mod state;
#[cfg(test)]
mod tests;
mod work;

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use anyhow::{Context as _, Result};
use clap::Args;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::Instant;

pub(crate) use link::{Order, ToClient, ToServer, read_line, write_line};
pub(crate) use node::Registration;
pub(crate) use work::ClientStatus;

use state::State;

/// How often time itself is looked at: short beside the seconds of a missed heartbeat.
const TICK: Duration = Duration::from_millis(200);

/// Where the stand-in listens.
#[derive(Debug, Args)]
pub(crate) struct Addresses {
    /// Where it answers as Nomad's HTTP API
    #[arg(long, value_name = "ADDRESS")]
    http: SocketAddr,
    /// Where its own clients register
    #[arg(long, value_name = "ADDRESS")]
    clients: SocketAddr,
}

/// The cluster, as all who serve it share it.
#[derive(Debug)]
pub(crate) struct Cluster {
    state: Mutex<State>,
    /// The index of the last write.
    changed: watch::Sender<u64>,
    began: Instant,
    http: SocketAddr,
}

impl Cluster {
    pub(crate) fn new(http: SocketAddr) -> Arc<Self> {
        let (changed, _) = watch::channel(0);
        Arc::new(Self { state: Mutex::default(), changed, began: Instant::now(), http })
    }

    fn read(&self) -> MutexGuard<'_, State> {
        // A write that panicked is a bug of the stand-in; what it left is still told.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Makes a write, brings all work in line with it, and wakes those who wait.
    fn write<T>(&self, write: impl FnOnce(&mut State, Duration) -> T) -> T {
        let (made, index) = {
            let mut state = self.read();
            let made = write(&mut state, self.began.elapsed());
            state.settle();
            (made, state.last_index())
        };
        self.changed.send_if_modified(|known| std::mem::replace(known, index) != index);
        made
    }
}

/// Serves until the process ends.
pub(crate) async fn run(addresses: &Addresses) -> Result<()> {
    let listen = async |address: SocketAddr| {
        let bound = TcpListener::bind(address).await;
        bound.with_context(|| format!("can not listen on {address}"))
    };
    let (http, clients) = (listen(addresses.http).await?, listen(addresses.clients).await?);
    let cluster = Cluster::new(http.local_addr()?);
    let mut tasks = JoinSet::new();
    tasks.spawn(api::serve(http, Arc::clone(&cluster)));
    tasks.spawn(link::serve(clients, Arc::clone(&cluster)));
    tasks.spawn(async move {
        loop {
            tokio::time::sleep(TICK).await;
            cluster.write(State::passed);
        }
    });
    // None of them ends but by an error.
    let ended = tasks.join_next().await.context("there are tasks")?;
    ended?
}
