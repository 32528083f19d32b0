//! The agent's journal: one file in its state directory, every change durable before it is built upon.
//!
//! The file holds JSON by name. Each value carries the boot in which it was written: moments of another boot are put
//! at the clock's origin when they are read, where they are older than anything.

#[cfg(test)]
mod crash;
mod doc;
mod error;
mod place;
mod synced;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use fleet::{Fence, FenceNumber, Fences, MachineName};
use redb::{Database, ReadableDatabase, ReadableTable, StorageBackend, TableDefinition};

pub use self::error::StoreError;
use self::place::{Directory, Place};
use self::synced::{Synced, Watched};
use crate::audit::{self, AuditLine, Event, Head, Prepared, Row};
use crate::clock::{BootId, Clock};
use crate::memory::{Change, KeptPlan, MachineMemory, Operation};
use crate::metrics::Metrics;

/// How much of the file is held in memory, in bytes: all of it, for most racks; redb's own default is a gigabyte.
const CACHE_BYTES: usize = 4 << 20;

const MACHINES: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("machines");
const OPERATIONS: TableDefinition<'_, u64, &[u8]> = TableDefinition::new("operations");
const FENCES: TableDefinition<'_, (&str, &str), u64> = TableDefinition::new("fences");
const PLANS: TableDefinition<'_, (&str, &str), &[u8]> = TableDefinition::new("plans");
/// The newest lines of the audit: what its file may not have on the disk yet, and always the last one.
const AUDIT: TableDefinition<'_, u64, &[u8]> = TableDefinition::new("audit");

/// All that was on the disk.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Loaded {
    /// By machine; also of machines that the rack file no longer names.
    pub machines: BTreeMap<MachineName, MachineMemory>,
    /// By their place in the list.
    pub operations: BTreeMap<u64, Operation>,
    /// The highest fences.
    pub fences: Fences,
    /// The newest plans.
    pub plans: Vec<KeptPlan>,
}

/// The open journal.
#[derive(Debug)]
pub(crate) struct Store {
    path: PathBuf,
    boot: BootId,
    place: Box<dyn Place>,
    synced: Synced,
    /// `None`: a write has failed, and the file could not be laid anew yet.
    database: Mutex<Option<Database>>,
    /// Locked before the database, never after. `None`: the journal lies in no directory, and there is none beside it.
    audit: Mutex<Option<audit::Log>>,
    /// What was written and told is counted here, where all of it passes.
    pub(crate) metrics: Metrics,
}

