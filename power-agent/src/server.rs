//! The agent's gRPC service: wire in, typed call, wire out. The gate has let in who asks; which machines, is asked here.

use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use agent_api::client::MESSAGE_BYTES_MAX;
use agent_api::wire::power_agent_server::{PowerAgent, PowerAgentServer};
use agent_api::{
    Answer, Boot, DryRun, Event, FieldError, HistoryAsked, Order, Plan, Release,
    Service as InService, TakeHold, wire,
};
use fleet::{
    ClusterId, Fence, MachineName, Moment, Origin, PlanId, PoolName, Reason, Refusal, RefusalCode,
    Shape,
};
use futures_util::{Stream, StreamExt, stream};
use tokio::sync::broadcast::Receiver;
use tokio::sync::broadcast::error::RecvError;
use tokio::time::timeout;
use tonic::{Request, Response, Status};

use crate::agent::{Agent, Note, RequestError};
use crate::clock::Clock;
use crate::identity::{Identity, Turned};
use crate::node::chain;
use crate::roles::{Deed, Denied};

/// How many may watch at once: the plugin's processes, some screens; each holds a place in the queue of changes.
const WATCHERS_MAX: usize = 64;

/// How long a watch goes on before who watches is asked about again: as long as a poll of the devices; to check a
/// certificate at each change would keep a Pi busy.
const ASKED_AGAIN: Duration = Duration::from_secs(10);

/// The service.
#[derive(Debug, Clone)]
pub(crate) struct Service {
    agent: Arc<Agent>,
}

impl Service {
    /// For callers in this process, who bring the identity that the gate would.
    pub(crate) const fn new(agent: Arc<Agent>) -> Self {
        Self { agent }
    }

    pub(crate) fn server(agent: Arc<Agent>) -> PowerAgentServer<Self> {
        PowerAgentServer::new(Self { agent })
            .max_decoding_message_size(MESSAGE_BYTES_MAX)
            .max_encoding_message_size(MESSAGE_BYTES_MAX)
    }
}

#[tonic::async_trait]
impl PowerAgent for Service {
    type WatchStream = Pin<Box<dyn Stream<Item = Result<wire::WatchEvent, Status>> + Send>>;

    async fn inventory(
        &self,
        request: Request<wire::InventoryRequest>,
    ) -> Result<Response<wire::InventoryReply>, Status> {
        let who = Identity::of(&request)?;
        Ok(Response::new((&who.sight(self.agent.inventory().await)).into()))
    }

    async fn set_power(
        &self,
        request: Request<wire::SetPowerRequest>,
    ) -> Result<Response<wire::SetPowerReply>, Status> {
        let who = Identity::of(&request)?;
        let mut order = Order::try_from(request.into_inner()).map_err(|e| malformed(&e))?;
        not_the_agent(&order.origin)?;
        if let Origin::Person(claimed) = &order.origin {
            order.origin = Origin::Person(who.person(claimed));
        }
        let by = match &order.origin {
            Origin::Person(name) => who.told(name),
            Origin::Autoscaler(_) | Origin::Agent => who.told(&who.name),
        };
        if let Err(turned) = self.may_order(&who, &order) {
            let call = format!("{} {}", order.verb.as_str(), order.machine);
            who.leaves_a_line();
            self.agent.turn_away(&who.caller, (&call, Some(&order.machine)), &turned);
            return forbidden(&turned);
        }
        who.leaves_a_line();
        let answer = self.agent.order(order, by).await.map_err(|error| status(&error))?;
        Ok(Response::new((&answer).into()))
    }

