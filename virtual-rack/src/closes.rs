//! Tells when an agent has closed a line, however it ended, and has the line forget him. One watch of the kernel's
//! serves all lines of a rack: a user may have 128 of them, and racks run side by side.

use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::fs::File;
use std::mem::MaybeUninit;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::MutexGuard;
use std::sync::PoisonError;

use rustix::fs::inotify;
use rustix::fs::inotify::CreateFlags;
use rustix::fs::inotify::WatchFlags;
use rustix::io::Errno;
use tokio::io::unix::AsyncFd;

use crate::port::FarEnd;
use crate::port::readable;

/// One read of events: each is 16 bytes, and more than one per line is rare.
const EVENTS_BYTES: usize = 4096;

/// The lines that are followed.
#[derive(Debug)]
pub(crate) struct Closes {
    events: AsyncFd<File>,
    lines: Mutex<BTreeMap<i32, Arc<FarEnd>>>,
}

impl Closes {
    /// Follows no line yet.
    pub(crate) fn new() -> std::io::Result<Self> {
        let events = inotify::init(CreateFlags::NONBLOCK | CreateFlags::CLOEXEC)?;
        Ok(Self { events: readable(events)?, lines: Mutex::default() })
    }

    fn lines(&self) -> MutexGuard<'_, BTreeMap<i32, Arc<FarEnd>>> {
        self.lines.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Follows a line; what is returned ends it.
    pub(crate) fn follow(&self, far: &Arc<FarEnd>) -> std::io::Result<i32> {
        let mut lines = self.lines();
        let watch = inotify::add_watch(self.events.get_ref(), far.path(), WatchFlags::CLOSE_WRITE)?;
        lines.insert(watch, Arc::clone(far));
        Ok(watch)
    }

    /// No longer follows a line.
    pub(crate) fn leave(&self, watch: i32) {
        self.lines().remove(&watch);
        if let Err(err) = inotify::remove_watch(self.events.get_ref(), watch) {
            tracing::debug!(%err, "a line was not followed any more");
        }
    }

    /// Has each line that was closed forget its listener. Whoever reads a line calls it before, so that a close
    /// that came before the bytes is dealt with before them.
    pub(crate) fn deal(&self) -> std::io::Result<()> {
        // Held to the end: who comes meanwhile waits until all that was closed is dealt with.
        let lines = self.lines();
        let mut buffer = [MaybeUninit::uninit(); EVENTS_BYTES];
        let mut reader = inotify::Reader::new(self.events.get_ref(), &mut buffer);
        let mut closed = BTreeSet::new();
        loop {
            match reader.next() {
                // The kernel's queue was full: any of them may have been closed.
                Ok(event) if event.wd() < 0 => closed.extend(lines.keys().copied()),
                Ok(event) => drop(closed.insert(event.wd())),
                Err(Errno::WOULDBLOCK) => break,
                Err(Errno::INTR) => {}
                Err(err) => return Err(err.into()),
            }
        }
        closed
            .iter()
            .filter_map(|watch| lines.get(watch))
            .try_for_each(|far| far.forget_the_listener())
    }

    /// Deals with closes that nothing else follows.
    pub(crate) async fn follow_all(self: Arc<Self>) -> std::io::Result<()> {
        loop {
            let mut ready = self.events.readable().await?;
            self.deal()?;
            ready.clear_ready();
        }
    }
}
