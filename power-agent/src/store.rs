//! The agent's journal: one file in its state directory, every change durable before it is built upon.
//!
//! The file holds JSON by name. Each value carries the boot in which it was written: moments of another boot are put
//! at the clock's origin when they are read, where they are older than anything.

mod doc;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use fleet::{Fence, FenceNumber, Fences, MachineName};
use redb::{Database, ReadableDatabase, ReadableTable, TableDefinition};

use crate::clock::{BootId, Clock};
use crate::memory::{Change, KeptPlan, MachineMemory, Operation};

/// The file's name in the state directory.
pub(crate) const FILE_NAME: &str = "agent.redb";

/// How much of the file is held in memory, in bytes: all of it, for most racks; redb's own default is a gigabyte.
const CACHE_BYTES: usize = 4 << 20;

const MACHINES: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("machines");
const OPERATIONS: TableDefinition<'_, u64, &[u8]> = TableDefinition::new("operations");
const FENCES: TableDefinition<'_, (&str, &str), u64> = TableDefinition::new("fences");
const PLANS: TableDefinition<'_, (&str, &str), &[u8]> = TableDefinition::new("plans");

/// Why the journal can not be used. Nothing moves then.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The state directory can not be made.
    #[error("state directory {}: can not be made; create it for this user, or name another as `agent.state`", path.display())]
    Directory {
        /// The directory.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: std::io::Error,
    },
    /// Another process has it open.
    #[error("journal {}: another agent has it open; stop that one, or name another state directory as `agent.state`", path.display())]
    Locked {
        /// The file.
        path: PathBuf,
    },
    /// It can not be opened.
    #[error("journal {}: can not be opened; if the file is damaged, move it away: the agent then reads the lines as they are, and holds must be given again", path.display())]
    Open {
        /// The file.
        path: PathBuf,
        /// What the database said.
        #[source]
        source: Box<redb::Error>,
    },
    /// A value in it can not be understood.
    #[error("journal {}: {what} can not be understood; it was written by a newer agent, or is damaged: run that agent, or move the file away", path.display())]
    Value {
        /// The file.
        path: PathBuf,
        /// Which value.
        what: String,
        /// What is wrong with it.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The agent stopped while it was being written.
    #[error("journal {}: the agent stops; give the order again when it is back", path.display())]
    Stopping {
        /// The file.
        path: PathBuf,
        /// What the runtime said.
        #[source]
        source: tokio::task::JoinError,
    },
    /// Reading or writing it failed.
    #[error("journal {}: can not be {doing}; look at the disk", path.display())]
    Disk {
        /// The file.
        path: PathBuf,
        /// `read` or `written`.
        doing: &'static str,
        /// What the database said.
        #[source]
        source: Box<redb::Error>,
    },
}

/// All that was on the disk.
#[derive(Debug, Default)]
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
    /// `None`: it has failed, and could not be opened again yet.
    database: Mutex<Option<Database>>,
}

impl Store {
    /// Opens the journal in `directory`, or begins one.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub(crate) fn open(directory: &Path, boot: BootId) -> Result<Self, StoreError> {
        std::fs::create_dir_all(directory)
            .map_err(|source| StoreError::Directory { path: directory.to_owned(), source })?;
        let path = directory.join(FILE_NAME);
        let database = open_file(&path).map_err(|error| match error {
            redb::DatabaseError::DatabaseAlreadyOpen => StoreError::Locked { path: path.clone() },
            error => StoreError::Open { path: path.clone(), source: Box::new(error.into()) },
        })?;
        let store = Self { path, boot, database: Mutex::new(Some(database)) };
        store.prepare().map_err(|source| store.disk("written", source))?;
        Ok(store)
    }

    /// Does something with the database. One that has failed takes nothing more until it is opened again, also when the
    /// disk has room: that is done at once, before another agent takes the file, or else by whoever comes next.
    fn with<T>(
        &self,
        work: impl FnOnce(&Database) -> Result<T, redb::Error>,
    ) -> Result<T, redb::Error> {
        let mut held = self.database.lock().unwrap_or_else(PoisonError::into_inner);
        let database = match held.take() {
            Some(database) => database,
            None => open_file(&self.path)?,
        };
        let done = work(&database);
        *held = if done.is_ok() {
            Some(database)
        } else {
            drop(database);
            open_file(&self.path).ok()
        };
        done
    }

    fn prepare(&self) -> Result<(), redb::Error> {
        self.with(|database| {
            let transaction = database.begin_write()?;
            transaction.open_table(MACHINES)?;
            transaction.open_table(OPERATIONS)?;
            transaction.open_table(FENCES)?;
            transaction.open_table(PLANS)?;
            transaction.commit()?;
            Ok(())
        })
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
        self.with(|database| self.write(database, change))
            .map_err(|source| self.disk("written", source))
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

    fn write(&self, database: &Database, change: &Change) -> Result<(), redb::Error> {
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
        if let Some(kept) = &change.plan {
            let key = (kept.plan.pool.as_str(), kept.plan.author.as_str());
            let bytes = doc::plan_bytes(&stamp, kept);
            transaction.open_table(PLANS)?.insert(key, bytes.as_slice())?;
        }
        if let Some((pool, author)) = &change.forgotten_plan {
            transaction.open_table(PLANS)?.remove((pool.as_str(), author.as_str()))?;
        }
        transaction.commit()?;
        Ok(())
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

/// Takes the file for this process alone; makes it where there is none.
fn open_file(path: &Path) -> Result<Database, redb::DatabaseError> {
    Database::builder().set_cache_size(CACHE_BYTES).create(path)
}
