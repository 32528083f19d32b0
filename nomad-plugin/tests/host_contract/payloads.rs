//! What the plugin's own calls carry, and what a plugin's faults and panics become.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::{Duration, UNIX_EPOCH};

use nomad_plugin::host::wire::hashicorp::nomad_autoscaler::plugins::{
    apm::proto::v1 as apm, base::proto::v1 as base, shared::proto::v1 as shared,
    target::proto::v1 as target,
};
use nomad_plugin::host::{
    Apm, Config, Direction, Fault, Point, ScalingAction, Target, TargetStatus, TimeRange,
};
use prost::Message;
use tokio::sync::Notify;
use tonic::transport::Channel;
use tonic::{Code, Status};

use crate::rig::{Server, action, config, until, within};

/// A plugin that keeps what it was asked and does what a config key `do` says.
#[derive(Default)]
pub(crate) struct Rig {
    pub(crate) configs: Mutex<Vec<Config>>,
    pub(crate) statuses: Mutex<Vec<Config>>,
    pub(crate) scales: Mutex<Vec<(ScalingAction, Config)>>,
    queries: Mutex<Vec<(String, TimeRange)>>,
    release: Notify,
}

impl Rig {
    pub(crate) fn shared() -> Arc<Self> {
        Arc::default()
    }

    async fn obey(&self, word: Option<&String>) -> Result<(), Fault> {
        match word.map(String::as_str) {
            Some("panic") => panic!("read: unexpected EOF"),
            Some("fail") => Err(Fault::failed("dial: connection refused, then EOF")),
            Some("no-op") => Err(Fault::no_op("already there")),
            Some("wait") => {
                self.release.notified().await;
                Ok(())
            }
            _ => Ok(()),
        }
    }
}

impl Target for Rig {
    async fn set_config(&self, config: Config) -> Result<(), Fault> {
        self.configs.lock().expect("not poisoned").push(config.clone());
        self.obey(config.get("do")).await
    }

    async fn status(&self, config: Config) -> Result<TargetStatus, Fault> {
        self.statuses.lock().expect("not poisoned").push(config.clone());
        self.obey(config.get("do")).await?;
        let meta = BTreeMap::from([("pool".to_owned(), "rack".to_owned())]);
        Ok(TargetStatus { ready: true, count: 7, meta })
    }

    async fn scale(&self, action: ScalingAction, config: Config) -> Result<(), Fault> {
        self.scales.lock().expect("not poisoned").push((action, config.clone()));
        self.obey(config.get("do")).await
    }

    async fn stop(&self) {}
}

impl Apm for Rig {
    async fn set_config(&self, _config: Config) -> Result<(), Fault> {
        Ok(())
    }

    async fn query(&self, query: String, range: TimeRange) -> Result<Vec<Point>, Fault> {
        self.queries.lock().expect("not poisoned").push((query.clone(), range));
        self.obey(query.strip_prefix("do ").map(str::to_owned).as_ref()).await?;
        Ok(vec![Point { at: range.to, value: 2.5 }])
    }

    async fn stop(&self) {}
}

type TargetClient = target::target_plugin_service_client::TargetPluginServiceClient<Channel>;
type ApmClient = apm::apm_plugin_service_client::ApmPluginServiceClient<Channel>;
type BaseClient = base::base_plugin_service_client::BasePluginServiceClient<Channel>;

async fn scale(
    client: &mut TargetClient,
    action: Option<shared::ScalingAction>,
    word: &str,
) -> Result<(), Status> {
    let config = config(&[("pool", "rack"), ("do", word)]);
    client.scale(target::ScaleRequest { action, config }).await.map(|_| ())
}

#[tokio::test]
async fn items_22_and_23_config_arrives_again_while_another_call_runs() {
    let rig = Rig::shared();
    let server = Server::target(&rig);
    let channel = server.channel().await;
    let mut waiting = TargetClient::new(channel.clone());
    let status = target::StatusRequest { config: config(&[("do", "wait")]) };
    let mut status = tokio::task::JoinSet::from_iter([async move { waiting.status(status).await }]);
    until("the status call runs", || !rig.statuses.lock().expect("not poisoned").is_empty()).await;
    let mut client = BaseClient::new(channel);
    for agents in ["unix:/a", "unix:/b"] {
        let config = config(&[("agents", agents), ("nomad_address", "http://n")]);
        within("an answer", client.set_config(base::SetConfigRequest { config }))
            .await
            .expect("ok");
    }
    let seen: Vec<_> =
        rig.configs.lock().expect("not poisoned").iter().map(|c| c["agents"].clone()).collect();
    assert_eq!(seen, ["unix:/a", "unix:/b"]);
    rig.release.notify_one();
    let status = within("the status", status.join_next()).await.expect("a task").expect("no panic");
    assert_eq!(status.expect("an answer").into_inner().count, 7);
}

