//! One agent, called over its socket or the network: typed in, typed out, and no call without a deadline.
//!
//! It neither retries nor decides: an order is repeated by its operation id, by whoever gave it.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use fleet::{ClusterId, Fence, MachineName, Order, PlanId, PoolName, Refusal, Shape};
use tonic::transport::Channel;
use tonic::{Response, Status, Streaming};

use crate::channel::Line;
use crate::credentials::Credentials;
use crate::wire::power_agent_client::PowerAgentClient;
use crate::{
    AgentAddress, Answer, AuditHead, Boot, DryRun, Event, FieldError, History, HistoryAsked,
    Inventory, Pending, Plan, Release, Released, Service, TakeHold, Taken, wire,
};

/// How long one call may take: the agent answers from memory, or after one write to its disk; a worn SD card may stall for seconds.
pub const CALL_DEADLINE: Duration = Duration::from_secs(10);

/// How long an order may take to be answered: as a call, and before it the agent asks Nomad whether the node is empty, which has its own deadline of 10 s.
pub const ORDER_DEADLINE: Duration = Duration::from_secs(25);

/// How long connecting may take, TLS included: a Pi of the first kind signs in some 50 ms, and a LAN answers at once.
pub const CONNECT_DEADLINE: Duration = Duration::from_secs(3);

/// How often a silent connection is asked whether it lives. A killed agent closes its socket at once; this finds a hung one.
pub const KEEP_ALIVE_INTERVAL: Duration = Duration::from_secs(10);

/// How long the answer to that may take.
pub const KEEP_ALIVE_TIMEOUT: Duration = Duration::from_secs(10);

/// The largest message that is taken, in bytes: an inventory of 2 000 machines with all their texts; both sides keep to it.
pub const MESSAGE_BYTES_MAX: usize = 8 << 20;

/// Why a call failed. Whether an order was obeyed is then not known: repeat it under the same operation id.
#[derive(Debug, thiserror::Error)]
pub enum AgentError {
    /// Nobody answers there, or not within the call's deadline.
    #[error("{what}: agent {who} can not be reached: {problem}")]
    Unreachable {
        /// What was asked.
        what: &'static str,
        /// The agent.
        who: AgentAddress,
        /// What was seen.
        problem: String,
        /// The transport's error; none where the deadline passed.
        #[source]
        source: Option<Box<Status>>,
    },
    /// The agent answered with an error: the request is wrong, or it can not serve it.
    #[error("{what}: agent {who} refused: {}", source.message())]
    Refused {
        /// What was asked.
        what: &'static str,
        /// The agent.
        who: AgentAddress,
        /// Its answer.
        source: Box<Status>,
    },
    /// The answer can not be understood.
    #[error("{what}: the answer of agent {who} can not be understood")]
    Malformed {
        /// What was asked.
        what: &'static str,
        /// The agent.
        who: AgentAddress,
        /// Which field.
        #[source]
        source: FieldError,
    },
}

/// A connection to one agent, made when it is first needed and again whenever it was lost. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Client {
    address: AgentAddress,
    line: Arc<Line>,
}

impl Client {
    /// A client of the agent at `address`; connects with the first call. Needs a tokio runtime. For an agent on the
    /// network see [`Client::connect_lazy_with`].
    #[must_use]
    pub fn connect_lazy(address: &AgentAddress) -> Self {
        Self::connect_lazy_with(address, None)
    }

    /// The same with what proves our name on the network; without it, calls to an agent there fail and say so.
    #[must_use]
    pub fn connect_lazy_with(address: &AgentAddress, credentials: Option<&Credentials>) -> Self {
        Self { address: address.clone(), line: Line::to(address, credentials) }
    }

    fn inner(&self) -> PowerAgentClient<Channel> {
        PowerAgentClient::new(self.line.channel())
            .max_decoding_message_size(MESSAGE_BYTES_MAX)
            .max_encoding_message_size(MESSAGE_BYTES_MAX)
    }

