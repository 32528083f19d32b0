//! The agent's gRPC service: wire in, typed call, wire out. Who asks is told by the kernel, not by the message.

use std::pin::Pin;
use std::sync::Arc;

use agent_api::client::MESSAGE_BYTES_MAX;
use agent_api::wire::power_agent_server::{PowerAgent, PowerAgentServer};
use agent_api::{Event, FieldError, Order, Plan, wire};
use fleet::{MachineName, Origin, PoolName, Shape};
use futures_util::{Stream, StreamExt, stream};
use tokio::sync::broadcast::error::RecvError;
use tonic::transport::server::UdsConnectInfo;
use tonic::{Request, Response, Status};

use crate::agent::{Agent, Note, RequestError};
use crate::clock::Clock;
use crate::node::chain;
use crate::peer::user_name;

/// How many may watch at once: the plugin's processes, some screens; each holds a place in the queue of changes.
const WATCHERS_MAX: usize = 64;

/// The service.
#[derive(Debug, Clone)]
pub(crate) struct Service {
    agent: Arc<Agent>,
}

impl Service {
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
        _request: Request<wire::InventoryRequest>,
    ) -> Result<Response<wire::InventoryReply>, Status> {
        Ok(Response::new((&self.agent.inventory().await).into()))
    }

    async fn set_power(
        &self,
        request: Request<wire::SetPowerRequest>,
    ) -> Result<Response<wire::SetPowerReply>, Status> {
        let peer = peer(&request);
        let mut order = Order::try_from(request.into_inner()).map_err(|e| malformed(&e))?;
        if let Origin::Person(claimed) = &order.origin {
            order.origin = Origin::Person(user_name(peer, claimed).await);
        }
        let answer = self.agent.order(order).await.map_err(|error| status(&error))?;
        Ok(Response::new((&answer).into()))
    }

    async fn release(
        &self,
        request: Request<wire::ReleaseRequest>,
    ) -> Result<Response<wire::ReleaseReply>, Status> {
        let peer = peer(&request);
        let wire::ReleaseRequest { machine, by } = request.into_inner();
        let machine = machine_name(machine)?;
        let by = user_name(peer, &by).await;
        let was_held = self.agent.release(&machine, &by).await.map_err(|error| status(&error))?;
        Ok(Response::new(wire::ReleaseReply { was_held }))
    }

    async fn watch(
        &self,
        _request: Request<wire::WatchRequest>,
    ) -> Result<Response<Self::WatchStream>, Status> {
        if self.agent.watcher_count() >= WATCHERS_MAX {
            let text = format!("{WATCHERS_MAX} watch already; end one of them");
            return Err(Status::resource_exhausted(text));
        }
        // Subscribed before the snapshot is taken, so that no change falls between.
        let changes = self.agent.changes();
        let first = Event::Snapshot(self.agent.inventory().await);
        let agent = Arc::clone(&self.agent);
        let rest = stream::unfold((agent, changes), |(agent, mut changes)| async move {
            loop {
                let event = match changes.recv().await {
                    Ok(Note::Changed(name)) => agent.changed(&name),
                    Err(RecvError::Lagged(_)) => Some(Event::Snapshot(agent.inventory().await)),
                    Ok(Note::Stopping) | Err(RecvError::Closed) => return None,
                };
                if let Some(event) = event {
                    return Some((event, (agent, changes)));
                }
            }
        });
        let events = stream::once(async { first }).chain(rest);
        Ok(Response::new(Box::pin(events.map(|event| Ok((&event).into())))))
    }

    async fn record_plan(
        &self,
        request: Request<wire::RecordPlanRequest>,
    ) -> Result<Response<wire::RecordPlanReply>, Status> {
        let plan = request.into_inner().plan;
        let plan = plan.ok_or_else(|| Status::invalid_argument("field plan: missing"))?;
        let plan = Plan::try_from(plan).map_err(|error| malformed(&error))?;
        self.agent.record_plan(plan).await.map_err(|error| status(&error))?;
        Ok(Response::new(wire::RecordPlanReply {}))
    }

    async fn plans(
        &self,
        request: Request<wire::PlansRequest>,
    ) -> Result<Response<wire::PlansReply>, Status> {
        let pool = PoolName::new(request.into_inner().pool);
        let pool = pool.map_err(|e| Status::invalid_argument(format!("field pool: {e}")))?;
        let plans = self.agent.plans(&pool).await;
        Ok(Response::new(wire::PlansReply { plans: plans.iter().map(Into::into).collect() }))
    }

    async fn record_shape(
        &self,
        request: Request<wire::RecordShapeRequest>,
    ) -> Result<Response<wire::RecordShapeReply>, Status> {
        let wire::RecordShapeRequest { machine, shape } = request.into_inner();
        let machine = machine_name(machine)?;
        let shape = shape.ok_or_else(|| Status::invalid_argument("field shape: missing"))?;
        self.agent
            .record_shape(&machine, Shape::from(shape))
            .await
            .map_err(|error| status(&error))?;
        Ok(Response::new(wire::RecordShapeReply {}))
    }
}

impl Agent {
    fn changed(&self, name: &MachineName) -> Option<Event> {
        let machine = self.machine(name).ok()?;
        Some(Event::Changed(Box::new(machine.view(Clock.now()))))
    }
}

/// The user id of the process at the other end of the socket.
fn peer<T>(request: &Request<T>) -> Option<u32> {
    let info = request.extensions().get::<UdsConnectInfo>()?;
    info.peer_cred.map(|peer| peer.uid())
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
        RequestError::UnknownMachine { .. } => Status::not_found(text),
        RequestError::IdTaken { .. } => Status::already_exists(text),
        RequestError::PlanTooLarge { .. } => Status::invalid_argument(text),
        RequestError::Journal(_) => {
            tracing::error!(err = text, "journal can not be written");
            Status::internal(text)
        }
        RequestError::Stopping => Status::unavailable(text),
    }
}
