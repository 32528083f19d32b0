//! The gate in front of every call: who calls, may they make this call at all, and not too often.

use std::convert::Infallible;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use fleet::{MachineName, RefusalCode};
use http::{Request, Response};
use tonic::Status;
use tonic::body::Body;
use tower::{Layer, Service};

use super::{Caller, Turned};
use crate::agent::Agent;
use crate::audit::{Event, Outcome, What};
use crate::clock::Clock;

/// Puts the gate in front of a service.
#[derive(Debug, Clone)]
pub(crate) struct GateLayer(pub(crate) Arc<Agent>);

/// The gate.
#[derive(Debug, Clone)]
pub(crate) struct Gate<S> {
    agent: Arc<Agent>,
    inner: S,
}

impl<S> Layer<S> for GateLayer {
    type Service = Gate<S>;
    fn layer(&self, inner: S) -> Gate<S> {
        Gate { agent: Arc::clone(&self.0), inner }
    }
}

impl<S, B> Service<Request<B>> for Gate<S>
where
    S: Service<Request<B>, Response = Response<Body>, Error = Infallible>,
    S::Future: Send + 'static,
{
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Response<Body>, Infallible>> + Send>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, mut request: Request<B>) -> Self::Future {
        let call = request.uri().path().rsplit('/').next().unwrap_or_default().to_owned();
        let Some(caller) = request.extensions().get::<Caller>().cloned() else {
            let status = Status::internal("a connection came past the door");
            return Box::pin(async move { Ok(status.into_http()) });
        };
        match self.agent.keeper.admit(&caller, &call, Clock.now()) {
            Ok(identity) => {
                request.extensions_mut().insert(identity);
                Box::pin(self.inner.call(request))
            }
            Err(turned) => {
                let agent = Arc::clone(&self.agent);
                Box::pin(async move {
                    agent.turn_away(&caller, (&call, None), &turned);
                    Ok(turned.status().into_http())
                })
            }
        }
    }
}

impl Agent {
    /// Has it in the audit that somebody was turned away, as long as it is not too often.
    pub(crate) fn turn_away(
        self: &Arc<Self>,
        caller: &Caller,
        (call, machine): (&str, Option<&MachineName>),
        turned: &Turned,
    ) {
        let who = caller.who();
        if !self.keeper.is_told(&who.name, Clock.now()) {
            return;
        }
        tracing::warn!(who = who.name, from = who.peer, call, err = %turned, "turned away");
        let (what, code) = match turned {
            Turned::Overdrawn { .. } => (What::OverQuota, "over-quota"),
            Turned::Unproven { .. } => (What::Denied, "unproven"),
            Turned::Denied(_) => (What::Denied, RefusalCode::Forbidden.as_str()),
        };
        let refused = Outcome::Refused { code: code.to_owned(), text: turned.to_string() };
        let event = Event::new(what, who, call).with(refused);
        let event = Event { machine: machine.cloned(), ..event };
        let agent = Arc::clone(self);
        self.spawn(async move { agent.audit(event).await });
    }
}