    /// Which agent this is.
    #[must_use]
    pub const fn address(&self) -> &AgentAddress {
        &self.address
    }

    /// All machines as they are now.
    ///
    /// # Errors
    /// See [`AgentError`].
    pub async fn inventory(&self) -> Result<Inventory, AgentError> {
        let what = "inventory";
        let mut inner = self.inner();
        let call = inner.inventory(wire::InventoryRequest {});
        let reply = self.within(what, CALL_DEADLINE, call).await?;
        reply.try_into().map_err(|source| self.malformed(what, source))
    }

    /// Gives an order. Accepted means that the intent is on the agent's disk; the hardware moves after that.
    ///
    /// # Errors
    /// See [`AgentError`]; a refusal with a code is an [`Answer`] and no error.
    pub async fn set_power(&self, order: &Order) -> Result<Answer, AgentError> {
        let what = "set power";
        let mut inner = self.inner();
        let call = inner.set_power(wire::SetPowerRequest::from(order));
        let reply = self.within(what, ORDER_DEADLINE, call).await?;
        reply.try_into().map_err(|source| self.malformed(what, source))
    }

    /// What would become of an order, without giving it.
    ///
    /// # Errors
    /// See [`AgentError`]; a refusal with a code is an answer and no error.
    pub async fn dry_run(&self, order: &Order) -> Result<DryRun, AgentError> {
        let what = "dry run";
        let mut inner = self.inner();
        let call = inner.dry_run(wire::SetPowerRequest::from(order));
        let reply = self.within(what, ORDER_DEADLINE, call).await?;
        reply.try_into().map_err(|source| self.malformed(what, source))
    }

    /// What is under way or owed: the machines on which there is something.
    ///
    /// # Errors
    /// See [`AgentError`].
    pub async fn pending(&self) -> Result<Vec<Pending>, AgentError> {
        let what = "pending";
        let mut inner = self.inner();
        let call = inner.pending(wire::PendingRequest {});
        let reply = self.within(what, CALL_DEADLINE, call).await?;
        let all: Result<_, FieldError> =
            reply.machines.into_iter().map(Pending::try_from).collect();
        all.map_err(|source| self.malformed(what, source))
    }

    /// Takes a pool for a lease: from the answer on the agent refuses orders with an older fence, and the next snapshot of
    /// every watch shows what it has obeyed before.
    ///
    /// # Errors
    /// See [`AgentError`]; `Refused` where the agent knows a newer fence.
    pub async fn claim(&self, fence: &Fence) -> Result<(), AgentError> {
        let mut inner = self.inner();
        let call = inner.claim(wire::ClaimRequest { fence: Some(fence.into()) });
        self.within("claim", CALL_DEADLINE, call).await.map(|_| ())
    }

    /// Ends holds, in the name of `by` where the agent can not tell who asks.
    ///
    /// # Errors
    /// See [`AgentError`]; what is another person's is told in the answer.
    pub async fn release(&self, asked: &Release) -> Result<Released, AgentError> {
        let what = "release";
        let mut inner = self.inner();
        let call = inner.release(wire::ReleaseRequest::from(asked));
        let reply = self.within(what, CALL_DEADLINE, call).await?;
        reply.try_into().map_err(|source| self.malformed(what, source))
    }

    /// Holds a machine, in the name of `by` where the agent can not tell who asks.
    ///
    /// # Errors
    /// See [`AgentError`]; a refusal with a code is an answer and no error.
    pub async fn take_hold(&self, asked: &TakeHold) -> Result<Taken, AgentError> {
        let what = "set hold";
        let mut inner = self.inner();
        let call = inner.set_hold(wire::SetHoldRequest::from(asked));
        let reply = self.within(what, CALL_DEADLINE, call).await?;
        reply.try_into().map_err(|source| self.malformed(what, source))
    }

