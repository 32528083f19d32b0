//! The services that every Go plugin has besides its own: health, broker, controller and stdio.

use std::marker::PhantomData;
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio_stream::{Stream, StreamExt};
use tonic::{Request, Response, Status, Streaming};
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_server::Health;
use tonic_health::pb::{HealthCheckRequest, HealthCheckResponse};

use super::ending::{Ending, Line, Lines};
use super::wire::plugin as wire;

/// The name that go-plugin gives itself in the health service, beside the empty one.
const HEALTH_NAME: &str = "plugin";

/// A stream that says nothing and ends when its future does.
pub(super) struct Silence<T> {
    over: Option<Pin<Box<dyn Future<Output = ()> + Send>>>,
    says: PhantomData<fn() -> T>,
}

impl<T> Silence<T> {
    fn until(over: impl Future<Output = ()> + Send + 'static) -> Self {
        Self { over: Some(Box::pin(over)), says: PhantomData }
    }
}

impl<T> Stream for Silence<T> {
    type Item = Result<T, Status>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        if let Some(over) = &mut self.over {
            std::task::ready!(over.as_mut().poll(context));
            self.over = None;
        }
        Poll::Ready(None)
    }
}

/// Answers health for the server as a whole and for go-plugin's name.
pub(super) struct HealthAnswers {
    pub(super) ending: Ending,
}

#[tonic::async_trait]
impl Health for HealthAnswers {
    async fn check(
        &self,
        request: Request<HealthCheckRequest>,
    ) -> Result<Response<HealthCheckResponse>, Status> {
        match request.get_ref().service.as_str() {
            "" | HEALTH_NAME => Ok(Response::new(health(ServingStatus::Serving))),
            _ => Err(Status::not_found("unknown service")),
        }
    }

    type WatchStream = Pin<Box<dyn Stream<Item = Result<HealthCheckResponse, Status>> + Send>>;

    async fn watch(
        &self,
        request: Request<HealthCheckRequest>,
    ) -> Result<Response<Self::WatchStream>, Status> {
        let status = match request.get_ref().service.as_str() {
            "" | HEALTH_NAME => ServingStatus::Serving,
            _ => ServingStatus::ServiceUnknown,
        };
        let ending = self.ending.clone();
        let rest = Silence::until(async move { ending.begun().await });
        Ok(Response::new(Box::pin(tokio_stream::once(Ok(health(status))).chain(rest))))
    }
}

fn health(status: ServingStatus) -> HealthCheckResponse {
    HealthCheckResponse { status: status.into() }
}

/// Holds the broker's stream. No further connection is ever offered, and knocks are not answered.
pub(super) struct Broker {
    pub(super) ending: Ending,
    pub(super) lines: Lines,
}

#[tonic::async_trait]
impl wire::grpc_broker_server::GrpcBroker for Broker {
    type StartStreamStream = Silence<wire::ConnInfo>;

    async fn start_stream(
        &self,
        request: Request<Streaming<wire::ConnInfo>>,
    ) -> Result<Response<Self::StartStreamStream>, Status> {
        let mut inbound = request.into_inner();
        let line = self.lines.opened(Line::Broker);
        let ending = self.ending.clone();
        Ok(Response::new(Silence::until(async move {
            let _line = line;
            let closed = async { while let Some(Ok(_)) = inbound.next().await {} };
            tokio::select! {
                () = ending.begun() => {}
                () = closed => {}
            }
        })))
    }
}

/// Ends the plugin when the host says so.
pub(super) struct Controller {
    pub(super) ending: Ending,
}

#[tonic::async_trait]
impl wire::grpc_controller_server::GrpcController for Controller {
    async fn shutdown(
        &self,
        _request: Request<wire::Empty>,
    ) -> Result<Response<wire::Empty>, Status> {
        self.ending.begin("the host said Shutdown");
        Ok(Response::new(wire::Empty {}))
    }
}

/// Holds the stdio stream. It carries nothing: after the handshake this process prints nothing,
/// and logs go to stderr itself, as those of Go plugins do.
pub(super) struct Stdio {
    pub(super) ending: Ending,
    pub(super) lines: Lines,
}

#[tonic::async_trait]
impl wire::grpc_stdio_server::GrpcStdio for Stdio {
    type StreamStdioStream = Silence<wire::StdioData>;

    async fn stream_stdio(
        &self,
        _request: Request<()>,
    ) -> Result<Response<Self::StreamStdioStream>, Status> {
        let line = self.lines.opened(Line::Stdio);
        let ending = self.ending.clone();
        Ok(Response::new(Silence::until(async move {
            let _line = line;
            ending.begun().await;
        })))
    }
}
