//! The boards' serial lines: each with the task that listens on it, plugged in and out.

use std::collections::BTreeMap;
use std::io::ErrorKind;
use std::path::Path;
use std::path::PathBuf;
use std::sync::Arc;

use tokio::sync::mpsc;
use tokio::task::JoinSet;

use crate::clock::Clock;
use crate::closes::Closes;
use crate::moment::Moment;
use crate::port::Port;
use crate::wiring::bus::Place;

/// Bytes that arrived at a board.
pub(super) struct Portion {
    pub(super) board: String,
    pub(super) bytes: Vec<u8>,
    pub(super) at: Moment,
}

/// One line and its listener.
struct Line {
    port: Arc<Port>,
    place: Place,
    listener: JoinSet<()>,
}

/// The lines of the boards that are on the bus.
pub(super) struct Lines {
    clock: Clock,
    portions: mpsc::Sender<Portion>,
    /// Where the kernel's tree of this rack is.
    sys: Option<PathBuf>,
    plugged: BTreeMap<String, Line>,
    /// What tells of closed lines, and its task, from the first line on.
    closes: Option<(Arc<Closes>, JoinSet<()>)>,
}

impl Lines {
    pub(super) fn new(
        clock: Clock,
        portions: mpsc::Sender<Portion>,
        sys: Option<&Path>,
    ) -> std::io::Result<Self> {
        if let Some(sys) = sys {
            std::fs::create_dir_all(sys.join("dev/char"))?;
        }
        let sys = sys.map(Path::to_owned);
        Ok(Self { clock, portions, sys, plugged: BTreeMap::new(), closes: None })
    }

    /// Puts a board on the bus; never in the place of another.
    pub(super) fn plug(&mut self, board: &str, place: Place) -> std::io::Result<()> {
        self.free_for(board, &place.link)?;
        let closes = self.closes()?;
        let told = self.sys.as_deref().zip(place.usb.as_ref());
        let by_path = place.by_path.as_ref().map(|(name, to)| (name.as_path(), to.as_path()));
        let port = Arc::new(Port::open(&place.link, by_path, told, &closes)?);
        let mut listener = JoinSet::new();
        listener.spawn(listen(board.to_owned(), port.clone(), self.clock, self.portions.clone()));
        self.plugged.insert(board.to_owned(), Line { port, place, listener });
        Ok(())
    }

    fn closes(&mut self) -> std::io::Result<Arc<Closes>> {
        if let Some((closes, _)) = &self.closes {
            return Ok(Arc::clone(closes));
        }
        let closes = Arc::new(Closes::new()?);
        let mut task = JoinSet::new();
        let following = Arc::clone(&closes);
        task.spawn(async move {
            if let Err(err) = following.follow_all().await {
                tracing::error!(%err, "closed lines are not seen any more");
            }
        });
        self.closes = Some((Arc::clone(&closes), task));
        Ok(closes)
    }

    /// Whether a board may have this link: there is nothing, or something that is a link and of no
    /// other board.
    pub(super) fn free_for(&self, board: &str, link: &Path) -> std::io::Result<()> {
        let others = self.plugged.iter().filter(|(name, _)| *name != board);
        let taken = |what: String| Err(std::io::Error::new(ErrorKind::AlreadyExists, what));
        for (other, line) in others {
            if line.place.link == link
                || line.place.by_path.as_ref().is_some_and(|(name, _)| name == link)
            {
                return taken(format!("board {other} is at {}", link.display()));
            }
        }
        match std::fs::symlink_metadata(link) {
            Ok(found) if !found.is_symlink() => taken(format!(
                "found something that is no link at {}; move it away",
                link.display()
            )),
            Ok(_) | Err(_) => Ok(()),
        }
    }

    /// Takes a board off the bus: its line and its links are gone when this returns.
    pub(super) async fn unplug(&mut self, board: &str) {
        if let Some(mut line) = self.plugged.remove(board) {
            line.listener.shutdown().await;
        }
    }

    /// The link of a board that is on the bus.
    pub(super) fn link(&self, board: &str) -> Option<&Path> {
        self.place(board).map(|place| place.link.as_path())
    }

    /// The place of a board that is on the bus.
    pub(super) fn place(&self, board: &str) -> Option<&Place> {
        self.plugged.get(board).map(|line| &line.place)
    }

    /// The pseudo-terminal of a board that is on the bus.
    pub(super) fn port(&self, board: &str) -> Option<&Path> {
        self.plugged.get(board).map(|line| line.port.path())
    }

    /// Sends bytes as a board does, who does not wait for a listener: false where some are gone.
    pub(super) fn send(&self, board: &str, bytes: &[u8]) -> bool {
        self.plugged.get(board).is_some_and(|line| line.port.send(bytes))
    }

    /// Takes all boards off the bus.
    pub(super) async fn end(&mut self) {
        while let Some((_, mut line)) = self.plugged.pop_first() {
            line.listener.shutdown().await;
        }
        if let Some((_, mut task)) = self.closes.take() {
            task.shutdown().await;
        }
    }
}

/// Hands on what an agent writes to a board, with the moment of its arrival.
async fn listen(board: String, port: Arc<Port>, clock: Clock, portions: mpsc::Sender<Portion>) {
    loop {
        match port.read().await {
            Ok(bytes) => {
                let at = clock.now();
                if portions.send(Portion { board: board.clone(), bytes, at }).await.is_err() {
                    return;
                }
            }
            Err(err) => {
                tracing::error!(board, %err, "a board's line can not be read any more");
                return;
            }
        }
    }
}