    /// Takes a machine out of service, or returns it. Moves nothing. `Ok(Err(..))`: the agent refused.
    ///
    /// # Errors
    /// See [`AgentError`].
    pub async fn set_quarantine(
        &self,
        service: &Service,
    ) -> Result<Result<bool, Refusal>, AgentError> {
        let what = "set quarantine";
        let mut inner = self.inner();
        let call = inner.set_quarantine(wire::SetQuarantineRequest::from(service));
        let reply = self.within(what, CALL_DEADLINE, call).await?;
        match reply.refused {
            None => Ok(Ok(reply.changed)),
            Some(refused) => {
                let refusal = Refusal::try_from(refused);
                refusal.map(Err).map_err(|source| self.malformed(what, source))
            }
        }
    }

    /// Keeps how a boot of a machine ended; its age counts from now.
    ///
    /// # Errors
    /// See [`AgentError`].
    pub async fn record_boot(&self, machine: &MachineName, boot: &Boot) -> Result<(), AgentError> {
        let mut inner = self.inner();
        let request =
            wire::RecordBootRequest { machine: machine.to_string(), boot: Some(boot.into()) };
        self.within("record boot", CALL_DEADLINE, inner.record_boot(request)).await.map(|_| ())
    }

    /// Follows the agent: first a snapshot, then each machine that changed.
    ///
    /// # Errors
    /// See [`AgentError`].
    pub async fn watch(&self) -> Result<Watch, AgentError> {
        let mut inner = self.inner();
        let call = inner.watch(wire::WatchRequest {});
        let events = self.within("watch", CALL_DEADLINE, call).await?;
        Ok(Watch { client: self.clone(), events })
    }

    /// Keeps a plan beside the hardware; it replaces the author's older plan of that pool.
    ///
    /// # Errors
    /// See [`AgentError`].
    pub async fn record_plan(&self, plan: &Plan) -> Result<(), AgentError> {
        let mut inner = self.inner();
        let call = inner.record_plan(wire::RecordPlanRequest { plan: Some(plan.into()) });
        self.within("record plan", CALL_DEADLINE, call).await.map(|_| ())
    }

    /// The newest plan of a pool from each author.
    ///
    /// # Errors
    /// See [`AgentError`].
    pub async fn plans(&self, pool: &PoolName) -> Result<Vec<Plan>, AgentError> {
        self.plans_of(wire::PlansRequest { pool: pool.to_string(), id: String::new() }).await
    }

    /// A pool's plan of this id, where it is still kept.
    ///
    /// # Errors
    /// See [`AgentError`].
    pub async fn plan(&self, pool: &PoolName, id: &PlanId) -> Result<Vec<Plan>, AgentError> {
        self.plans_of(wire::PlansRequest { pool: pool.to_string(), id: id.to_string() }).await
    }

    async fn plans_of(&self, asked: wire::PlansRequest) -> Result<Vec<Plan>, AgentError> {
        let what = "plans";
        let mut inner = self.inner();
        let call = inner.plans(asked);
        let reply = self.within(what, CALL_DEADLINE, call).await?;
        let plans: Result<Vec<Plan>, FieldError> =
            reply.plans.into_iter().map(Plan::try_from).collect();
        plans.map_err(|source| self.malformed(what, source))
    }

    /// Keeps the shape in which a machine's node last registered.
    ///
    /// # Errors
    /// See [`AgentError`].
    pub async fn record_shape(
        &self,
        machine: &MachineName,
        shape: &Shape,
    ) -> Result<(), AgentError> {
        let mut inner = self.inner();
        let request =
            wire::RecordShapeRequest { machine: machine.to_string(), shape: Some(shape.into()) };
        self.within("record shape", CALL_DEADLINE, inner.record_shape(request)).await.map(|_| ())
    }

