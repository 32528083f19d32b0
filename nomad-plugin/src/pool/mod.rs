//! One pool at work: its ears, its record, its reconciler, and the hands that do what that asks for.

use std::sync::Arc;

use fleet::{HolderId, NodeCount, PoolName};
use tokio::sync::{mpsc, oneshot};

use crate::host::{Fault, ScalingAction};
use crate::settings::Settings;
use crate::target::block::Block;

pub mod assemble;
mod blocks;
mod claims;
mod event_loop;
pub mod executor;
pub mod feeds;
mod namesakes;
pub mod nomad_side;
mod office;
mod plans;
mod record;
mod shapes;
mod watchers;

pub use event_loop::run;
pub use record::{Keeper, Members, Record, RecordError};

/// Requests that may wait for a pool: the host asks for one Status and one Scale of a policy at a time,
/// and a pool with sixty policies is none that we know of.
pub const REQUESTS_MAX: usize = 64;

/// What a pool is asked.
#[derive(Debug)]
pub enum Request {
    /// The count, as `Status` wants it.
    Status {
        /// The policy's target block.
        block: Box<Block>,
        /// The block as text, for the record.
        raw: crate::host::Config,
        /// Where the answer goes.
        answer: oneshot::Sender<Report>,
    },
    /// A count is asked for: answered once it is durable.
    Scale {
        /// The policy's target block.
        block: Box<Block>,
        /// The block as text, for the record.
        raw: crate::host::Config,
        /// What is asked for.
        action: ScalingAction,
        /// Where the answer goes.
        answer: oneshot::Sender<Result<(), Fault>>,
    },
    /// End in order: the lease is released.
    Stop(oneshot::Sender<()>),
}

/// What a pool tells of itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Report {
    /// Whether policies may act on the count.
    pub ready: bool,
    /// Machines on, and starting within their deadline.
    pub count: NodeCount,
    /// What is desired, once that is known.
    pub desired: Option<NodeCount>,
    /// Why it is not ready.
    pub not_ready: Option<String>,
}

/// A pool that runs.
#[derive(Debug, Clone)]
pub struct PoolHandle {
    requests: mpsc::Sender<Request>,
}

/// What a pool needs to run.
#[derive(Debug)]
pub struct PoolParts {
    /// The pool.
    pub pool: PoolName,
    /// The plugin's settings.
    pub settings: Arc<Settings>,
    /// Nomad.
    pub nomad: nomad_api::Client,
    /// This process's name in leases and orders.
    pub me: HolderId,
    /// Which of the pools that this process has started this is: it tells their orders apart.
    pub run: u64,
    /// The allocation that this process runs in, where it runs in one.
    pub own_alloc: Option<String>,
    /// Where the pool's numbers go.
    pub metrics: crate::metrics::Metrics,
}

impl PoolHandle {
    /// A handle, and the end that [`run`] takes.
    #[must_use]
    pub fn new() -> (Self, mpsc::Receiver<Request>) {
        let (requests, receiver) = mpsc::channel(REQUESTS_MAX);
        (Self { requests }, receiver)
    }

    /// Whether nobody is there to be asked any more.
    #[must_use]
    pub fn has_ended(&self) -> bool {
        self.requests.is_closed()
    }

    /// Asks the pool.
    ///
    /// # Errors
    /// Where it can take no more requests, or has ended.
    pub fn ask(&self, request: Request) -> Result<(), Fault> {
        self.requests.try_send(request).map_err(|error| match error {
            mpsc::error::TrySendError::Full(_) => {
                Fault::failed(format!("the pool has {REQUESTS_MAX} requests waiting already"))
            }
            mpsc::error::TrySendError::Closed(_) => Fault::failed("the pool has ended"),
        })
    }
}
