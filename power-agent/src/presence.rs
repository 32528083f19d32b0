//! Signs of life on the network: a machine that answers is on. One that does not may be off, asleep, or only not reached.

mod arp;
mod ping;

use std::net::{IpAddr, SocketAddr};
use std::path::Path;
use std::pin::Pin;
use std::time::Duration;

use futures_util::future::join_all;
use tokio::net::TcpStream;
use tokio::time::timeout;

/// How long an answer is waited for: on one local network it comes within milliseconds, and a machine that is being
/// woken is looked at each second.
pub(crate) const ANSWER_DEADLINE: Duration = Duration::from_millis(800);

/// Where a machine is looked for, and how.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PresenceConfig {
    /// Its address.
    pub address: IpAddr,
    /// What counts.
    pub by: Vec<SignKind>,
    /// The interface of this host to which it is connected, for those signs that need one.
    pub interface: Option<String>,
}

/// One kind of sign.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SignKind {
    /// It answers an ICMP echo.
    Ping,
    /// It answers an ARP request: also where a firewall drops all else.
    Arp,
    /// It takes or refuses a TCP connection to this port: either way something runs.
    Tcp(u16),
    /// The cable between this host and the machine has a link: for one that hangs on this host directly, and whose card
    /// has no power while it is off.
    Link,
}

impl SignKind {
    /// Reads `ping`, `arp`, `link` or `tcp:PORT`.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        match text {
            "ping" => Some(Self::Ping),
            "arp" => Some(Self::Arp),
            "link" => Some(Self::Link),
            other => {
                let port = other.strip_prefix("tcp:")?.parse().ok()?;
                (port != 0).then_some(Self::Tcp(port))
            }
        }
    }
}

impl std::fmt::Display for SignKind {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            SignKind::Ping => f.write_str("ping"),
            SignKind::Arp => f.write_str("arp"),
            SignKind::Tcp(port) => write!(f, "tcp:{port}"),
            SignKind::Link => f.write_str("link"),
        }
    }
}

type Probe<'a> = Pin<Box<dyn Future<Output = Result<String, String>> + Send + 'a>>;

/// Looks for all signs at once. `Ok`: those that are there; `Err`: what was looked for and is not.
pub(crate) async fn look(config: &PresenceConfig) -> Result<String, String> {
    let probes = config.by.iter().map(|kind| probe(config, *kind));
    let seen = join_all(probes.map(|probe| async {
        let late = |_elapsed| Err("no answer".to_owned());
        timeout(ANSWER_DEADLINE, probe).await.unwrap_or_else(late)
    }))
    .await;
    let (mut there, mut missing) = (Vec::new(), Vec::new());
    for (kind, seen) in config.by.iter().zip(seen) {
        match seen {
            Ok(said) if said.is_empty() => there.push(kind.to_string()),
            Ok(said) => there.push(format!("{kind} ({said})")),
            Err(why) => missing.push(format!("{kind}: {why}")),
        }
    }
    if there.is_empty() { Err(missing.join(", ")) } else { Ok(there.join(", ")) }
}

fn probe(config: &PresenceConfig, kind: SignKind) -> Probe<'_> {
    let interface = config.interface.as_deref().unwrap_or_default();
    match kind {
        SignKind::Ping => Box::pin(ping::ping(config.address)),
        SignKind::Arp => Box::pin(arp::ask(config.address, interface)),
        SignKind::Tcp(port) => Box::pin(tcp(SocketAddr::new(config.address, port))),
        SignKind::Link => Box::pin(std::future::ready(link(interface))),
    }
}

/// Whether this process may look for a sign; `None`: everybody may. Nothing is sent.
pub(crate) fn allowed(config: &PresenceConfig, kind: SignKind) -> Option<Result<(), String>> {
    match kind {
        SignKind::Ping => Some(ping::allowed(config.address)),
        SignKind::Arp => Some(arp::allowed(config.interface.as_deref().unwrap_or_default())),
        SignKind::Tcp(_) | SignKind::Link => None,
    }
}

async fn tcp(address: SocketAddr) -> Result<String, String> {
    match TcpStream::connect(address).await {
        Ok(_stream) => Ok(String::new()),
        Err(error) if error.kind() == std::io::ErrorKind::ConnectionRefused => {
            Ok("refused".to_owned())
        }
        Err(error) => Err(error.to_string()),
    }
}

fn link(interface: &str) -> Result<String, String> {
    let file = Path::new("/sys/class/net").join(interface).join("carrier");
    match std::fs::read_to_string(file) {
        Ok(carrier) if carrier.trim() == "1" => Ok(String::new()),
        Ok(_) => Err("no carrier".to_owned()),
        Err(error) => Err(format!("interface {interface} tells nothing: {error}")),
    }
}

/// What is said where the kernel forbids a socket.
fn forbidden(error: &std::io::Error, remedy: &str) -> String {
    match error.kind() {
        std::io::ErrorKind::PermissionDenied => format!("not allowed; {remedy}"),
        _ => error.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn local(by: Vec<SignKind>) -> PresenceConfig {
        PresenceConfig { address: IpAddr::from([127, 0, 0, 1]), by, interface: None }
    }

    #[test]
    fn a_sign_is_read_as_it_is_written() {
        for text in ["ping", "arp", "link", "tcp:22"] {
            assert_eq!(SignKind::parse(text).unwrap().to_string(), text);
        }
        for wrong in ["", "Ping", "tcp", "tcp:", "tcp:0", "tcp:65536", "udp:9"] {
            assert_eq!(SignKind::parse(wrong), None, "{wrong:?}");
        }
    }

    #[tokio::test]
    async fn a_port_that_takes_and_one_that_refuses_are_both_signs_of_life() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let config = local(vec![SignKind::Tcp(port)]);
        assert_eq!(look(&config).await, Ok(format!("tcp:{port}")));
        drop(listener);
        assert_eq!(look(&config).await, Ok(format!("tcp:{port} (refused)")));
    }

    #[tokio::test]
    async fn silence_is_told_with_what_was_looked_for() {
        let config = PresenceConfig {
            interface: Some("no-such0".to_owned()),
            ..local(vec![SignKind::Arp, SignKind::Link])
        };
        let missing = look(&config).await.unwrap_err();
        assert!(missing.contains("arp: ") && missing.contains("no-such0"), "{missing}");
    }
}
