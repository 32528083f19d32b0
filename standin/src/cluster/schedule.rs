//! What Nomad's scheduler and drainer do: places for work, moves from drained nodes, and what is left without a place.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::{Value, json};

use super::job::{Job, JobType};
use super::node::{Node, Registration};
use super::state::{State, Table};
use super::work::{Allocation, ClientStatus, EvalStatus, Evaluation};

/// Each pass ends drains or moves work, and so frees or fills room for the next; a rack settles in three.
const PASSES_MAX: usize = 100;

impl State {
    /// Brings work in line with what is wanted of it, until nothing more moves.
    pub(crate) fn settle(&mut self) {
        for _ in 0..PASSES_MAX {
            let before = self.last_index();
            self.ask_to_move();
            let jobs: Vec<Arc<Job>> = self.jobs.values().cloned().collect();
            for job in &jobs {
                self.place(job);
            }
            self.end_drains();
            if self.last_index() == before {
                break;
            }
        }
        self.forget();
    }

    /// Of each group as many move at once as leave all but one of those that are wanted running: a group that
    /// is short already loses none.
    fn ask_to_move(&mut self) {
        let drained: Vec<String> = self.drained().map(|node| node.own.id.clone()).collect();
        let jobs: Vec<Arc<Job>> = self.jobs.values().cloned().collect();
        for job in jobs.iter().filter(|job| job.job_type == JobType::Service && !job.stop) {
            let living = || self.allocations.iter().filter(|a| a.job.id == job.id && a.is_alive());
            let healthy = living().filter(|a| a.status == ClientStatus::Running).count();
            let may = (healthy + 1).saturating_sub(job.group().count);
            let leave = living().filter(|a| drained.contains(&a.node_id));
            let asked: Vec<String> = leave.take(may).map(|a| a.id.clone()).collect();
            for id in asked {
                let index = self.write(&[Table::Allocations]);
                if let Some(alloc) = self.allocations.iter_mut().find(|a| a.id == id) {
                    alloc.asked_to_move(index);
                }
                self.relocate(job, &id);
            }
        }
    }

    fn drained(&self) -> impl Iterator<Item = &Node> {
        self.nodes.values().filter(|node| node.drain.is_some())
    }

    fn place(&mut self, job: &Arc<Job>) {
        if job.stop {
            self.stop_all(job, 0);
            return self.note_waiting(job, 0, false);
        }
        if job.job_type == JobType::System {
            return self.place_everywhere(job);
        }
        let wanted = job.group().count;
        self.stop_all(job, wanted);
        let mut waiting = 0;
        let mut placed = false;
        let own = self.allocations.iter().filter(|alloc| alloc.job.id == job.id);
        let taken: Vec<usize> =
            own.filter(|a| a.is_alive() || a.has_ended()).map(|a| a.number).collect();
        let free = (0..).filter(|number| !taken.contains(number));
        for number in free.take(wanted.saturating_sub(taken.len())) {
            let found = self.begin(job, number);
            placed |= found;
            waiting += usize::from(!found);
        }
        self.note_waiting(job, waiting, placed);
    }

    /// Stops the youngest of a job beyond so many.
    fn stop_all(&mut self, job: &Job, beyond: usize) {
        let own = |alloc: &&mut Allocation| alloc.job.id == job.id && alloc.is_alive();
        let surplus = self.allocations.iter_mut().filter(own).count().saturating_sub(beyond);
        if surplus == 0 {
            return;
        }
        let index = self.write(&[Table::Allocations]);
        for alloc in self.allocations.iter_mut().rev().filter(own).take(surplus) {
            alloc.stopped(index);
        }
    }

    fn place_everywhere(&mut self, job: &Arc<Job>) {
        let open = self.nodes.values().filter(|node| node.is_open() && suits(job, &node.own));
        let nodes: Vec<Registration> = open.map(|node| node.own.clone()).collect();
        for (number, node) in nodes.iter().enumerate() {
            let on_it = |a: &Allocation| {
                a.job.id == job.id && a.node_id == node.id && (a.is_alive() || a.has_ended())
            };
            if !self.allocations.iter().any(on_it) && self.has_room(job, node) {
                self.start(job, number, node);
            }
        }
    }

    fn begin(&mut self, job: &Arc<Job>, number: usize) -> bool {
        let found = self.best(job);
        if let Some(node) = &found {
            self.start(job, number, node);
        }
        found.is_some()
    }

    /// Stops an allocation; where there is room for another, in the same write, each names the other.
    fn relocate(&mut self, job: &Arc<Job>, id: &str) {
        let Some(at) = self.allocations.iter().position(|alloc| alloc.id == id) else { return };
        let Some(node) = self.best(job) else {
            let index = self.write(&[Table::Allocations]);
            return self.allocations[at].stopped(index);
        };
        let number = self.allocations[at].number;
        let index = self.start(job, number, &node);
        if let Some(mut next) = self.allocations.pop() {
            self.allocations[at].replaced_by(&mut next, index);
            self.allocations.push(next);
        }
    }

    fn start(&mut self, job: &Arc<Job>, number: usize, node: &Registration) -> u64 {
        let index = self.write(&[Table::Allocations]);
        self.allocations.push(Allocation::new(number, job, (&node.id, &node.name), index));
        index
    }

