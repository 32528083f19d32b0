//! The agent: hears orders, keeps the book, tells those who watch. What an order means is judged by [`fleet::arbiter`].

mod adopt;
mod claim;
mod drift;
mod fences;
mod foresee;
mod hear;
mod hold;
mod life;
mod owed;
mod quarantine;
mod room;
mod told;

use std::collections::BTreeMap;
use std::future::Future;
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::Duration;

use agent_api::{Inventory, Plan};
use fleet::sequencer::NodeSign;
use fleet::{
    DeviceName, Fault, FaultClass, Fence, FenceNumber, LinesSeen, MachineName, Moment, PlanId,
    PoolName, Shape,
};
use tokio::sync::{broadcast, watch};
use tokio::task::JoinSet;

use crate::audit::Event;
use crate::book::Book;
use crate::clock::Clock;
use crate::descriptors::Descriptors;
use crate::device::DeviceHandle;
use crate::drivers::{DriverError, Readings};
use crate::identity::Keeper;
use crate::machine::Machine;
use crate::memory::{AUTHOR_BYTES_MAX, Change, KeptPlan, PLAN_LINE_BYTES_MAX, PLAN_LINES_MAX};
use crate::node::chain;
use crate::presence;
use crate::rack::{Draft, Rack};
use crate::store::{Store, StoreError};

pub(crate) use adopt::HalfDone;
pub(crate) use hear::who;

/// How many changes a watcher may be behind before it gets a snapshot instead: a poll of a large rack at once.
const CHANGES_MAX: usize = 1024;

/// How long reading one device may take: a serial board answers within a second, and others may be in its queue.
pub(crate) const READ_PATIENCE: Duration = Duration::from_secs(5);

/// How long one command to a device may take, its queue included.
pub(crate) const SET_PATIENCE: Duration = Duration::from_secs(10);

/// How long Nomad may take to tell what runs on a node before an order: less than the client waits for its answer.
const NOMAD_PATIENCE: Duration = Duration::from_secs(10);

/// Why a request can not be served. Nothing has moved.
#[derive(Debug, thiserror::Error)]
pub enum RequestError {
    /// The agent has no such machine.
    #[error("this agent has no machine {machine}; it has {known}")]
    UnknownMachine {
        /// The name that was given.
        machine: MachineName,
        /// Those that there are.
        known: String,
    },
    /// The operation id was given to another order.
    #[error(
        "operation id {id} was given before, to `{verb} {machine}` by {by}; give each order its own id"
    )]
    IdTaken {
        /// The id.
        id: fleet::OperationId,
        /// What was ordered under it.
        verb: &'static str,
        /// Of which machine.
        machine: MachineName,
        /// By whom.
        by: String,
    },
    /// No fence of that pool, or of that cluster and pool, is known.
    #[error("no order about {what} has carried a fence; fences are known of {known}")]
    UnknownFence {
        /// Pool, or cluster and pool.
        what: String,
        /// Those that are known.
        known: String,
    },
    /// Several clusters order about the pool.
    #[error("several clusters have ordered about pool {pool}: {clusters}; name one with --cluster")]
    SeveralClusters {
        /// The pool.
        pool: PoolName,
        /// Their names.
        clusters: String,
    },
    /// A plan is larger than what is kept.
    #[error("the plan's {what} is {found}; at most {max} is kept")]
    PlanTooLarge {
        /// Which measure.
        what: &'static str,
        /// What was found.
        found: usize,
        /// The bound.
        max: usize,
    },
    /// The journal can not be written.
    #[error(
        "nothing was moved, because the intent could not be written down; an agent that ends before its disk is well may find it there and take it up"
    )]
    Journal(#[from] StoreError),
    /// Another lease has taken the pool since.
    #[error("pool {} is taken already, with fence {} of cluster {}: this claim carries {}", known.pool, known.number.0, known.cluster, number.0)]
    StaleClaim {
        /// The newest fence.
        known: Fence,
        /// The number of the claim.
        number: FenceNumber,
    },
    /// The agent is stopping.
    #[error("the agent is stopping; give the order again when it is back")]
    Stopping,
}