    /// Has the agent forget the highest fence of a pool, in the name of `by` where the agent can not tell
    /// who asks. `cluster`: where several have ordered about the pool. Returns what it was.
    ///
    /// # Errors
    /// See [`AgentError`].
    pub async fn reset_fence(
        &self,
        pool: &PoolName,
        cluster: Option<&ClusterId>,
        by: &str,
        reason: &str,
    ) -> Result<Fence, AgentError> {
        let what = "reset fence";
        let mut inner = self.inner();
        let call = inner.reset_fence(wire::ResetFenceRequest {
            pool: pool.to_string(),
            cluster: cluster.map(ToString::to_string).unwrap_or_default(),
            by: by.to_owned(),
            reason: reason.to_owned(),
        });
        let was = self.within(what, CALL_DEADLINE, call).await?.was;
        was.ok_or(FieldError::missing("was"))
            .and_then(Fence::try_from)
            .map_err(|source| self.malformed(what, source))
    }

    /// The newest line of the agent's audit.
    ///
    /// # Errors
    /// See [`AgentError`].
    pub async fn audit_head(&self) -> Result<AuditHead, AgentError> {
        let mut inner = self.inner();
        let call = inner.audit_head(wire::AuditHeadRequest {});
        let reply = self.within("audit head", CALL_DEADLINE, call).await?;
        Ok(AuditHead { seq: reply.seq, hash: reply.hash, directory: reply.directory.into() })
    }

    /// Operations as the agent's audit tells them.
    ///
    /// # Errors
    /// See [`AgentError`].
    pub async fn history(&self, asked: &HistoryAsked) -> Result<History, AgentError> {
        let mut inner = self.inner();
        let call = inner.history(wire::HistoryRequest {
            machines: asked.machines.iter().map(ToString::to_string).collect(),
            since_ms: asked.since.map(fleet::moment::millis),
            limit: asked.limit,
        });
        let reply = self.within("history", CALL_DEADLINE, call).await?;
        let entries = reply.entries.into_iter().map(Into::into).collect();
        Ok(History { entries, more: reply.more })
    }

    async fn within<T>(
        &self,
        what: &'static str,
        deadline: Duration,
        call: impl Future<Output = Result<Response<T>, Status>>,
    ) -> Result<T, AgentError> {
        match tokio::time::timeout(deadline, call).await {
            Ok(Ok(response)) => Ok(response.into_inner()),
            Ok(Err(status)) => Err(self.failed(what, status)),
            Err(_elapsed) => Err(AgentError::Unreachable {
                what,
                who: self.address.clone(),
                problem: format!("no answer within {} s", deadline.as_secs()),
                source: None,
            }),
        }
    }

    fn failed(&self, what: &'static str, status: Status) -> AgentError {
        use tonic::Code;
        let who = self.address.clone();
        let source = Box::new(status);
        // What tonic reports of a lost or absent connection; everything else the agent has said itself.
        match source.code() {
            Code::Unavailable | Code::Unknown | Code::Cancelled | Code::DeadlineExceeded => {
                let problem = root_cause(&source);
                AgentError::Unreachable { what, who, problem, source: Some(source) }
            }
            _ => AgentError::Refused { what, who, source },
        }
    }

    fn malformed(&self, what: &'static str, source: FieldError) -> AgentError {
        AgentError::Malformed { what, who: self.address.clone(), source }
    }
}

/// The innermost cause: "No such file or directory" says more than "transport error".
fn root_cause(status: &Status) -> String {
    let mut cause: &dyn std::error::Error = status;
    while let Some(inner) = cause.source() {
        cause = inner;
    }
    if std::ptr::addr_eq(cause, status) { status.message().to_owned() } else { cause.to_string() }
}

/// The events of one agent, in order.
#[derive(Debug)]
pub struct Watch {
    client: Client,
    events: Streaming<wire::WatchEvent>,
}

impl Watch {
    /// Waits for the next event; `None` when the agent ended the stream. Safe to cancel.
    ///
    /// # Errors
    /// See [`AgentError`]; the watch is over then and is to be opened again.
    pub async fn next(&mut self) -> Result<Option<Event>, AgentError> {
        match self.events.message().await {
            Ok(None) => Ok(None),
            Ok(Some(event)) => Event::try_from(event)
                .map(Some)
                .map_err(|source| self.client.malformed("watch", source)),
            Err(status) => Err(self.client.failed("watch", status)),
        }
    }
}
