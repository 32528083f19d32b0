//! The address at which Prometheus asks: one caller at a time, each with a deadline, and nothing else is answered.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use http::{Method, Request, Response, StatusCode, header};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::net::{TcpListener, TcpStream};
use tokio::time::{sleep, timeout};

use crate::agent::Agent;
use crate::clock::Clock;

/// How long one answer may take: it comes from memory. Whoever is slower keeps the next one waiting, on this host.
const ANSWER_DEADLINE: Duration = Duration::from_secs(5);

/// How long is rested where the system gives no connection.
const REST: Duration = Duration::from_millis(100);

/// What the text is.
const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// Answers until the agent stops.
pub(crate) async fn serve(agent: Arc<Agent>, listener: TcpListener) {
    let mut stopping = agent.stop.subscribe();
    loop {
        let taken = tokio::select! {
            _ = stopping.wait_for(|stop| *stop) => return,
            taken = listener.accept() => taken,
        };
        match taken {
            Ok((stream, peer)) => answer(&agent, stream, peer).await,
            Err(error) => {
                tracing::warn!(err = %error, "a connection to the metrics could not be taken");
                sleep(REST).await;
            }
        }
    }
}

async fn answer(agent: &Arc<Agent>, stream: TcpStream, peer: SocketAddr) {
    let service = service_fn(|request: Request<Incoming>| async move {
        Ok::<_, Infallible>(respond(agent, &request).await)
    });
    let served =
        http1::Builder::new().keep_alive(false).serve_connection(TokioIo::new(stream), service);
    match timeout(ANSWER_DEADLINE, served).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => tracing::debug!(%peer, err = %error, "metrics not answered"),
        Err(_elapsed) => tracing::debug!(%peer, "metrics not answered in time"),
    }
}

async fn respond(agent: &Arc<Agent>, request: &Request<Incoming>) -> Response<String> {
    let (status, kind, text) = match (request.method(), request.uri().path()) {
        (&Method::GET, "/metrics") => (StatusCode::OK, CONTENT_TYPE, agent.metrics_text().await),
        (_, "/metrics") => (StatusCode::METHOD_NOT_ALLOWED, "text/plain", "GET only\n".to_owned()),
        _ => (StatusCode::NOT_FOUND, "text/plain", "the metrics are at /metrics\n".to_owned()),
    };
    let mut response = Response::new(text);
    *response.status_mut() = status;
    let kind = header::HeaderValue::from_static(kind);
    response.headers_mut().insert(header::CONTENT_TYPE, kind);
    response
}

impl Agent {
    async fn metrics_text(&self) -> String {
        let (head, _) = self.audit_head().await;
        let now = Clock.now();
        let machines: Vec<_> =
            self.rack().machines.values().map(|machine| machine.view(now)).collect();
        self.store.metrics.text((&machines, &self.feed_sums(now)), head.seq, self.watcher_count())
    }
}
