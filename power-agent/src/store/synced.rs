//! What of the journal is surely on the disk: its head as of the last sync that went well. Decides nothing.
//!
//! The database never writes over what its last commit refers to; only the head says which commit is the last. So this
//! head before the file's other bytes is the journal as it was when that sync returned, whatever was written since.

use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use redb::StorageBackend;

/// How long the head is, in bytes: the database's first page, which holds nothing else.
const HEAD_BYTES: usize = 4096;

/// The head as of the last sync that went well; empty before the file was opened.
#[derive(Debug, Clone, Default)]
pub(super) struct Synced(Arc<Mutex<Vec<u8>>>);

impl Synced {
    /// The head's bytes.
    pub(super) fn head(&self) -> Vec<u8> {
        self.held().clone()
    }

    fn held(&self) -> MutexGuard<'_, Vec<u8>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The journal's bytes, watched for syncs.
#[derive(Debug)]
pub(super) struct Watched {
    bytes: Box<dyn StorageBackend>,
    synced: Synced,
    /// The head as it was written last.
    written: Mutex<Vec<u8>>,
}

impl Watched {
    /// Watches bytes of which nothing is waiting to be synced.
    ///
    /// # Errors
    /// Where the head can not be read.
    pub(super) fn new(bytes: Box<dyn StorageBackend>, synced: &Synced) -> io::Result<Self> {
        let length = usize::try_from(bytes.len()?).unwrap_or(usize::MAX).min(HEAD_BYTES);
        let mut head = vec![0; length];
        bytes.read(0, &mut head)?;
        synced.held().clone_from(&head);
        Ok(Self { bytes, synced: synced.clone(), written: Mutex::new(head) })
    }

    fn written(&self) -> MutexGuard<'_, Vec<u8>> {
        self.written.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl StorageBackend for Watched {
    fn len(&self) -> io::Result<u64> {
        self.bytes.len()
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        self.bytes.read(offset, out)
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.bytes.set_len(len)
    }

    fn sync_data(&self) -> io::Result<()> {
        let head = self.written().clone();
        self.bytes.sync_data()?;
        *self.synced.held() = head;
        Ok(())
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        let mut written = self.written();
        let from = usize::try_from(offset).unwrap_or(usize::MAX);
        let end = from.saturating_add(data.len()).min(written.len());
        if let (Some(head), Some(data)) =
            (written.get_mut(from..end), data.get(..end.saturating_sub(from)))
        {
            head.copy_from_slice(data);
        }
        drop(written);
        self.bytes.write(offset, data)
    }

    fn close(&self) -> io::Result<()> {
        self.bytes.close()
    }
}
