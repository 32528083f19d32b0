//! A plugin without a pool: never ready, and it says so in the host's log.

use nomad_plugin::host::{
    Apm, Config, Fault, Point, ScalingAction, Target, TargetStatus, TimeRange,
};

/// What the answers say.
const WHY: &str = "no pool is wired to this build of the plugin; nothing will be switched";

/// Answers everything by what it lacks.
pub(crate) struct Unwired;

impl Target for Unwired {
    async fn set_config(&self, config: Config) -> Result<(), Fault> {
        tracing::warn!(keys = config.len(), "{WHY}");
        Ok(())
    }

    async fn status(&self, _config: Config) -> Result<TargetStatus, Fault> {
        Ok(TargetStatus::default())
    }

    async fn scale(&self, _action: ScalingAction, _config: Config) -> Result<(), Fault> {
        Err(Fault::failed(WHY))
    }

    async fn stop(&self) {}
}

impl Apm for Unwired {
    async fn set_config(&self, config: Config) -> Result<(), Fault> {
        tracing::warn!(keys = config.len(), "{WHY}");
        Ok(())
    }

    async fn query(&self, query: String, _range: TimeRange) -> Result<Vec<Point>, Fault> {
        Err(Fault::failed(format!("query {query:?}: {WHY}")))
    }

    async fn stop(&self) {}
}