    async fn dry_run(
        &self,
        request: Request<wire::SetPowerRequest>,
    ) -> Result<Response<wire::DryRunReply>, Status> {
        let who = Identity::of(&request)?;
        let mut order = Order::try_from(request.into_inner()).map_err(|e| malformed(&e))?;
        not_the_agent(&order.origin)?;
        if let Origin::Person(claimed) = &order.origin {
            order.origin = Origin::Person(who.person(claimed));
        }
        let pool = self.agent.pool_of(&order.machine);
        let may = who.may_as(&order).and_then(|()| who.may_touch(&order.machine, pool.as_ref()));
        let run = match may {
            // What they would be answered; they have not tried.
            Err(denied) => DryRun::refused(forbids(&denied)),
            Ok(()) => self.agent.dry_run(&order).await.map_err(|error| status(&error))?,
        };
        Ok(Response::new((&run).into()))
    }

    async fn pending(
        &self,
        request: Request<wire::PendingRequest>,
    ) -> Result<Response<wire::PendingReply>, Status> {
        let who = Identity::of(&request)?;
        let mut all = self.agent.pending();
        all.retain(|one| who.covers(&one.machine, self.agent.pool_of(&one.machine).as_ref()));
        let machines = all.iter().map(Into::into).collect();
        Ok(Response::new(wire::PendingReply { machines }))
    }

    async fn release(
        &self,
        request: Request<wire::ReleaseRequest>,
    ) -> Result<Response<wire::ReleaseReply>, Status> {
        let who = Identity::of(&request)?;
        let mut asked = Release::try_from(request.into_inner()).map_err(|e| malformed(&e))?;
        self.over(&who, &asked.machine, "release")?;
        self.may_force(&who, asked.force, "release")?;
        asked.by = who.person(&asked.by);
        let by = who.told(&asked.by);
        let released = self.agent.release(asked, &by).await.map_err(|error| status(&error))?;
        Ok(Response::new((&released).into()))
    }

    async fn set_hold(
        &self,
        request: Request<wire::SetHoldRequest>,
    ) -> Result<Response<wire::SetHoldReply>, Status> {
        let who = Identity::of(&request)?;
        let mut asked = TakeHold::try_from(request.into_inner()).map_err(|e| malformed(&e))?;
        self.over(&who, &asked.machine, "hold")?;
        self.may_force(&who, asked.force, "hold")?;
        asked.by = who.person(&asked.by);
        let by = who.told(&asked.by);
        let taken = self.agent.take_hold(asked, &by).await.map_err(|error| status(&error))?;
        Ok(Response::new((&taken).into()))
    }

    async fn claim(
        &self,
        request: Request<wire::ClaimRequest>,
    ) -> Result<Response<wire::ClaimReply>, Status> {
        let who = Identity::of(&request)?;
        let fence = request.into_inner().fence;
        let fence = fence.ok_or_else(|| Status::invalid_argument("field fence: missing"))?;
        let fence = Fence::try_from(fence).map_err(|error| malformed(&error))?;
        self.turned(&who, "claim", who.may_touch_pool(&fence.pool))?;
        self.agent.claim(fence, who.told(&who.name)).await.map_err(|error| status(&error))?;
        Ok(Response::new(wire::ClaimReply {}))
    }

    async fn watch(
        &self,
        request: Request<wire::WatchRequest>,
    ) -> Result<Response<Self::WatchStream>, Status> {
        let who = Identity::of(&request)?;
        if self.agent.watcher_count() >= WATCHERS_MAX {
            let text = format!("{WATCHERS_MAX} watch already; end one of them");
            return Err(Status::resource_exhausted(text));
        }
        // Subscribed before the snapshot is taken, so that no change falls between.
        let changes = self.agent.changes();
        let first = Event::Snapshot(who.sight(self.agent.inventory().await));
        let agent = Arc::clone(&self.agent);
        let watching = Watching { agent, changes, who, asked: Clock.now() };
        let rest = stream::unfold(Some(watching), next_event);
        let events = stream::once(async { Ok(first) }).chain(rest);
        Ok(Response::new(Box::pin(events.map(|event| event.map(|event| (&event).into())))))
    }

