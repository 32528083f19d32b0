//! Why the journal can not be used.

use std::path::PathBuf;

use crate::audit::AuditFull;

/// Why the journal can not be used. Nothing moves then.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The state directory can not be made.
    #[error("state directory {}: can not be made; create it for this user, or name another as `agent.state`", path.display())]
    Directory {
        /// The directory.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: std::io::Error,
    },
    /// Another process has it open.
    #[error("journal {}: another agent has it open; stop that one, or name another state directory as `agent.state`", path.display())]
    Locked {
        /// The file.
        path: PathBuf,
    },
    /// It can not be opened.
    #[error("journal {}: can not be opened; if the file is damaged, move it away: the agent then reads the lines as they are, and holds must be given again", path.display())]
    Open {
        /// The file.
        path: PathBuf,
        /// What the database said.
        #[source]
        source: Box<redb::Error>,
    },
    /// A value in it can not be understood.
    #[error("journal {}: {what} can not be understood; it was written by a newer agent, or is damaged: run that agent, or move the file away", path.display())]
    Value {
        /// The file.
        path: PathBuf,
        /// Which value.
        what: String,
        /// What is wrong with it.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The audit beside it can not be opened.
    #[error("audit in {}: can not be opened; look at the rights of its files", path.display())]
    Audit {
        /// The state directory.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: std::io::Error,
    },
    /// The audit takes nothing more.
    #[error(transparent)]
    AuditFull(#[from] AuditFull),
    /// The agent stopped while it was being written.
    #[error("journal {}: the agent stops; give the order again when it is back", path.display())]
    Stopping {
        /// The file.
        path: PathBuf,
        /// What the runtime said.
        #[source]
        source: tokio::task::JoinError,
    },
    /// Reading or writing it failed.
    #[error("journal {}: can not be {doing}; look at the disk", path.display())]
    Disk {
        /// The file.
        path: PathBuf,
        /// `read` or `written`.
        doing: &'static str,
        /// What the database said.
        #[source]
        source: Box<redb::Error>,
    },
}
