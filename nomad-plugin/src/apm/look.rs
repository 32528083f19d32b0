//! One look at Nomad and the agents: all that every pool's answer is made of.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use fleet::Moment;
use fleet::pending::Work;
use futures_util::{StreamExt, future, stream};
use nomad_api::{AllocationStub, Client, Error, Evaluation, Job, JobSummary, Node, QueryOptions};

use super::work::{self, SharedJob};
use crate::observe::{AgentSight, Agents, NodeReader};

/// How many jobs are read at once: Nomad answers each from memory.
const JOB_READS: usize = 16;

/// How many waiting jobs one look reads, oldest first: a query has seconds, and a thousand jobs light
/// any rack. The others are told, and read when these have their places.
pub(super) const WAITING_JOBS_MAX: usize = 1_000;

/// How many system jobs are read: each takes room on every machine; a cluster has a few.
const SYSTEM_JOBS_MAX: usize = 200;

/// What was seen.
#[derive(Debug)]
pub(super) struct Sight {
    /// The agents' inventories.
    pub(super) agents: Vec<AgentSight>,
    /// The newest registration of each machine's node, by node name.
    pub(super) nodes: BTreeMap<String, Node>,
    /// Allocations by node id.
    pub(super) allocs: BTreeMap<String, Vec<AllocationStub>>,
    /// Waiting and system work.
    pub(super) work: Work,
    /// How many waiting jobs were left out.
    pub(super) jobs_left_out: usize,
}

/// Looks, and remembers what need not be read again.
#[derive(Debug)]
pub(super) struct Looker {
    nomad: Client,
    agents: Agents,
    nodes: NodeReader,
    /// Waiting jobs by the evaluation that blocked them: a new version is evaluated anew.
    waiting: BTreeMap<String, SharedJob>,
    /// System jobs by namespace, id and index of their definition.
    system: BTreeMap<(String, String, u64), SharedJob>,
}

struct Lists {
    allocs: Vec<AllocationStub>,
    nodes: Vec<nomad_api::NodeStub>,
    evaluations: Vec<Evaluation>,
    system: Vec<nomad_api::JobStub>,
}

impl Looker {
    pub(super) fn new(nomad: Client, agents: Agents) -> Self {
        let nodes = NodeReader::default();
        Self { nomad, agents, nodes, waiting: BTreeMap::new(), system: BTreeMap::new() }
    }

    pub(super) const fn agents(&self) -> &Agents {
        &self.agents
    }

    /// Looks once.
    ///
    /// # Errors
    /// Where Nomad does not answer or refuses: then nothing can be said. Agents never fail it.
    pub(super) async fn look(&mut self, now: Moment) -> Result<Sight, Error> {
        let nomad = self.nomad.clone();
        let (agents, lists) = future::join(self.agents.look(now), lists(&nomad)).await;
        let lists = lists?;
        let names: BTreeSet<&str> = agents
            .iter()
            .filter_map(|sight| sight.inventory.as_ref())
            .flat_map(|(inventory, _)| inventory.machines.iter())
            .map(|machine| machine.node.as_str())
            .collect();
        let nodes = self.nodes.read(&nomad, &lists.nodes, &names).await?;
        let mut evaluations = work::of_jobs(lists.evaluations);
        evaluations.sort_by_key(|evaluation| evaluation.create_index);
        let jobs_left_out = evaluations.len().saturating_sub(WAITING_JOBS_MAX);
        evaluations.truncate(WAITING_JOBS_MAX);
        let mut work = Work::default();
        for (evaluation, job, summary) in self.waiting_jobs(evaluations).await? {
            work.waiting.extend(work::waiting(&evaluation, &job, &summary));
        }
        for job in self.system_jobs(lists.system).await? {
            work.system.extend(work::system(&job));
        }
        let mut allocs: BTreeMap<String, Vec<AllocationStub>> = BTreeMap::new();
        for alloc in lists.allocs {
            allocs.entry(alloc.node_id.clone()).or_default().push(alloc);
        }
        Ok(Sight { agents, nodes, allocs, work, jobs_left_out })
    }

    async fn waiting_jobs(
        &mut self,
        evaluations: Vec<Evaluation>,
    ) -> Result<Vec<(Evaluation, SharedJob, JobSummary)>, Error> {
        let nomad = &self.nomad;
        let known = &self.waiting;
        let reads = evaluations.into_iter().map(|evaluation| async move {
            let (namespace, id) = (&evaluation.namespace, &evaluation.job_id);
            let job = match known.get(&evaluation.id) {
                Some(job) => Some(Arc::clone(job)),
                None => nomad.job(namespace, id).await?.map(Arc::new),
            };
            let summary = nomad.job_summary(namespace, id).await?;
            // A job that is gone since the list was read waits for nothing.
            Ok(job.zip(summary).map(|(job, summary)| (evaluation, job, summary)))
        });
        let mut reads = stream::iter(reads).buffer_unordered(JOB_READS);
        let mut found = Vec::new();
        while let Some(read) = reads.next().await {
            found.extend(read?);
        }
        drop(reads);
        self.waiting = found.iter().map(|(e, job, _)| (e.id.clone(), Arc::clone(job))).collect();
        Ok(found)
    }

    async fn system_jobs(
        &mut self,
        stubs: Vec<nomad_api::JobStub>,
    ) -> Result<Vec<SharedJob>, Error> {
        let nomad = &self.nomad;
        let known = &self.system;
        let living = stubs.into_iter().filter(|stub| !stub.stop).take(SYSTEM_JOBS_MAX);
        let reads = living.map(|stub| async move {
            let key = (stub.namespace, stub.id, stub.job_modify_index);
            let job = match known.get(&key) {
                Some(job) => Some(Arc::clone(job)),
                None => nomad.job(&key.0, &key.1).await?.map(Arc::new),
            };
            Ok::<_, Error>(job.map(|job: Arc<Job>| (key, job)))
        });
        let mut reads = stream::iter(reads).buffer_unordered(JOB_READS);
        let mut found = BTreeMap::new();
        while let Some(read) = reads.next().await {
            found.extend(read?);
        }
        drop(reads);
        self.system = found;
        Ok(self.system.values().cloned().collect())
    }
}

/// Allocations before evaluations: work that gets its place in between is then in neither list, and the
/// dip of one query is damped by the target. In both lists it would light a machine at once. Work that the
/// token may not see would neither wait nor take room, so that is asked first.
async fn lists(nomad: &Client) -> Result<Lists, Error> {
    let now = QueryOptions::NOW;
    nomad.sees_all_work().await?;
    nomad.sees_all_jobs().await?;
    let (allocs, _) = nomad.allocations(Some(LIVING), &now).await?;
    let (evaluations, _) = nomad.blocked_evaluations(&now).await?;
    let (nodes, _) = nomad.nodes(&now).await?;
    let (system, _) = nomad.jobs(Some(SYSTEM), &now).await?;
    Ok(Lists { allocs, nodes, evaluations, system })
}

/// Allocations that may still take room: ended ones stay in Nomad's list for hours.
const LIVING: &str =
    "ClientStatus != \"complete\" and ClientStatus != \"failed\" and ClientStatus != \"lost\"";

const SYSTEM: &str = "Type == \"system\"";
