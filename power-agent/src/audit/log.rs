//! The audit as it is written: lines go into the journal's next transaction and into the newest file.
//!
//! A line counts as written once it is in the journal; the file follows, and is made whole from the journal after a
//! crash. So an order costs no write to the disk beyond those of its journal, and a file that can not be written stops
//! no machine before [`PENDING_MAX`] lines wait for it.

use std::collections::VecDeque;
use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use super::chain::Head;
use super::event::{Event, What, Who};
use super::files::{self, FILE_BYTES_MAX, FILE_NAME, READ_BYTES_MAX};
use super::line::{AuditLine, Tip};
use super::repair::{Found, look};
use crate::clock::{BootId, Stamped};

/// After this many lines the file is flushed to the disk, and the journal forgets them: one flush for some thirty
/// orders, and at most this many rows more in the journal.
pub(super) const SYNC_EVERY: usize = 64;

/// How many lines may wait for a file that can not be written: a disk that is full for a while. Beyond that the agent
/// takes no orders, because nobody could tell later who gave them.
const PENDING_MAX: usize = 1024;

/// The files' mode: their owner writes, the owner's group may read.
const FILE_MODE: u32 = 0o640;

/// A line with its number, as it is kept in the journal.
pub(crate) type Row = (u64, String);

/// Why no line can be added. Nothing moves then.
#[derive(Debug, thiserror::Error)]
#[error("audit {}: {PENDING_MAX} lines wait to be written; look at the disk", path.display())]
pub struct AuditFull {
    path: PathBuf,
}

/// The open audit.
#[derive(Debug)]
pub(crate) struct Log {
    directory: PathBuf,
    boot: BootId,
    file: Option<File>,
    /// How long the file is, as far as it was written whole.
    bytes: u64,
    tip: Tip,
    /// The newest line of all.
    newest: Option<Row>,
    /// Lines that the disk may not have in the file yet.
    pending: VecDeque<Row>,
    /// The last line that is in the file.
    written: Tip,
    /// The number of the last line that is in the journal.
    kept: u64,
}

/// Lines that are made and not yet believed.
#[derive(Debug, Default)]
pub(crate) struct Prepared {
    rows: Vec<Row>,
    tip: Option<Tip>,
}

impl Log {
    /// Opens the audit of a state directory, and makes its newest file whole from what the journal holds.
    ///
    /// # Errors
    /// What the system says.
    pub(crate) fn open(directory: &Path, boot: BootId, kept: Vec<Row>) -> io::Result<Self> {
        let Found { tip, written, stays, missing, damage } = look(directory, &kept)?;
        if stays.is_none() {
            files::shift(directory)?;
        }
        let file = open_file(directory)?;
        let bytes = stays.unwrap_or_default();
        file.set_len(bytes)?;
        // What is written anew is all that waits; else the line before the first of it is the last one written.
        let begun = missing.first().map_or(0, |(seq, _)| seq.saturating_sub(1));
        let written = if stays.is_none() { Tip { seq: begun, ..written } } else { written };
        let mut log = Self {
            directory: directory.to_owned(),
            boot,
            file: Some(file),
            bytes,
            tip,
            newest: kept.last().cloned(),
            pending: missing.into(),
            written,
            kept: kept.last().map_or(0, |(seq, _)| *seq),
        };
        if let Some(damage) = damage {
            tracing::error!(err = damage, "the audit was not as it had been left");
            log.add(&Event::new(What::Damaged, Who::agent(), &damage));
        }
        log.flush();
        Ok(log)
    }

    /// The lines of events, as they would follow now.
    ///
    /// # Errors
    /// [`AuditFull`]: too many wait already.
    pub(crate) fn prepare(&self, events: &[Event]) -> Result<Prepared, AuditFull> {
        if self.pending.len() + events.len() > PENDING_MAX {
            return Err(AuditFull { path: self.directory.join(FILE_NAME) });
        }
        let mut prepared = Prepared::default();
        for event in events {
            let tip = prepared.tip.as_ref().unwrap_or(&self.tip);
            let (text, tip) = AuditLine::of(event, &Stamped::now(&self.boot), tip).sealed();
            prepared.rows.push((tip.seq, text));
            prepared.tip = Some(tip);
        }
        Ok(prepared)
    }