#[tokio::test]
async fn item_24_a_panic_is_an_internal_error_and_the_plugin_lives_on() {
    let server = Server::target(&Rig::shared());
    let mut client = TargetClient::new(server.channel().await);
    for _ in 0..3 {
        let request = target::StatusRequest { config: config(&[("do", "panic")]) };
        let error = client.status(request).await.unwrap_err();
        assert_eq!(error.code(), Code::Internal);
        assert!(error.message().contains("panicked"), "{error}");
        assert!(!error.message().contains("EOF"), "item 29 holds for panics: {error}");
        let request = target::StatusRequest { config: config(&[]) };
        client.status(request).await.expect("the next call is answered");
    }
}

/// Written by hand from the host's field numbers; never to be edited.
#[test]
fn item_25_the_bytes_on_the_wire_are_the_hosts() {
    let scale = b"\x0a\x2a\x08\x03\x12\x07because\x18\x01\x20\x03\x2a\x19\x12\x17\
        {\"nomad_policy_id\":\"p\"}\x12\x0c\x0a\x04pool\x12\x04rack";
    let request = target::ScaleRequest::decode(&scale[..]).expect("a request");
    let mut expected = action(3, 3, Some("{\"nomad_policy_id\":\"p\"}"));
    expected.error = true;
    assert_eq!(request.action, Some(expected));
    assert_eq!(request.config, config(&[("pool", "rack")]));
    let status = target::StatusResponse { ready: true, count: 5, meta: config(&[("a", "b")]) };
    assert_eq!(status.encode_to_vec(), b"\x08\x01\x10\x05\x1a\x06\x0a\x01a\x12\x01b");
    let info = base::PluginInfoResponse { name: "l".to_owned(), r#type: 3 };
    assert_eq!(info.encode_to_vec(), b"\x0a\x01l\x10\x03");
    let query = b"\x0a\x01q\x12\x0a\x0a\x02\x08\x02\x12\x04\x08\x01\x10\x05";
    let query = apm::QueryRequest::decode(&query[..]).expect("a request");
    let range = query.time_range.expect("a range");
    let stamp = |seconds, nanos| Some(prost_types::Timestamp { seconds, nanos });
    assert_eq!((query.query.as_str(), range.to, range.from), ("q", stamp(2, 0), stamp(1, 5)));
    let metric = shared::TimestampedMetric { timestamp: stamp(2, 0), value: 1.0 };
    let answer = apm::QueryMultipleResponse {
        timestamped_metric: vec![apm::QueryResponse { timestamped_metric: vec![metric] }],
    };
    let bytes = b"\x0a\x0f\x0a\x0d\x0a\x02\x08\x02\x11\0\0\0\0\0\0\xf0\x3f";
    assert_eq!(answer.encode_to_vec(), bytes);
}

#[tokio::test]
async fn items_26_and_33_an_action_arrives_whole_with_its_meta_from_raw_json() {
    let rig = Rig::shared();
    let server = Server::target(&rig);
    let mut client = TargetClient::new(server.channel().await);
    let meta = r#"{"nomad_policy_id":"p","nomad_autoscaler.count.capped":true}"#;
    scale(&mut client, Some(action(5, 3, Some(meta))), "").await.expect("ok");
    scale(&mut client, Some(action(0, 2, None)), "").await.expect("ok");
    scale(&mut client, Some(action(1, 1, Some("null"))), "").await.expect("ok, as in Go");
    let scales = rig.scales.lock().expect("not poisoned");
    let (first, policy) = &scales[0];
    assert_eq!((first.count, first.direction), (5, Direction::Up));
    assert_eq!((first.reason.as_str(), first.error), ("because", false));
    assert_eq!(first.meta["nomad_policy_id"], "p");
    assert_eq!(first.meta["nomad_autoscaler.count.capped"], true);
    assert_eq!(policy["pool"], "rack");
    assert_eq!((scales[1].0.direction, scales[1].0.meta.len()), (Direction::Down, 0));
    assert_eq!(scales[2].0.direction, Direction::None);
}

#[tokio::test]
async fn item_26_an_action_that_go_can_not_read_reaches_no_plugin() {
    let rig = Rig::shared();
    let server = Server::target(&rig);
    let mut client = TargetClient::new(server.channel().await);
    for (action, part) in [
        (Some(action(1, 0, None)), "scale direction is unknown"),
        (Some(action(1, 9, None)), "found 9"),
        (Some(action(1, 3, Some("not json"))), "no JSON object"),
        (Some(action(1, 3, Some("[1]"))), "no JSON object"),
        (Some(action(1, 3, Some(""))), "no JSON object"),
        (None, "found nothing"),
    ] {
        let error = scale(&mut client, action, "").await.unwrap_err();
        assert_eq!(error.code(), Code::Unknown, "{error}");
        assert!(error.message().contains(part), "{error}");
        assert!(!error.message().contains("EOF"), "{error}");
    }
    assert!(rig.scales.lock().expect("not poisoned").is_empty());
}

#[tokio::test]
async fn item_27_a_status_carries_the_policys_keys_and_answers_ready_count_and_meta() {
    let rig = Rig::shared();
    let server = Server::target(&rig);
    let mut client = TargetClient::new(server.channel().await);
    let config = config(&[("pool", "rack"), ("_nomad_autoscaler_grpc_timeout", "7.5s")]);
    let answer = client.status(target::StatusRequest { config: config.clone() }).await;
    let answer = answer.expect("an answer").into_inner();
    assert_eq!((answer.ready, answer.count, answer.meta["pool"].as_str()), (true, 7, "rack"));
    assert_eq!(*rig.statuses.lock().expect("not poisoned"), [config]);
}

#[tokio::test]
async fn items_29_and_31_faults_become_gos_codes_without_what_the_host_takes_for_fatal() {
    let server = Server::target(&Rig::shared());
    let mut client = TargetClient::new(server.channel().await);
    let failed = scale(&mut client, Some(action(1, 3, None)), "fail").await.unwrap_err();
    assert_eq!(failed.code(), Code::Unknown);
    assert_eq!(failed.message(), "dial: connection was refused, then end of file");
    let no_op = scale(&mut client, Some(action(1, 3, None)), "no-op").await.unwrap_err();
    assert_eq!((no_op.code(), no_op.message()), (Code::Aborted, "already there"));
    assert!(no_op.details().is_empty());
}

#[tokio::test]
async fn item_32_a_dry_run_is_known_by_its_count_and_by_its_meta() {
    let rig = Rig::shared();
    let server = Server::target(&rig);
    let mut client = TargetClient::new(server.channel().await);
    let said = r#"{"nomad_autoscaler.dry_run":true,"nomad_autoscaler.dry_run.count":3}"#;
    for (count, meta) in [(-1, None), (-1, Some(said)), (3, Some(said)), (3, None)] {
        scale(&mut client, Some(action(count, 1, meta)), "").await.expect("ok");
    }
    let scales = rig.scales.lock().expect("not poisoned");
    let dry: Vec<_> = scales.iter().map(|(action, _)| action.is_dry_run()).collect();
    assert_eq!(dry, [true, true, true, false]);
}

fn instant_query(query: &str) -> apm::QueryRequest {
    let now = Some(prost_types::Timestamp { seconds: 1_795_374_367, nanos: 5 });
    let time_range = Some(shared::TimeRange { to: now, from: now });
    apm::QueryRequest { query: query.to_owned(), time_range }
}

#[tokio::test]
async fn item_38_a_query_arrives_verbatim_and_query_multiple_answers_the_same_series() {
    let rig = Rig::shared();
    let server = Server::apm(&rig);
    let mut client = ApmClient::new(server.channel().await);
    let request = instant_query("pending \"rack\" ü");
    let answer = client.query(request.clone()).await.expect("an answer").into_inner();
    let expected = shared::TimestampedMetric {
        timestamp: request.time_range.expect("a range").to,
        value: 2.5,
    };
    assert_eq!(answer.timestamped_metric, [expected]);
    let apm::QueryRequest { query, time_range } = request;
    let multiple = apm::QueryMultipleRequest { query: query.clone(), time_range };
    let multiple = client.query_multiple(multiple).await.expect("an answer").into_inner();
    assert_eq!(multiple.timestamped_metric, [answer]);
    let at = UNIX_EPOCH + Duration::new(1_795_374_367, 5);
    let asked = (query, TimeRange { from: at, to: at });
    assert_eq!(*rig.queries.lock().expect("not poisoned"), [asked.clone(), asked]);
}

#[tokio::test]
async fn items_24_and_29_queries_that_fail_panic_or_lack_a_range_are_errors() {
    let server = Server::apm(&Rig::shared());
    let mut client = ApmClient::new(server.channel().await);
    let failed = client.query(instant_query("do fail")).await.unwrap_err();
    assert_eq!(failed.code(), Code::Unknown);
    assert!(!failed.message().contains("EOF") && !failed.message().contains("connection refused"));
    let panicked = client.query(instant_query("do panic")).await.unwrap_err();
    assert_eq!(panicked.code(), Code::Internal);
    let rangeless = apm::QueryRequest { query: "q".to_owned(), time_range: None };
    let error = client.query(rangeless).await.unwrap_err();
    assert!(error.message().contains("time_range.from: found nothing"), "{error}");
}
