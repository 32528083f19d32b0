//! A serial line that may vanish: opened when needed, dropped at the first sign that it is gone, opened again.
//!
//! Keeps the gap between frames.

use std::io::{Error, ErrorKind};
use std::time::Duration;

use futures_util::FutureExt;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::{Instant, sleep, sleep_until, timeout_at};

use serial_port::{OpenError, Port};

use super::DriverError;

/// How long a set waits for a line that is gone: a USB board that was plugged in needs a second or two.
const REOPEN_PATIENCE: Duration = Duration::from_secs(3);
/// The waits between two tries to open grow from here…
const BACKOFF_MIN: Duration = Duration::from_millis(50);
/// …to here, so that a board that is back is found within a second.
const BACKOFF_MAX: Duration = Duration::from_millis(800);
/// Four bytes at 9600 baud need 4 ms; what is not sent after a second is stuck.
const WRITE_DEADLINE: Duration = Duration::from_secs(1);
/// Bytes that are thrown away before a query: more than that is not an old reply but a babbling line.
const STALE_BYTES_MAX: usize = 64 << 10;

/// A line to one device.
pub(crate) struct SerialLine<P: Port> {
    port: P,
    open: Option<P::Line>,
    gap_min: Duration,
    free_at: Instant,
    /// Whether it was away when it was looked for last.
    away: bool,
    /// Whether it has come back since this was told, also where a frame that waited for it has found it.
    back: bool,
}

impl<P: Port> SerialLine<P> {
    pub(crate) fn new(port: P, gap_min: Duration) -> Self {
        Self { port, open: None, gap_min, free_at: Instant::now(), away: false, back: false }
    }

    pub(crate) fn place(&self) -> String {
        self.port.place()
    }

    /// The moment at which a wait that begins now is over, the gap before it not counted.
    pub(crate) fn deadline(&self, wait: Duration) -> Instant {
        self.free_at.max(Instant::now()) + wait
    }

    /// Whether the line is there, without a byte written.
    pub(crate) fn check(&mut self) -> Result<(), DriverError> {
        self.discard_stale();
        self.open_once()
    }

    /// Sends one frame after the gap; waits a little for a line that is gone, as long as no byte went out.
    pub(crate) async fn send(&mut self, frame: &[u8]) -> Result<(), DriverError> {
        let give_up_at = Instant::now() + REOPEN_PATIENCE;
        let mut wait = BACKOFF_MIN;
        loop {
            self.discard_stale();
            let result = match self.open_once() {
                Ok(()) => self.write(frame).await,
                Err(error) => Err(error),
            };
            match result {
                Err(DriverError::Unreachable { .. }) if Instant::now() + wait < give_up_at => {
                    sleep(wait).await;
                    wait = (wait * 2).min(BACKOFF_MAX);
                }
                result => return result,
            }
        }
    }

    /// Sends one frame after the gap, with nothing old left to be taken for its answer; does not wait for a line that is gone.
    pub(crate) async fn send_fresh(&mut self, frame: &[u8]) -> Result<(), DriverError> {
        self.discard_stale();
        self.open_once()?;
        sleep_until(self.free_at).await;
        self.discard_stale();
        self.open_once()?;
        self.write(frame).await
    }

    /// Adds what comes next, at most `room` bytes; `false`: nothing came before the deadline.
    pub(crate) async fn receive(
        &mut self,
        reply: &mut Vec<u8>,
        room: usize,
        deadline: Instant,
    ) -> Result<bool, DriverError> {
        let Some(line) = &mut self.open else { return Ok(false) };
        let mut chunk = vec![0_u8; room];
        match timeout_at(deadline, line.read(&mut chunk)).await {
            Err(_elapsed) => Ok(false),
            Ok(Ok(count)) if count > 0 => {
                reply.extend(chunk.iter().take(count));
                Ok(true)
            }
            Ok(end) => {
                self.drop_line();
                let error = end.err().unwrap_or_else(gone);
                Err(self.unreachable("the line broke during an answer", error))
            }
        }
    }

    /// That it is back has been told by a reading.
    pub(crate) fn told(&mut self) {
        self.back = false;
    }

