//! All that the stand-in knows, and the writes that Nomad's API has. Time is an argument; each write has its index.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};

use super::job::{Job, JobType};
use super::node::{Drain, DrainSpec, Node, Registration};
use super::work::{Allocation, ClientStatus, EvalStatus, Evaluation};

/// How long a node stays ready without a word of its client: clients speak each second.
pub(crate) const SILENCE_MAX: Duration = Duration::from_secs(4);

/// What is kept of work that is over, the oldest first to go: more than a demo or a test makes in an hour.
const PAST_MAX: usize = 1000;

/// Objects of one kind that may stand: a rack has hundreds of nodes at most, and each request to the stand-in reads all.
const OBJECTS_MAX: usize = 1000;

/// A kind of objects, whose last change a blocking query waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Table {
    Nodes,
    Jobs,
    Allocations,
    Evaluations,
    Variables,
}

/// A small record.
#[derive(Debug, Clone)]
pub(crate) struct Variable {
    pub(crate) items: BTreeMap<String, String>,
    pub(crate) create_index: u64,
    pub(crate) modify_index: u64,
}

/// Why a write was not made.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Refusal {
    /// What it is about does not exist.
    NotFound(&'static str),
    /// It can not be asked so.
    Bad(String),
    /// It can not be done as things stand.
    Failed(&'static str),
    /// The stand-in does not know the call.
    Unknown(String),
    /// Somebody else was first; this is what stands.
    Conflict(Value),
}

/// Everything.
#[derive(Debug, Default)]
pub(crate) struct State {
    index: u64,
    changed: BTreeMap<Table, u64>,
    pub(super) nodes: BTreeMap<String, Node>,
    pub(super) jobs: BTreeMap<String, Arc<Job>>,
    /// Oldest first.
    pub(super) allocations: Vec<Allocation>,
    /// Oldest first.
    pub(super) evaluations: Vec<Evaluation>,
    pub(super) variables: BTreeMap<String, Variable>,
    /// How many of a job wait for a place.
    pub(super) queued: BTreeMap<String, usize>,
}

impl State {
    /// The index of the last change of a kind of objects; at least 1.
    pub(crate) fn index_of(&self, table: Table) -> u64 {
        self.changed.get(&table).copied().unwrap_or(1)
    }

    /// The index of a write that changes objects of these kinds.
    pub(super) fn write(&mut self, tables: &[Table]) -> u64 {
        // The first write of a Nomad that has just begun is its eleventh or so; none is the first.
        self.index = self.index.max(1) + 1;
        self.changed.extend(tables.iter().map(|table| (*table, self.index)));
        self.index
    }

    pub(crate) fn last_index(&self) -> u64 {
        self.index
    }

    /// A client has registered, for the first time or again.
    pub(crate) fn register_node(
        &mut self,
        own: Registration,
        now: Duration,
    ) -> Result<(), Refusal> {
        if self.nodes.len() >= OBJECTS_MAX && !self.nodes.contains_key(&own.id) {
            return Err(too_many("nodes"));
        }
        let index = self.write(&[Table::Nodes]);
        match self.nodes.get_mut(&own.id) {
            Some(node) => node.registered(own, index, now),
            None => {
                let node = Node::new(own, index, now);
                self.nodes.insert(node.own.id.clone(), node);
            }
        }
        Ok(())
    }

    /// A client has spoken; false where its node is not known (any more) or was given up.
    pub(crate) fn heard(&mut self, node: &str, now: Duration) -> bool {
        let Some(node) = self.nodes.get_mut(node).filter(|node| node.is_up) else { return false };
        node.heard = now;
        true
    }

    /// A client has told of an allocation on its node.
    pub(crate) fn reported(&mut self, node: &str, id: &str, status: ClientStatus) {
        let of = |alloc: &Allocation| alloc.id == id && alloc.node_id == node && !alloc.is_over();
        let Some(at) = self.allocations.iter().position(of) else { return };
        if self.allocations[at].status != status {
            let index = self.write(&[Table::Allocations]);
            self.allocations[at].reported(status, index);
        }
    }

    /// What comes with time: nodes that fell silent, and drains whose deadline is over.
    pub(crate) fn passed(&mut self, now: Duration) {
        let silent = |node: &Node| node.is_up && now.saturating_sub(node.heard) > SILENCE_MAX;
        let gone: Vec<String> = ids(&self.nodes, silent);
        for id in gone {
            let index = self.write(&[Table::Nodes, Table::Allocations]);
            if let Some(node) = self.nodes.get_mut(&id) {
                node.missed(index);
            }
            self.lose(&id, index);
        }
        let forced = |node: &Node| {
            node.drain.as_ref().and_then(|drain| drain.force_at).is_some_and(|at| at <= now)
        };
        for id in ids(&self.nodes, forced) {
            let keeps_system = self.keeps_system_jobs(&id);
            let index = self.write(&[Table::Allocations]);
            for alloc in self.allocations.iter_mut().filter(|a| a.node_id == id && a.is_alive()) {
                if alloc.job.job_type != JobType::System || !keeps_system {
                    alloc.stopped(index);
                }
            }
        }
    }

    fn lose(&mut self, node: &str, index: u64) {
        for alloc in self.allocations.iter_mut().filter(|a| a.node_id == node && !a.is_over()) {
            alloc.reported(ClientStatus::Lost, index);
            alloc.stopped(index);
        }
    }

    pub(super) fn keeps_system_jobs(&self, node: &str) -> bool {
        let drain = self.nodes.get(node).and_then(|node| node.drain.as_ref());
        drain.is_some_and(|drain| drain.spec.ignore_system_jobs)
    }

    /// Makes a node eligible or not; 0 where it is so already.
    pub(crate) fn set_eligibility(&mut self, id: &str, eligible: bool) -> Result<u64, Refusal> {
        let node = self.nodes.get(id).ok_or(Refusal::NotFound("node not found"))?;
        if eligible && node.drain.is_some() {
            let words =
                "can not set node's scheduling eligibility to eligible while it is draining";
            return Err(Refusal::Failed(words));
        }
        if node.is_eligible == eligible {
            return Ok(0);
        }
        let index = self.write(&[Table::Nodes]);
        if let Some(node) = self.nodes.get_mut(id) {
            node.made_eligible(eligible, index);
        }
        Ok(index)
    }

    /// Begins, changes or (without a spec) ends a drain.
    pub(crate) fn drain(
        &mut self,
        id: &str,
        spec: Option<DrainSpec>,
        eligible: bool,
        meta: BTreeMap<String, String>,
        now: Duration,
    ) -> Result<u64, Refusal> {
        if !self.nodes.contains_key(id) {
            return Err(Refusal::NotFound("node not found"));
        }
        let index = self.write(&[Table::Nodes]);
        let Some(node) = self.nodes.get_mut(id) else { return Ok(index) };
        let Some(spec) = spec else {
            node.drain_cancelled(eligible, index);
            return Ok(index);
        };
        let force_at = match u64::try_from(spec.deadline) {
            Ok(0) => None,
            Ok(nanos) => Some(now + Duration::from_nanos(nanos)),
            Err(_negative) => Some(now),
        };
        node.drained(Drain { spec, force_at }, meta, index);
        Ok(index)
    }

    /// Forgets a node.
    pub(crate) fn purge_node(&mut self, id: &str) -> Result<u64, Refusal> {
        self.nodes.remove(id).ok_or(Refusal::NotFound("node not found"))?;
        let index = self.write(&[Table::Nodes, Table::Allocations]);
        self.lose(id, index);
        Ok(index)
    }

    /// Registers a job or a new version of it; returns the id of its evaluation, and the index.
    pub(crate) fn register_job(&mut self, mut job: Job) -> Result<(String, u64), Refusal> {
        if self.jobs.len() >= OBJECTS_MAX && !self.jobs.contains_key(&job.id) {
            return Err(too_many("jobs"));
        }
        let index = self.write(&[Table::Jobs, Table::Evaluations]);
        job.create_index = self.jobs.get(&job.id).map_or(index, |known| known.create_index);
        job.job_modify_index = index;
        let job = Arc::new(job);
        self.jobs.insert(job.id.clone(), Arc::clone(&job));
        Ok((self.worked_on(&job, index), index))
    }

    /// Stops a job; with `purge` it is forgotten at once.
    pub(crate) fn deregister_job(
        &mut self,
        id: &str,
        purge: bool,
    ) -> Result<(String, u64), Refusal> {
        let job = self.jobs.get(id).ok_or(Refusal::NotFound("job not found"))?;
        let mut job = Job::clone(job);
        let index = self.write(&[Table::Jobs, Table::Evaluations]);
        job.stop = true;
        job.job_modify_index = index;
        let job = Arc::new(job);
        self.jobs.insert(id.to_owned(), Arc::clone(&job));
        let evaluation = self.worked_on(&job, index);
        if purge {
            self.settle();
            self.jobs.remove(id);
            self.queued.remove(id);
        }
        Ok((evaluation, index))
    }

    fn worked_on(&mut self, job: &Arc<Job>, index: u64) -> String {
        let mut evaluation = Evaluation::new(job, EvalStatus::Complete, index);
        evaluation.queued = Some(0);
        let id = evaluation.id.clone();
        self.evaluations.push(evaluation);
        id
    }

    /// Writes a variable, where `cas` is still its ModifyIndex (0: where it does not exist).
    pub(crate) fn put_variable(
        &mut self,
        path: &str,
        items: BTreeMap<String, String>,
        cas: Option<u64>,
    ) -> Result<Value, Refusal> {
        let known = self.variables.get(path);
        let stands = known.map_or(0, |known| known.modify_index);
        if cas.is_some_and(|cas| cas != stands) {
            let gone =
                || json!({ "Path": path, "Namespace": "default", "Items": null, "ModifyIndex": 0 });
            return Err(Refusal::Conflict(known.map_or_else(gone, |known| known.whole(path))));
        }
        if known.is_none() && self.variables.len() >= OBJECTS_MAX {
            return Err(too_many("variables"));
        }
        let created = known.map(|known| known.create_index);
        let modify_index = self.write(&[Table::Variables]);
        let create_index = created.unwrap_or(modify_index);
        let variable = Variable { items, create_index, modify_index };
        let whole = variable.whole(path);
        self.variables.insert(path.to_owned(), variable);
        Ok(whole)
    }

    /// Removes a variable; one that does not exist is no error.
    pub(crate) fn delete_variable(&mut self, path: &str) {
        if self.variables.remove(path).is_some() {
            self.write(&[Table::Variables]);
        }
    }

    /// Forgets what is over and long ago.
    pub(super) fn forget(&mut self) {
        // What came to its own end still counts, as long as its job stands.
        let jobs = &self.jobs;
        let is_past = |alloc: &Allocation| {
            alloc.is_over() && !(alloc.is_wanted && jobs.contains_key(&alloc.job.id))
        };
        forget(&mut self.allocations, is_past);
        forget(&mut self.evaluations, |evaluation| evaluation.status != EvalStatus::Blocked);
    }
}

impl Variable {
    pub(crate) fn whole(&self, path: &str) -> Value {
        json!({
            "Path": path,
            "Namespace": "default",
            "Items": self.items,
            "CreateIndex": self.create_index,
            "ModifyIndex": self.modify_index,
        })
    }
}

fn forget<T>(objects: &mut Vec<T>, is_over: impl Fn(&T) -> bool) {
    let mut over = objects.len().saturating_sub(PAST_MAX);
    objects.retain(|object| {
        let goes = over > 0 && is_over(object);
        over -= usize::from(goes);
        !goes
    });
}

fn too_many(what: &str) -> Refusal {
    Refusal::Bad(format!("the stand-in takes at most {OBJECTS_MAX} {what}"))
}

fn ids(nodes: &BTreeMap<String, Node>, holds: impl Fn(&Node) -> bool) -> Vec<String> {
    nodes.values().filter(|node| holds(node)).map(|node| node.own.id.clone()).collect()
}
