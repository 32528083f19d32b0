//! Allocations: work that has a place.

use std::collections::BTreeMap;

use crate::client::{Ask, Client, QueryMeta, QueryOptions, READ_JOB_EVERYWHERE};
use crate::error::Error;
use crate::jobs::{Job, JobType};
use crate::wire::{from_nomad, words};

words! {
    /// What the client says of an allocation.
    pub enum ClientStatus {
        /// Not started yet.
        Pending = "pending",
        /// It runs.
        Running = "running",
        /// It ended well.
        Complete = "complete",
        /// It ended badly.
        Failed = "failed",
        /// Its node is down.
        Lost = "lost",
        /// Its node is disconnected.
        Unknown = "unknown",
    }

    /// What the server wants of an allocation.
    pub enum DesiredStatus {
        /// That it runs.
        Run = "run",
        /// That it stops.
        Stop = "stop",
        /// That it makes room.
        Evict = "evict",
    }
}

from_nomad! {
    /// An allocation as the list of allocations shows it.
    pub struct AllocationStub {
        /// Its id.
        pub id: String = "ID",
        /// Its name: `JOB.GROUP[INDEX]`.
        pub name: String = "Name",
        /// Its namespace.
        pub namespace: String = "Namespace",
        /// Where it is placed.
        pub node_id: String = "NodeID",
        /// The name of where it is placed.
        pub node_name: String = "NodeName",
        /// Its job.
        pub job_id: String = "JobID",
        /// Its job's type.
        pub job_type: JobType = "JobType",
        /// Its task group.
        pub task_group: String = "TaskGroup",
        /// What it takes.
        pub resources: AllocatedResources = "AllocatedResources",
        /// What the server wants.
        pub desired_status: DesiredStatus = "DesiredStatus",
        /// What the client says.
        pub client_status: ClientStatus = "ClientStatus",
        /// The allocation that takes its place; empty where none.
        pub next_allocation: String = "NextAllocation",
        /// The index of its creation.
        pub create_index: u64 = "CreateIndex",
        /// The index of its last change.
        pub modify_index: u64 = "ModifyIndex",
    }

    /// An allocation with everything that we read of it.
    pub struct Allocation {
        /// Its id.
        pub id: String = "ID",
        /// Its name: `JOB.GROUP[INDEX]`.
        pub name: String = "Name",
        /// Its namespace.
        pub namespace: String = "Namespace",
        /// Where it is placed.
        pub node_id: String = "NodeID",
        /// The name of where it is placed.
        pub node_name: String = "NodeName",
        /// Its job's id.
        pub job_id: String = "JobID",
        /// Its job, as it was when the allocation was made; none in the event stream.
        pub job: Option<Job> = "Job",
        /// Its task group.
        pub task_group: String = "TaskGroup",
        /// What it takes.
        pub resources: AllocatedResources = "AllocatedResources",
        /// What the server wants.
        pub desired_status: DesiredStatus = "DesiredStatus",
        /// What is to happen to it beyond that.
        pub desired_transition: DesiredTransition = "DesiredTransition",
        /// What the client says.
        pub client_status: ClientStatus = "ClientStatus",
        /// The allocation that takes its place; empty where none.
        pub next_allocation: String = "NextAllocation",
        /// The allocation whose place it takes; empty where none.
        pub previous_allocation: String = "PreviousAllocation",
        /// The index of its creation.
        pub create_index: u64 = "CreateIndex",
        /// The index of its last change.
        pub modify_index: u64 = "ModifyIndex",
    }

    /// What an allocation takes.
    pub struct AllocatedResources {
        /// By task.
        pub tasks: BTreeMap<String, AllocatedTask> = "Tasks",
        /// By the group as a whole.
        pub shared: AllocatedShared = "Shared",
    }

    /// What a task takes.
    pub struct AllocatedTask {
        /// Processing.
        pub cpu: AllocatedCpu = "Cpu",
        /// Memory.
        pub memory: AllocatedMemory = "Memory",
    }

    /// A task's processing.
    pub struct AllocatedCpu {
        /// In MHz.
        pub cpu_shares: u64 = "CpuShares",
    }

    /// A task's memory.
    pub struct AllocatedMemory {
        /// In MiB: what the scheduler reserves.
        pub memory_mb: u64 = "MemoryMB",
    }

    /// What a group takes as a whole.
    pub struct AllocatedShared {
        /// Disk, in MiB.
        pub disk_mb: u64 = "DiskMB",
    }

    /// What is to happen to an allocation.
    pub struct DesiredTransition {
        /// It is to move to another node: its node is drained.
        pub migrate: bool = "Migrate",
    }
}

