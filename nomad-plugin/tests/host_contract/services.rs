//! The services that every Go plugin has, on a server in this process.

use std::sync::Arc;

use nomad_plugin::host::wire::hashicorp::nomad_autoscaler::plugins::{
    base::proto::v1 as base, target::proto::v1 as target,
};
use nomad_plugin::host::wire::plugin;
use tokio_stream::StreamExt;
use tonic::Code;
use tonic::transport::Channel;
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::{HealthCheckRequest, health_client::HealthClient};
use tonic_reflection::pb::v1::{
    ServerReflectionRequest, server_reflection_client::ServerReflectionClient,
    server_reflection_request::MessageRequest, server_reflection_response::MessageResponse,
};

use crate::payloads::Rig;
use crate::rig::{Server, config, within};

/// What item 13 lists, for a plugin of `kind`.
pub(crate) fn listed(kind: &str) -> Vec<String> {
    let own = format!("hashicorp.nomad_autoscaler.plugins.{kind}");
    let mut names: Vec<String> = [
        "grpc.health.v1.Health",
        "grpc.reflection.v1.ServerReflection",
        "grpc.reflection.v1alpha.ServerReflection",
        "hashicorp.nomad_autoscaler.plugins.base.proto.v1.BasePluginService",
        own.as_str(),
        "plugin.GRPCBroker",
        "plugin.GRPCController",
        "plugin.GRPCStdio",
    ]
    .map(str::to_owned)
    .into();
    names.sort();
    names
}

async fn ask(channel: Channel, request: MessageRequest) -> MessageResponse {
    let mut client = ServerReflectionClient::new(channel);
    let request = ServerReflectionRequest { host: String::new(), message_request: Some(request) };
    let stream = client.server_reflection_info(tokio_stream::once(request)).await;
    let answer = within("an answer", stream.expect("a stream").into_inner().next()).await;
    answer.expect("one").expect("an answer").message_response.expect("a message")
}

/// The services that reflection v1 lists.
pub(crate) async fn services(channel: Channel) -> Vec<String> {
    match ask(channel, MessageRequest::ListServices(String::new())).await {
        MessageResponse::ListServicesResponse(list) => {
            list.service.into_iter().map(|service| service.name).collect()
        }
        other => panic!("{other:?}"),
    }
}

