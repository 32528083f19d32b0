//! What a story looks at beside the rack's edges and Nomad's own answers: the pool's record in Nomad, what
//! the autoscaler says of itself, and when an edge was.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use nomad_api::{Eligibility, NodeEvent, Variable};
use virtual_rack::moment::Moment;
use virtual_rack::relay::Power;

use crate::rig::{PATH_BOUND, Rig};
use crate::wait::{Probe, eventually};

/// Where the plugin keeps the pools' records.
const RECORDS: &str = "lamplighter/pools";

impl Rig {
    /// The record of pool `rack` as it stands in Nomad; none before a plugin has acted for it.
    ///
    /// # Errors
    /// Where Nomad does not answer.
    pub async fn record(&self) -> Result<Option<Variable>> {
        self.record_of("rack").await
    }

    /// The record of a pool as it stands in Nomad; none before a plugin has acted for it.
    ///
    /// # Errors
    /// Where Nomad does not answer.
    pub async fn record_of(&self, pool: &str) -> Result<Option<Variable>> {
        Ok(self.server.api().variable(&format!("{RECORDS}/{pool}")).await?)
    }

    /// Waits until the plugin has written the pool's record `count` times more: so often it has looked at
    /// the pool and could have moved something.
    ///
    /// # Errors
    /// Where it does not within [`PATH_BOUND`]; the message has the ends of all logs.
    pub async fn heartbeats(&self, count: usize) -> Result<()> {
        let mut last = None;
        let mut seen = 0;
        eventually(&format!("{count} heartbeats"), PATH_BOUND, async || {
            let index = self.record().await?.map(|record| record.modify_index);
            if index.is_some() && index != last {
                // The first one that is seen may be old.
                seen += usize::from(last.is_some());
                last = index;
            }
            Ok(Probe::of((seen >= count).then_some(()), || format!("{seen} at {last:?}")))
        })
        .await
        .with_context(|| self.logs())
    }

    /// Waits until the autoscaler itself says that the plugin has answered not ready.
    ///
    /// # Errors
    /// Where it does not within [`PATH_BOUND`]; the message has the ends of all logs.
    pub async fn told_not_ready(&self) -> Result<()> {
        self.told_in_log(&["policy_handler", "target is not ready"]).await.map(drop)
    }

    /// Waits until this stands in the autoscaler's log: the words for a person, of the host or of our plugin.
    ///
    /// # Errors
    /// Where it does not within [`PATH_BOUND`]; the message has the ends of all logs.
    pub async fn told_in_log(&self, words: &[&str]) -> Result<String> {
        let log = self.dir.join("autoscaler.log");
        eventually(&format!("{words:?} in a line of the log"), PATH_BOUND, async || {
            let text = std::fs::read_to_string(&log)?;
            let told = |line: &&str| words.iter().all(|word| line.contains(word));
            let found = text.lines().find(told).map(str::to_owned);
            Ok(Probe::of(found, || "no such line".to_owned()))
        })
        .await
        .with_context(|| self.logs())
    }

    /// Checks that nobody has ever drained a machine's node or changed its eligibility: it was not chosen.
    ///
    /// # Errors
    /// Where somebody has, or its node is not ready.
    pub async fn ensure_untouched(&self, machine: &str) -> Result<()> {
        let stub = self.server.node_ready(machine).await?;
        let node = self.server.api().node(&stub.id).await?;
        let node = node.context("a node that is listed is there")?;
        ensure!(node.eligibility == Eligibility::Eligible, "{machine} is {:?}", node.eligibility);
        let touches = |event: &&NodeEvent| {
            event.subsystem == "Drain" || event.message.contains("eligible for scheduling")
        };
        let touched = node.events.iter().find(touches);
        ensure!(touched.is_none(), "{machine} was chosen: {touched:?}");
        Ok(())
    }

    /// Now, on the clock of the edge log.
    ///
    /// # Errors
    /// Where the rack does not answer.
    pub async fn now(&self) -> Result<Moment> {
        Ok(self.rack.state().await?.at_us)
    }

    /// When a machine was cut, by its only off-edge.
    ///
    /// # Errors
    /// Where it has none or several, or the rack does not answer.
    pub async fn cut_at(&self, machine: &str) -> Result<Moment> {
        let edges = self.all_edges().await?;
        let off = |edge: &&virtual_rack::edges::EdgeRecord| {
            edge.machine.as_deref() == Some(machine) && edge.edge == Power::Off
        };
        let cuts: Vec<Moment> = edges.iter().filter(off).map(|edge| edge.at_us).collect();
        ensure!(cuts.len() == 1, "{machine} was cut {} times instead of once", cuts.len());
        Ok(cuts[0])
    }
}

/// From one moment of the rack to a later one; zero where it is not later.
#[must_use]
pub fn between(earlier: Moment, later: Moment) -> Duration {
    Duration::from_micros(later.as_micros().saturating_sub(earlier.as_micros()))
}
