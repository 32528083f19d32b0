//! Jobs: what they ask for, how their groups stand, and how to register and stop them.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use crate::client::{Ask, Client, QueryMeta, QueryOptions, rule};
use crate::error::Error;
use crate::wire::{from_nomad, words};

words! {
    /// How the scheduler treats a job.
    pub enum JobType {
        /// It runs until it is stopped, and moves.
        Service = "service",
        /// It runs to its end.
        Batch = "batch",
        /// It runs on every node.
        System = "system",
        /// It runs to its end on every node.
        Sysbatch = "sysbatch",
    }
}

from_nomad! {
    /// A job, as far as its demand goes.
    pub struct Job {
        /// Its id, unique in its namespace.
        pub id: String = "ID",
        /// Its namespace.
        pub namespace: String = "Namespace",
        /// How the scheduler treats it.
        pub job_type: JobType = "Type",
        /// The datacenters where it may run, with `*` for parts of a name.
        pub datacenters: Vec<String> = "Datacenters",
        /// The pool of nodes where it may run; `all` is any.
        pub node_pool: String = "NodePool",
        /// What its nodes must be.
        pub constraints: Vec<Constraint> = "Constraints",
        /// Its groups.
        pub task_groups: Vec<TaskGroup> = "TaskGroups",
        /// Whether someone stopped it.
        pub stop: bool = "Stop",
        /// The index of its creation.
        pub create_index: u64 = "CreateIndex",
        /// The index of its last change of definition.
        pub job_modify_index: u64 = "JobModifyIndex",
    }

    /// A job as the list of jobs shows it.
    pub struct JobStub {
        /// Its id, unique in its namespace.
        pub id: String = "ID",
        /// Its namespace.
        pub namespace: String = "Namespace",
        /// How the scheduler treats it.
        pub job_type: JobType = "Type",
        /// Whether someone stopped it.
        pub stop: bool = "Stop",
        /// `pending`, `running` or `dead`.
        pub status: String = "Status",
        /// How its groups stand.
        pub summary: JobSummary = "JobSummary",
        /// The index of its last change of definition.
        pub job_modify_index: u64 = "JobModifyIndex",
    }

    /// Tasks that are placed together.
    pub struct TaskGroup {
        /// Its name.
        pub name: String = "Name",
        /// How many of it are wanted.
        pub count: u64 = "Count",
        /// What its nodes must be.
        pub constraints: Vec<Constraint> = "Constraints",
        /// Its tasks.
        pub tasks: Vec<Task> = "Tasks",
        /// Its disk.
        pub ephemeral_disk: EphemeralDisk = "EphemeralDisk",
        /// Its networks.
        pub networks: Vec<NetworkAsk> = "Networks",
        /// The volumes that it asks for, by name.
        pub volumes: BTreeMap<String, VolumeAsk> = "Volumes",
    }

    /// A network that a group or a task asks for.
    pub struct NetworkAsk {
        /// Ports that must be free on the node.
        pub reserved_ports: Vec<PortAsk> = "ReservedPorts",
    }

    /// A port that must be free.
    pub struct PortAsk {
        /// Its number.
        pub value: u64 = "Value",
    }

    /// A volume that a group asks for.
    pub struct VolumeAsk {
        /// `host` or `csi`.
        pub kind: String = "Type",
        /// Its name where it is kept.
        pub source: String = "Source",
    }

    /// A program of a group.
    pub struct Task {
        /// Its name.
        pub name: String = "Name",
        /// What runs it: `docker`, `exec`, `raw_exec`.
        pub driver: String = "Driver",
        /// What its nodes must be.
        pub constraints: Vec<Constraint> = "Constraints",
        /// What it asks for.
        pub resources: TaskResources = "Resources",
        /// When it runs beside the main tasks; none is a main task.
        pub lifecycle: Option<Lifecycle> = "Lifecycle",
    }

    /// When a task runs beside the main tasks of its group.
    pub struct Lifecycle {
        /// `prestart`, `poststart` or `poststop`.
        pub hook: String = "Hook",
        /// Whether it goes on while the main tasks run.
        pub sidecar: bool = "Sidecar",
    }

    /// What a task asks for.
    pub struct TaskResources {
        /// In MHz; 0 where `cores` are asked for.
        pub cpu_mhz: u64 = "CPU",
        /// Whole cores.
        pub cores: u64 = "Cores",
        /// In MiB: what the scheduler places by.
        pub memory_mb: u64 = "MemoryMB",
        /// In MiB: what it may use where oversubscription is allowed; 0 is the same.
        pub memory_max_mb: u64 = "MemoryMaxMB",
        /// Devices, such as GPUs.
        pub devices: Vec<DeviceAsk> = "Devices",
        /// Networks of the task's own, as old jobs write them.
        pub networks: Vec<NetworkAsk> = "Networks",
    }

    /// A device that a task asks for.
    pub struct DeviceAsk {
        /// `TYPE`, `VENDOR/TYPE` or `VENDOR/TYPE/NAME`.
        pub name: String = "Name",
        /// How many.
        pub count: u64 = "Count",
    }

    /// A group's disk.
    pub struct EphemeralDisk {
        /// In MiB.
        pub size_mb: u64 = "SizeMB",
        /// Whether an update stays on its node where it can.
        pub sticky: bool = "Sticky",
        /// Whether its content moves with the group.
        pub migrate: bool = "Migrate",
    }

    /// What a node must be.
    pub struct Constraint {
        /// What is looked at: `${attr.kernel.name}`, `${meta.rack}`, `${node.class}`.
        pub left: String = "LTarget",
        /// What it is compared with.
        pub right: String = "RTarget",
        /// How: `=`, `!=`, `regexp`, `distinct_hosts`, …
        pub operand: String = "Operand",
    }

    /// How the groups of a job stand.
    pub struct JobSummary {
        /// The job.
        pub job_id: String = "JobID",
        /// Its namespace.
        pub namespace: String = "Namespace",
        /// Its groups by name.
        pub groups: BTreeMap<String, GroupSummary> = "Summary",
    }

    /// How many allocations of a group stand how.
    pub struct GroupSummary {
        /// Without a place.
        pub queued: u64 = "Queued",
        /// Placed, not running yet.
        pub starting: u64 = "Starting",
        /// Running.
        pub running: u64 = "Running",
        /// Ended well.
        pub complete: u64 = "Complete",
        /// Ended badly.
        pub failed: u64 = "Failed",
        /// Lost with their node.
        pub lost: u64 = "Lost",
        /// On a disconnected node.
        pub unknown: u64 = "Unknown",
    }

    /// What Nomad says of a job that was registered or stopped.
    pub struct JobEvaluated {
        /// The evaluation that works on it; empty for a periodic or parameterised job.
        pub eval_id: String = "EvalID",
        /// The index of the job's change.
        pub job_modify_index: u64 = "JobModifyIndex",
        /// What Nomad finds doubtful in it.
        pub warnings: String = "Warnings",
    }
}

