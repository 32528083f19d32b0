//! A small Nomad: jobs are placed, drains move what fits elsewhere, heartbeats expire.
//! A drain waits for a place to move to; real ones stop the allocation first.

use std::collections::BTreeMap;
use std::time::Duration;

use fleet::{
    AllocId, AllocView, JobKind, NodeId, NodeStatus, NodeView, Resources, Touch, TouchKind,
};

/// Allocations that a machine holds.
pub(crate) const SLOTS: usize = 2;
const HEARTBEAT: u64 = 15;
const MOVE: u64 = 3;

#[derive(Clone)]
pub(crate) struct Job {
    pub(crate) kind: JobKind,
    pub(crate) count: usize,
    /// How long one of a batch runs, in seconds.
    pub(crate) runs_for: u64,
    pub(crate) migrates: bool,
}

#[derive(Clone)]
pub(crate) struct Alloc {
    pub(crate) id: AllocId,
    pub(crate) job: String,
    pub(crate) kind: JobKind,
    pub(crate) node: String,
    pub(crate) live: bool,
    ends: Option<u64>,
    pub(crate) hands_over_until: Option<u64>,
    moving: bool,
}

#[derive(Clone)]
pub(crate) struct Node {
    id: NodeId,
    pub(crate) status: NodeStatus,
    pub(crate) eligible: bool,
    drain: Option<(Option<u64>, bool)>,
    events: Vec<(u64, Option<TouchKind>)>,
    create_index: u64,
    pub(crate) heard: u64,
}

#[derive(Clone, Default)]
pub(crate) struct Nomad {
    pub(crate) silent: bool,
    pub(crate) index: u64,
    pub(crate) nodes: BTreeMap<String, Node>,
    pub(crate) jobs: BTreeMap<String, Job>,
    pub(crate) allocs: Vec<Alloc>,
    pub(crate) placed: u64,
}

impl Nomad {
    fn next(&mut self) -> u64 {
        self.index += 1;
        self.index
    }

    pub(crate) fn write(&mut self, name: &str, touch: Option<TouchKind>) -> u64 {
        let index = self.next();
        let Some(node) = self.nodes.get_mut(name) else { return index };
        node.events.push((index, touch));
        if node.events.len() > 10 {
            node.events.remove(0);
        }
        index
    }

    pub(crate) fn heartbeat(&mut self, name: &str, now: u64) {
        let index = self.index + 1;
        let known = self.nodes.contains_key(name);
        let node = self.nodes.entry(name.to_owned()).or_insert_with(|| Node {
            id: NodeId::new(format!("id-{name}")).unwrap(),
            status: NodeStatus::Down,
            eligible: true,
            drain: None,
            events: Vec::new(),
            create_index: index,
            heard: now,
        });
        node.heard = now;
        if node.status != NodeStatus::Ready || !known {
            node.status = NodeStatus::Ready;
            self.write(name, None);
        }
    }

    pub(crate) fn eligibility(&mut self, name: &str, eligible: bool) -> u64 {
        let Some(node) = self.nodes.get_mut(name) else { return 0 };
        if node.eligible == eligible {
            return 0;
        }
        node.eligible = eligible;
        let kind = if eligible { TouchKind::Eligible } else { TouchKind::Ineligible };
        self.write(name, Some(kind))
    }

    pub(crate) fn drain(&mut self, name: &str, deadline: Option<u64>, ignore_system: bool) -> u64 {
        let Some(node) = self.nodes.get_mut(name) else { return 0 };
        node.eligible = false;
        node.drain = Some((deadline, ignore_system));
        self.write(name, Some(TouchKind::DrainSet))
    }

    pub(crate) fn end_drain(&mut self, name: &str) -> u64 {
        let Some(node) = self.nodes.get_mut(name) else { return 0 };
        node.eligible = true;
        let touch = node.drain.take().map(|_| TouchKind::DrainUnset);
        for alloc in self.allocs.iter_mut().filter(|alloc| alloc.node == name) {
            alloc.moving &= alloc.ends.is_some();
        }
        match touch {
            Some(touch) => self.write(name, Some(touch)),
            None => self.next(),
        }
    }

    pub(crate) fn run(&mut self, job: &str, kind: JobKind, count: usize) {
        let job = job.to_owned();
        self.jobs.insert(job, Job { kind, count, runs_for: 120, migrates: false });
        self.next();
    }