    /// The open node with room that is fullest: as Nomad packs.
    fn best(&self, job: &Job) -> Option<Registration> {
        let open = self.nodes.values().filter(|node| node.is_open() && suits(job, &node.own));
        let roomy = open.filter(|node| self.has_room(job, &node.own));
        roomy.min_by_key(|node| self.room(&node.own)).map(|node| node.own.clone())
    }

    fn has_room(&self, job: &Job, node: &Registration) -> bool {
        let (cpu, memory, disk) = self.room(node);
        let asked = job.group().task().resources.clone();
        cpu >= asked.cpu_mhz
            && memory >= asked.memory_mb
            && disk >= job.group().ephemeral_disk.size_mb
    }

    /// What a node has left: MHz, MiB of memory, MiB of disk. Work that was stopped takes its room until it is over.
    fn room(&self, node: &Registration) -> (u64, u64, u64) {
        let taken = self.allocations.iter().filter(|a| a.node_id == node.id && !a.is_over());
        let all = (node.cpu_mhz, node.memory_mb, node.disk_mb);
        taken.fold(all, |(cpu, memory, disk), alloc| {
            let group = alloc.job.group();
            let asked = &group.task().resources;
            (
                cpu.saturating_sub(asked.cpu_mhz),
                memory.saturating_sub(asked.memory_mb),
                disk.saturating_sub(group.ephemeral_disk.size_mb),
            )
        })
    }

    /// What found no place waits in one blocked evaluation. Once it is there it keeps saying how many
    /// failed first, as Nomad's does; the job's summary is right.
    fn note_waiting(&mut self, job: &Arc<Job>, waiting: usize, placed: bool) {
        let known = self.queued.insert(job.id.clone(), waiting);
        let of_job = |e: &Evaluation| e.job.id == job.id && e.status == EvalStatus::Blocked;
        let Some(at) = self.evaluations.iter().position(of_job) else {
            if waiting > 0 {
                self.block(job, waiting);
            } else if known.is_some_and(|known| known > 0) {
                self.write(&[Table::Jobs]);
            }
            return;
        };
        let status = match (waiting, job.stop) {
            (_, true) => EvalStatus::Canceled,
            (0, false) => EvalStatus::Complete,
            _ if placed => EvalStatus::Blocked,
            _ => return,
        };
        let index = self.write(&[Table::Evaluations, Table::Jobs]);
        self.evaluations[at].status = status;
        self.evaluations[at].modify_index = index;
    }

    fn block(&mut self, job: &Arc<Job>, waiting: usize) {
        let index = self.write(&[Table::Evaluations, Table::Jobs]);
        let available = self.available(job);
        let mut blocked = Evaluation::new(job, EvalStatus::Blocked, index);
        blocked.failures = Some((waiting, available.clone()));
        if let Some(cause) = self.evaluations.iter_mut().rev().find(|e| e.job.id == job.id) {
            blocked.previous.clone_from(&cause.id);
            cause.blocked.clone_from(&blocked.id);
            cause.queued = Some(waiting);
            cause.failures = Some((waiting, available));
            cause.modify_index = index;
        }
        self.evaluations.push(blocked);
    }

    /// The nodes that a job may use, by datacenter.
    fn available(&self, job: &Job) -> Value {
        let mut by: BTreeMap<&str, u64> = BTreeMap::new();
        for node in self.nodes.values().filter(|node| node.is_open() && suits(job, &node.own)) {
            *by.entry(&node.own.datacenter).or_default() += 1;
        }
        json!(by)
    }

    /// A drain is over when nothing runs on its node any more but system jobs that may stay.
    fn end_drains(&mut self) {
        let drained: Vec<String> = self.drained().map(|node| node.own.id.clone()).collect();
        for id in drained {
            let keeps_system = self.keeps_system_jobs(&id);
            let on_it = |a: &Allocation| a.node_id == id && !a.is_over();
            let is_system = |a: &Allocation| a.job.job_type == JobType::System;
            if self.allocations.iter().any(|a| on_it(a) && !is_system(a)) {
                continue;
            }
            let stops = |a: &Allocation| on_it(a) && a.is_wanted && !keeps_system;
            if self.allocations.iter().any(stops) {
                let index = self.write(&[Table::Allocations]);
                self.allocations.iter_mut().filter(|a| stops(a)).for_each(|a| a.stopped(index));
            }
            if keeps_system || !self.allocations.iter().any(on_it) {
                let index = self.write(&[Table::Nodes]);
                if let Some(node) = self.nodes.get_mut(&id) {
                    node.drain_completed(index);
                }
            }
        }
    }
}

/// Whether a job may run on a node: `*` stands for any part of a datacenter's name at its end.
fn suits(job: &Job, node: &Registration) -> bool {
    let in_pool = job.node_pool == "all" || job.node_pool == node.node_pool;
    let named = job.datacenters.iter().any(|name| match name.split_once('*') {
        Some((start, _)) => node.datacenter.starts_with(start),
        None => *name == node.datacenter,
    });
    in_pool && named
}
