//! In the autoscaler's place: starts the plugin, configures it, asks for its status and has it scale.

use std::collections::BTreeMap;
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context as _, Result};
use fleet::NodeCount;
use nomad_plugin::host::wire::hashicorp::nomad_autoscaler::plugins::{
    base::proto::v1 as base, shared::proto::v1 as shared, target::proto::v1 as target,
};
use nomad_plugin::host::wire::plugin;
use testkit::programs::program;
use testkit::rig::Rig;
use testkit::wait::{Probe, eventually};
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::process::{Child, Command};
use tonic::transport::{Channel, Endpoint};

use target::target_plugin_service_client::TargetPluginServiceClient as TargetClient;

/// Longer than a plugin needs to adopt a pool.
const PATIENCE: Duration = Duration::from_secs(30);

/// What tells a plugin that a host has started it (go-plugin's handshake).
const COOKIE: (&str, &str) = (
    "NOMAD_AUTOSCALER_PLUGIN_MAGIC_COOKIE",
    "e082fa04d587a6525d683666fa253d6afda00f20c122c54a80a3ed57fec99ff3",
);

/// The plugin, as its host has it.
pub(crate) struct Host {
    channel: Channel,
    target: TargetClient<Channel>,
    plugin: Child,
}

impl Host {
    /// Starts `lamplighter target` for the rig's pool, and waits until it is ready.
    pub(crate) async fn start(rig: &Rig) -> Result<Self> {
        let lamplighter = program("lamplighter").context("the bench's first lines say how")?;
        let mut plugin = Command::new(lamplighter)
            .arg("target")
            .env(COOKIE.0, COOKIE.1)
            .env("PLUGIN_PROTOCOL_VERSIONS", "1")
            .env("TMPDIR", &rig.dir)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(std::fs::File::create(rig.dir.join("autoscaler.log"))?)
            .kill_on_drop(true)
            .spawn()?;
        let mut stdout = BufReader::new(plugin.stdout.take().context("piped")?).lines();
        let line = stdout.next_line().await?.context("a handshake line")?;
        let socket = line.split('|').nth(3).context("a handshake line")?;
        let channel = Endpoint::from_shared(format!("unix:{socket}"))?.connect().await?;
        let agents = rig.agents.clone();
        let config = BTreeMap::from([
            ("agents".to_owned(), agents),
            ("nomad_address".to_owned(), rig.server.address()),
        ]);
        let mut base =
            base::base_plugin_service_client::BasePluginServiceClient::new(channel.clone());
        base.set_config(base::SetConfigRequest { config }).await?;
        let mut host = Self { target: TargetClient::new(channel.clone()), channel, plugin };
        host.counts(NodeCount(0)).await?;
        Ok(host)
    }

    /// Waits until the plugin is ready and tells this count.
    pub(crate) async fn counts(&mut self, count: NodeCount) -> Result<()> {
        eventually(&format!("a count of {count}"), PATIENCE, async || {
            let mut target = self.target.clone();
            let status = target.status(target::StatusRequest { config: block() }).await?;
            let status = status.into_inner();
            let met = status.ready && status.count == i64::from(count.0);
            Ok(Probe::of(met.then_some(()), || format!("{status:?}")))
        })
        .await
    }

    /// One `Scale` call, up to its answer.
    pub(crate) async fn scale(&mut self, count: NodeCount) -> Result<()> {
        let action = shared::ScalingAction {
            count: count.0.into(),
            reason: "measured".to_owned(),
            error: false,
            direction: shared::ScalingDirection::Up.into(),
            meta: None,
        };
        let request = target::ScaleRequest { action: Some(action), config: block() };
        self.target.scale(request).await?;
        Ok(())
    }

    /// Ends the plugin as its host does.
    pub(crate) async fn end(mut self) -> Result<()> {
        let mut controller =
            plugin::grpc_controller_client::GrpcControllerClient::new(self.channel);
        // A plugin that ends may cut its answer to this off.
        controller.shutdown(plugin::Empty {}).await.ok();
        self.plugin.wait().await?;
        Ok(())
    }
}

/// The policy's target block: nothing that was lit goes dark while it is measured.
fn block() -> BTreeMap<String, String> {
    [("pool", "rack"), ("scale_in_window", "1h"), ("idle_time", "1h"), ("min_on", "1h")]
        .map(|(key, value)| (key.to_owned(), value.to_owned()))
        .into()
}
