//! What the agent tells of what was: its audit, written and read.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use agent_api::{History, HistoryAsked};
use fleet::MachineName;

use super::Agent;
use crate::audit::{Event, Head, Past, each_line};
use crate::clock::Stamped;
use crate::identity::Identity;
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

    /// Operations as the audit tells them, as far as somebody may see them.
    ///
    /// # Errors
    /// Where the audit's files can not be read.
    pub(crate) async fn history(&self, asked: HistoryAsked, who: Identity) -> io::Result<History> {
        let rack = self.rack();
        let seen = move |name: &str| {
            let name = MachineName::new(name).ok();
            let machine = name.as_ref().and_then(|name| rack.machines.get(name));
            let pool = machine.and_then(|machine| machine.config.pool.as_ref());
            name.is_some_and(|name| who.covers(&name, pool))
        };
        let directory = self.rack().config.state.clone();
        let now = Stamped::now(self.store.boot());
        let read = tokio::task::spawn_blocking(move || {
            let mut past = Past::new(asked, now);
            each_line(&directory, |_, line| {
                // What is none is told by `audit verify`.
                if let Ok(line) = line {
                    past.take(line, &seen);
                }
            })?;
            Ok(past.told())
        });
        read.await.unwrap_or_else(|error| Err(io::Error::other(error)))
    }
}