impl RequestError {
    /// The class as a word, in the audit; for ever.
    pub(crate) fn code(&self) -> String {
        let word = match self {
            RequestError::UnknownMachine { .. } => "unknown-machine",
            RequestError::IdTaken { .. } => "id-taken",
            RequestError::PlanTooLarge { .. } => "plan-too-large",
            RequestError::UnknownFence { .. } => "unknown-fence",
            RequestError::SeveralClusters { .. } => "several-clusters",
            RequestError::Journal(_) => "journal",
            RequestError::StaleClaim { .. } => "stale-claim",
            RequestError::Stopping => "stopping",
        };
        word.to_owned()
    }
}

/// What watchers are told.
#[derive(Debug, Clone)]
pub(crate) enum Note {
    /// This machine is not as it was.
    Changed(MachineName),
    /// The rack file was read again.
    Reloaded,
    /// A pool was taken for another lease: all that was obeyed before is told with it.
    Claimed,
    /// The agent stops.
    Stopping,
}

/// The agent.
#[derive(Debug)]
pub struct Agent {
    rack: RwLock<Arc<Rack>>,
    pub(crate) keeper: Keeper,
    pub(crate) store: Arc<Store>,
    /// What devices of a later rack take over from those of this one.
    pub(crate) descriptors: Descriptors,
    /// Everything that is written is written under this lock, so that no older state overtakes a newer one.
    pub(crate) book: tokio::sync::Mutex<Book>,
    pub(crate) stop: watch::Sender<bool>,
    started: Moment,
    /// Says that there is another rack.
    pub(crate) reloads: watch::Sender<()>,
    changes: broadcast::Sender<Note>,
    tasks: Mutex<JoinSet<()>>,
    /// When a machine that drifted was last lit again.
    relit: Mutex<Option<Moment>>,
}

impl Agent {
    /// An agent that has read its journal and has not yet looked at its devices.
    ///
    /// # Errors
    /// Where the journal can not be read.
    pub(crate) fn new(
        draft: Draft<'_>,
        store: Store,
        keeper: Keeper,
        descriptors: Descriptors,
    ) -> Result<(Arc<Self>, Vec<HalfDone>), StoreError> {
        let mut loaded = store.load()?;
        let mut machines = BTreeMap::new();
        let mut half_done = Vec::new();
        for (name, machine) in &draft.config.machines {
            let memory = loaded.machines.remove(name).unwrap_or_default();
            if let Some(running) = memory.running.clone() {
                half_done.push(HalfDone { machine: name.clone(), running });
            }
            machines.insert(name.clone(), draft.machine(machine, memory));
        }
        for (machine, memory) in &loaded.machines {
            if memory.running.is_some() {
                tracing::error!(%machine, "half-done sequence of a machine that the rack file no longer names");
            }
        }
        let agent = Self {
            rack: RwLock::new(Arc::new(draft.rack(machines))),
            keeper,
            store: Arc::new(store),
            descriptors,
            book: tokio::sync::Mutex::new(Book::of(loaded)),
            stop: watch::Sender::new(false),
            started: Clock.now(),
            reloads: watch::Sender::new(()),
            changes: broadcast::Sender::new(CHANGES_MAX),
            tasks: Mutex::default(),
            relit: Mutex::default(),
        };
        Ok((Arc::new(agent), half_done))
    }