    /// Ready when the line breaks, and when one that is gone can be opened again. What comes unasked meanwhile is nothing.
    pub(crate) async fn stirs(&mut self) {
        if std::mem::take(&mut self.back) {
            return;
        }
        if let Some(line) = &mut self.open {
            let mut chunk = [0_u8; 256];
            while line.read(&mut chunk).await.is_ok_and(|count| count > 0) {}
            // Closed at once: whoever holds it makes the kernel number the board anew.
            self.drop_line();
            return;
        }
        let mut wait = BACKOFF_MIN;
        loop {
            sleep(wait).await;
            if self.open_once().is_ok() {
                self.back = false;
                return;
            }
            wait = (wait * 2).min(BACKOFF_MAX);
        }
    }

    async fn write(&mut self, frame: &[u8]) -> Result<(), DriverError> {
        sleep_until(self.free_at).await;
        // Taken out while it is written to: whoever cancels half a frame loses the line with it, and
        // the next frame does not begin in the middle of this one.
        let Some(mut line) = self.open.take() else {
            return Err(self.unreachable("it is not open", gone()));
        };
        self.free_at = Instant::now() + self.gap_min;
        let mut sent = 0;
        let result = timeout_at(Instant::now() + WRITE_DEADLINE, async {
            while let Some(rest) = frame.get(sent..).filter(|rest| !rest.is_empty()) {
                match line.write(rest).await? {
                    0 => return Err(gone()),
                    count => sent += count,
                }
            }
            line.flush().await
        });
        let error = match result.await {
            Ok(Ok(())) => {
                self.free_at = Instant::now() + self.gap_min;
                self.open = Some(line);
                return Ok(());
            }
            Ok(Err(error)) => error,
            Err(_elapsed) => Error::new(ErrorKind::TimedOut, "the line takes no bytes"),
        };
        self.away = true;
        if sent == 0 {
            return Err(self.unreachable("a frame could not be sent", error));
        }
        Err(DriverError::Indeterminate {
            what: format!("the line broke after {sent} of {} bytes of a frame", frame.len()),
            who: self.place(),
            source: Some(error.into()),
        })
    }

    fn open_once(&mut self) -> Result<(), DriverError> {
        if self.open.is_none() {
            let opened = self.port.open();
            self.back |= std::mem::replace(&mut self.away, opened.is_err()) && opened.is_ok();
            match opened {
                Ok(line) => {
                    // Nobody knows when the device heard its last frame: from a process before us?
                    self.free_at = self.free_at.max(Instant::now() + self.gap_min);
                    self.open = Some(line);
                }
                Err(OpenError::Away { what, source }) => {
                    let source = source.map(Into::into);
                    return Err(DriverError::Unreachable { what, who: self.place(), source });
                }
                Err(OpenError::Other(what)) => {
                    return Err(DriverError::Misconfigured {
                        what,
                        who: self.place(),
                        source: None,
                    });
                }
            }
        }
        Ok(())
    }

    /// Throws away what has come unasked, and drops a line that has come to its end. A tty that
    /// reads as ended is gone for good: the board may be back under the same path with another number.
    fn discard_stale(&mut self) {
        let Some(line) = &mut self.open else { return };
        let mut chunk = [0_u8; 256];
        let mut discarded = 0;
        loop {
            match line.read(&mut chunk).now_or_never() {
                None => return,
                Some(Ok(count)) if count > 0 && discarded < STALE_BYTES_MAX => discarded += count,
                Some(_ended) => {
                    self.drop_line();
                    return;
                }
            }
        }
    }

    /// It has come to its end.
    fn drop_line(&mut self) {
        self.open = None;
        self.away = true;
    }

    fn unreachable(&self, what: &str, error: Error) -> DriverError {
        DriverError::Unreachable {
            what: what.to_owned(),
            who: self.place(),
            source: Some(error.into()),
        }
    }
}

