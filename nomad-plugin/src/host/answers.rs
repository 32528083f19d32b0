//! The plugin's own services: wire in, seam, wire out.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;

use futures_util::FutureExt;
use tonic::service::RoutesBuilder;
use tonic::{Code, Request, Response, Status};

use super::server::MESSAGE_MAX;
use super::wire::hashicorp::nomad_autoscaler::plugins::{
    apm::proto::v1 as apm, base::proto::v1 as base, shared::proto::v1 as shared,
    target::proto::v1 as target,
};
use super::{
    Apm, Config, Direction, Fault, FaultClass, Kind, Point, QUERY_WAIT_MAX, ScalingAction, Target,
    TimeRange,
};

/// What the kinds have in common, so that one server serves either.
pub(super) trait Side: Clone + Send + Sync + 'static {
    const KIND: Kind;
    /// The full name of the kind's own service.
    const SERVICE: &'static str;
    fn set_config(&self, config: Config) -> impl Future<Output = Result<(), Fault>> + Send;
    fn stop(&self) -> impl Future<Output = ()> + Send;
    /// Adds the kind's own service.
    fn add_to(self, routes: &mut RoutesBuilder);
}

/// A target plugin behind its service.
pub(super) struct TargetSide<T>(pub(super) Arc<T>);

/// An APM plugin behind its service.
pub(super) struct ApmSide<A>(pub(super) Arc<A>);

impl<T> Clone for TargetSide<T> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<A> Clone for ApmSide<A> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<T: Target> Side for TargetSide<T> {
    const KIND: Kind = Kind::Target;
    const SERVICE: &'static str = target::target_plugin_service_server::SERVICE_NAME;

    fn set_config(&self, config: Config) -> impl Future<Output = Result<(), Fault>> + Send {
        self.0.set_config(config)
    }

    fn stop(&self) -> impl Future<Output = ()> + Send {
        self.0.stop()
    }

    fn add_to(self, routes: &mut RoutesBuilder) {
        let server = target::target_plugin_service_server::TargetPluginServiceServer::new(self);
        routes.add_service(server.max_decoding_message_size(MESSAGE_MAX));
    }
}

impl<A: Apm> Side for ApmSide<A> {
    const KIND: Kind = Kind::Apm;
    const SERVICE: &'static str = apm::apm_plugin_service_server::SERVICE_NAME;

    fn set_config(&self, config: Config) -> impl Future<Output = Result<(), Fault>> + Send {
        self.0.set_config(config)
    }

    fn stop(&self) -> impl Future<Output = ()> + Send {
        self.0.stop()
    }

    fn add_to(self, routes: &mut RoutesBuilder) {
        let server = apm::apm_plugin_service_server::ApmPluginServiceServer::new(self);
        routes.add_service(server.max_decoding_message_size(MESSAGE_MAX));
    }
}

/// Runs a plugin's call so that neither its fault nor its panic is more than an answer.
pub(super) async fn guarded<T>(call: impl Future<Output = Result<T, Fault>>) -> Result<T, Status> {
    let outcome = AssertUnwindSafe(call).catch_unwind().await.unwrap_or_else(|payload| {
        let text = payload.downcast_ref::<&str>().map(|text| (*text).to_owned());
        let text = text.or_else(|| payload.downcast_ref::<String>().cloned());
        Err(Fault::panicked(&text.unwrap_or_default()))
    });
    outcome.map_err(|fault| {
        let code = match fault.class() {
            FaultClass::Failed => Code::Unknown,
            FaultClass::NoOp => Code::Aborted,
            FaultClass::Panicked => Code::Internal,
        };
        Status::new(code, fault.to_string())
    })
}

/// The base service of either kind.
pub(super) struct Base<S> {
    pub(super) name: String,
    pub(super) side: S,
}

