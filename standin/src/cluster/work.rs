//! Allocations, which are work with a place, and evaluations, which tell of work without one.

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::job::Job;

/// What the client says of an allocation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum ClientStatus {
    Pending,
    Running,
    Complete,
    Failed,
    Lost,
}

/// Work that has a place.
#[derive(Debug, Clone)]
pub(crate) struct Allocation {
    pub(crate) id: String,
    /// Which of its group it is.
    pub(crate) number: usize,
    /// The job as it was then.
    pub(crate) job: Arc<Job>,
    pub(crate) node_id: String,
    node_name: String,
    /// Whether it is wanted.
    pub(crate) is_wanted: bool,
    /// Whether a drain has asked it to move.
    pub(crate) is_to_move: bool,
    pub(crate) status: ClientStatus,
    next: String,
    previous: String,
    create_index: u64,
    modify_index: u64,
}

impl Allocation {
    pub(crate) fn new(number: usize, job: &Arc<Job>, node: (&str, &str), index: u64) -> Self {
        Self {
            id: super::id::random(),
            number,
            job: Arc::clone(job),
            node_id: node.0.to_owned(),
            node_name: node.1.to_owned(),
            is_wanted: true,
            is_to_move: false,
            status: ClientStatus::Pending,
            next: String::new(),
            previous: String::new(),
            create_index: index,
            modify_index: index,
        }
    }

    /// Whether its client will do nothing more for it.
    pub(crate) const fn is_over(&self) -> bool {
        matches!(self.status, ClientStatus::Complete | ClientStatus::Failed | ClientStatus::Lost)
    }

    /// Whether it is wanted and not over.
    pub(crate) const fn is_alive(&self) -> bool {
        self.is_wanted && !self.is_over()
    }

    /// Whether it has come to its own end: no other takes its place.
    pub(crate) const fn has_ended(&self) -> bool {
        self.is_wanted && self.is_over()
    }

    pub(crate) fn stopped(&mut self, index: u64) {
        self.is_wanted = false;
        self.modify_index = index;
    }

    pub(crate) fn asked_to_move(&mut self, index: u64) {
        self.is_to_move = true;
        self.modify_index = index;
    }

    pub(crate) fn reported(&mut self, status: ClientStatus, index: u64) {
        self.status = status;
        self.modify_index = index;
    }

    /// Another takes its place.
    pub(crate) fn replaced_by(&mut self, next: &mut Self, index: u64) {
        self.next.clone_from(&next.id);
        next.previous.clone_from(&self.id);
        self.stopped(index);
    }

    /// As lists have it.
    pub(crate) fn stub(&self) -> Value {
        let mut fields = self.fields();
        fields["JobType"] = json!(self.job.job_type);
        fields
    }

    /// As it is read alone, and of its node.
    pub(crate) fn whole(&self) -> Value {
        let mut fields = self.fields();
        fields["Job"] = json!(*self.job);
        fields
    }

    fn fields(&self) -> Value {
        let (job, group) = (&self.job, self.job.group());
        let task = group.task();
        json!({
            "ID": self.id,
            "Name": format!("{}.{}[{}]", job.id, group.name, self.number),
            "Namespace": job.namespace,
            "NodeID": self.node_id,
            "NodeName": self.node_name,
            "JobID": job.id,
            "TaskGroup": group.name,
            "AllocatedResources": {
                "Tasks": {
                    &task.name: {
                        "Cpu": { "CpuShares": task.resources.cpu_mhz },
                        "Memory": { "MemoryMB": task.resources.memory_mb },
                    },
                },
                "Shared": { "DiskMB": group.ephemeral_disk.size_mb },
            },
            "DesiredStatus": if self.is_wanted { "run" } else { "stop" },
            "DesiredTransition": { "Migrate": self.is_to_move },
            "ClientStatus": self.status,
            "NextAllocation": self.next,
            "PreviousAllocation": self.previous,
            "CreateIndex": self.create_index,
            "ModifyIndex": self.modify_index,
        })
    }
}

/// How an evaluation stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum EvalStatus {
    Blocked,
    Complete,
    Canceled,
}

/// A look at a job, or what it left without a place.
#[derive(Debug, Clone)]
pub(crate) struct Evaluation {
    pub(crate) id: String,
    pub(crate) job: Arc<Job>,
    pub(crate) status: EvalStatus,
    /// How many found no place, and the nodes that were looked at.
    pub(crate) failures: Option<(usize, Value)>,
    /// How many wait, of one that was worked on.
    pub(crate) queued: Option<usize>,
    pub(crate) blocked: String,
    pub(crate) previous: String,
    pub(crate) create_index: u64,
    pub(crate) modify_index: u64,
}

impl Evaluation {
    pub(crate) fn new(job: &Arc<Job>, status: EvalStatus, index: u64) -> Self {
        Self {
            id: super::id::random(),
            job: Arc::clone(job),
            status,
            failures: None,
            queued: None,
            blocked: String::new(),
            previous: String::new(),
            create_index: index,
            modify_index: index,
        }
    }

    /// As it is read alone, and as lists have it.
    pub(crate) fn whole(&self) -> Value {
        let group = &self.job.group().name;
        let failed = self.failures.as_ref().map(|(number, available)| {
            let looked_at: u64 =
                available.as_object().map_or(0, |by| by.values().filter_map(Value::as_u64).sum());
            json!({ group: {
                "NodesEvaluated": looked_at,
                "NodesExhausted": looked_at,
                "NodesInPool": looked_at,
                "NodesAvailable": available,
                "CoalescedFailures": number.saturating_sub(1),
            }})
        });
        json!({
            "ID": self.id,
            "Namespace": self.job.namespace,
            "JobID": self.job.id,
            "Type": self.job.job_type,
            "TriggeredBy": if self.status == EvalStatus::Blocked { "queued-allocs" } else { "job-register" },
            "Status": self.status,
            "BlockedEval": self.blocked,
            "PreviousEval": self.previous,
            "FailedTGAllocs": failed,
            "QueuedAllocations": self.queued.map(|queued| json!({ group: queued })),
            "ClassEligibility": null,
            "EscapedComputedClass": false,
            "CreateIndex": self.create_index,
            "ModifyIndex": self.modify_index,
        })
    }
}