fn gone() -> Error {
    Error::new(ErrorKind::UnexpectedEof, "the other end is gone")
}

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::io::{Read, Write};
    use std::os::unix::fs::symlink;
    use std::path::Path;

    use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};

    use super::*;
    use serial_port::{PortSettings, TtyPort};

    const GAP: Duration = Duration::from_millis(50);

    /// A real pseudo-terminal whose other end is ours; `path` leads to it, as a link of udev does.
    fn plug_in(path: &Path) -> File {
        let ours = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap();
        grantpt(&ours).unwrap();
        unlockpt(&ours).unwrap();
        let name = ptsname(&ours, Vec::new()).unwrap().into_string().unwrap();
        if path.symlink_metadata().is_ok() {
            std::fs::remove_file(path).unwrap();
        }
        symlink(name, path).unwrap();
        File::from(ours)
    }

    fn tty(path: &Path) -> TtyPort {
        let path = path.to_owned();
        TtyPort::new(PortSettings { path, usb: None, serial: None, dtr: true }, 9600)
    }

    fn heard(board: &mut File, count: usize) -> Vec<u8> {
        let mut bytes = vec![0; count];
        board.read_exact(&mut bytes).unwrap();
        bytes
    }

    #[tokio::test]
    async fn a_real_tty_carries_every_byte_as_it_is_and_is_held_alone() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("board");
        let mut board = plug_in(&path);
        let mut line = SerialLine::new(tty(&path), GAP);
        // Bytes that a terminal in its usual mode would take for line ends, flow control or an interrupt.
        let frame = [0x0D, 0x0A, 0x11, 0x13, 0x03, 0x04, 0x7F, 0xFF, 0xA0];
        line.send(&frame).await.unwrap();
        assert_eq!(heard(&mut board, frame.len()), frame);
        board.write_all(&frame).unwrap();
        let mut reply = Vec::new();
        let deadline = Instant::now() + Duration::from_secs(5);
        while reply.len() < frame.len() {
            assert!(line.receive(&mut reply, 64, deadline).await.unwrap(), "{reply:02X?}");
        }
        assert_eq!(reply, frame);
        let mut second = SerialLine::new(tty(&path), GAP);
        let error = second.check().unwrap_err();
        assert!(matches!(error, DriverError::Unreachable { .. }), "{error}");
    }

    #[tokio::test]
    async fn a_real_tty_that_vanishes_is_dropped_and_opened_again_under_its_path() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("board");
        let board = plug_in(&path);
        let mut line = SerialLine::new(tty(&path), GAP);
        line.check().unwrap();
        drop(board);
        let ends_at = Instant::now() + Duration::from_secs(5);
        let error = loop {
            match line.check() {
                Err(error) => break error,
                Ok(()) => assert!(Instant::now() < ends_at, "the kernel has told long ago"),
            }
            sleep(Duration::from_millis(5)).await;
        };
        assert!(matches!(error, DriverError::Unreachable { .. }), "{error}");
        assert!(line.open.is_none(), "whoever holds it makes the kernel number the board anew");
        let mut board = plug_in(&path);
        line.send(b"again").await.unwrap();
        assert_eq!(heard(&mut board, 5), b"again");
    }

    #[tokio::test]
    async fn a_board_that_was_swapped_a_moment_ago_gets_the_frame_once() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("board");
        let gone = plug_in(&path);
        let mut line = SerialLine::new(tty(&path), GAP);
        line.check().unwrap();
        drop(gone);
        let mut board = plug_in(&path);
        line.send(b"once").await.unwrap();
        line.send(b"!").await.unwrap();
        assert_eq!(heard(&mut board, 5), b"once!");
    }

    #[tokio::test]
    async fn what_was_said_unasked_is_not_taken_for_an_answer() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("board");
        let mut board = plug_in(&path);
        let mut line = SerialLine::new(tty(&path), GAP);
        line.check().unwrap();
        board.write_all(b"old news").unwrap();
        line.send_fresh(b"?").await.unwrap();
        assert_eq!(heard(&mut board, 1), b"?");
        board.write_all(b"new").unwrap();
        let mut reply = Vec::new();
        let deadline = Instant::now() + Duration::from_secs(5);
        while reply.len() < 3 {
            assert!(line.receive(&mut reply, 64, deadline).await.unwrap());
        }
        assert_eq!(reply, b"new");
    }
}
