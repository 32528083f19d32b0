//! Start to handshake, and resident memory once the plugin has answered, of `lamplighter target` beside Go plugins.
//!
//! `cargo bench -p nomad-plugin --bench handshake`; `-- N` for N runs of each. Runs are interleaved, so
//! that whatever else the machine does hits all of them. LAMPLIGHTER_GO_TARGET may name one more Go plugin,
//! such as the module's own `plugins/builtin/target/aws-asg`, built.
#![expect(clippy::print_stdout, reason = "a benchmark prints its result")]

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use nomad_plugin::host::wire::hashicorp::nomad_autoscaler::plugins::{
    base::proto::v1 as base, target::proto::v1 as target,
};
use nomad_plugin::host::wire::plugin;
use testkit::hosts;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, Command};
use tokio::time::Instant;
use tonic::transport::{Channel, Endpoint};
use tonic_health::pb::{HealthCheckRequest, health_client::HealthClient};

/// Enough for a steady median on a loaded machine, in a few seconds.
const RUNS: usize = 40;

/// Longer than any of them needs for any step.
const PATIENCE: Duration = Duration::from_secs(10);

struct Contender {
    name: &'static str,
    program: PathBuf,
    args: &'static [&'static str],
    answers_status: bool,
    handshakes: Vec<Duration>,
    resident_kib: Vec<u64>,
}

impl Contender {
    fn new(name: &'static str, program: PathBuf, args: &'static [&'static str]) -> Self {
        let answers_status = !args.is_empty();
        Self {
            name,
            program,
            args,
            answers_status,
            handshakes: Vec::new(),
            resident_kib: Vec::new(),
        }
    }

    async fn run(&mut self) -> Result<()> {
        let dir = tempfile::tempdir()?;
        let started = Instant::now();
        let mut child = Command::new(&self.program)
            .args(self.args)
            .env("NOMAD_AUTOSCALER_PLUGIN_MAGIC_COOKIE", COOKIE)
            .env("PLUGIN_PROTOCOL_VERSIONS", "1")
            .env("TMPDIR", dir.path())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .kill_on_drop(true)
            .spawn()?;
        let mut stdout = BufReader::new(child.stdout.take().context("piped")?).lines();
        let line = stdout.next_line().await?.context("a handshake line")?;
        self.handshakes.push(started.elapsed());
        let socket = line.split('|').nth(3).context("a handshake line")?;
        let channel = Endpoint::from_shared(format!("unix:{socket}"))?.connect().await?;
        self.ask(&channel).await?;
        self.resident_kib.push(resident_kib(&child)?);
        end(channel, child).await
    }

    /// What a host asks at its start; `Status` only of who is a target and answers without a cloud.
    async fn ask(&self, channel: &Channel) -> Result<()> {
        HealthClient::new(channel.clone()).check(HealthCheckRequest::default()).await?;
        let mut client =
            base::base_plugin_service_client::BasePluginServiceClient::new(channel.clone());
        client.plugin_info(base::PluginInfoRequest {}).await?;
        if self.answers_status {
            // Nobody listens there: it stays without a view, as at the start of every autoscaler.
            let config =
                map([("agents", "unix:/nowhere"), ("nomad_address", "http://127.0.0.1:1")]);
            client.set_config(base::SetConfigRequest { config }).await?;
            let config = map([("pool", "rack"), ("node_class", "rack")]);
            let mut client = target::target_plugin_service_client::TargetPluginServiceClient::new(
                channel.clone(),
            );
            client.status(target::StatusRequest { config }).await?;
        }
        Ok(())
    }
}

const COOKIE: &str = "e082fa04d587a6525d683666fa253d6afda00f20c122c54a80a3ed57fec99ff3";

fn map<const N: usize>(pairs: [(&str, &str); N]) -> BTreeMap<String, String> {
    pairs.map(|(key, value)| (key.to_owned(), value.to_owned())).into()
}

fn resident_kib(child: &Child) -> Result<u64> {
    let id = child.id().context("it runs")?;
    let status = std::fs::read_to_string(format!("/proc/{id}/status"))?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).context("VmRSS")?;
    Ok(line.trim().trim_end_matches(" kB").parse()?)
}

async fn end(channel: Channel, mut child: Child) -> Result<()> {
    let mut controller = plugin::grpc_controller_client::GrpcControllerClient::new(channel);
    // Go cuts its answer to this off.
    controller.shutdown(plugin::Empty {}).await.ok();
    child.wait().await?;
    Ok(())
}

fn median<T: Copy + Ord>(values: &mut [T]) -> Option<T> {
    values.sort_unstable();
    values.get(values.len() / 2).copied()
}

fn report(contenders: &mut [Contender]) -> Result<()> {
    println!(
        "{:<28}{:>16}{:>9}{:>16}{:>9}",
        "", "handshake (ms)", "ratio", "resident (MiB)", "ratio"
    );
    let mut own: Option<(f64, f64)> = None;
    for contender in contenders {
        let handshake = median(&mut contender.handshakes).context("a run")?.as_secs_f64() * 1e3;
        let kib = median(&mut contender.resident_kib).context("a run")?;
        let resident = f64::from(u32::try_from(kib)?) / 1024.0;
        let (first_handshake, first_resident) = *own.get_or_insert((handshake, resident));
        println!(
            "{:<28}{handshake:>16.2}{:>9.2}{resident:>16.2}{:>9.2}",
            contender.name,
            handshake / first_handshake,
            resident / first_resident
        );
    }
    Ok(())
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<()> {
    let asked = std::env::args().skip(1).find_map(|word| word.parse().ok());
    let runs: usize = asked.unwrap_or(RUNS);
    ensure!(runs > 0, "0 runs measure nothing; expected a number from 1 on");
    let ours = PathBuf::from(env!("CARGO_BIN_EXE_lamplighter"));
    let mut contenders = vec![
        Contender::new("lamplighter target", ours, &["target"]),
        Contender::new("Go target-value (strategy)", hosts::go_target_value().await?, &[]),
    ];
    if let Some(program) = std::env::var_os("LAMPLIGHTER_GO_TARGET") {
        contenders.push(Contender::new("Go, LAMPLIGHTER_GO_TARGET", program.into(), &[]));
    }
    for _ in 0..runs {
        for contender in &mut contenders {
            tokio::time::timeout(PATIENCE, contender.run())
                .await
                .with_context(|| format!("{} took longer than {PATIENCE:?}", contender.name))?
                .with_context(|| format!("running {}", contender.name))?;
        }
    }
    println!("medians of {runs} interleaved runs; ratios to the first line");
    report(&mut contenders)
}