    pub(crate) fn stop(&mut self, job: &str) {
        self.jobs.remove(job);
        for alloc in self.allocs.iter_mut().filter(|alloc| alloc.job == job) {
            alloc.live = false;
            alloc.hands_over_until = None;
        }
        self.next();
    }

    /// Machines that hold demand work and those that waiting work needs.
    pub(crate) fn pending(&self) -> u32 {
        let busy = self.nodes.keys().filter(|name| self.work_on(name) > 0);
        let free: usize = busy.clone().map(|name| SLOTS.saturating_sub(self.work_on(name))).sum();
        let waits: usize = self.jobs.iter().map(|(name, job)| self.missing(name, job)).sum();
        let more = waits.saturating_sub(free).div_ceil(SLOTS);
        u32::try_from(busy.count() + more).unwrap()
    }

    pub(crate) fn work_on(&self, name: &str) -> usize {
        let on = self.allocs.iter().filter(|alloc| alloc.node == name);
        on.filter(|alloc| {
            (alloc.live && alloc.kind.is_demand()) || alloc.hands_over_until.is_some()
        })
        .count()
    }

    pub(crate) fn where_is(&self, job: &str) -> Vec<&str> {
        let live = self.allocs.iter().filter(|alloc| alloc.live && alloc.job == job);
        live.map(|alloc| alloc.node.as_str()).collect()
    }

    fn missing(&self, name: &str, job: &Job) -> usize {
        if !job.kind.is_demand() {
            return 0;
        }
        let live = self.allocs.iter().filter(|a| a.job == name && a.live && !a.moving).count();
        job.count.saturating_sub(live)
    }

    pub(crate) fn step(&mut self, now: u64) {
        self.expire(now);
        self.finish(now);
        self.move_drained(now);
        self.complete_drains(now);
        self.place(now);
    }

    fn expire(&mut self, now: u64) {
        let dead = |node: &Node| node.status == NodeStatus::Ready && node.heard + HEARTBEAT < now;
        let dead: Vec<String> =
            self.nodes.iter().filter(|(_, n)| dead(n)).map(|(name, _)| name.clone()).collect();
        for name in dead {
            self.nodes.get_mut(&name).unwrap().status = NodeStatus::Down;
            self.write(&name, None);
            for alloc in self.allocs.iter_mut().filter(|alloc| alloc.node == name) {
                alloc.live = false;
                alloc.hands_over_until = None;
            }
        }
    }

    fn finish(&mut self, now: u64) {
        for alloc in &mut self.allocs {
            if alloc.live && alloc.ends.is_some_and(|ends| ends <= now) {
                alloc.live = false;
                self.index += 1;
                if let Some(job) =
                    self.jobs.get_mut(&alloc.job).filter(|j| j.kind == JobKind::Batch)
                {
                    job.count = job.count.saturating_sub(1);
                }
            }
            if alloc.hands_over_until.is_some_and(|until| until <= now) {
                alloc.hands_over_until = None;
                self.index += 1;
            }
        }
        self.allocs.retain(|alloc| alloc.live || alloc.hands_over_until.is_some());
    }

    fn room(&self, name: &str) -> bool {
        let live = self.allocs.iter().filter(|a| a.live && a.node == name && a.kind.is_demand());
        live.count() < SLOTS
    }

    fn target(&self) -> Option<String> {
        let takes =
            |node: &Node| node.eligible && node.drain.is_none() && node.status == NodeStatus::Ready;
        let fits = self.nodes.iter().filter(|(name, node)| takes(node) && self.room(name));
        fits.min_by_key(|(name, _)| self.work_on(name)).map(|(name, _)| name.clone())
    }

    fn start(&mut self, job: &str, node: String, now: u64) {
        let Some(spec) = self.jobs.get(job) else { return };
        let (kind, runs_for) = (spec.kind, spec.runs_for);
        self.placed += 1;
        self.index += 1;
        self.allocs.push(Alloc {
            id: AllocId::new(format!("alloc-{}", self.placed)).unwrap(),
            job: job.to_owned(),
            kind,
            node,
            live: true,
            ends: (kind == JobKind::Batch).then(|| now + runs_for),
            hands_over_until: None,
            moving: false,
        });
    }

