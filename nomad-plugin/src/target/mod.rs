//! The target kind: `Status` answers from memory, `Scale` records what is desired; pools converge behind.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use fleet::{HolderId, PoolName};
use tokio::sync::oneshot;
use tokio::task::JoinSet;

use crate::host::{Config, Fault, ScalingAction, Target, TargetStatus};
use crate::metrics::{self, Metrics};
use crate::pool::{self, PoolHandle, PoolParts, Report, Request};
use crate::settings::Settings;

pub mod block;

use block::Block;

/// How long `Status` waits for its pool: a turn of the pool's loop takes well under a millisecond, and
/// the host allows three quarters of the policy's interval.
const STATUS_WAIT: Duration = Duration::from_secs(2);

/// How long `Scale` waits for the record to be written: the host has no deadline and would wait for ever.
const SCALE_WAIT: Duration = Duration::from_secs(20);

/// How long a pool may take to end: the host kills two seconds after its Shutdown.
const POOL_STOP_WAIT: Duration = Duration::from_millis(800);

/// Pools of one process: each runs tasks of its own; a rack has a handful.
const POOLS_MAX: usize = 64;

/// The target plugin.
#[derive(Debug)]
pub struct TargetPlugin {
    me: HolderId,
    own_alloc: Option<String>,
    metrics: Metrics,
    inner: Mutex<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    settings: Option<(Arc<Settings>, nomad_api::Client)>,
    pools: BTreeMap<PoolName, PoolHandle>,
    warned: std::collections::BTreeSet<String>,
    tasks: JoinSet<()>,
    /// Who answers Prometheus.
    teller: JoinSet<()>,
    /// Pools that were started so far.
    runs: u64,
}

