//! What the agent tells of what was: its audit, written and read.

use std::path::PathBuf;
use std::sync::Arc;

use super::Agent;
use crate::audit::{Event, Head};
use crate::memory::Change;
use crate::node::chain;

impl Agent {
    /// Adds an event to the audit that comes with no change of the journal. Where it can not, that is in the log: what
    /// has happened has happened.
    pub(crate) async fn audit(&self, event: Event) {
        let store = Arc::clone(&self.store);
        let what = event.what.as_str();
        let told = tokio::task::spawn_blocking(move || store.tell(&event)).await;
        if !matches!(told, Ok(Ok(()))) {
            tracing::error!(what, "the audit takes nothing more");
        }
    }

    /// As [`Agent::audit`], and on the disk when this returns.
    pub(crate) async fn audit_durably(&self, event: Event) {
        let change = Change { audit: vec![event], ..Change::default() };
        if let Err(error) = self.store.commit_durably(change).await {
            tracing::error!(err = chain(&error), "the audit could not be written");
        }
    }

    /// The newest line of the audit that is in its file, and where the files are.
    pub(crate) async fn audit_head(&self) -> (Head, PathBuf) {
        let store = Arc::clone(&self.store);
        let head = tokio::task::spawn_blocking(move || store.audit_head()).await;
        let directory = std::path::absolute(&self.rack().config.state);
        let none = Head { seq: 0, hash: String::new() };
        (
            head.ok().flatten().unwrap_or(none),
            directory.unwrap_or_else(|_| self.rack().config.state.clone()),
        )
    }
}