impl Client {
    /// The jobs of all namespaces that the token may read, narrowed by a filter in Nomad's language
    /// (`Type == "system"`) where given.
    ///
    /// # Errors
    /// As every question to Nomad: see [`Error`]; needs `namespace "*" { capabilities = ["list-jobs"] }`.
    pub async fn jobs(
        &self,
        filter: Option<&str>,
        options: &QueryOptions,
    ) -> Result<(Vec<JobStub>, QueryMeta), Error> {
        let mut ask = Ask::get(&["jobs"], "listing the jobs")
            .needs(rule("*", "list-jobs"))
            .with("namespace", "*");
        if let Some(filter) = filter {
            ask = ask.with("filter", filter);
        }
        self.query(ask, options).await
    }

    /// A job; none where Nomad does not know it (any more).
    ///
    /// # Errors
    /// As every question to Nomad: see [`Error`]; needs `read-job` in the namespace.
    pub async fn job(&self, namespace: &str, id: &str) -> Result<Option<Job>, Error> {
        let ask = Ask::get(&["job", id], format!("reading job {id:?} of namespace {namespace:?}"))
            .needs(rule(namespace, "read-job"))
            .with("namespace", namespace);
        self.read_optional(ask).await
    }

    /// How a job's groups stand; none where Nomad does not know it (any more).
    ///
    /// # Errors
    /// As every question to Nomad: see [`Error`]; needs `read-job` in the namespace.
    pub async fn job_summary(
        &self,
        namespace: &str,
        id: &str,
    ) -> Result<Option<JobSummary>, Error> {
        let what = format!("reading the summary of job {id:?} of namespace {namespace:?}");
        let ask = Ask::get(&["job", id, "summary"], what)
            .needs(rule(namespace, "read-job"))
            .with("namespace", namespace);
        self.read_optional(ask).await
    }

    /// The allocations of a job, with their resources.
    ///
    /// # Errors
    /// As every question to Nomad: see [`Error`]; needs `read-job` in the namespace.
    pub async fn job_allocations(
        &self,
        namespace: &str,
        id: &str,
        options: &QueryOptions,
    ) -> Result<(Vec<crate::AllocationStub>, QueryMeta), Error> {
        let what = format!("reading the allocations of job {id:?} of namespace {namespace:?}");
        let ask = Ask::get(&["job", id, "allocations"], what)
            .needs(rule(namespace, "read-job"))
            .with("namespace", namespace);
        self.query(ask, options).await
    }

    /// Turns a job file's HCL into the JSON that [`Client::register_job`] takes, by Nomad's own parser.
    ///
    /// # Errors
    /// As every question to Nomad: see [`Error`]; a mistake in the HCL is [`Error::Status`] with Nomad's
    /// words; needs `parse-job` in the namespace.
    pub async fn parse_job(&self, hcl: &str) -> Result<Value, Error> {
        let body = json!({ "JobHCL": hcl, "Canonicalize": true });
        let ask = Ask::put(&["jobs", "parse"], "parsing a job file", &body)
            .needs(rule(self.namespace(), "parse-job"));
        self.write(ask).await
    }

    /// Registers a job, or a new version of it, in the namespace that it names.
    ///
    /// # Errors
    /// As every question to Nomad: see [`Error`]; needs `submit-job` in the namespace.
    pub async fn register_job(&self, job: &Value) -> Result<JobEvaluated, Error> {
        let text = |key: &str| job.get(key).and_then(Value::as_str).filter(|t| !t.is_empty());
        let namespace = text("Namespace").unwrap_or_else(|| self.namespace());
        let what = format!("registering job {:?}", text("ID").unwrap_or_default());
        let ask = Ask::put(&["jobs"], what, &json!({ "Job": job }))
            .needs(rule(namespace, "submit-job"))
            .with("namespace", namespace);
        self.write(ask).await
    }

    /// Stops a job; with `purge` Nomad forgets it at once.
    ///
    /// # Errors
    /// As every question to Nomad: see [`Error`]; needs `submit-job` in the namespace.
    pub async fn deregister_job(
        &self,
        namespace: &str,
        id: &str,
        purge: bool,
    ) -> Result<JobEvaluated, Error> {
        let what = format!("stopping job {id:?} of namespace {namespace:?}");
        let ask = Ask::new(reqwest::Method::DELETE, &["job", id], what)
            .needs(rule(namespace, "submit-job"))
            .with("namespace", namespace)
            .with("purge", purge.to_string());
        self.write(ask).await
    }
}
