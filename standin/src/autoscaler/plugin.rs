//! A launched plugin, by the contract of go-plugin: cookie, handshake line, the streams that a host holds open,
//! name and kind, configuration, calls, and the end.

use std::path::Path;
use std::process::Stdio;
use std::time::{Duration, SystemTime};

use anyhow::{Context as _, Result, ensure};
use nomad_plugin::host::wire::hashicorp::nomad_autoscaler::plugins::{
    apm::proto::v1 as apm, base::proto::v1 as base, shared::proto::v1 as shared,
    target::proto::v1 as target,
};
use nomad_plugin::host::wire::plugin;
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::process::{Child, Command};
use tokio::task::JoinSet;
use tonic::transport::{Channel, Endpoint};

use super::files::{Config, PluginBlock};

use apm::apm_plugin_service_client::ApmPluginServiceClient as ApmClient;
use base::base_plugin_service_client::BasePluginServiceClient as BaseClient;
use target::target_plugin_service_client::TargetPluginServiceClient as TargetClient;

/// What a host sets for a plugin that it launches, beside its own environment.
const ENVIRONMENT: [(&str, &str); 4] = [
    (
        "NOMAD_AUTOSCALER_PLUGIN_MAGIC_COOKIE",
        "e082fa04d587a6525d683666fa253d6afda00f20c122c54a80a3ed57fec99ff3",
    ),
    ("PLUGIN_MIN_PORT", "10000"),
    ("PLUGIN_MAX_PORT", "25000"),
    ("PLUGIN_PROTOCOL_VERSIONS", "1"),
];

/// How long a plugin may take until its handshake line: the host's own bound.
const START_WAIT: Duration = Duration::from_secs(60);

/// How long a plugin may take to end before it is killed: the host's own bound.
const END_WAIT: Duration = Duration::from_secs(2);

/// Where the host passes the deadline of a call.
const TIMEOUT_KEY: &str = "_nomad_autoscaler_grpc_timeout";

/// A plugin that runs.
#[derive(Debug)]
pub(super) struct Plugin {
    pub(super) kind: String,
    pub(super) name: String,
    channel: Channel,
    child: Child,
    /// The streams that every host opens and holds.
    _held: JoinSet<()>,
}

impl Plugin {
    /// Launches the plugin of a block and configures it.
    ///
    /// # Errors
    /// Where it does not start, is another than the block says, or refuses its configuration.
    pub(super) async fn launch(block: &PluginBlock, folder: &Path, nomad: &str) -> Result<Self> {
        let mut child = Command::new(folder.join(&block.driver))
            .args(&block.args)
            .envs(ENVIRONMENT)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .with_context(|| format!("can not start {}", folder.join(&block.driver).display()))?;
        let mut lines = BufReader::new(child.stdout.take().context("piped")?).lines();
        let line = tokio::time::timeout(START_WAIT, lines.next_line()).await??;
        let line = line.context("it ended without a handshake line")?;
        let socket = socket_of(&line).with_context(|| format!("handshake line {line:?}"))?;
        let endpoint = Endpoint::from_shared(format!("unix:{socket}"))?;
        let channel = endpoint.origin("http://unused".parse()?).connect().await?;
        let held = hold(&channel);
        let plugin = Self {
            kind: block.kind.clone(),
            name: block.name.clone(),
            channel,
            child,
            _held: held,
        };
        plugin.introduce(block, nomad).await?;
        Ok(plugin)
    }

    async fn introduce(&self, block: &PluginBlock, nomad: &str) -> Result<()> {
        let mut client = BaseClient::new(self.channel.clone());
        let info = client.plugin_info(base::PluginInfoRequest {}).await?.into_inner();
        let kind = match block.kind.as_str() {
            "target" => base::PluginType::Target,
            _ => base::PluginType::Apm,
        };
        ensure!(
            info.name == block.driver && info.r#type() == kind,
            "remote info doesn't match local config: {info:?}"
        );
        let mut config = block.config.clone();
        config.entry("nomad_address".to_owned()).or_insert_with(|| nomad.to_owned());
        client.set_config(base::SetConfigRequest { config }).await?;
        Ok(())
    }

    /// Asks for the count of a target's machines; none where it is not ready.
    pub(super) async fn status(&self, config: &Config, deadline: Duration) -> Result<Option<i64>> {
        let mut config = config.clone();
        config.insert(TIMEOUT_KEY.to_owned(), format!("{}ms", deadline.as_millis()));
        let mut client = TargetClient::new(self.channel.clone());
        let asking = client.status(target::StatusRequest { config });
        let status = tokio::time::timeout(deadline, asking).await??.into_inner();
        Ok(status.ready.then_some(status.count))
    }

    /// Orders a count.
    pub(super) async fn scale(&self, config: &Config, action: shared::ScalingAction) -> Result<()> {
        let mut client = TargetClient::new(self.channel.clone());
        client.scale(target::ScaleRequest { action: Some(action), config: config.clone() }).await?;
        Ok(())
    }

    /// The newest value of a query, as of now.
    pub(super) async fn query(&self, query: &str, now: SystemTime) -> Result<f64> {
        let at = Some(prost_types::Timestamp::from(now));
        let time_range = Some(shared::TimeRange { to: at, from: at });
        let mut client = ApmClient::new(self.channel.clone());
        let request = apm::QueryRequest { query: query.to_owned(), time_range };
        let answer = client.query(request).await?.into_inner();
        let newest = answer.timestamped_metric.last().context("no metrics available")?;
        Ok(newest.value)
    }

    /// Ends it as a host does: asked, and after a while killed.
    pub(super) async fn end(mut self) -> Result<()> {
        let mut client =
            plugin::grpc_controller_client::GrpcControllerClient::new(self.channel.clone());
        // A plugin that ends may cut its answer to this off.
        client.shutdown(plugin::Empty {}).await.ok();
        if tokio::time::timeout(END_WAIT, self.child.wait()).await.is_err() {
            self.child.kill().await?;
        }
        Ok(())
    }
}

/// The socket that a handshake line names: `1|1|unix|PATH|grpc|`.
fn socket_of(line: &str) -> Option<&str> {
    match line.trim().split('|').collect::<Vec<_>>().as_slice() {
        ["1", "1", "unix", socket, "grpc", ..] => Some(socket),
        _ => None,
    }
}

/// Opens the streams by which a plugin sees that its host lives.
fn hold(channel: &Channel) -> JoinSet<()> {
    let mut held = JoinSet::new();
    let mut broker = plugin::grpc_broker_client::GrpcBrokerClient::new(channel.clone());
    held.spawn(async move {
        let Ok(mut stream) = broker.start_stream(tokio_stream::pending()).await else { return };
        while let Ok(Some(_)) = stream.get_mut().message().await {}
    });
    let mut stdio = plugin::grpc_stdio_client::GrpcStdioClient::new(channel.clone());
    held.spawn(async move {
        let Ok(mut stream) = stdio.stream_stdio(()).await else { return };
        while let Ok(Some(_)) = stream.get_mut().message().await {}
    });
    held
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_handshake_line_names_its_socket_and_another_none() {
        assert_eq!(socket_of("1|1|unix|/tmp/plugin1|grpc|\n"), Some("/tmp/plugin1"));
        for wrong in
            ["", "hello", "1|2|unix|/tmp/p|grpc|", "1|1|tcp|/tmp/p|grpc|", "1|1|unix|/tmp/p"]
        {
            assert_eq!(socket_of(wrong), None, "{wrong}");
        }
    }
}
