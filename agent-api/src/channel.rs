//! The connection under a client: a socket, or TCP with TLS from files that are read at each connecting.

use std::io;
use std::sync::{Arc, Mutex, PoisonError};

use hyper_util::rt::TokioIo;
use rustls::pki_types::ServerName;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tonic::transport::{Channel, Endpoint};

use crate::AgentAddress;
use crate::client::{CONNECT_DEADLINE, KEEP_ALIVE_INTERVAL, KEEP_ALIVE_TIMEOUT};
use crate::credentials::{Credentials, Stamp};

/// A connection that is made when it is needed. One over the network is made anew when its files have changed, because
/// the agent asks at each call whether the certificate is still good; calls that run keep the old one to their end.
#[derive(Debug)]
pub(crate) enum Line {
    /// On this host.
    Socket(Channel),
    /// Over the network.
    Network {
        host: String,
        port: u16,
        credentials: Option<Credentials>,
        last: Mutex<Option<(Stamp, Channel)>>,
    },
}

impl Line {
    pub(crate) fn to(address: &AgentAddress, credentials: Option<&Credentials>) -> Arc<Self> {
        Arc::new(match address {
            AgentAddress::Socket(_) => Line::Socket(endpoint(&address.to_string()).connect_lazy()),
            AgentAddress::Network { host, port } => Line::Network {
                host: host.clone(),
                port: *port,
                credentials: credentials.cloned(),
                last: Mutex::default(),
            },
        })
    }

    /// The channel for the next call.
    pub(crate) fn channel(&self) -> Channel {
        let (host, port, credentials, last) = match self {
            Line::Socket(channel) => return channel.clone(),
            Line::Network { host, port, credentials, last } => (host, *port, credentials, last),
        };
        let stamp = credentials.as_ref().map(Credentials::stamp).unwrap_or_default();
        let mut last = last.lock().unwrap_or_else(PoisonError::into_inner);
        match &*last {
            Some((known, channel)) if *known == stamp => channel.clone(),
            _ => {
                let channel = over_network(host.clone(), port, credentials.clone());
                *last = Some((stamp, channel.clone()));
                channel
            }
        }
    }
}

fn endpoint(uri: &str) -> Endpoint {
    Endpoint::from_shared(uri.to_owned())
        .expect("an address that was taken is a URI")
        .connect_timeout(CONNECT_DEADLINE)
        .http2_keep_alive_interval(KEEP_ALIVE_INTERVAL)
        .keep_alive_timeout(KEEP_ALIVE_TIMEOUT)
}

fn over_network(host: String, port: u16, credentials: Option<Credentials>) -> Channel {
    let authority =
        if host.contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") };
    // The TLS is the connector's; tonic would refuse `https` here, because it brings none itself.
    let endpoint = endpoint(&format!("http://{authority}")).tcp_nodelay(true);
    endpoint.connect_with_connector_lazy(tower::service_fn(move |_uri: http::Uri| {
        let (host, credentials) = (host.clone(), credentials.clone());
        async move { connect(&host, port, credentials).await.map(TokioIo::new) }
    }))
}

async fn connect(
    host: &str,
    port: u16,
    credentials: Option<Credentials>,
) -> io::Result<TlsStream<TcpStream>> {
    let Some(credentials) = credentials else {
        let text =
            "no certificate of our own is named, and an agent on the network takes nobody without";
        return Err(io::Error::new(io::ErrorKind::InvalidInput, text));
    };
    let config = tokio::task::spawn_blocking(move || credentials.read()).await;
    let config = config.map_err(io::Error::other)?.map_err(io::Error::other)?;
    let name = ServerName::try_from(host.to_owned()).map_err(io::Error::other)?;
    let stream = TcpStream::connect((host, port)).await?;
    stream.set_nodelay(true)?;
    TlsConnector::from(Arc::new(config)).connect(name, stream).await
}
