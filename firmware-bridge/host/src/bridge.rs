//! The way to one device: what is asked of it waits for its turn, and how it stands is there to be looked at.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use bridge_protocol::link::Pace;
use bridge_protocol::message::{Answer, Order, Request, Told};
use bridge_protocol::{Epoch, Identity, Versions, Welcome};
use serial_port::Port;
use tokio::sync::{broadcast, mpsc, oneshot, watch};
use tokio::time::Instant;

use crate::task::Task;

/// Requests that may wait for one device: as many as outlets that move at once, four times over.
pub const QUEUE_MAX: usize = 64;

/// What a device tells unasked and nobody has fetched yet. Events are in the device's log, measurements come anew: who is
/// slow misses the oldest.
const TOLD_MAX: usize = 64;

/// How it stands with a device.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Standing {
    /// Nothing is known of it or of its outlets; why, for people.
    Away(String),
    /// It answers: which start of it this is, and how it greeted.
    Up(Epoch, Arc<Welcome>),
    /// Something answers, and it is not the one that is meant or no version is common; what, for people. Nothing more is
    /// asked of it.
    Wrong(String),
}

/// Why there is no answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AskError {
    /// Nothing was sent: asking again can do no harm.
    #[error("{0}")]
    NotSent(String),
    /// Something else is there, or the device can not be asked this: asking again is no use.
    #[error("{0}")]
    CanNot(String),
    /// It was sent, and whether it was obeyed is not known: read before anything else.
    #[error("{0}")]
    Unanswered(String),
}

/// What is to be asked: an order gets its generation and its deadline only when its turn has come.
pub(crate) type Make = Box<dyn FnOnce(Order) -> Request + Send>;

/// A request in the queue.
pub(crate) struct Ask {
    pub(crate) make: Make,
    pub(crate) deadline: Instant,
    pub(crate) reply: oneshot::Sender<Result<Answer, AskError>>,
}

/// The way to a device; cheap to clone. The device's task ends when the last one is dropped.
#[derive(Debug, Clone)]
pub struct Bridge {
    asks: mpsc::Sender<Ask>,
    standing: watch::Receiver<Standing>,
    told: broadcast::Sender<Told>,
}

impl std::fmt::Debug for Ask {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Ask").field("deadline", &self.deadline).finish_non_exhaustive()
    }
}

/// A device's handle and its task, which the caller spawns and joins. With an expected identity no other board is asked
/// anything.
pub fn own<P: Port + 'static>(
    port: P,
    versions: Versions,
    expected: Option<Identity>,
    pace: Pace,
) -> (Bridge, impl Future<Output = ()> + Send + use<P>) {
    let (asks, queue) = mpsc::channel(QUEUE_MAX);
    let (stands, standing) = watch::channel(Standing::Away("it was not greeted yet".to_owned()));
    let told = broadcast::Sender::new(TOLD_MAX);
    let task = Task::new(port, (versions, expected, pace), queue, stands, told.clone());
    (Bridge { asks, standing, told }, task.run())
}

impl Bridge {
    /// Asks something that moves nothing. The device gets until the deadline to come back, where it is away.
    ///
    /// # Errors
    ///
    /// Where there is no answer, and whether the question was sent.
    pub async fn ask(&self, request: Request, patience: Duration) -> Result<Answer, AskError> {
        self.order(move |_order| request, patience).await
    }

    /// Gives an order, which the device obeys before the deadline or never. `make` puts the order's number and deadline
    /// into the request when its turn has come.
    ///
    /// # Errors
    ///
    /// Where there is no answer, and whether the order was sent.
    pub async fn order(
        &self,
        make: impl FnOnce(Order) -> Request + Send + 'static,
        patience: Duration,
    ) -> Result<Answer, AskError> {
        let (reply, answer) = oneshot::channel();
        let ask = Ask { make: Box::new(make), deadline: Instant::now() + patience, reply };
        let full = |_full| AskError::NotSent(format!("{QUEUE_MAX} requests wait for it already"));
        self.asks.try_send(ask).map_err(full)?;
        let ended = |_ended| Err(AskError::Unanswered("its task has stopped".to_owned()));
        answer.await.unwrap_or_else(ended)
    }

    /// How it stands now.
    #[must_use]
    pub fn standing(&self) -> Standing {
        self.standing.borrow().clone()
    }

    /// How it stands, and whenever that changes.
    #[must_use]
    pub fn stands(&self) -> watch::Receiver<Standing> {
        self.standing.clone()
    }

    /// What it tells unasked from now on.
    #[must_use]
    pub fn told(&self) -> broadcast::Receiver<Told> {
        self.told.subscribe()
    }
}
