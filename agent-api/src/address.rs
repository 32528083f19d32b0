//! Where agents listen: `unix:/path` on this host, `https://host:port` on the network, and lists of both.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

/// The most agents that one list may name: a rack controller each for a large machine room; more is a typing error.
pub const AGENTS_MAX: usize = 256;

/// The port of an agent on the network where the address names none.
pub const PORT_DEFAULT: u16 = 7420;

/// Where one agent listens.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum AgentAddress {
    /// On this host, at this path.
    Socket(PathBuf),
    /// On the network, where mutual TLS is spoken and nothing else.
    Network {
        /// A DNS name or an IP address; the agent's certificate must carry it.
        host: String,
        /// The port.
        port: u16,
    },
}

/// Why a text is no agent's address.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AddressError {
    /// The list names nobody.
    #[error(
        "no agent is named; expected addresses like unix:/run/lamplighter/agent.sock, separated by commas"
    )]
    Empty,
    /// The list names more than [`AGENTS_MAX`].
    #[error("{found} agents are named; at most {AGENTS_MAX} are taken")]
    TooMany {
        /// How many are named.
        found: usize,
    },
    /// The same address twice: orders would be given twice.
    #[error("agent {address} is named twice; name it once")]
    Twice {
        /// The address.
        address: AgentAddress,
    },
    /// An address on the network without TLS.
    #[error(
        "agent {found:?} is without TLS, and no agent listens so; write it like https://HOST:7420"
    )]
    Plain {
        /// The text that was found.
        found: String,
    },
    /// Anything else.
    #[error(
        "agent {found:?} is no address; expected unix: and the absolute path of the agent's socket, as in \
         unix:/run/lamplighter/agent.sock, or https:// and its host, as in https://rack-a.example:7420"
    )]
    Form {
        /// The text that was found.
        found: String,
    },
}

impl AgentAddress {
    /// The agent that listens on this socket. The path should be absolute: two processes rarely share a working directory.
    #[must_use]
    pub fn socket(path: impl Into<PathBuf>) -> Self {
        Self::Socket(path.into())
    }

    /// Whether it is reached over the network, for which a client needs credentials.
    #[must_use]
    pub const fn is_network(&self) -> bool {
        matches!(self, Self::Network { .. })
    }

    /// Takes addresses that are separated by commas; blanks around them do not matter.
    ///
    /// # Errors
    /// Where the list is empty or too long, or an address is malformed, on the network, or named twice.
    pub fn parse_list(text: &str) -> Result<Vec<Self>, AddressError> {
        let texts: Vec<&str> =
            text.split(',').map(str::trim).filter(|text| !text.is_empty()).collect();
        if texts.is_empty() {
            return Err(AddressError::Empty);
        }
        if texts.len() > AGENTS_MAX {
            return Err(AddressError::TooMany { found: texts.len() });
        }
        let mut addresses = Vec::with_capacity(texts.len());
        for text in texts {
            let address: AgentAddress = text.parse()?;
            if addresses.contains(&address) {
                return Err(AddressError::Twice { address });
            }
            addresses.push(address);
        }
        Ok(addresses)
    }
}

impl FromStr for AgentAddress {
    type Err = AddressError;
    fn from_str(text: &str) -> Result<Self, AddressError> {
        if text.starts_with("http://") {
            return Err(AddressError::Plain { found: text.to_owned() });
        }
        if let Some(rest) = text.strip_prefix("https://") {
            return network(rest).ok_or_else(|| AddressError::Form { found: text.to_owned() });
        }
        // `unix:///path` is how gRPC writes an absolute path with an empty authority.
        let path = text.strip_prefix("unix://").or_else(|| text.strip_prefix("unix:"));
        match path {
            Some(path) if path.starts_with('/') && path.len() > 1 => Ok(Self::socket(path)),
            Some(_) | None => Err(AddressError::Form { found: text.to_owned() }),
        }
    }
}

impl fmt::Display for AgentAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Socket(path) => write!(f, "unix:{}", path.display()),
            Self::Network { host, port } if host.contains(':') => {
                write!(f, "https://[{host}]:{port}")
            }
            Self::Network { host, port } => write!(f, "https://{host}:{port}"),
        }
    }
}

/// `host`, `host:port`, `[::1]:port`; a trailing slash is forgiven.
fn network(rest: &str) -> Option<AgentAddress> {
    let authority: http::uri::Authority = rest.trim_end_matches('/').parse().ok()?;
    let host = authority.host().trim_start_matches('[').trim_end_matches(']');
    let port_missing = authority.as_str().ends_with(']') || !authority.as_str().contains(':');
    let port = if port_missing { Some(PORT_DEFAULT) } else { authority.port_u16() };
    let named = !host.is_empty() && !authority.as_str().contains('@');
    named.then_some(AgentAddress::Network {
        host: host.to_owned(),
        port: port.filter(|port| *port > 0)?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_is_taken_with_blanks_and_both_ways_of_writing() {
        let list = AgentAddress::parse_list("unix:/run/a.sock, unix:///run/b.sock").unwrap();
        assert_eq!(
            list,
            [AgentAddress::socket("/run/a.sock"), AgentAddress::socket("/run/b.sock")]
        );
        assert_eq!(list[1].to_string(), "unix:/run/b.sock");
    }

    #[test]
    fn an_address_on_the_network_has_a_host_and_a_port() {
        for (text, told) in [
            ("https://rack1", "https://rack1:7420"),
            ("https://rack1:7433/", "https://rack1:7433"),
            ("https://10.0.0.1:1", "https://10.0.0.1:1"),
            ("https://[fd00::1]", "https://[fd00::1]:7420"),
            ("https://[fd00::1]:9", "https://[fd00::1]:9"),
        ] {
            let address: AgentAddress = text.parse().unwrap();
            assert!(address.is_network());
            assert_eq!(address.to_string(), told);
            assert_eq!(told.parse(), Ok(address));
        }
    }

    #[test]
    fn the_network_without_tls_is_refused_with_a_sentence() {
        let error = AgentAddress::parse_list("http://rack1:7420").unwrap_err();
        assert!(error.to_string().contains("write it like https://"), "{error}");
    }

    #[test]
    fn what_is_no_address_is_named() {
        for text in [
            "unix:run/a.sock",
            "/run/a.sock",
            "unix:/",
            "rack1",
            "https://",
            "https://:7420",
            "https://a:b",
            "https://a:0",
            "https://a:70000",
            "https://u@a",
            "https://a/path",
        ] {
            assert_eq!(
                text.parse::<AgentAddress>(),
                Err(AddressError::Form { found: text.to_owned() })
            );
        }
        assert_eq!(AgentAddress::parse_list(" , "), Err(AddressError::Empty));
        assert!(matches!(
            AgentAddress::parse_list("unix:/a,unix:/a"),
            Err(AddressError::Twice { .. })
        ));
    }
}