    async fn record_plan(
        &self,
        request: Request<wire::RecordPlanRequest>,
    ) -> Result<Response<wire::RecordPlanReply>, Status> {
        let who = Identity::of(&request)?;
        let plan = request.into_inner().plan;
        let plan = plan.ok_or_else(|| Status::invalid_argument("field plan: missing"))?;
        let plan = Plan::try_from(plan).map_err(|error| malformed(&error))?;
        self.turned(&who, "record plan", who.may_touch_pool(&plan.pool))?;
        self.agent.record_plan(plan).await.map_err(|error| status(&error))?;
        Ok(Response::new(wire::RecordPlanReply {}))
    }

    async fn plans(
        &self,
        request: Request<wire::PlansRequest>,
    ) -> Result<Response<wire::PlansReply>, Status> {
        let who = Identity::of(&request)?;
        let wire::PlansRequest { pool, id } = request.into_inner();
        let pool = PoolName::new(pool);
        let pool = pool.map_err(|e| Status::invalid_argument(format!("field pool: {e}")))?;
        self.turned(&who, "plans", who.may_touch_pool(&pool))?;
        let plans = if id.is_empty() {
            self.agent.plans(&pool).await
        } else {
            let id = PlanId::new(id);
            let id = id.map_err(|e| Status::invalid_argument(format!("field id: {e}")))?;
            self.agent.plan(&pool, &id).await.into_iter().collect()
        };
        Ok(Response::new(wire::PlansReply { plans: plans.iter().map(Into::into).collect() }))
    }

    async fn record_shape(
        &self,
        request: Request<wire::RecordShapeRequest>,
    ) -> Result<Response<wire::RecordShapeReply>, Status> {
        let who = Identity::of(&request)?;
        let wire::RecordShapeRequest { machine, shape } = request.into_inner();
        let machine = machine_name(machine)?;
        self.over(&who, &machine, "record shape")?;
        let shape = shape.ok_or_else(|| Status::invalid_argument("field shape: missing"))?;
        self.agent
            .record_shape(&machine, Shape::from(shape))
            .await
            .map_err(|error| status(&error))?;
        Ok(Response::new(wire::RecordShapeReply {}))
    }

    async fn set_quarantine(
        &self,
        request: Request<wire::SetQuarantineRequest>,
    ) -> Result<Response<wire::SetQuarantineReply>, Status> {
        let who = Identity::of(&request)?;
        let mut service = InService::try_from(request.into_inner()).map_err(|e| malformed(&e))?;
        let call = "set quarantine";
        match &service.origin {
            Origin::Person(claimed) => {
                self.turned(&who, call, who.may(Deed::Order))?;
                service.origin = Origin::Person(who.person(claimed));
            }
            Origin::Autoscaler(fence) => {
                self.turned(&who, call, who.may(Deed::Scale))?;
                self.turned(&who, call, who.may_touch_pool(&fence.pool))?;
            }
            Origin::Agent => not_the_agent(&service.origin)?,
        }
        self.over(&who, &service.machine, call)?;
        let by = match &service.origin {
            Origin::Person(name) => who.told(name),
            Origin::Autoscaler(_) | Origin::Agent => who.told(&who.name),
        };
        let answer = self.agent.set_service(service, by).await.map_err(|error| status(&error))?;
        Ok(Response::new(match answer {
            Ok(changed) => wire::SetQuarantineReply { changed, refused: None },
            Err(refusal) => {
                wire::SetQuarantineReply { changed: false, refused: Some((&refusal).into()) }
            }
        }))
    }

    async fn record_boot(
        &self,
        request: Request<wire::RecordBootRequest>,
    ) -> Result<Response<wire::RecordBootReply>, Status> {
        let who = Identity::of(&request)?;
        let wire::RecordBootRequest { machine, boot } = request.into_inner();
        let machine = machine_name(machine)?;
        self.over(&who, &machine, "record boot")?;
        let boot = boot.ok_or_else(|| Status::invalid_argument("field boot: missing"))?;
        let boot = Boot::try_from(boot).map_err(|error| malformed(&error))?;
        self.agent.record_boot(&machine, boot).await.map_err(|error| status(&error))?;
        Ok(Response::new(wire::RecordBootReply {}))
    }