impl Store {
    /// Opens the journal in `directory`, or begins one.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub(crate) fn open(directory: &Path, boot: BootId) -> Result<Self, StoreError> {
        let place = Directory::take(directory)?;
        let path = place.path();
        let mut store = Self::at(Box::new(place), path, boot)?;
        let log = audit::Log::open(directory, store.boot.clone(), store.audit_rows()?)
            .map_err(|source| StoreError::Audit { path: directory.to_owned(), source })?;
        store.audit = Mutex::new(Some(log));
        Ok(store)
    }

    /// The lines of the audit that the journal holds.
    fn audit_rows(&self) -> Result<Vec<Row>, StoreError> {
        let rows = self.rows(AUDIT, |seq: u64| seq)?;
        let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
        Ok(rows.into_iter().map(|(seq, bytes)| (seq, text(bytes))).collect())
    }

    /// Opens the journal that lies in a place.
    fn at(place: Box<dyn Place>, path: PathBuf, boot: BootId) -> Result<Self, StoreError> {
        let synced = Synced::default();
        match open(place.as_ref(), &synced) {
            Ok(database) => {
                let database = Mutex::new(Some(database));
                let (audit, metrics) = (Mutex::new(None), Metrics::default());
                Ok(Self { path, boot, place, synced, database, audit, metrics })
            }
            Err(source) => Err(StoreError::Open { path, source: Box::new(source) }),
        }
    }

    /// Does something with the database. After a failure nobody knows what of it is on the disk, and what is read back
    /// from the system's memory is no answer: the file is laid anew as it was when the last write returned. That is
    /// tried at once, and else by whoever comes next; until then nothing is written and nothing moves.
    fn with<T>(
        &self,
        work: impl FnOnce(&Database) -> Result<T, redb::Error>,
    ) -> Result<T, redb::Error> {
        let mut held = self.database.lock().unwrap_or_else(PoisonError::into_inner);
        let database = match held.take() {
            Some(database) => database,
            None => self.mended()?,
        };
        let done = work(&database);
        *held = if done.is_ok() {
            Some(database)
        } else {
            drop(database);
            self.mended().ok()
        };
        done
    }

    /// The database as it was when the last write returned, on bytes of which no write has failed.
    fn mended(&self) -> Result<Database, redb::Error> {
        self.place.renew(&self.synced.head())?;
        open(self.place.as_ref(), &self.synced)
    }

    /// Reads everything.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub(crate) fn load(&self) -> Result<Loaded, StoreError> {
        let mut loaded = Loaded::default();
        for (name, bytes) in self.rows(MACHINES, |key: &str| key.to_owned())? {
            let what = format!("machine {name}");
            let machine = self.understood(&what, MachineName::new(&name))?;
            let memory = self.understood(&what, doc::machine_from(&bytes, &self.boot))?;
            loaded.machines.insert(machine, memory);
        }
        for (place, bytes) in self.rows(OPERATIONS, |key: u64| key)? {
            let what = format!("operation {place}");
            let operation = self.understood(&what, doc::operation_from(&bytes, &self.boot))?;
            loaded.operations.insert(place, operation);
        }
        for (key, bytes) in
            self.rows(PLANS, |(pool, author): (&str, &str)| format!("{pool} of {author}"))?
        {
            let plan =
                self.understood(&format!("plan {key}"), doc::plan_from(&bytes, &self.boot))?;
            loaded.plans.push(plan);
        }
        loaded.fences = self.fences()?;
        Ok(loaded)
    }

    /// Writes a change; when this returns, it is on the disk. Blocks as long as the disk takes.
    ///
    /// # Errors
    /// [`StoreError::Disk`]; nothing of the change is there then.
    pub(crate) fn commit(&self, change: &Change) -> Result<(), StoreError> {
        let mut audit = self.audit.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(log) = audit.as_mut() else {
            return self
                .with(|database| self.write(database, change, None))
                .map_err(|source| self.disk("written", source));
        };
        let lines = log.prepare(&change.audit)?;
        let began = Clock.now();
        let written = self.with(|database| self.write(database, change, Some((log, &lines))));
        self.metrics.wrote(began, written.is_ok());
        written.map_err(|source| self.disk("written", source))?;
        log.kept(lines);
        change.audit.iter().for_each(|event| self.metrics.take(event));
        Ok(())
    }

    /// Adds an event that comes with no change to the audit. Blocks as long as the disk takes.
    ///
    /// # Errors
    /// [`StoreError::AuditFull`].
    pub(crate) fn tell(&self, event: &Event) -> Result<(), StoreError> {
        self.metrics.take(event);
        let mut audit = self.audit.lock().unwrap_or_else(PoisonError::into_inner);
        audit.as_mut().map_or(Ok(()), |log| Ok(log.append(event)?))
    }

    /// The boot of which its moments are.
    pub(crate) const fn boot(&self) -> &BootId {
        &self.boot
    }

    /// The newest line of the audit that is in its file.
    pub(crate) fn audit_head(&self) -> Option<Head> {
        let mut audit = self.audit.lock().unwrap_or_else(PoisonError::into_inner);
        audit.as_mut().map(audit::Log::head)
    }

    /// Returns when the journal answers, well or not: it does not while a disk keeps a write waiting.
    pub(crate) fn answers(&self) {
        let _audit = self.audit.lock().unwrap_or_else(PoisonError::into_inner);
        match self.with(|database| Ok(database.begin_read().map(drop)?)) {
            Ok(()) | Err(_) => {}
        }
    }

    /// As long as this is held, the journal is as one on a disk that keeps a write waiting.
    #[cfg(test)]
    pub(crate) fn hanging(&self) -> impl Sized + '_ {
        self.database.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// As [`Store::commit`], on a thread that may block.
    ///
    /// # Errors
    /// [`StoreError::Disk`] or [`StoreError::Stopping`].
    pub(crate) async fn commit_durably(self: &Arc<Self>, change: Change) -> Result<(), StoreError> {
        let store = Arc::clone(self);
        let written = tokio::task::spawn_blocking(move || store.commit(&change)).await;
        written
            .unwrap_or_else(|source| Err(StoreError::Stopping { path: self.path.clone(), source }))
    }

    fn write(
        &self,
        database: &Database,
        change: &Change,
        audit: Option<(&audit::Log, &Prepared)>,
    ) -> Result<(), redb::Error> {
        let stamp = doc::Stamp { boot: self.boot.as_str().to_owned(), wall_ms: Clock.wall_ms() };
        let transaction = database.begin_write()?;
        if let Some((name, memory)) = &change.machine {
            let bytes = doc::machine_bytes(&stamp, memory);
            transaction.open_table(MACHINES)?.insert(name.as_str(), bytes.as_slice())?;
        }
        if let Some((place, operation)) = &change.operation {
            let bytes = doc::operation_bytes(&stamp, operation);
            transaction.open_table(OPERATIONS)?.insert(place, bytes.as_slice())?;
        }
        if let Some(place) = &change.forgotten {
            transaction.open_table(OPERATIONS)?.remove(place)?;
        }
        if let Some(fence) = &change.fence {
            let key = (fence.cluster.as_str(), fence.pool.as_str());
            transaction.open_table(FENCES)?.insert(key, fence.number.0)?;
        }
        if let Some(fence) = &change.forgotten_fence {
            let key = (fence.cluster.as_str(), fence.pool.as_str());
            transaction.open_table(FENCES)?.remove(key)?;
        }
        if let Some(kept) = &change.plan {
            let key = (kept.plan.pool.as_str(), kept.plan.author.as_str());
            let bytes = doc::plan_bytes(&stamp, kept);
            transaction.open_table(PLANS)?.insert(key, bytes.as_slice())?;
        }
        if let Some((pool, author)) = &change.forgotten_plan {
            transaction.open_table(PLANS)?.remove((pool.as_str(), author.as_str()))?;
        }
        if let Some((log, lines)) = audit {
            let (oldest, lines) = log.rows(lines);
            let mut table = transaction.open_table(AUDIT)?;
            table.retain(|seq, _| seq >= oldest)?;
            for (seq, line) in lines {
                table.insert(seq, line.as_bytes())?;
            }
        }
        let before = self.synced.head();
        match transaction.commit() {
            Err(error) if self.synced.head() == before => Err(error.into()),
            // Also where something after the write failed: it is on the disk.
            Ok(()) | Err(_) => Ok(()),
        }
    }

    fn fences(&self) -> Result<Fences, StoreError> {
        let read = |database: &Database| -> Result<Vec<(String, String, u64)>, redb::Error> {
            let table = database.begin_read()?.open_table(FENCES)?;
            let mut rows = Vec::new();
            for row in table.iter()? {
                let (key, number) = row?;
                let (cluster, pool) = key.value();
                rows.push((cluster.to_owned(), pool.to_owned(), number.value()));
            }
            Ok(rows)
        };
        let mut fences = Fences::default();
        for (cluster, pool, number) in
            self.with(read).map_err(|source| self.disk("read", source))?
        {
            let what = format!("fence of {cluster} and {pool}");
            fences.remember(&Fence {
                cluster: self.understood(&what, fleet::ClusterId::new(cluster))?,
                pool: self.understood(&what, fleet::PoolName::new(pool))?,
                number: FenceNumber(number),
            });
        }
        Ok(fences)
    }

    fn rows<K, T>(
        &self,
        table: TableDefinition<'_, K, &'static [u8]>,
        owned: impl for<'a> Fn(K::SelfType<'a>) -> T,
    ) -> Result<Vec<(T, Vec<u8>)>, StoreError>
    where
        K: redb::Key + 'static,
    {
        let read = |database: &Database| -> Result<Vec<(T, Vec<u8>)>, redb::Error> {
            let table = database.begin_read()?.open_table(table)?;
            let mut rows = Vec::new();
            for row in table.iter()? {
                let (key, value) = row?;
                rows.push((owned(key.value()), value.value().to_vec()));
            }
            Ok(rows)
        };
        self.with(read).map_err(|source| self.disk("read", source))
    }

    fn understood<T, E>(&self, what: &str, result: Result<T, E>) -> Result<T, StoreError>
    where
        E: std::error::Error + Send + Sync + 'static,
    {
        result.map_err(|source| StoreError::Value {
            path: self.path.clone(),
            what: what.to_owned(),
            source: Box::new(source),
        })
    }

    fn disk(&self, doing: &'static str, source: redb::Error) -> StoreError {
        StoreError::Disk { path: self.path.clone(), doing, source: Box::new(source) }
    }
}