impl TargetPlugin {
    /// A plugin without configuration. `me` names this process in leases and orders; `own_alloc` is the
    /// allocation that it runs in (`NOMAD_ALLOC_ID`), so that its own machine is never taken.
    #[must_use]
    pub fn new(me: HolderId, own_alloc: Option<String>) -> Self {
        Self { me, own_alloc, metrics: Metrics::default(), inner: Mutex::new(Inner::default()) }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Inner> {
        // Nothing that holds the lock leaves the maps half changed.
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The pool of a target block, started where it does not run yet.
    fn pool(&self, pool: &PoolName) -> Result<PoolHandle, Fault> {
        let mut inner = self.lock();
        // A pool that ended by itself did so by a bug of ours; what it knew is in its record.
        if let Some(handle) = inner.pools.get(pool).filter(|handle| !handle.has_ended()) {
            return Ok(handle.clone());
        }
        if inner.pools.len() >= POOLS_MAX {
            return Err(Fault::failed(format!(
                "pool {pool} is one too many: one plugin serves at most {POOLS_MAX}"
            )));
        }
        let Some((settings, nomad)) = inner.settings.clone() else {
            return Err(Fault::failed("the plugin has not been configured yet"));
        };
        inner.runs += 1;
        let (handle, requests) = PoolHandle::new();
        let parts = PoolParts {
            pool: pool.clone(),
            settings,
            nomad,
            me: self.me.clone(),
            run: inner.runs,
            own_alloc: self.own_alloc.clone(),
            metrics: self.metrics.clone(),
        };
        inner.tasks.spawn(pool::run(parts, requests));
        inner.pools.insert(pool.clone(), handle.clone());
        Ok(handle)
    }

    /// Each warning is said once, not at every tick.
    fn warn(&self, warnings: Vec<String>) {
        let mut inner = self.lock();
        for warning in warnings {
            if inner.warned.len() < POOLS_MAX && inner.warned.insert(warning.clone()) {
                tracing::warn!("{warning}");
            }
        }
    }

    async fn stop_pools(&self) {
        let (pools, mut tasks) = {
            let mut inner = self.lock();
            (std::mem::take(&mut inner.pools), std::mem::take(&mut inner.tasks))
        };
        let mut stopping = Vec::new();
        for handle in pools.values() {
            let (done, wait) = oneshot::channel();
            if handle.ask(Request::Stop(done)).is_ok() {
                stopping.push(wait);
            }
        }
        let all = async {
            for wait in stopping {
                // A pool that has ended already has nothing to say.
                wait.await.ok();
            }
        };
        if tokio::time::timeout(POOL_STOP_WAIT, all).await.is_err() {
            tracing::warn!("a pool did not end in time; its lease runs out by itself");
        }
        tasks.shutdown().await;
    }
}

impl Target for TargetPlugin {
    async fn set_config(&self, config: Config) -> Result<(), Fault> {
        let mut warnings = Vec::new();
        let settings = Arc::new(Settings::read(&config, &mut warnings)?);
        self.warn(warnings);
        let same = matches!(&self.lock().settings, Some((known, _)) if *known == settings);
        if same {
            return Ok(());
        }
        let nomad = nomad_api::Client::new(&settings.nomad)
            .map_err(|error| Fault::caused("the Nomad client", &error))?;
        // Pools begin anew with the new settings at the next Status; what they know is in their records.
        let told = settings.metrics.map(|address| metrics::serve(address, self.metrics.clone()));
        let mut teller = std::mem::take(&mut self.lock().teller);
        teller.shutdown().await;
        told.map(|told| self.lock().teller.spawn(told));
        self.lock().settings = Some((settings, nomad));
        self.stop_pools().await;
        Ok(())
    }

    async fn status(&self, config: Config) -> Result<TargetStatus, Fault> {
        let mut warnings = Vec::new();
        let block = Box::new(Block::read(&config, &mut warnings)?);
        self.warn(warnings);
        let pool = block.pool.clone();
        let (answer, report) = oneshot::channel();
        let request = Request::Status { block, raw: config, answer };
        if let Err(fault) = self.pool(&pool)?.ask(request) {
            // An error to a policy's first question would end the policy for good.
            tracing::debug!(pool = %pool, err = %fault, "Status was answered without its pool");
        }
        let report = tokio::time::timeout(STATUS_WAIT, report).await;
        let report = report.ok().and_then(Result::ok).unwrap_or_else(|| Report {
            ready: false,
            count: fleet::NodeCount(0),
            desired: None,
            not_ready: Some("the pool is busy".to_owned()),
        });
        Ok(target_status(report))
    }

    async fn scale(&self, action: ScalingAction, config: Config) -> Result<(), Fault> {
        let mut warnings = Vec::new();
        let block = Box::new(Block::read(&config, &mut warnings)?);
        if action.is_dry_run() {
            tracing::info!(pool = %block.pool, reason = %action.reason, "a dry run asked; nothing is changed");
            return Ok(());
        }
        let pool = block.pool.clone();
        let (answer, result) = oneshot::channel();
        self.pool(&pool)?.ask(Request::Scale { block, raw: config, action, answer })?;
        match tokio::time::timeout(SCALE_WAIT, result).await {
            Ok(Ok(result)) => result,
            Ok(Err(_)) => Err(Fault::failed(format!("pool {pool} begins anew; ask again"))),
            Err(_) => Err(Fault::failed(format!(
                "the record of pool {pool} could not be written within {SCALE_WAIT:?}"
            ))),
        }
    }

    async fn stop(&self) {
        self.stop_pools().await;
    }
}

fn target_status(report: Report) -> TargetStatus {
    let mut meta = BTreeMap::new();
    if let Some(desired) = report.desired {
        meta.insert("lamplighter.desired".to_owned(), desired.to_string());
    }
    if let Some(why) = report.not_ready {
        meta.insert("lamplighter.not_ready".to_owned(), why);
    }
    TargetStatus { ready: report.ready, count: i64::from(report.count.0), meta }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn map(pairs: &[(&str, &str)]) -> Config {
        pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
    }

    async fn configured() -> TargetPlugin {
        let plugin = TargetPlugin::new(HolderId::new("me").unwrap(), None);
        let config = map(&[("nomad_address", "http://127.0.0.1:1"), ("agents", "unix:/nowhere")]);
        plugin.set_config(config).await.unwrap();
        plugin
    }

    #[tokio::test]
    async fn a_pool_that_has_ended_by_itself_is_started_again() {
        let plugin = configured().await;
        let (handle, gone) = PoolHandle::new();
        drop(gone);
        plugin.lock().pools.insert(PoolName::new("rack").unwrap(), handle);
        let status = plugin.status(map(&[("pool", "rack")])).await.unwrap();
        assert!(!status.ready);
        assert!(plugin.lock().pools.values().all(|handle| !handle.has_ended()));
        assert_eq!(plugin.lock().tasks.len(), 1, "it runs");
        plugin.stop().await;
    }

    #[tokio::test]
    async fn a_pool_with_too_many_requests_answers_status_not_ready_and_no_error() {
        let plugin = configured().await;
        let (handle, _requests) = PoolHandle::new();
        for _ in 0..pool::REQUESTS_MAX {
            handle.ask(Request::Stop(oneshot::channel().0)).unwrap();
        }
        plugin.lock().pools.insert(PoolName::new("rack").unwrap(), handle);
        let status = plugin.status(map(&[("pool", "rack")])).await.unwrap();
        assert!(!status.ready && status.meta.contains_key("lamplighter.not_ready"));
    }
}