    async fn reset_fence(
        &self,
        request: Request<wire::ResetFenceRequest>,
    ) -> Result<Response<wire::ResetFenceReply>, Status> {
        let who = Identity::of(&request)?;
        let wire::ResetFenceRequest { pool, cluster, by, reason } = request.into_inner();
        let pool = PoolName::new(pool);
        let pool = pool.map_err(|e| Status::invalid_argument(format!("field pool: {e}")))?;
        let cluster = Some(cluster).filter(|name| !name.is_empty()).map(ClusterId::new).transpose();
        let cluster =
            cluster.map_err(|e| Status::invalid_argument(format!("field cluster: {e}")))?;
        self.turned(&who, "reset fence", who.may_touch_pool(&pool))?;
        let by = who.told(&who.person(&by));
        let was = self.agent.reset_fence(&pool, cluster.as_ref(), &by, &Reason::new(&reason)).await;
        let was = was.map_err(|error| status(&error))?;
        Ok(Response::new(wire::ResetFenceReply { was: Some((&was).into()) }))
    }

    async fn history(
        &self,
        request: Request<wire::HistoryRequest>,
    ) -> Result<Response<wire::HistoryReply>, Status> {
        let who = Identity::of(&request)?;
        let wire::HistoryRequest { machines, since_ms, limit } = request.into_inner();
        let machines: Result<Vec<_>, _> = machines.into_iter().map(machine_name).collect();
        let asked =
            HistoryAsked { machines: machines?, since: since_ms.map(Duration::from_millis), limit };
        let history = self.agent.history(asked, who).await;
        let history = history.map_err(|error| Status::internal(error.to_string()))?;
        let entries = history.entries.iter().map(Into::into).collect();
        Ok(Response::new(wire::HistoryReply { entries, more: history.more }))
    }

    async fn audit_head(
        &self,
        _request: Request<wire::AuditHeadRequest>,
    ) -> Result<Response<wire::AuditHeadReply>, Status> {
        let (head, directory) = self.agent.audit_head().await;
        let directory = directory.to_string_lossy().into_owned();
        Ok(Response::new(wire::AuditHeadReply { seq: head.seq, hash: head.hash, directory }))
    }
}

impl Service {
    /// Whether somebody may touch a machine.
    fn over(&self, who: &Identity, machine: &MachineName, call: &str) -> Result<(), Status> {
        let may = who.may_touch(machine, self.agent.pool_of(machine).as_ref());
        self.refused(who, (call, Some(machine)), may)
    }

    /// Whether somebody may pass another person's lock.
    fn may_force(&self, who: &Identity, force: bool, call: &str) -> Result<(), Status> {
        if force { self.turned(who, call, who.may(Deed::Force)) } else { Ok(()) }
    }

    fn turned(&self, who: &Identity, call: &str, may: Result<(), Denied>) -> Result<(), Status> {
        self.refused(who, (call, None), may)
    }

    fn refused(
        &self,
        who: &Identity,
        call: (&str, Option<&MachineName>),
        may: Result<(), Denied>,
    ) -> Result<(), Status> {
        may.map_err(|denied| {
            let turned = Turned::from(denied);
            who.leaves_a_line();
            self.agent.turn_away(&who.caller, call, &turned);
            turned.status()
        })
    }

    /// Whether somebody may give this order, and has not given too many.
    fn may_order(&self, who: &Identity, order: &Order) -> Result<(), Turned> {
        match &order.origin {
            Origin::Person(_) if order.force => who.may(Deed::Force)?,
            Origin::Person(_) => who.may(Deed::Order)?,
            Origin::Autoscaler(fence) => {
                who.may(Deed::Scale)?;
                who.may_touch_pool(&fence.pool)?;
            }
            // Refused before: nobody outside is the agent.
            Origin::Agent => {}
        }
        who.may_touch(&order.machine, self.agent.pool_of(&order.machine).as_ref())?;
        self.agent.keeper.count_order(who, Clock.now())
    }
}

