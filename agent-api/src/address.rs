//! Where agents listen: `unix:/path`, and lists of it. The network is mutual TLS only and comes later.

use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;

/// The most agents that one list may name: a rack controller each for a large machine room; more is a typing error.
pub const AGENTS_MAX: usize = 256;

/// Where one agent listens.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct AgentAddress {
    socket: PathBuf,
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
    /// An address on the network.
    #[error(
        "agent {found:?} is on the network, and nothing listens on the network yet; use unix:/path of an agent on this host"
    )]
    Network {
        /// The text that was found.
        found: String,
    },
    /// Anything else.
    #[error(
        "agent {found:?} is no address; expected unix: and the absolute path of the agent's socket, as in unix:/run/lamplighter/agent.sock"
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
        Self { socket: path.into() }
    }

    /// The socket's path.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.socket
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
        if ["https://", "http://"].iter().any(|scheme| text.starts_with(scheme)) {
            return Err(AddressError::Network { found: text.to_owned() });
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
        write!(f, "unix:{}", self.socket.display())
    }
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
    fn an_address_on_the_network_is_refused_with_a_sentence() {
        let error = AgentAddress::parse_list("https://rack1:7433").unwrap_err();
        assert!(error.to_string().contains("nothing listens on the network yet"), "{error}");
    }

    #[test]
    fn what_is_no_address_is_named() {
        for text in ["unix:run/a.sock", "/run/a.sock", "unix:/", "rack1"] {
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