    /// All machines as they are now, and the fences known.
    pub async fn inventory(&self) -> Inventory {
        let fences = self.book.lock().await.fences.iter().collect();
        let now = Clock.now();
        let rack = self.rack();
        Inventory {
            agent: rack.config.name.clone(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            machines: rack.machines.values().map(|machine| machine.view(now)).collect(),
            fences,
            host_up: Some(Clock.host_up()),
            running: Some(now.since(self.started)),
            feeds: self.feed_sums(now),
        }
    }

    /// The newest plan of a pool from each author.
    pub async fn plans(&self, pool: &PoolName) -> Vec<Plan> {
        self.book.lock().await.plans(pool, Clock.now())
    }

    /// A pool's plan of this id, where it is still known.
    pub async fn plan(&self, pool: &PoolName, id: &PlanId) -> Option<Plan> {
        self.book.lock().await.plan(pool, id, Clock.now())
    }

    /// Keeps a plan. What says nothing new is not written again: plans come every few seconds.
    ///
    /// # Errors
    /// [`RequestError::PlanTooLarge`] or [`RequestError::Journal`].
    pub async fn record_plan(&self, plan: Plan) -> Result<(), RequestError> {
        check_plan(&plan)?;
        let mut book = self.book.lock().await;
        let kept = KeptPlan { plan, at: Clock.now() };
        if book.is_news(&kept.plan) {
            let change = Change {
                plan: Some(kept.clone()),
                forgotten_plan: book.surplus_plan(&kept.plan),
                ..Change::default()
            };
            self.store.commit_durably(change).await?;
        }
        book.keep_plan(kept);
        Ok(())
    }

    /// Keeps the shape in which a machine's node last registered.
    ///
    /// # Errors
    /// [`RequestError::UnknownMachine`] or [`RequestError::Journal`].
    pub async fn record_shape(&self, name: &MachineName, shape: Shape) -> Result<(), RequestError> {
        let book = self.book.lock().await;
        let machine = self.machine(name)?;
        let mut memory = machine.memory();
        if memory.last_seen.as_ref() == Some(&shape) {
            return Ok(());
        }
        memory.last_seen = Some(shape.clone());
        self.write_machine(name, memory, None).await?;
        machine.state().last_seen = Some(shape);
        drop(book);
        self.publish(name);
        Ok(())
    }

    /// The rack as it is in force now.
    pub(crate) fn rack(&self) -> Arc<Rack> {
        Arc::clone(&self.rack.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Brings another rack into force. Under the book's lock, so that nothing begins on the old one meanwhile.
    pub(crate) fn take_rack(&self, rack: Arc<Rack>) {
        *self.rack.write().unwrap_or_else(PoisonError::into_inner) = rack;
        self.reloads.send_replace(());
    }

    /// A machine. Who writes asks for it under the book's lock: a reload may put another in its place.
    pub(crate) fn machine(&self, name: &MachineName) -> Result<Arc<Machine>, RequestError> {
        let rack = self.rack();
        rack.machines.get(name).cloned().ok_or_else(|| RequestError::UnknownMachine {
            machine: name.clone(),
            known: names(&rack),
        })
    }

    pub(crate) async fn write_machine(
        &self,
        name: &MachineName,
        memory: crate::memory::MachineMemory,
        audit: Option<Event>,
    ) -> Result<(), StoreError> {
        let machine = Some((name.clone(), memory));
        let change = Change { machine, audit: audit.into_iter().collect(), ..Change::default() };
        self.store.commit_durably(change).await
    }

    /// Writes a machine's state down as it is now.
    ///
    /// # Errors
    /// Why it is not on the disk, as a sentence.
    pub(crate) async fn journal(&self, machine: &Machine) -> Result<(), String> {
        let _book = self.book.lock().await;
        let name = &machine.config.name;
        self.write_machine(name, machine.memory(), None).await.map_err(|error| {
            let err = chain(&error);
            tracing::error!(machine = %name, err, "progress could not be written down");
            err
        })
    }

    /// Reads one device and tells all machines that hang on it.
    pub(crate) async fn read_device(&self, device: &DeviceHandle) -> Result<Readings, DriverError> {
        let _turn = device.turn_to_read().await;
        let said = device.read_all(READ_PATIENCE).await;
        self.store.metrics.read(device.name().as_str(), said.is_ok());
        let now = Clock.now();
        let trouble = said.as_ref().err().map(|error| chain(error));
        for (name, machine) in &self.rack().machines {
            let mut touched = false;
            for outlet in machine.outlets.iter().filter(|o| o.path.device == *device.name()) {
                let line = match (&said, &trouble) {
                    (Ok(readings), _) => Ok(readings.of(outlet.path.outlet)),
                    (Err(_), trouble) => Err(trouble.as_deref().unwrap_or_default()),
                };
                machine.note(&outlet.path, line, now);
                touched = true;
            }
            if touched {
                self.publish(name);
            }
        }
        said
    }

    /// Reads all outlets of one machine. A board that can not be read is asked too: its port at least must be there.
    pub(crate) async fn look(&self, machine: &Machine) -> Result<LinesSeen, Fault> {
        let mut devices: BTreeMap<&DeviceName, &DeviceHandle> = BTreeMap::new();
        for outlet in &machine.outlets {
            devices.insert(&outlet.path.device, &outlet.device);
        }
        for device in devices.into_values() {
            self.read_device(device).await.map_err(|error| fault(&error))?;
        }
        Ok(machine.lines_seen())
    }

    /// Looks for the machine's signs of life: on the network, and by its node. `Err`: what was looked for and not seen.
    pub(crate) async fn life(&self, machine: &Machine) -> Result<String, String> {
        let nodes = self.rack().nodes.clone();
        let sign =
            tokio::time::timeout(presence::ANSWER_DEADLINE, nodes.sign(&machine.config.node));
        let (seen, sign) = tokio::join!(self.presence(machine), sign);
        let missing = match seen {
            Some(Ok(sign)) => return Ok(sign),
            Some(Err(missing)) => missing,
            None => String::new(),
        };
        match sign.unwrap_or(NodeSign::Silent) {
            NodeSign::Up if !machine.may_look_up(Clock.now()) => Ok("its node is up".to_owned()),
            NodeSign::Up | NodeSign::NotKnown => Err(missing),
            told @ (NodeSign::Down | NodeSign::Silent) => {
                let node =
                    if told == NodeSign::Down { "its node is down" } else { "Nomad is silent" };
                Err(if missing.is_empty() { node.to_owned() } else { format!("{missing}; {node}") })
            }
        }
    }

    /// Looks whether the machine answers on the network; `None`: its file says of no way.
    pub(crate) async fn presence(&self, machine: &Machine) -> Option<Result<String, String>> {
        let asked = Clock.now();
        let seen = presence::look(machine.config.presence.as_ref()?).await;
        machine.note_life(seen.clone(), asked);
        Some(seen)
    }

    /// Tells those who watch that a machine is not as it was.
    pub(crate) fn publish(&self, machine: &MachineName) {
        // An error says that nobody watches.
        drop(self.changes.send(Note::Changed(machine.clone())));
    }

    /// Tells those who watch that all may be otherwise.
    pub(crate) fn publish_all(&self) {
        drop(self.changes.send(Note::Reloaded));
    }

    /// Ends all watches.
    pub(crate) fn end_watches(&self) {
        drop(self.changes.send(Note::Stopping));
    }

    pub(crate) fn watcher_count(&self) -> usize {
        self.changes.receiver_count()
    }

    pub(crate) fn changes(&self) -> broadcast::Receiver<Note> {
        self.changes.subscribe()
    }

    /// Runs a task that the agent's end waits for.
    pub(crate) fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        let mut tasks = self.tasks.lock().unwrap_or_else(PoisonError::into_inner);
        while let Some(ended) = tasks.try_join_next() {
            if let Err(error) = ended {
                tracing::error!(err = %error, "a task of the agent failed");
            }
        }
        tasks.spawn(task);
    }

    /// All tasks, for the one who ends the agent.
    pub(crate) fn take_tasks(&self) -> JoinSet<()> {
        std::mem::take(&mut *self.tasks.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// A driver's error as the sequencer weighs it.
pub(crate) fn fault(error: &DriverError) -> Fault {
    let class = match error {
        DriverError::Unreachable { .. } => FaultClass::Unreachable,
        DriverError::Rejected { .. } => FaultClass::Rejected,
        DriverError::Indeterminate { .. } => FaultClass::Indeterminate,
        DriverError::Misconfigured { .. } => FaultClass::Misconfigured,
    };
    Fault { class, text: chain(error) }
}

/// The names of the rack's machines, for a sentence.
fn names(rack: &Rack) -> String {
    const SHOWN_MAX: usize = 20;
    let mut names: Vec<&str> = rack.machines.keys().map(MachineName::as_str).collect();
    let more = names.len().saturating_sub(SHOWN_MAX);
    names.truncate(SHOWN_MAX);
    match (names.is_empty(), more) {
        (true, _) => "none".to_owned(),
        (false, 0) => names.join(", "),
        (false, more) => format!("{} and {more} more", names.join(", ")),
    }
}

fn check_plan(plan: &Plan) -> Result<(), RequestError> {
    let texts = plan.lines.iter().chain(&plan.inputs).map(|line| line.text.len());
    let longest = texts.max().unwrap_or_default();
    for (what, found, max) in [
        ("number of lines", plan.lines.len(), PLAN_LINES_MAX),
        ("number of inputs", plan.inputs.len(), PLAN_LINES_MAX),
        ("longest line, in bytes,", longest, PLAN_LINE_BYTES_MAX),
        ("author, in bytes,", plan.author.len(), AUTHOR_BYTES_MAX),
    ] {
        if found > max {
            return Err(RequestError::PlanTooLarge { what, found, max });
        }
    }
    Ok(())
}

/// The time that is left until a moment, for a wait.
pub(crate) fn left_until(until: Moment) -> Duration {
    until.since(Clock.now())
}
