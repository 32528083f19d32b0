//! Where the journal lies: one file in a directory that one agent has to itself. Whole files appear in one go.

use std::fs::{File, OpenOptions, TryLockError};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use redb::StorageBackend;

use super::{StoreError, prepared};

/// The journal's name in the state directory.
const FILE_NAME: &str = "agent.redb";

/// The name under which a file is written until it is whole.
const NEXT_NAME: &str = "agent.redb.new";

/// The file whose lock says that an agent lives.
const LOCK_NAME: &str = "agent.lock";

/// Where the journal's bytes lie.
pub(super) trait Place: std::fmt::Debug + Send + Sync {
    /// The bytes, as they are.
    ///
    /// # Errors
    /// Where they can not be reached.
    fn open(&self) -> io::Result<Box<dyn StorageBackend>>;

    /// Puts a durable copy of the bytes, with this head, in their place.
    ///
    /// # Errors
    /// Where that can not be done; the old bytes are there then, or the whole copy.
    fn renew(&self, head: &[u8]) -> io::Result<()>;
}

/// The state directory of one agent.
#[derive(Debug)]
pub(super) struct Directory {
    path: PathBuf,
    /// Held as long as the agent lives.
    _lock: File,
}

impl Directory {
    /// Takes the directory for this process alone, and begins a journal where there is none.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub(super) fn take(path: &Path) -> Result<Self, StoreError> {
        let unmade = |source| StoreError::Directory { path: path.to_owned(), source };
        make_durably(path).map_err(unmade)?;
        let mut options = OpenOptions::new();
        options.create(true).truncate(false).write(true);
        let lock = options.open(path.join(LOCK_NAME)).map_err(unmade)?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                return Err(StoreError::Locked { path: path.join(FILE_NAME) });
            }
            Err(TryLockError::Error(source)) => return Err(unmade(source)),
        }
        let taken = Self { path: path.to_owned(), _lock: lock };
        if !taken.path().try_exists().map_err(unmade)? {
            taken.begin().map_err(|source| StoreError::Open {
                path: taken.path(),
                source: Box::new(source),
            })?;
        }
        Ok(taken)
    }

    /// The journal's file.
    pub(super) fn path(&self) -> PathBuf {
        self.path.join(FILE_NAME)
    }

    /// An agent that dies here leaves no journal, and what it left is written over.
    fn begin(&self) -> Result<(), redb::Error> {
        let next = self.next()?;
        prepared(OpenFile(next.try_clone()?))?.close()?;
        self.put(&next)?;
        tracing::info!(file = %self.path().display(), "journal begun");
        Ok(())
    }

    fn next(&self) -> io::Result<File> {
        let mut options = OpenOptions::new();
        options.read(true).write(true).create(true).truncate(true);
        options.open(self.path.join(NEXT_NAME))
    }

    fn put(&self, next: &File) -> io::Result<()> {
        next.sync_all()?;
        std::fs::rename(self.path.join(NEXT_NAME), self.path())?;
        File::open(&self.path)?.sync_all()
    }
}

impl Place for Directory {
    fn open(&self) -> io::Result<Box<dyn StorageBackend>> {
        let file = OpenOptions::new().read(true).write(true).open(self.path())?;
        Ok(Box::new(OpenFile(file)))
    }

    fn renew(&self, head: &[u8]) -> io::Result<()> {
        let mut next = self.next()?;
        io::copy(&mut File::open(self.path())?, &mut next)?;
        next.write_all_at(head, 0)?;
        self.put(&next)?;
        tracing::info!(file = %self.path().display(), "journal laid anew after a failed write");
        Ok(())
    }
}

/// Whether a journal lies in a directory.
pub(super) fn is_there(directory: &Path) -> bool {
    directory.join(FILE_NAME).exists()
}

/// Makes a directory, so that it is there after a crash too.
fn make_durably(path: &Path) -> io::Result<()> {
    if path.is_dir() {
        return Ok(());
    }
    std::fs::create_dir_all(path)?;
    for parent in path.ancestors().skip(1).filter(|parent| !parent.as_os_str().is_empty()) {
        match File::open(parent) {
            Ok(parent) => parent.sync_all()?,
            // Who may not read a directory did not make it either.
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => break,
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// A file as the database wants it. It takes no lock of its own: the directory is ours.
#[derive(Debug)]
struct OpenFile(File);

impl StorageBackend for OpenFile {
    fn len(&self) -> io::Result<u64> {
        Ok(self.0.metadata()?.len())
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        self.0.read_exact_at(out, offset)
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.0.set_len(len)
    }

    fn sync_data(&self) -> io::Result<()> {
        self.0.sync_data()
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.0.write_all_at(data, offset)
    }
}
