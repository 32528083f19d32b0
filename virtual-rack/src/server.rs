//! The control socket's server: lines in, [`Request`]s to the rack's loop, lines out.

use std::io::ErrorKind;
use std::path::Path;
use std::path::PathBuf;
use std::time::Duration;

use tokio::io::AsyncBufReadExt;
use tokio::io::AsyncReadExt;
use tokio::io::AsyncWriteExt;
use tokio::io::BufReader;
use tokio::net::UnixListener;
use tokio::net::UnixStream;
use tokio::sync::mpsc;
use tokio::sync::oneshot;
use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::control::REQUEST_BYTES_MAX;
use crate::control::Reply;
use crate::control::Request;

/// Stories, a demo and people together hold a handful; more is a leak, and waits.
const CONNECTIONS_MAX: usize = 64;
/// An answer that is not taken within this time is nobody's.
const DRAIN_WAIT: Duration = Duration::from_secs(2);

/// A request on its way to the loop.
#[derive(Debug)]
pub(crate) struct Ask {
    /// What is asked.
    pub(crate) request: Request,
    /// Where the answer goes.
    pub(crate) answer: oneshot::Sender<Reply>,
}

/// A file that is removed at the end.
#[derive(Debug)]
struct Removed(PathBuf);

impl Drop for Removed {
    fn drop(&mut self) {
        if let Err(err) = std::fs::remove_file(&self.0)
            && err.kind() != ErrorKind::NotFound
        {
            tracing::warn!(socket = %self.0.display(), %err, "could not remove the socket");
        }
    }
}

/// A socket that listens beside its place, so that a start which fails later has shown nothing.
#[derive(Debug)]
pub(crate) struct Claim {
    path: PathBuf,
    listener: UnixListener,
    beside: Removed,
}

/// The socket in its place.
#[derive(Debug)]
pub(crate) struct SocketFile {
    _removed: Removed,
}

impl Claim {
    /// Makes sure that no other rack answers at `path`, before anything of that rack is touched.
    pub(crate) async fn new(path: &Path) -> std::io::Result<Self> {
        if UnixStream::connect(path).await.is_ok() {
            return Err(std::io::Error::new(
                ErrorKind::AddrInUse,
                "another rack answers there; end it (`virtual-rack ctl quit`) or name another socket",
            ));
        }
        let mut beside = path.as_os_str().to_owned();
        beside.push(".new");
        let beside = PathBuf::from(beside);
        match std::fs::remove_file(&beside) {
            Err(err) if err.kind() != ErrorKind::NotFound => return Err(err),
            Ok(()) | Err(_) => {}
        }
        let listener = UnixListener::bind(&beside)?;
        Ok(Self { path: path.to_owned(), listener, beside: Removed(beside) })
    }

    /// Shows the socket under its name: whoever finds it there is answered.
    pub(crate) fn reveal(self) -> std::io::Result<(UnixListener, SocketFile)> {
        std::fs::rename(&self.beside.0, &self.path)?;
        Ok((self.listener, SocketFile { _removed: Removed(self.path) }))
    }
}

/// Serves until `closing` is told; then idle connections are closed and answers under way go out.
pub(crate) async fn serve(
    listener: UnixListener,
    asks: mpsc::Sender<Ask>,
    mut closing: watch::Receiver<bool>,
) {
    let mut connections = JoinSet::new();
    let for_connections = closing.clone();
    loop {
        tokio::select! {
            _ = closing.wait_for(|closing| *closing) => break,
            accepted = listener.accept(), if connections.len() < CONNECTIONS_MAX => match accepted {
                Ok((stream, _)) => {
                    connections.spawn(converse(stream, asks.clone(), for_connections.clone()));
                }
                Err(err) => tracing::warn!(%err, "could not accept a control connection"),
            },
            Some(_) = connections.join_next() => {}
        }
    }
    drop(asks);
    let drained = async { while connections.join_next().await.is_some() {} };
    if tokio::time::timeout(DRAIN_WAIT, drained).await.is_err() {
        tracing::warn!("a control connection did not take its answer");
    }
}

async fn converse(stream: UnixStream, asks: mpsc::Sender<Ask>, mut closing: watch::Receiver<bool>) {
    let (reader, mut writer) = stream.into_split();
    let mut reader = BufReader::new(reader);
    loop {
        let mut line = Vec::new();
        let mut bounded = (&mut reader).take(REQUEST_BYTES_MAX);
        let read = tokio::select! {
            read = bounded.read_until(b'\n', &mut line) => read,
            _ = closing.wait_for(|closing| *closing) => return,
        };
        if !read.is_ok_and(|bytes| bytes > 0) {
            return;
        }
        let whole = line.ends_with(b"\n");
        let reply = answer(&line, whole, &asks).await;
        let Ok(mut text) = serde_json::to_vec(&reply) else { return };
        text.push(b'\n');
        if writer.write_all(&text).await.is_err() || !whole {
            return;
        }
    }
}

async fn answer(line: &[u8], whole: bool, asks: &mpsc::Sender<Ask>) -> Reply {
    if !whole {
        return Reply::Error(format!(
            "found {} bytes without the end of a line, expected a line of at most \
             {REQUEST_BYTES_MAX} bytes",
            line.len()
        ));
    }
    let request: Request = match serde_json::from_slice(line) {
        Ok(request) => request,
        Err(err) => return Reply::Error(format!("found no request: {err}")),
    };
    let (answer, answered) = oneshot::channel();
    let ended = || Reply::Error("the rack has ended".to_owned());
    if asks.send(Ask { request, answer }).await.is_err() {
        return ended();
    }
    answered.await.unwrap_or_else(|_| ended())
}
