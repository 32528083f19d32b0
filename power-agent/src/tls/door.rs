//! The door: takes connections from the socket and the network, learns who is there, and hands them on.
//!
//! A handshake has a deadline and a place among few, so that who says nothing keeps nobody out for long.

use std::collections::BTreeMap;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::net::{TcpListener, TcpStream, UnixListener, UnixStream};
use tokio::sync::{Semaphore, mpsc};
use tokio::time::{MissedTickBehavior, interval, sleep, timeout};
use tokio_rustls::TlsAcceptor;

use super::link::{Link, Stream};
use super::{Again, Trust};
use crate::agent::Agent;
use crate::audit::{Event, Known, Outcome, What, Who};
use crate::identity::{Account, Caller, Remote, name_in};
use crate::metrics::Why;

/// How long a handshake may take: a Pi of the first kind signs in some 50 ms, and a bad link loses a packet or two.
const HANDSHAKE_DEADLINE: Duration = Duration::from_secs(5);

/// How many handshakes may run at once: far more than clients that come back together after a restart.
const HANDSHAKES_MAX: usize = 64;

/// How many of them from one address: several processes of one host, and no more than an eighth of all.
const HANDSHAKES_PER_ADDRESS_MAX: u32 = 8;

/// How many connections from the network may be open at once; each holds some 100 KB.
const CONNECTIONS_MAX: usize = 256;

/// How many connections may wait to be served.
pub(crate) const WAITING_MAX: usize = 16;

/// How long the door rests where the system gives it no connection, as when there are no more file descriptors.
const REST: Duration = Duration::from_millis(100);

/// How often the files are looked at: whoever revokes a certificate waits for this.
const LOOK_AGAIN: Duration = Duration::from_secs(2);

/// In whose name failed handshakes are counted that are written down, from everywhere together; nobody is called so.
const TOLD: &str = "the door";

/// Takes connections on the socket until the agent stops. `group` is the socket's.
pub(crate) async fn local(
    agent: Arc<Agent>,
    listener: UnixListener,
    group: u32,
    links: mpsc::Sender<io::Result<Link>>,
) {
    let mut stopping = agent.stop.subscribe();
    loop {
        let taken = tokio::select! {
            _ = stopping.wait_for(|stop| *stop) => return,
            taken = listener.accept() => taken,
        };
        let named = match taken {
            Ok((stream, _)) => name_local(stream, group).await,
            Err(error) => Err(error),
        };
        match named {
            // An error says that nobody serves any more.
            Ok(link) => drop(links.send(Ok(link)).await),
            Err(error) => {
                tracing::warn!(err = %error, "a connection to the socket could not be taken");
                sleep(REST).await;
            }
        }
    }
}

async fn name_local(stream: UnixStream, group: u32) -> io::Result<Link> {
    let peer = stream.peer_cred()?;
    let account = Account::look_up(peer.uid(), peer.gid(), group).await;
    let caller = Caller::Local(Arc::new(account));
    Ok(Link { caller, stream: Stream::Local(stream), _places: None })
}

/// The door to the network.
#[derive(Debug)]
pub(crate) struct Door {
    agent: Arc<Agent>,
    trust: Arc<Trust>,
    links: mpsc::Sender<io::Result<Link>>,
    connections: Arc<Semaphore>,
    handshakes: Arc<Semaphore>,
    shaking: Mutex<BTreeMap<IpAddr, u32>>,
}

impl Door {
    pub(crate) fn new(
        agent: Arc<Agent>,
        trust: Arc<Trust>,
        links: mpsc::Sender<io::Result<Link>>,
    ) -> Arc<Self> {
        Arc::new(Self {
            agent,
            trust,
            links,
            connections: Arc::new(Semaphore::new(CONNECTIONS_MAX)),
            handshakes: Arc::new(Semaphore::new(HANDSHAKES_MAX)),
            shaking: Mutex::default(),
        })
    }

    /// Takes connections until the agent stops.
    pub(crate) async fn open(self: Arc<Self>, listener: TcpListener) {
        let mut stopping = self.agent.stop.subscribe();
        loop {
            let taken = tokio::select! {
                _ = stopping.wait_for(|stop| *stop) => return,
                taken = listener.accept() => taken,
            };
            match taken {
                Ok((stream, peer)) => self.greet(stream, peer),
                Err(error) => {
                    tracing::warn!(err = %error, "a connection from the network could not be taken");
                    sleep(REST).await;
                }
            }
        }
    }

