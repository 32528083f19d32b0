//! The one way to end: whoever sees a reason begins the ending, everybody else waits for it.

use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::watch;

/// Begun once, by a signal, the host's Shutdown, or the host's disappearance.
#[derive(Debug, Clone)]
pub struct Ending {
    begun: Arc<watch::Sender<bool>>,
}

impl Default for Ending {
    fn default() -> Self {
        Self { begun: Arc::new(watch::Sender::new(false)) }
    }
}

impl Ending {
    /// Begins it; what is already begun stays so.
    pub fn begin(&self, cause: &str) {
        let first = self.begun.send_if_modified(|begun| !std::mem::replace(begun, true));
        if first {
            tracing::debug!(cause, "plugin is ending");
        }
    }

    /// Returns once it is begun.
    pub async fn begun(&self) {
        let mut begun = self.begun.subscribe();
        // The sender lives in `self`, so the wait can only end by the value.
        begun.wait_for(|begun| *begun).await.ok();
    }
}

/// The two streams that a host opens at once and holds while it lives.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Line {
    Broker,
    Stdio,
}

/// Counts the host's streams: when both have been open and none is, the host is gone.
#[derive(Debug, Clone)]
pub(super) struct Lines {
    open: Arc<Mutex<Open>>,
    ending: Ending,
}

#[derive(Debug, Default)]
struct Open {
    broker_seen: bool,
    stdio_seen: bool,
    live: u64,
}

impl Lines {
    pub(super) fn new(ending: Ending) -> Self {
        Self { open: Arc::default(), ending }
    }

    pub(super) fn opened(&self, line: Line) -> OpenLine {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        match line {
            Line::Broker => open.broker_seen = true,
            Line::Stdio => open.stdio_seen = true,
        }
        open.live += 1;
        OpenLine { lines: self.clone() }
    }
}

/// One open stream; dropping it closes it.
#[derive(Debug)]
pub(super) struct OpenLine {
    lines: Lines,
}

impl Drop for OpenLine {
    fn drop(&mut self) {
        let mut open = self.lines.open.lock().unwrap_or_else(PoisonError::into_inner);
        open.live -= 1;
        let gone = open.live == 0 && open.broker_seen && open.stdio_seen;
        drop(open);
        if gone {
            self.lines.ending.begin("the host closed its streams");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn begun(ending: &Ending) -> bool {
        *ending.begun.borrow()
    }

    #[test]
    fn item_17_the_host_is_gone_when_both_streams_were_open_and_none_is() {
        let ending = Ending::default();
        let lines = Lines::new(ending.clone());
        drop(lines.opened(Line::Broker));
        assert!(!begun(&ending), "only the broker was ever open");
        let stdio = lines.opened(Line::Stdio);
        let broker = lines.opened(Line::Broker);
        drop(broker);
        assert!(!begun(&ending), "stdio is open");
        drop(stdio);
        assert!(begun(&ending));
    }
}