    fn place(&mut self, now: u64) {
        let names: Vec<String> = self.jobs.keys().cloned().collect();
        for name in names {
            if self.jobs[&name].kind == JobKind::System {
                let ready = |node: &Node| node.eligible && node.status == NodeStatus::Ready;
                let on = |node: &str| self.where_is(&name).contains(&node);
                let free = self.nodes.iter().filter(|(at, node)| ready(node) && !on(at));
                for node in free.map(|(at, _)| at.clone()).collect::<Vec<_>>() {
                    self.start(&name, node, now);
                }
            }
            for _ in 0..self.missing(&name, &self.jobs[&name]) {
                let Some(node) = self.target() else { break };
                self.start(&name, node, now);
            }
        }
    }

    fn move_drained(&mut self, now: u64) {
        let draining: Vec<(String, Option<u64>, bool)> = self
            .nodes
            .iter()
            .filter_map(|(n, node)| {
                node.drain.map(|(deadline, ignore)| (n.clone(), deadline, ignore))
            })
            .collect();
        for (node, deadline, ignore_system) in draining {
            let alone = self.work_on(&node) == 0;
            for place in 0..self.allocs.len() {
                let alloc = &self.allocs[place];
                if alloc.node != node || !alloc.live || alloc.ends.is_some_and(|_| alloc.moving) {
                    continue;
                }
                let (kind, job) = (alloc.kind, alloc.job.clone());
                let killed = deadline.is_some_and(|deadline| deadline <= now);
                let migrates = self.jobs.get(&job).is_some_and(|job| job.migrates);
                let stops = match kind {
                    JobKind::Service => killed || self.target().is_some(),
                    JobKind::Batch | JobKind::Sysbatch => killed,
                    JobKind::System => alone && !ignore_system,
                };
                if stops {
                    let alloc = &mut self.allocs[place];
                    alloc.moving = true;
                    alloc.ends = Some(now + 1);
                    alloc.hands_over_until = migrates.then_some(now + 1 + 2 * MOVE);
                    if let Some(to) = (kind == JobKind::Service).then(|| self.target()).flatten() {
                        self.start(&job, to, now);
                    }
                }
            }
        }
    }

    fn complete_drains(&mut self, _now: u64) {
        let names: Vec<String> = self.nodes.keys().cloned().collect();
        for name in names {
            let Some((_, ignore)) = self.nodes[&name].drain else { continue };
            let left =
                |a: &&Alloc| a.node == name && a.live && !(ignore && a.kind == JobKind::System);
            if !self.allocs.iter().any(|alloc| left(&alloc)) {
                self.nodes.get_mut(&name).unwrap().drain = None;
                self.write(&name, Some(TouchKind::DrainComplete));
            }
        }
    }

    pub(crate) fn view(&self, name: &str) -> Option<NodeView> {
        let node = self.nodes.get(name)?;
        let touches = node.events.iter();
        let touches = touches.filter_map(|(i, kind)| kind.map(|kind| Touch { index: *i, kind }));
        let allocs = self.allocs.iter().filter(|alloc| alloc.node == name).map(|alloc| AllocView {
            id: alloc.id.clone(),
            what: alloc.job.clone(),
            kind: alloc.kind,
            live: alloc.live,
            hands_over: alloc.hands_over_until.is_some(),
            used: Resources { cpu_mhz: 100, memory_mb: 100, disk_mb: 0 },
        });
        Some(NodeView {
            id: node.id.clone(),
            index: self.index,
            status: node.status,
            eligible: node.eligible,
            draining: node.drain.is_some(),
            create_index: node.create_index,
            selected: true,
            touches: touches.collect(),
            oldest_event: (node.events.len() == 10).then(|| node.events[0].0),
            newest_event: node.events.last().map_or(0, |(index, _)| *index),
            resources: Resources { cpu_mhz: 1000, memory_mb: 1000, disk_mb: 1000 },
            allocs: allocs.collect(),
        })
    }

    /// What is wrong with switching it off now.
    pub(crate) fn speaks_against(&self, name: &str) -> Option<String> {
        let node = self.nodes.get(name)?;
        if self.work_on(name) > 0 {
            return Some(format!("{name} has work or data"));
        }
        (node.eligible && node.status == NodeStatus::Ready)
            .then(|| format!("{name}'s node is eligible"))
    }

    pub(crate) fn purge(&mut self, name: &str) -> u64 {
        self.nodes.remove(name);
        self.next()
    }

    pub(crate) fn deadline(now: u64, deadline: Option<Duration>) -> Option<u64> {
        deadline.map(|span| now + span.as_secs())
    }
}
