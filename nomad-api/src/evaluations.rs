//! Evaluations: work that waits for a place, and why it has none.

use std::collections::BTreeMap;

use crate::client::{Ask, Client, QueryMeta, QueryOptions, READ_JOB_EVERYWHERE};
use crate::error::Error;
use crate::jobs::JobType;
use crate::wire::{from_nomad, words};

words! {
    /// How an evaluation stands.
    pub enum EvalStatus {
        /// Its placements wait for a change of the cluster.
        Blocked = "blocked",
        /// It has not been worked on.
        Pending = "pending",
        /// It was worked on; what found no place went into another that is blocked.
        Complete = "complete",
        /// The scheduler failed.
        Failed = "failed",
        /// A newer one took its place.
        Canceled = "canceled",
    }
}

from_nomad! {
    /// An evaluation of a job.
    pub struct Evaluation {
        /// Its id.
        pub id: String = "ID",
        /// Its job's namespace.
        pub namespace: String = "Namespace",
        /// Its job.
        pub job_id: String = "JobID",
        /// Its job's type.
        pub job_type: JobType = "Type",
        /// What caused it.
        pub triggered_by: String = "TriggeredBy",
        /// How it stands.
        pub status: EvalStatus = "Status",
        /// More about how it stands.
        pub status_description: String = "StatusDescription",
        /// The node that it is about; empty where none.
        pub node_id: String = "NodeID",
        /// The evaluation that carries on with what found no place; empty where none.
        pub blocked_eval: String = "BlockedEval",
        /// The evaluation that caused this one; empty where none.
        pub previous_eval: String = "PreviousEval",
        /// Why placements failed, by task group.
        pub failed_groups: BTreeMap<String, PlacementFailure> = "FailedTGAllocs",
        /// How many allocations wait, by task group, as the scheduler left it.
        pub queued: BTreeMap<String, u64> = "QueuedAllocations",
        /// Which computed classes of nodes could take it (only those that were looked at).
        pub class_eligibility: BTreeMap<String, bool> = "ClassEligibility",
        /// Whether a constraint looks beyond the computed class, so that every new node is worth a try.
        pub escaped_computed_class: bool = "EscapedComputedClass",
        /// The quota that stops it; empty where none.
        pub quota_limit_reached: String = "QuotaLimitReached",
        /// The index of its creation.
        pub create_index: u64 = "CreateIndex",
        /// The index of its last change.
        pub modify_index: u64 = "ModifyIndex",
    }

    /// Why a task group found no place.
    pub struct PlacementFailure {
        /// How many nodes were looked at.
        pub nodes_evaluated: u64 = "NodesEvaluated",
        /// How many of them were ruled out by constraints.
        pub nodes_filtered: u64 = "NodesFiltered",
        /// How many of them had no room.
        pub nodes_exhausted: u64 = "NodesExhausted",
        /// How many nodes are in the job's pool.
        pub nodes_in_pool: u64 = "NodesInPool",
        /// How many nodes there are, by datacenter.
        pub nodes_available: BTreeMap<String, u64> = "NodesAvailable",
        /// How many nodes each constraint ruled out.
        pub constraint_filtered: BTreeMap<String, u64> = "ConstraintFiltered",
        /// How many nodes were short of what: `memory`, `cpu`, `disk`.
        pub dimension_exhausted: BTreeMap<String, u64> = "DimensionExhausted",
        /// The quotas that were used up.
        pub quota_exhausted: Vec<String> = "QuotaExhausted",
        /// How many more failed for the same reasons: `1 + coalesced_failures` found no place.
        pub coalesced_failures: u64 = "CoalescedFailures",
    }
}

impl Client {
    /// The blocked evaluations of all namespaces that the token may read.
    ///
    /// # Errors
    /// As every question to Nomad: see [`Error`]; needs `namespace "*" { capabilities = ["read-job"] }`.
    pub async fn blocked_evaluations(
        &self,
        options: &QueryOptions,
    ) -> Result<(Vec<Evaluation>, QueryMeta), Error> {
        let ask = Ask::get(&["evaluations"], "listing the blocked evaluations")
            .needs(READ_JOB_EVERYWHERE)
            .with("namespace", "*")
            .with("status", "blocked");
        self.query(ask, options).await
    }

    /// One evaluation; none where Nomad does not know it (any more).
    ///
    /// # Errors
    /// As every question to Nomad: see [`Error`]; needs `namespace "*" { capabilities = ["read-job"] }`.
    pub async fn evaluation(&self, id: &str) -> Result<Option<Evaluation>, Error> {
        let ask = Ask::get(&["evaluation", id], format!("reading evaluation {id}"))
            .needs(READ_JOB_EVERYWHERE);
        self.read_optional(ask).await
    }
}
