//! What can go wrong between us and Nomad, each with what was asked, of whom, and the remedy.

use std::path::PathBuf;
use std::time::Duration;

/// Why Nomad did not give what was asked. `what` always completes "while …": "reading node 4f2…".
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// No answer: the connection was not made, or broke.
    #[error(
        "no answer from Nomad at {address} while {what}; check that its agent runs there and that \
         the address, TLS files and network are right"
    )]
    Unreachable {
        /// What was asked.
        what: String,
        /// Of whom.
        address: String,
        /// What the connection said.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// No whole answer within the deadline.
    #[error(
        "Nomad at {address} did not answer within {} s while {what}; check its load and its leader",
        deadline.as_secs()
    )]
    TimedOut {
        /// What was asked.
        what: String,
        /// Of whom.
        address: String,
        /// How long was waited.
        deadline: Duration,
    },
    /// Nomad answered that it can not or will not.
    #[error("Nomad at {address} answered {code} while {what}: {body:?}")]
    Status {
        /// What was asked.
        what: String,
        /// Of whom.
        address: String,
        /// The HTTP status.
        code: u16,
        /// The beginning of Nomad's own words.
        body: String,
    },
    /// The token lacks a capability, is unknown, or has expired.
    #[error(
        "Nomad at {address} refused {what} ({body:?}); give the token a policy with {needs}, or \
         name a token that has it"
    )]
    Forbidden {
        /// What was asked.
        what: String,
        /// Of whom.
        address: String,
        /// The ACL rule that this call needs, as it is written in a policy file.
        needs: String,
        /// The beginning of Nomad's own words.
        body: String,
    },
    /// An answer that is not the JSON that was expected.
    #[error(
        "Nomad at {address} sent something else than expected while {what}, beginning with \
         {excerpt:?}; check that the address is Nomad's HTTP API"
    )]
    Decode {
        /// What was asked.
        what: String,
        /// Of whom.
        address: String,
        /// How the answer begins.
        excerpt: String,
        /// Where and why the reading stopped.
        #[source]
        source: serde_json::Error,
    },
    /// An answer beyond the bound.
    #[error(
        "Nomad at {address} sent more than {bytes_max} bytes while {what}; narrow the question"
    )]
    TooLarge {
        /// What was asked.
        what: String,
        /// Of whom.
        address: String,
        /// The bound that was passed.
        bytes_max: usize,
    },
    /// The settings can not work.
    #[error("{key} = {found:?}: {problem}")]
    Config {
        /// The setting.
        key: &'static str,
        /// What was found (never a secret).
        found: String,
        /// What is wrong, what was expected, what to do.
        problem: String,
    },
    /// A file that the settings name can not be read.
    #[error("{key}: can not read {}; check that it exists and that this user may read it", path.display())]
    File {
        /// The setting that names the file.
        key: &'static str,
        /// The file.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: std::io::Error,
    },
    /// A variable that is larger than Nomad takes.
    #[error(
        "variable {path:?} would hold {bytes} bytes of items; Nomad takes at most {} bytes",
        crate::VARIABLE_BYTES_MAX
    )]
    VariableTooLarge {
        /// The variable.
        path: String,
        /// How large its keys and values are together.
        bytes: usize,
    },
}

impl Error {
    /// Whether what was named does not exist; Nomad says so with 404, or for some writes with 500 and words.
    #[must_use]
    pub fn is_not_found(&self) -> bool {
        matches!(self, Self::Status { code: 404, .. })
            || matches!(self, Self::Status { code: 500, body, .. } if body.ends_with("not found"))
    }
}
