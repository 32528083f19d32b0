//! The page for the shelf: takes browsers' connections, by TLS where others than this host may come, and knows who calls.
//!
//! The page is one more client of the service: its calls pass the same gate and the same rules as those by gRPC.

mod asked;
mod live;
mod routes;
mod tile;
mod told;

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::body::Body;
use http::Request;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::time::{sleep, timeout};
use tokio_rustls::TlsAcceptor;

use self::routes::Page;
use crate::agent::Agent;
use crate::audit::{Event, Known, Outcome, What, Who};
use crate::identity::{Caller, Remote, name_in};
use crate::metrics::Why;

/// How many connections browsers may have open at once: a tab has two, each holds some 50 KB.
const CONNECTIONS_MAX: usize = 64;

/// How many of them from one address: who holds all of theirs leaves three quarters to others.
const CONNECTIONS_PER_ADDRESS_MAX: u32 = 16;

/// How long a handshake, and then each request's head, may take to arrive.
const ARRIVAL_DEADLINE: Duration = Duration::from_secs(10);

/// The largest head of a request, in bytes: the cookies of other pages on this host come with it.
const HEAD_BYTES_MAX: usize = 32 << 10;

/// How long is rested where the system gives no connection.
const REST: Duration = Duration::from_millis(100);

/// In whose name handshakes that fail at the page are counted and told.
const TOLD: &str = "the page";

/// Who is at the other end of a connection, as far as the connection tells.
#[derive(Debug, Clone)]
pub(crate) struct Peer {
    pub(crate) address: SocketAddr,
    /// Named by a certificate, where one was shown.
    pub(crate) proven: Option<Caller>,
    /// Whether nobody on the way can read along.
    pub(crate) secure: bool,
}

/// Serves the page until the agent stops; `secure` is by TLS.
pub(crate) async fn serve(agent: Arc<Agent>, listener: TcpListener, secure: bool) {
    let mut stopping = agent.stop.subscribe();
    let places = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    let open: Open = Arc::default();
    let page = Page::new(Arc::clone(&agent));
    loop {
        let taken = tokio::select! {
            _ = stopping.wait_for(|stop| *stop) => return,
            taken = listener.accept() => taken,
        };
        let (stream, address) = match taken {
            Ok(taken) => taken,
            Err(error) => {
                tracing::warn!(err = %error, "a connection to the page could not be taken");
                sleep(REST).await;
                continue;
            }
        };
        // Who finds no place is hung up on: a browser tries again by itself.
        let Ok(place) = Arc::clone(&places).try_acquire_owned() else { continue };
        let Some(share) = Share::of(&open, address.ip()) else { continue };
        let (page, asked) = (page.clone(), Arc::clone(&agent));
        let mut ended = agent.stop.subscribe();
        agent.spawn(async move {
            tokio::select! {
                _ = ended.wait_for(|stop| *stop) => {}
                () = converse(&asked, page, stream, (address, secure)) => {}
            }
            drop((place, share));
        });
    }
}

async fn converse(
    agent: &Arc<Agent>,
    page: Page,
    stream: TcpStream,
    (address, secure): (SocketAddr, bool),
) {
    if !secure {
        return answer(page, stream, Peer { address, proven: None, secure }).await;
    }
    let Some(trust) = agent.keeper.trust.clone() else { return };
    let shaken = timeout(ARRIVAL_DEADLINE, TlsAcceptor::from(trust.page()).accept(stream)).await;
    let why = match shaken {
        Ok(Ok(stream)) => {
            let proven = proven(stream.get_ref().1.peer_certificates(), address);
            return answer(page, stream, Peer { address, proven, secure }).await;
        }
        Ok(Err(error)) => error.to_string(),
        Err(_elapsed) => format!("no handshake within {} s", ARRIVAL_DEADLINE.as_secs()),
    };
    let who = nobody(address);
    let refused = Outcome::Refused { code: What::HandshakeRefused.as_str().to_owned(), text: why };
    let event = Event::new(What::HandshakeRefused, who, "the page").with(refused);
    agent.tell_refusal(Why::HandshakeRefused, TOLD, event);
}

/// Who shows a certificate is named by it; its list of revoked ones is asked at each call.
fn proven(
    chain: Option<&[rustls::pki_types::CertificateDer<'static>]>,
    peer: SocketAddr,
) -> Option<Caller> {
    let chain = chain?.to_vec();
    let name = name_in(chain.first()?);
    Some(Caller::Remote(Arc::new(Remote { name, chain, peer })))
}

async fn answer(page: Page, stream: impl AsyncRead + AsyncWrite + Unpin, peer: Peer) {
    let service = service_fn(|mut request: Request<Incoming>| {
        request.extensions_mut().insert(peer.clone());
        let page = page.clone();
        async move { page.answer(request.map(Body::new)).await }
    });
    let served = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(ARRIVAL_DEADLINE)
        .max_buf_size(HEAD_BYTES_MAX)
        .serve_connection(TokioIo::new(stream), service);
    if let Err(error) = served.await {
        tracing::debug!(peer = %peer.address, err = %error, "a browser's connection ended");
    }
}

/// Somebody at the page who has proven nothing.
pub(crate) fn nobody(peer: SocketAddr) -> Who {
    Who { name: "nobody".to_owned(), known: Known::Not, peer: Some(peer.to_string()) }
}

/// How many connections each address has.
type Open = Arc<Mutex<BTreeMap<IpAddr, u32>>>;

/// A connection that counts against its address until it is dropped.
struct Share {
    open: Open,
    address: IpAddr,
}

impl Share {
    fn of(open: &Open, address: IpAddr) -> Option<Self> {
        let mut all = open.lock().unwrap_or_else(PoisonError::into_inner);
        let count = all.entry(address).or_default();
        if *count >= CONNECTIONS_PER_ADDRESS_MAX {
            return None;
        }
        *count += 1;
        Some(Self { open: Arc::clone(open), address })
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        let mut all = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = all.get_mut(&self.address) {
            *count = count.saturating_sub(1);
            if *count == 0 {
                all.remove(&self.address);
            }
        }
    }
}