impl ClientStatus {
    /// Whether the client will do nothing more for it.
    #[must_use]
    pub const fn is_terminal(&self) -> bool {
        matches!(self, Self::Complete | Self::Failed | Self::Lost)
    }
}

impl AllocatedResources {
    /// All tasks and the group together: (MHz, MiB of memory, MiB of disk).
    #[must_use]
    pub fn total(&self) -> (u64, u64, u64) {
        let cpu = self.tasks.values().map(|task| task.cpu.cpu_shares);
        let memory = self.tasks.values().map(|task| task.memory.memory_mb);
        (cpu.fold(0, u64::saturating_add), memory.fold(0, u64::saturating_add), self.shared.disk_mb)
    }
}

impl Allocation {
    /// Whether its disk moves with it: then the old node is needed until the replacement runs.
    #[must_use]
    pub fn migrates_disk(&self) -> bool {
        let job = self.job.as_ref();
        let group = job.and_then(|job| job.task_groups.iter().find(|g| g.name == self.task_group));
        group.is_some_and(|group| group.ephemeral_disk.migrate)
    }
}

impl Client {
    /// The allocations of all namespaces that the token may read, with their resources, narrowed by a
    /// filter in Nomad's language (`ClientStatus == "running"`) where given.
    ///
    /// # Errors
    /// As every question to Nomad: see [`Error`]; needs `namespace "*" { capabilities = ["read-job"] }`.
    pub async fn allocations(
        &self,
        filter: Option<&str>,
        options: &QueryOptions,
    ) -> Result<(Vec<AllocationStub>, QueryMeta), Error> {
        let mut ask = Ask::get(&["allocations"], "listing the allocations")
            .needs(READ_JOB_EVERYWHERE)
            .with("namespace", "*")
            .with("resources", "true");
        if let Some(filter) = filter {
            ask = ask.with("filter", filter);
        }
        self.query(ask, options).await
    }

    /// Whether the disk of an allocation that was moved is still to be fetched from its node: until the
    /// replacement runs (nomad: client/allocwatcher). The replacement is named in the write that stops the
    /// allocation; one that is placed later, because there was no room then, begins with an empty disk and
    /// fetches nothing.
    ///
    /// # Errors
    /// As every question to Nomad: see [`Error`]; needs `namespace "*" { capabilities = ["read-job"] }`.
    pub async fn awaits_disk(&self, moved: &Allocation) -> Result<bool, Error> {
        if !moved.migrates_disk() || !moved.desired_transition.migrate {
            return Ok(false);
        }
        if !moved.next_allocation.is_empty() {
            let next = self.allocation(&moved.next_allocation).await?;
            return Ok(next.is_some_and(|next| next.client_status == ClientStatus::Pending));
        }
        if moved.desired_status != DesiredStatus::Run {
            return Ok(false);
        }
        let job = self.job(&moved.namespace, &moved.job_id).await?;
        Ok(job.is_some_and(|job| !job.stop))
    }

    /// One allocation; none where Nomad does not know it (any more).
    ///
    /// # Errors
    /// As every question to Nomad: see [`Error`]; needs `namespace "*" { capabilities = ["read-job"] }`.
    pub async fn allocation(&self, id: &str) -> Result<Option<Allocation>, Error> {
        let ask = Ask::get(&["allocation", id], format!("reading allocation {id}"))
            .needs(READ_JOB_EVERYWHERE);
        self.read_optional(ask).await
    }
}
