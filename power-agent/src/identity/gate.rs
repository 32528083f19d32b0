//! The gate in front of every call: who calls, may they make this call at all, and not too often.

use std::convert::Infallible;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use fleet::{MachineName, RefusalCode};
use http::{Request, Response};
use tonic::body::Body;
use tonic::{Code, Status};
use tower::{Layer, Service};

use super::{Caller, Turned};
use crate::agent::Agent;
use crate::audit::{Event, Outcome, What};
use crate::clock::Clock;
use crate::metrics::Why;

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
                request.extensions_mut().insert(identity.clone());
                let answering = self.inner.call(request);
                let agent = Arc::clone(&self.agent);
                Box::pin(async move {
                    let answer = answering.await?;
                    let status = Status::from_header_map(answer.headers());
                    if let Some(status) = status.filter(|_| !identity.left_a_line()) {
                        agent.note_refusal(&caller, &call, &status);
                    }
                    Ok(answer)
                })
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
        let (what, code, why) = match turned {
            Turned::Overdrawn { .. } => (What::OverQuota, "over-quota", Why::OverQuota),
            Turned::Unproven { .. } | Turned::BadToken { .. } => {
                (What::Denied, "unproven", Why::Unproven)
            }
            Turned::Denied(_) => (What::Denied, RefusalCode::Forbidden.as_str(), Why::Denied),
        };
        let refused = Outcome::Refused { code: code.to_owned(), text: turned.to_string() };
        let event = Event::new(what, caller.who(), call).with(refused);
        self.tell_refusal(why, caller.name(), Event { machine: machine.cloned(), ..event });
    }

    /// The same of a call that was let in and then refused, where nothing else tells of it.
    pub(crate) fn note_refusal(self: &Arc<Self>, caller: &Caller, call: &str, status: &Status) {
        if status.code() == Code::Ok {
            return;
        }
        let refused =
            Outcome::Refused { code: word(status.code()), text: status.message().to_owned() };
        let event = Event::new(What::Call, caller.who(), call).with(refused);
        self.tell_refusal(Why::CallRefused, caller.name(), event);
    }

    /// Counts a refusal, and writes it down as long as it is not one of too many: `name` is whose share it takes.
    pub(crate) fn tell_refusal(self: &Arc<Self>, why: Why, name: &str, mut event: Event) {
        self.store.metrics.turned_away(why);
        let Some(untold) = self.keeper.tells(name, Clock.now()) else { return };
        if let Outcome::Refused { text, .. } = &mut event.outcome {
            let who = &event.who;
            tracing::warn!(who = who.name, from = who.peer, call = %event.reason, err = text, "turned away");
            if untold > 0 {
                text.push_str(&format!("; {untold} more since the last such line of {name}"));
            }
        }
        let agent = Arc::clone(self);
        self.spawn(async move { agent.audit(event).await });
    }
}

/// A code of gRPC as words of the audit are written: `failed-precondition`.
fn word(code: Code) -> String {
    let mut word = String::new();
    for letter in format!("{code:?}").chars() {
        if letter.is_ascii_uppercase() && !word.is_empty() {
            word.push('-');
        }
        word.push(letter.to_ascii_lowercase());
    }
    word
}