/// Nobody outside is the agent.
fn not_the_agent(origin: &Origin) -> Result<(), Status> {
    match origin {
        Origin::Agent => {
            Err(Status::invalid_argument("field origin: nobody outside is the agent itself"))
        }
        Origin::Person(_) | Origin::Autoscaler(_) => Ok(()),
    }
}

/// One watch.
struct Watching {
    agent: Arc<Agent>,
    changes: Receiver<Note>,
    who: Identity,
    /// When it was last asked who watches.
    asked: Moment,
}

/// The next event of a watch. Who watches is asked about again and again: a certificate may be revoked meanwhile.
async fn next_event(
    watching: Option<Watching>,
) -> Option<(Result<Event, Status>, Option<Watching>)> {
    let mut watching = watching?;
    loop {
        let note = timeout(ASKED_AGAIN, watching.changes.recv()).await.ok();
        if let Err(turned) = watching.ask_again() {
            watching.agent.turn_away(&watching.who.caller, ("watch", None), &turned);
            return Some((Err(turned.status()), None));
        }
        let (agent, who) = (&watching.agent, &watching.who);
        let event = match note {
            Some(Ok(Note::Changed(name))) => agent.changed(&name, who),
            Some(Ok(Note::Claimed | Note::Reloaded) | Err(RecvError::Lagged(_))) => {
                Some(Event::Snapshot(who.sight(agent.inventory().await)))
            }
            Some(Ok(Note::Stopping) | Err(RecvError::Closed)) => return None,
            None => None,
        };
        if let Some(event) = event {
            return Some((Ok(event), Some(watching)));
        }
    }
}

impl Watching {
    fn ask_again(&mut self) -> Result<(), Turned> {
        let now = Clock.now();
        if now.since(self.asked) >= ASKED_AGAIN {
            self.asked = now;
            self.who = self.agent.keeper.identify(&self.who.caller)?;
        }
        Ok(())
    }
}

impl Agent {
    fn changed(&self, name: &MachineName, who: &Identity) -> Option<Event> {
        let machine = self.machine(name).ok()?;
        let seen = who.covers(name, machine.config.pool.as_ref());
        seen.then(|| Event::Changed(Box::new(machine.view(Clock.now()))))
    }

    fn pool_of(&self, name: &MachineName) -> Option<PoolName> {
        self.machine(name).ok()?.config.pool.clone()
    }
}

/// An order that is not allowed is refused with its code; one too many, or of nobody, is an error of the call.
fn forbidden(turned: &Turned) -> Result<Response<wire::SetPowerReply>, Status> {
    match turned {
        Turned::Denied(denied) => Ok(Response::new((&Answer::Refused(forbids(denied))).into())),
        other => Err(other.status()),
    }
}

fn forbids(denied: &Denied) -> Refusal {
    Refusal { code: RefusalCode::Forbidden, text: denied.to_string() }
}

fn machine_name(name: String) -> Result<MachineName, Status> {
    MachineName::new(name).map_err(|e| Status::invalid_argument(format!("field machine: {e}")))
}

fn malformed(error: &FieldError) -> Status {
    Status::invalid_argument(error.to_string())
}

fn status(error: &RequestError) -> Status {
    let text = chain(error);
    match error {
        RequestError::UnknownMachine { .. } | RequestError::UnknownFence { .. } => {
            Status::not_found(text)
        }
        RequestError::SeveralClusters { .. } => Status::failed_precondition(text),
        RequestError::IdTaken { .. } => Status::already_exists(text),
        RequestError::PlanTooLarge { .. } => Status::invalid_argument(text),
        RequestError::StaleClaim { .. } => Status::failed_precondition(text),
        RequestError::Journal(_) => {
            tracing::error!(err = text, "journal can not be written");
            Status::internal(text)
        }
        RequestError::Stopping => Status::unavailable(text),
    }
}
