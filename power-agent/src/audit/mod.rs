//! The audit: who ordered what, when, why, by what right, and what came of it, as an append-only chain of hashes.
//!
//! An event becomes a line; a line carries the hash of the one before. What is written with a change of the journal is
//! in the same transaction; the files are beside it, for people. No decision reads the audit.

mod chain;
mod event;
mod files;
mod history;
mod line;
mod log;
mod repair;

pub use chain::{Break, Head, Span, check_directory, check_file};
pub use event::{Event, Known, Outcome, What, Who};
pub use files::{FILE_BYTES_MAX, FILE_NAME, FILES_MAX, each_line};
pub(crate) use history::Past;
pub use line::{AuditLine, LineError};
pub use log::AuditFull;
pub(crate) use log::{Log, Prepared, Row};

#[cfg(test)]
mod tests;