#[tonic::async_trait]
impl<S: Side> base::base_plugin_service_server::BasePluginService for Base<S> {
    async fn plugin_info(
        &self,
        _request: Request<base::PluginInfoRequest>,
    ) -> Result<Response<base::PluginInfoResponse>, Status> {
        let kind = match S::KIND {
            Kind::Target => base::PluginType::Target,
            Kind::Apm => base::PluginType::Apm,
        };
        let name = self.name.clone();
        Ok(Response::new(base::PluginInfoResponse { name, r#type: kind.into() }))
    }

    async fn set_config(
        &self,
        request: Request<base::SetConfigRequest>,
    ) -> Result<Response<base::SetConfigResponse>, Status> {
        let config = request.into_inner().config;
        tracing::debug!(keys = config.len(), "config received");
        guarded(async { self.side.set_config(config).await }).await?;
        Ok(Response::new(base::SetConfigResponse {}))
    }
}

#[tonic::async_trait]
impl<T: Target> target::target_plugin_service_server::TargetPluginService for TargetSide<T> {
    async fn scale(
        &self,
        request: Request<target::ScaleRequest>,
    ) -> Result<Response<target::ScaleResponse>, Status> {
        let target::ScaleRequest { action, config } = request.into_inner();
        tracing::trace!(count = action.as_ref().map(|action| action.count), "scale asked");
        guarded(async { self.0.scale(scaling_action(action)?, config).await }).await?;
        Ok(Response::new(target::ScaleResponse {}))
    }

    async fn status(
        &self,
        request: Request<target::StatusRequest>,
    ) -> Result<Response<target::StatusResponse>, Status> {
        let config = request.into_inner().config;
        tracing::trace!("status asked");
        let status = guarded(async { self.0.status(config).await }).await?;
        let (ready, count, meta) = (status.ready, status.count, status.meta);
        Ok(Response::new(target::StatusResponse { ready, count, meta }))
    }
}

#[tonic::async_trait]
impl<A: Apm> apm::apm_plugin_service_server::ApmPluginService for ApmSide<A> {
    async fn query(
        &self,
        request: Request<apm::QueryRequest>,
    ) -> Result<Response<apm::QueryResponse>, Status> {
        let apm::QueryRequest { query, time_range } = request.into_inner();
        tracing::trace!(query, "query asked");
        let points = guarded(query_in_time(&*self.0, query, time_range)).await?;
        Ok(Response::new(answer(&points)))
    }

    /// One series, as we have one; no open-source host calls it.
    async fn query_multiple(
        &self,
        request: Request<apm::QueryMultipleRequest>,
    ) -> Result<Response<apm::QueryMultipleResponse>, Status> {
        let apm::QueryMultipleRequest { query, time_range } = request.into_inner();
        let points = guarded(query_in_time(&*self.0, query, time_range)).await?;
        Ok(Response::new(apm::QueryMultipleResponse { timestamped_metric: vec![answer(&points)] }))
    }
}

async fn query_in_time<A: Apm>(
    plugin: &A,
    query: String,
    range: Option<shared::TimeRange>,
) -> Result<Vec<Point>, Fault> {
    let range = time_range(range)?;
    let asked = query.clone();
    tokio::time::timeout(QUERY_WAIT_MAX, plugin.query(query, range)).await.unwrap_or_else(|_| {
        let waited = QUERY_WAIT_MAX.as_secs_f64();
        Err(Fault::failed(format!("query {asked:?}: no answer within {waited} s")))
    })
}

fn answer(points: &[Point]) -> apm::QueryResponse {
    let metrics = points.iter().map(|point| shared::TimestampedMetric {
        timestamp: Some(point.at.into()),
        value: point.value,
    });
    apm::QueryResponse { timestamped_metric: metrics.collect() }
}

fn time_range(range: Option<shared::TimeRange>) -> Result<TimeRange, Fault> {
    let range = range.unwrap_or_default();
    let end = |name: &str, stamp: Option<prost_types::Timestamp>| {
        let stamp = stamp.ok_or_else(|| {
            Fault::failed(format!("time_range.{name}: found nothing, expected a timestamp"))
        })?;
        stamp.try_into().map_err(|error| Fault::caused(&format!("time_range.{name}"), &error))
    };
    Ok(TimeRange { from: end("from", range.from)?, to: end("to", range.to)? })
}

/// Reads an action as Go does, but for a missing one, which Go reads as "zero machines".
fn scaling_action(action: Option<shared::ScalingAction>) -> Result<ScalingAction, Fault> {
    let Some(action) = action else {
        return Err(Fault::failed("scaling action: found nothing, expected a count"));
    };
    let direction = match shared::ScalingDirection::try_from(action.direction) {
        Ok(shared::ScalingDirection::None) => Direction::None,
        Ok(shared::ScalingDirection::Down) => Direction::Down,
        Ok(shared::ScalingDirection::Up) => Direction::Up,
        Ok(shared::ScalingDirection::Unspecified) | Err(_) => {
            return Err(Fault::failed(format!(
                "scale direction is unknown: found {}, expected 1 (none), 2 (down) or 3 (up)",
                action.direction
            )));
        }
    };
    let meta = match action.meta {
        None => serde_json::Map::new(),
        Some(any) => serde_json::from_slice::<Option<_>>(&any.value)
            .map_err(|error| Fault::caused("the action's meta is no JSON object", &error))?
            .unwrap_or_default(),
    };
    let shared::ScalingAction { count, reason, error, .. } = action;
    Ok(ScalingAction { count, reason, error, direction, meta })
}

#[cfg(test)]
mod tests {
    use super::apm::apm_plugin_service_server::ApmPluginService;
    use super::*;

    struct Mute;

    impl Apm for Mute {
        async fn set_config(&self, _config: Config) -> Result<(), Fault> {
            Ok(())
        }

        async fn query(&self, _query: String, _range: TimeRange) -> Result<Vec<Point>, Fault> {
            std::future::pending().await
        }

        async fn stop(&self) {}
    }

    #[tokio::test(start_paused = true)]
    async fn item_37_a_query_that_hangs_is_cut_as_the_host_never_would() {
        let now = Some(prost_types::Timestamp { seconds: 1, nanos: 0 });
        let time_range = Some(shared::TimeRange { to: now, from: now });
        let request = apm::QueryRequest { query: "pending rack".to_owned(), time_range };
        let side = ApmSide(Arc::new(Mute));
        let answer = side.query(Request::new(request));
        // Paused time jumps to the next deadline, so this one is only passed by a call without any.
        let answer = tokio::time::timeout(QUERY_WAIT_MAX * 10, answer).await.expect("it is cut");
        let error = answer.unwrap_err();
        assert_eq!(error.code(), Code::Unknown);
        assert_eq!(error.message(), "query \"pending rack\": no answer within 7.5 s");
    }
}