/// The same by v1alpha, which older tools speak.
async fn services_alpha(channel: Channel) -> Vec<String> {
    use tonic_reflection::pb::v1alpha as pb;
    let mut client = pb::server_reflection_client::ServerReflectionClient::new(channel);
    let list = pb::server_reflection_request::MessageRequest::ListServices(String::new());
    let request = pb::ServerReflectionRequest { host: String::new(), message_request: Some(list) };
    let stream = client.server_reflection_info(tokio_stream::once(request)).await;
    let answer = within("an answer", stream.expect("a stream").into_inner().next()).await;
    match answer.expect("one").expect("an answer").message_response.expect("a message") {
        pb::server_reflection_response::MessageResponse::ListServicesResponse(list) => {
            list.service.into_iter().map(|service| service.name).collect()
        }
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn item_13_reflection_lists_by_both_versions_what_a_go_plugin_lists() {
    let target = Server::target(&Rig::shared());
    let apm = Server::apm(&Rig::shared());
    for (server, kind) in
        [(&target, "target.proto.v1.TargetPluginService"), (&apm, "apm.proto.v1.APMPluginService")]
    {
        assert_eq!(services(server.channel().await).await, listed(kind));
        assert_eq!(services_alpha(server.channel().await).await, listed(kind));
    }
}

#[tokio::test]
async fn item_13_reflection_describes_every_service_that_it_lists() {
    let server = Server::target(&Rig::shared());
    for name in listed("target.proto.v1.TargetPluginService") {
        let asked = MessageRequest::FileContainingSymbol(name.clone());
        let answer = ask(server.channel().await, asked).await;
        assert!(matches!(answer, MessageResponse::FileDescriptorResponse(_)), "{name}: {answer:?}");
    }
}

#[tokio::test]
async fn item_13_health_knows_the_server_and_plugin_and_nothing_else() {
    let server = Server::target(&Rig::shared());
    let mut client = HealthClient::new(server.channel().await);
    for name in ["", "plugin"] {
        let request = HealthCheckRequest { service: name.to_owned() };
        let answer = client.check(request.clone()).await.expect("an answer").into_inner();
        assert_eq!(answer.status(), ServingStatus::Serving);
        let mut watch = client.watch(request).await.expect("a stream").into_inner();
        let first = watch.next().await.expect("one").expect("an answer");
        assert_eq!(first.status(), ServingStatus::Serving);
    }
    let request = HealthCheckRequest { service: "else".to_owned() };
    let error = client.check(request.clone()).await.unwrap_err();
    assert_eq!((error.code(), error.message()), (Code::NotFound, "unknown service"));
    let mut watch = client.watch(request).await.expect("a stream").into_inner();
    let first = watch.next().await.expect("one").expect("an answer");
    assert_eq!(first.status(), ServingStatus::ServiceUnknown);
}

#[tokio::test]
async fn item_14_broker_and_stdio_are_held_open_until_the_host_closes_them() {
    let mut server = Server::target(&Rig::shared());
    let channel = server.channel().await;
    let mut broker = plugin::grpc_broker_client::GrpcBrokerClient::new(channel.clone());
    let mut stdio = plugin::grpc_stdio_client::GrpcStdioClient::new(channel.clone());
    let (says, inbound) = tokio::sync::mpsc::channel(1);
    let inbound = tokio_stream::wrappers::ReceiverStream::new(inbound);
    let mut brokered = broker.start_stream(inbound).await.expect("a stream").into_inner();
    let mut printed = stdio.stream_stdio(()).await.expect("a stream").into_inner();
    // What the host says of further connections is taken and not answered.
    says.send(plugin::ConnInfo { service_id: 1, ..Default::default() }).await.expect("sent");
    let mut base = base::base_plugin_service_client::BasePluginServiceClient::new(channel);
    base.plugin_info(base::PluginInfoRequest {}).await.expect("info");
    tokio::select! {
        biased;
        said = brokered.next() => panic!("the broker said {said:?}"),
        said = printed.next() => panic!("stdio said {said:?}"),
        info = base.plugin_info(base::PluginInfoRequest {}) => { info.expect("info"); }
    }
    drop(says);
    assert!(within("the broker's end", brokered.next()).await.is_none(), "closed without an error");
    assert!(server.serving.try_join_next().is_none(), "stdio still holds the plugin");
    drop(printed);
    let served = within("the server's end", server.serving.join_next()).await;
    served.expect("a task").expect("no panic").expect("no error");
}

#[tokio::test]
async fn item_15_a_message_beyond_tonics_own_4_mib_is_taken() {
    let server = Server::target(&Rig::shared());
    let mut client = target::target_plugin_service_client::TargetPluginServiceClient::new(
        server.channel().await,
    );
    let big = "x".repeat(6 << 20);
    let request = target::StatusRequest { config: config(&[("pool", &big)]) };
    assert_eq!(client.status(request).await.expect("an answer").into_inner().count, 7);
}

#[tokio::test]
async fn item_16_shutdown_ends_the_server_though_a_call_hangs() {
    let rig = Rig::shared();
    let mut server = Server::target(&rig);
    let channel = server.channel().await;
    let mut controller = plugin::grpc_controller_client::GrpcControllerClient::new(channel);
    controller.shutdown(plugin::Empty {}).await.expect("an answer");
    within("the ending", server.ending.begun()).await;
    let served = within("the server's end", server.serving.join_next()).await;
    served.expect("a task").expect("no panic").expect("no error");
    assert_eq!(Arc::strong_count(&rig), 1, "the server keeps nothing of the plugin");
}
