//! In the place of the Nomad Autoscaler v0.4.6: launches the plugins of its configuration and evaluates the policies
//! of a folder, tick by tick, with the order of calls and the rests of that host. No other sources of policies,
//! no reload, no election.

mod files;
mod plugin;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::SystemTime;

use anyhow::{Context as _, Result, bail};
use clap::Args;
use nomad_plugin::host::wire::hashicorp::nomad_autoscaler::plugins::shared::proto::v1 as shared;
use tokio::signal::unix::{SignalKind, signal};
use tokio::task::JoinSet;

use files::{Policy, Setup, Strategy};
use plugin::Plugin;
use shared::ScalingDirection::{self, Down, None as Same, Up};

/// Where the autoscaler's configuration is.
#[derive(Debug, Args)]
pub(crate) struct Settings {
    /// The autoscaler's own configuration
    #[arg(long, value_name = "FILE")]
    config: PathBuf,
}

/// Serves until SIGINT or SIGTERM, then ends the plugins one after another.
pub(crate) async fn run(settings: &Settings) -> Result<()> {
    let setup = Setup::read(&settings.config)?;
    let policies = files::policies(&setup.policies)?;
    let mut plugins = Vec::new();
    for block in &setup.plugins {
        let launched = Plugin::launch(block, &setup.plugin_dir, &setup.nomad_address).await;
        let named = || format!("{} {:?}", block.kind, block.name);
        plugins.push(launched.with_context(named)?);
        eprintln!("{}: launched", named());
    }
    let plugins = Arc::new(plugins);
    let mut handlers = JoinSet::new();
    for policy in policies {
        handlers.spawn(handle(policy, Arc::clone(&plugins)));
    }
    let mut interrupted = signal(SignalKind::interrupt())?;
    let mut terminated = signal(SignalKind::terminate())?;
    tokio::select! {
        _ = interrupted.recv() => {}
        _ = terminated.recv() => {}
    }
    handlers.shutdown().await;
    let plugins = Arc::into_inner(plugins).context("a policy still has the plugins")?;
    for plugin in plugins {
        plugin.end().await?;
    }
    Ok(())
}

/// Evaluates one policy for ever; after each order it rests for the cooldown.
async fn handle(policy: Policy, plugins: Arc<Vec<Plugin>>) {
    loop {
        tokio::time::sleep(policy.interval).await;
        match tick(&policy, &plugins).await {
            Ok(true) => tokio::time::sleep(policy.cooldown).await,
            Ok(false) => {}
            Err(error) => eprintln!("policy {:?}: {error:#}", policy.name),
        }
    }
}

/// One evaluation; whether it ordered something. The host asks for the status twice: the policy's handler,
/// then the worker that evaluates.
async fn tick(policy: &Policy, plugins: &[Plugin]) -> Result<bool> {
    let find = |kind: &str, name: &str| {
        let found = plugins.iter().find(|plugin| plugin.kind == kind && plugin.name == name);
        found.with_context(|| format!("no {kind} {name:?} in the configuration"))
    };
    let target = find("target", &policy.target)?;
    let deadline = policy.interval * 3 / 4;
    for look in ["handler", "worker"] {
        let Some(count) = target.status(&policy.target_config, deadline).await? else {
            return Ok(false);
        };
        if look == "handler" {
            continue;
        }
        let Some(wanted) = wanted(policy, count, &find).await? else { return Ok(false) };
        eprintln!("policy {:?}: from {count} to {}: {}", policy.name, wanted.count, wanted.reason);
        target.scale(&policy.target_config, wanted).await?;
        return Ok(true);
    }
    Ok(false)
}

/// What the host would order: the bounds first, then the strongest of the checks.
async fn wanted<'p>(
    policy: &Policy,
    count: i64,
    find: &impl Fn(&str, &str) -> Result<&'p Plugin>,
) -> Result<Option<shared::ScalingAction>> {
    if count < policy.min {
        return Ok(Some(action(policy.min, Up, "below the policy's min")));
    }
    if count > policy.max {
        return Ok(Some(action(policy.max, Down, "above the policy's max")));
    }
    let mut strongest: Option<(ScalingDirection, i64, &str)> = None;
    for check in &policy.checks {
        let asked = match check.strategy {
            Strategy::Fixed(value) => value,
            Strategy::PassThrough => {
                whole(find("apm", &check.source)?.query(&check.query, now()).await?)?
            }
        };
        let asked = asked.clamp(policy.min, policy.max);
        let direction = match asked.cmp(&count) {
            std::cmp::Ordering::Less => Down,
            std::cmp::Ordering::Equal => Same,
            std::cmp::Ordering::Greater => Up,
        };
        let rank =
            |direction: ScalingDirection| [Down, Same, Up].iter().position(|d| *d == direction);
        if strongest.is_none_or(|(d, c, _)| (rank(direction), asked) > (rank(d), c)) {
            strongest = Some((direction, asked, &check.name));
        }
    }
    let moved = strongest.filter(|(direction, _, _)| *direction != Same);
    Ok(moved.map(|(direction, asked, check)| action(asked, direction, &format!("check {check:?}"))))
}

/// The count that a query's value asks for: as the host's strategy, without its fraction.
fn whole(value: f64) -> Result<i64> {
    let text = format!("{:.0}", value.trunc());
    match text.parse() {
        Ok(number) => Ok(number),
        Err(_) => bail!("the query's value {value} is no number of machines"),
    }
}

#[expect(clippy::disallowed_methods, reason = "the host's queries carry the wall's clock")]
fn now() -> SystemTime {
    SystemTime::now()
}

fn action(count: i64, direction: ScalingDirection, reason: &str) -> shared::ScalingAction {
    let meta = prost_types::Any {
        type_url: String::new(),
        value: br#"{"nomad_policy_id":"stand-in"}"#.to_vec(),
    };
    shared::ScalingAction {
        count,
        reason: reason.to_owned(),
        error: false,
        direction: direction.into(),
        meta: Some(meta),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_querys_value_loses_its_fraction_and_must_be_a_number() {
        assert_eq!((whole(2.0).unwrap(), whole(2.9).unwrap(), whole(0.0).unwrap()), (2, 2, 0));
        assert!(whole(f64::NAN).is_err() && whole(f64::INFINITY).is_err());
    }
}