/// The newest line of the audit, as the journal of a directory holds it while no agent has it. `None`: it has none.
///
/// # Errors
/// [`StoreError::Locked`], or another where the journal can not be read.
pub(crate) fn kept_head(directory: &Path) -> Result<Option<Head>, StoreError> {
    if !place::is_there(directory) {
        return Ok(None);
    }
    let place = Directory::take(directory)?;
    let path = place.path();
    let rows = Store::at(Box::new(place), path, BootId::new(""))?.audit_rows()?;
    let last = rows.last().and_then(|(_, line)| AuditLine::read(line).ok());
    Ok(last.map(|line| Head { seq: line.seq, hash: line.hash }))
}

/// Opens what lies in a place, and makes the tables that a journal of an older agent has not.
fn open(place: &dyn Place, synced: &Synced) -> Result<Database, redb::Error> {
    let bytes = place.open()?;
    if bytes.len()? == 0 {
        let empty = "the file is empty, and an agent never leaves it so".to_owned();
        return Err(redb::Error::Corrupted(empty));
    }
    prepared(Watched::new(bytes, synced)?)
}

/// A database on these bytes. All of it is checked, not only after a crash: what has been altered from outside is an
/// error, and not another hold or fence.
fn prepared(bytes: impl StorageBackend) -> Result<Database, redb::Error> {
    let database = Database::builder()
        .set_cache_size(CACHE_BYTES)
        .set_check_integrity_on_open(true)
        .create_with_backend(bytes)?;
    let transaction = database.begin_write()?;
    transaction.open_table(MACHINES)?;
    transaction.open_table(OPERATIONS)?;
    transaction.open_table(FENCES)?;
    transaction.open_table(PLANS)?;
    transaction.open_table(AUDIT)?;
    transaction.commit()?;
    Ok(database)
}