    /// What the journal has to hold from now on: all from this number on, and these rows beside what it has.
    pub(crate) fn rows<'a>(
        &'a self,
        prepared: &'a Prepared,
    ) -> (u64, impl Iterator<Item = &'a Row>) {
        let newest = self.newest.iter().filter(|_| self.pending.is_empty());
        let all = newest.chain(&self.pending).chain(&prepared.rows);
        let oldest = self.pending.front().or(self.newest.as_ref()).map_or(0, |(seq, _)| *seq);
        (oldest, all.filter(|(seq, _)| *seq > self.kept))
    }

    /// The journal holds them: from now on they are true, and go to the file.
    pub(crate) fn kept(&mut self, prepared: Prepared) {
        self.take(prepared);
        self.kept = self.tip.seq;
        self.flush();
    }

    /// Adds an event that comes with no change of the journal; the next change takes it along.
    ///
    /// # Errors
    /// [`AuditFull`].
    pub(crate) fn append(&mut self, event: &Event) -> Result<(), AuditFull> {
        let prepared = self.prepare(std::slice::from_ref(event))?;
        self.take(prepared);
        self.flush();
        Ok(())
    }

    /// The newest line that is in the file.
    pub(crate) fn head(&mut self) -> Head {
        self.flush();
        Head { seq: self.written.seq, hash: self.written.hash.clone() }
    }

    /// Puts something in the file's place that can not be written.
    #[cfg(test)]
    pub(super) fn break_file(&mut self) {
        let path = self.directory.join(FILE_NAME);
        std::fs::remove_file(&path).unwrap();
        std::fs::create_dir(&path).unwrap();
        self.file = None;
    }

    fn add(&mut self, event: &Event) {
        let (text, tip) = AuditLine::of(event, &Stamped::now(&self.boot), &self.tip).sealed();
        self.take(Prepared { rows: vec![(tip.seq, text)], tip: Some(tip) });
    }

    fn take(&mut self, prepared: Prepared) {
        if let Some(tip) = prepared.tip {
            self.tip = tip;
        }
        if let Some(newest) = prepared.rows.last() {
            self.newest = Some(newest.clone());
        }
        self.pending.extend(prepared.rows);
    }

    /// Writes what is not in the file, and begins another one where it is full. What fails is tried again with the next
    /// line.
    fn flush(&mut self) {
        if let Err(error) = self.write() {
            self.file = None;
            tracing::error!(
                file = %self.directory.join(FILE_NAME).display(), err = %error, waiting = self.pending.len(),
                "the audit's file can not be written; its lines are kept in the journal meanwhile"
            );
        }
    }

    fn write(&mut self) -> io::Result<()> {
        let reopened = self.file.is_none();
        let mut file = match self.file.take() {
            Some(file) => file,
            None => open_file(&self.directory)?,
        };
        if reopened {
            // What was written in part is written again as a whole; a file that is shorter is another one.
            self.bytes = self.bytes.min(file.metadata()?.len());
            file.set_len(self.bytes)?;
        }
        let waiting = self.pending.iter().filter(|(seq, _)| *seq > self.written.seq);
        let text: String = waiting.map(|(_, line)| format!("{line}\n")).collect();
        if !text.is_empty() {
            let bytes = u64::try_from(text.len()).unwrap_or(u64::MAX);
            if self.bytes.saturating_add(bytes) > READ_BYTES_MAX {
                return Err(io::Error::other("no new file could be begun, and this one is full"));
            }
            file.write_all(text.as_bytes())?;
            self.bytes += bytes;
            self.written = self.tip.clone();
        }
        let full = self.bytes >= FILE_BYTES_MAX;
        if full || self.pending.len() >= SYNC_EVERY {
            file.sync_data()?;
            self.pending.clear();
        }
        self.file = Some(file);
        if full { self.rotate() } else { Ok(()) }
    }

    fn rotate(&mut self) -> io::Result<()> {
        files::shift(&self.directory)?;
        self.file = Some(open_file(&self.directory)?);
        self.bytes = 0;
        let kept_from = files::in_order(&self.directory)?.first().map(|file| first_of(file));
        let event = Event::new(What::Rotated, Who::agent(), "the file before this one was full");
        let line = AuditLine::of(&event, &Stamped::now(&self.boot), &self.tip);
        let kept_from = kept_from.transpose()?.flatten();
        let (text, tip) = AuditLine { kept_from, ..line }.sealed();
        self.take(Prepared { rows: vec![(tip.seq, text)], tip: Some(tip) });
        self.write()
    }
}

/// The number of a file's first line.
fn first_of(file: &Path) -> io::Result<Option<u64>> {
    let text = files::text(file)?;
    Ok(text.lines().next().and_then(|line| AuditLine::read(line).ok()).map(|line| line.seq))
}

fn open_file(directory: &Path) -> io::Result<File> {
    let path = directory.join(FILE_NAME);
    OpenOptions::new().append(true).create(true).mode(FILE_MODE).open(path)
}
