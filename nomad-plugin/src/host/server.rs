//! The gRPC server on the socket: every service that a Go plugin has, and reflection over them.

use std::sync::Arc;

use tokio::net::UnixListener;
use tokio_stream::wrappers::UnixListenerStream;
use tonic::service::Routes;
use tonic::transport::Server;
use tonic_health::pb::health_server::{self, HealthServer};
use tonic_reflection::server::Builder;

use super::answers::{ApmSide, Base, Side, TargetSide};
use super::ending::{Ending, Lines};
use super::go_plugin::{Broker, Controller, HealthAnswers, Stdio};
use super::wire::hashicorp::nomad_autoscaler::plugins::base::proto::v1::base_plugin_service_server::{self, BasePluginServiceServer};
use super::wire::plugin::grpc_broker_server::GrpcBrokerServer;
use super::wire::plugin::grpc_controller_server::GrpcControllerServer;
use super::wire::plugin::grpc_stdio_server::GrpcStdioServer;
use super::{Apm, Target, wire};

/// The largest message that is taken, as go-plugin sets it: the host's own bound, `MaxInt32`.
pub(super) const MESSAGE_MAX: usize = 0x7fff_ffff;

/// Why the server could not begin, or ended by itself.
#[derive(Debug, thiserror::Error)]
pub enum ServerError {
    /// Our descriptors do not fit together: a bug of ours.
    #[error("building the reflection service")]
    Reflection(#[from] tonic_reflection::server::Error),
    /// The socket failed.
    #[error("serving gRPC on the plugin's socket")]
    Transport(#[from] tonic::transport::Error),
}

/// Serves a target on `listener` until `ending` has begun and open calls have ended.
///
/// Without launch, handshake and signals: for tests that stand in the host's place.
pub async fn converse_target<T: Target>(
    name: &str,
    target: Arc<T>,
    listener: UnixListener,
    ending: Ending,
) -> Result<(), ServerError> {
    converse(name, TargetSide(target), listener, ending).await
}

/// Serves an APM on `listener`; see [`converse_target`].
pub async fn converse_apm<A: Apm>(
    name: &str,
    apm: Arc<A>,
    listener: UnixListener,
    ending: Ending,
) -> Result<(), ServerError> {
    converse(name, ApmSide(apm), listener, ending).await
}

pub(super) async fn converse<S: Side>(
    name: &str,
    side: S,
    listener: UnixListener,
    ending: Ending,
) -> Result<(), ServerError> {
    let routes = routes(name, side, &ending)?;
    let incoming = UnixListenerStream::new(listener);
    let ended = async move { ending.begun().await };
    Server::builder().add_routes(routes).serve_with_incoming_shutdown(incoming, ended).await?;
    Ok(())
}

fn routes<S: Side>(name: &str, side: S, ending: &Ending) -> Result<Routes, ServerError> {
    let lines = Lines::new(ending.clone());
    let ending = || ending.clone();
    let health = HealthServer::new(HealthAnswers { ending: ending() });
    let broker = GrpcBrokerServer::new(Broker { ending: ending(), lines: lines.clone() });
    let controller = GrpcControllerServer::new(Controller { ending: ending() });
    let stdio = GrpcStdioServer::new(Stdio { ending: ending(), lines });
    let base = BasePluginServiceServer::new(Base { name: name.to_owned(), side: side.clone() });
    let mut routes = Routes::builder();
    routes
        .add_service(health.max_decoding_message_size(MESSAGE_MAX))
        .add_service(broker.max_decoding_message_size(MESSAGE_MAX))
        .add_service(controller.max_decoding_message_size(MESSAGE_MAX))
        .add_service(stdio.max_decoding_message_size(MESSAGE_MAX))
        .add_service(base.max_decoding_message_size(MESSAGE_MAX))
        .add_service(reflection::<S>().build_v1()?)
        .add_service(reflection::<S>().build_v1alpha()?);
    side.add_to(&mut routes);
    Ok(routes.routes())
}

/// Lists what a Go plugin of the kind lists, in its order, and describes it.
fn reflection<S: Side>() -> Builder<'static> {
    let mut listed = [
        health_server::SERVICE_NAME,
        "grpc.reflection.v1.ServerReflection",
        "grpc.reflection.v1alpha.ServerReflection",
        base_plugin_service_server::SERVICE_NAME,
        S::SERVICE,
        wire::plugin::grpc_broker_server::SERVICE_NAME,
        wire::plugin::grpc_controller_server::SERVICE_NAME,
        wire::plugin::grpc_stdio_server::SERVICE_NAME,
    ];
    listed.sort_unstable();
    let described = [
        wire::DESCRIPTORS,
        tonic_health::pb::FILE_DESCRIPTOR_SET,
        tonic_reflection::pb::v1::FILE_DESCRIPTOR_SET,
        tonic_reflection::pb::v1alpha::FILE_DESCRIPTOR_SET,
    ];
    let builder = described
        .into_iter()
        .fold(Builder::configure(), Builder::register_encoded_file_descriptor_set);
    listed.into_iter().fold(builder, Builder::with_service_name)
}
