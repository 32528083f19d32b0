//! What an agent tells of the past: of its audit, and of the operations that it remembers.

use std::path::PathBuf;

/// The newest line of an agent's audit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AuditHead {
    /// The line's number; 0: there is none yet.
    pub seq: u64,
    /// Its hash.
    pub hash: String,
    /// Where the files are, on the agent's host.
    pub directory: PathBuf,
}