    fn greet(self: &Arc<Self>, stream: TcpStream, peer: SocketAddr) {
        let connection = Arc::clone(&self.connections).try_acquire_owned();
        let handshake = Arc::clone(&self.handshakes).try_acquire_owned();
        let (Ok(connection), Ok(handshake)) = (connection, handshake) else {
            return self.turn(peer, "there are too many connections already");
        };
        if !self.begin(peer.ip()) {
            return self.turn(peer, "there are too many handshakes from this address already");
        }
        let door = Arc::clone(self);
        self.agent.spawn(async move {
            let mut stopping = door.agent.stop.subscribe();
            let shaken = tokio::select! {
                _ = stopping.wait_for(|stop| *stop) => Err("the agent stops".to_owned()),
                shaken = door.shake(stream, peer) => shaken,
            };
            door.end(peer.ip());
            drop(handshake);
            let linked = shaken.and_then(|(caller, stream)| {
                let place = door.agent.keeper.place(caller.name());
                let place = place
                    .ok_or_else(|| format!("{} has too many connections already", caller.name()))?;
                Ok(Link { caller, stream, _places: Some((connection, place)) })
            });
            match linked {
                Ok(link) => drop(door.links.send(Ok(link)).await),
                Err(why) => door.turn(peer, &why),
            }
        });
    }

    async fn shake(&self, stream: TcpStream, peer: SocketAddr) -> Result<(Caller, Stream), String> {
        stream.set_nodelay(true).map_err(|error| error.to_string())?;
        let accepting = TlsAcceptor::from(self.trust.server()).accept(stream);
        let stream = match timeout(HANDSHAKE_DEADLINE, accepting).await {
            Ok(Ok(stream)) => stream,
            Ok(Err(error)) => return Err(error.to_string()),
            Err(_elapsed) => {
                return Err(format!("no handshake within {} s", HANDSHAKE_DEADLINE.as_secs()));
            }
        };
        let chain = stream.get_ref().1.peer_certificates().unwrap_or_default();
        let chain: Vec<_> = chain.iter().map(|each| each.clone().into_owned()).collect();
        let own = chain.first().ok_or_else(|| "there is no certificate".to_owned());
        let name = own.and_then(|own| name_in(own));
        let caller = Caller::Remote(Arc::new(Remote { name, chain, peer }));
        Ok((caller, Stream::Remote(Box::new(stream))))
    }

    fn begin(&self, address: IpAddr) -> bool {
        let mut shaking = self.shaking.lock().unwrap_or_else(PoisonError::into_inner);
        let count = shaking.entry(address).or_default();
        let free = *count < HANDSHAKES_PER_ADDRESS_MAX;
        *count += u32::from(free);
        free
    }

    fn end(&self, address: IpAddr) {
        let mut shaking = self.shaking.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = shaking.get_mut(&address) {
            *count = count.saturating_sub(1);
            if *count == 0 {
                shaking.remove(&address);
            }
        }
    }

    /// Nobody is known here, so that no name can be told; a flood is told of now and then.
    fn turn(self: &Arc<Self>, peer: SocketAddr, why: &str) {
        let known = Known::Not;
        let who = Who { name: "nobody".to_owned(), known, peer: Some(peer.to_string()) };
        let code = What::HandshakeRefused.as_str().to_owned();
        let refused = Outcome::Refused { code, text: why.to_owned() };
        let event = Event::new(What::HandshakeRefused, who, "").with(refused);
        self.agent.tell_refusal(Why::HandshakeRefused, TOLD, event);
    }
}

/// Looks at the files of TLS again and again.
pub(crate) async fn renew(agent: Arc<Agent>, trust: Arc<Trust>) {
    let mut stopping = agent.stop.subscribe();
    let mut ticks = interval(LOOK_AGAIN);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            _ = stopping.wait_for(|stop| *stop) => return,
            _ = ticks.tick() => {}
        }
        let looking = Arc::clone(&trust);
        match tokio::task::spawn_blocking(move || looking.look_again()).await {
            Ok(Again::Renewed) => {
                tracing::info!("certificates were read again");
                let reason = "the files of [tls] had changed";
                let event = Event::new(What::CertificatesRotated, Who::agent(), reason);
                agent.audit(event).await;
            }
            Ok(Again::Refused(error)) => {
                tracing::error!(err = %error, "changed certificates can not be used; the old ones stay");
                let (code, text) = ("unusable".to_owned(), error.to_string());
                let event =
                    Event::new(What::CertificatesRotated, Who::agent(), "the old ones stay");
                agent.audit(event.with(Outcome::Refused { code, text })).await;
            }
            Ok(Again::Same) => {}
            Err(error) => tracing::error!(err = %error, "certificates could not be looked at"),
        }
    }
}
