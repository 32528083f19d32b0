//! The tape: a disk in memory that records what was asked of it, and that fails when it is told to.

use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use redb::StorageBackend;

use super::super::place::Place;

/// What was asked of the disk.
#[derive(Debug, Clone)]
pub(super) enum Step {
    Write {
        offset: usize,
        data: Vec<u8>,
    },
    Length(usize),
    Sync,
    /// The file was replaced by a whole and durable one.
    Replaced(Vec<u8>),
    /// A commit begins; they are counted from 1.
    Begun(usize),
    /// It has returned, and was told durable.
    Returned(usize),
    /// A sync has failed: what it should have kept is there or lost for ever, and no later sync tells.
    SyncFailed,
}

/// How the disk fails from now on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fault {
    /// After so many more calls each one fails, writes without an effect.
    NothingMore { after: usize },
    /// After so many more syncs one fails, and what it should have kept is perhaps lost.
    OneSync { after: usize },
    /// After so many more syncs each one fails, and no whole file can be laid either.
    EverySync { after: usize },
}

/// What kind of call may fail.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Call {
    Change,
    Sync,
    Whole,
}

#[derive(Debug, Default)]
struct Reel {
    bytes: Vec<u8>,
    /// `None`: only counted.
    steps: Option<Vec<Step>>,
    count: Count,
    fault: Option<Fault>,
}

/// What was asked of the disk.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Count {
    pub(super) syncs: u64,
    pub(super) bytes_written: u64,
}

/// The disk; clones are the same one.
#[derive(Debug, Clone, Default)]
pub(super) struct Tape(Arc<Mutex<Reel>>);

impl Tape {
    pub(super) fn of(bytes: Vec<u8>) -> Self {
        Self(Arc::new(Mutex::new(Reel { bytes, steps: Some(Vec::new()), ..Reel::default() })))
    }

    fn reel(&self) -> MutexGuard<'_, Reel> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Forgets what was recorded, keeps the bytes, and records from now on.
    pub(super) fn rewind(&self) {
        self.reel().steps = Some(Vec::new());
    }

    pub(super) fn count(&self) -> Count {
        self.reel().count
    }

    pub(super) fn length(&self) -> usize {
        self.reel().bytes.len()
    }

    pub(super) fn bytes(&self) -> Vec<u8> {
        self.reel().bytes.clone()
    }

    pub(super) fn steps(&self) -> Vec<Step> {
        self.reel().steps.clone().unwrap_or_default()
    }

    /// What was recorded since this was asked last.
    pub(super) fn news(&self) -> Vec<Step> {
        self.reel().steps.as_mut().map(std::mem::take).unwrap_or_default()
    }

    pub(super) fn mark(&self, step: Step) {
        self.reel().note(step);
    }

    pub(super) fn fail(&self, fault: Option<Fault>) {
        self.reel().fault = fault;
    }
}

impl Reel {
    fn note(&mut self, step: Step) {
        if let Some(steps) = &mut self.steps {
            steps.push(step);
        }
    }

    /// Whether this call goes well.
    fn weigh(&mut self, call: Call) -> io::Result<()> {
        let is_sync = call == Call::Sync;
        let failed = Err(io::Error::from(io::ErrorKind::StorageFull));
        match &mut self.fault {
            None => Ok(()),
            Some(Fault::NothingMore { after: 0 }) => failed,
            Some(Fault::NothingMore { after }) => {
                *after -= 1;
                Ok(())
            }
            Some(Fault::EverySync { after: 0 }) if call != Call::Change => {
                self.note(Step::SyncFailed);
                failed
            }
            Some(Fault::OneSync { after: 0 }) if is_sync => {
                self.fault = None;
                self.note(Step::SyncFailed);
                failed
            }
            Some(Fault::OneSync { after } | Fault::EverySync { after }) => {
                *after = after.saturating_sub(usize::from(is_sync));
                Ok(())
            }
        }
    }
}

fn place(offset: u64) -> usize {
    usize::try_from(offset).expect("a small file")
}

impl StorageBackend for Tape {
    fn len(&self) -> io::Result<u64> {
        Ok(u64::try_from(self.reel().bytes.len()).expect("a small file"))
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        let reel = self.reel();
        let from = place(offset);
        let found = reel.bytes.get(from..from + out.len()).ok_or(io::ErrorKind::UnexpectedEof)?;
        out.copy_from_slice(found);
        Ok(())
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        let mut reel = self.reel();
        reel.weigh(Call::Change)?;
        reel.bytes.resize(place(len), 0);
        reel.note(Step::Length(place(len)));
        Ok(())
    }

    fn sync_data(&self) -> io::Result<()> {
        let mut reel = self.reel();
        reel.weigh(Call::Sync)?;
        reel.count.syncs += 1;
        reel.note(Step::Sync);
        Ok(())
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        let mut reel = self.reel();
        reel.weigh(Call::Change)?;
        let from = place(offset);
        reel.bytes[from..from + data.len()].copy_from_slice(data);
        reel.count.bytes_written += u64::try_from(data.len()).expect("a number");
        if reel.steps.is_some() {
            reel.note(Step::Write { offset: from, data: data.to_vec() });
        }
        Ok(())
    }
}

impl Place for Tape {
    fn open(&self) -> io::Result<Box<dyn StorageBackend>> {
        Ok(Box::new(self.clone()))
    }

    fn renew(&self, head: &[u8]) -> io::Result<()> {
        let mut reel = self.reel();
        reel.weigh(Call::Whole)?;
        reel.bytes[..head.len()].copy_from_slice(head);
        let whole = reel.bytes.clone();
        reel.note(Step::Replaced(whole));
        Ok(())
    }
}
