//! A job as it is registered. What the stand-in does not do is refused by name, never ignored: work would
//! be placed where Nomad would not place it.

use serde::{Deserialize, Serialize};
use serde_json::Value;

/// How many of a job may be wanted: more than the machines of a rack hold of the smallest work.
const COUNT_MAX: usize = 1000;

/// How a job is scheduled.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum JobType {
    /// Runs until it is stopped, and moves.
    Service,
    /// Runs to its end.
    Batch,
    /// Runs on every node.
    System,
}

/// A job of one group with one task.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub(crate) struct Job {
    #[serde(rename = "ID")]
    pub(crate) id: String,
    #[serde(default = "Job::default_name")]
    pub(crate) namespace: String,
    #[serde(rename = "Type", default = "Job::default_type")]
    pub(crate) job_type: JobType,
    #[serde(default = "Job::anywhere")]
    pub(crate) datacenters: Vec<String>,
    #[serde(default = "Job::default_name")]
    pub(crate) node_pool: String,
    /// Exactly one: see [`Job::read`].
    pub(crate) task_groups: [Group; 1],
    #[serde(skip_deserializing)]
    pub(crate) stop: bool,
    #[serde(skip_deserializing)]
    pub(crate) create_index: u64,
    #[serde(skip_deserializing)]
    pub(crate) job_modify_index: u64,
}

/// How many of a task are wanted.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub(crate) struct Group {
    pub(crate) name: String,
    #[serde(default = "Group::one")]
    pub(crate) count: usize,
    #[serde(default)]
    pub(crate) ephemeral_disk: Disk,
    pub(crate) tasks: [Task; 1],
    /// Of no effect: what runs is healthy at once.
    #[serde(default, skip_serializing)]
    update: Value,
    /// Of no effect, as `update`.
    #[serde(default, skip_serializing)]
    migrate: Value,
}

/// A group's disk; it stays empty.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Disk {
    #[serde(rename = "SizeMB")]
    pub(crate) size_mb: u64,
}

/// A program of the host.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub(crate) struct Task {
    pub(crate) name: String,
    pub(crate) driver: Driver,
    pub(crate) config: Command,
    pub(crate) resources: Asked,
}

/// What runs tasks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Driver {
    /// As they are.
    RawExec,
}

/// What a task runs.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Command {
    pub(crate) command: String,
    #[serde(default)]
    pub(crate) args: Vec<String>,
}

/// What a task asks for.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Asked {
    #[serde(rename = "CPU")]
    pub(crate) cpu_mhz: u64,
    #[serde(rename = "MemoryMB")]
    pub(crate) memory_mb: u64,
}

impl Job {
    /// Reads the body of a registration.
    ///
    /// # Errors
    /// In words, where it is no job that the stand-in can run.
    pub(crate) fn read(body: &[u8]) -> Result<Self, String> {
        #[derive(Deserialize)]
        #[serde(rename_all = "PascalCase")]
        struct Registration {
            job: Job,
        }
        let job = serde_json::from_slice::<Registration>(body)
            .map_err(|error| format!("the stand-in can not run this job: {error}"))?
            .job;
        if job.namespace != Self::default_name() {
            return Err(format!("namespace {:?} does not exist", job.namespace));
        }
        let count = job.group().count;
        if count > COUNT_MAX {
            return Err(format!("a count of {count}; the stand-in takes at most {COUNT_MAX}"));
        }
        Ok(job)
    }

    pub(crate) const fn group(&self) -> &Group {
        let [group] = &self.task_groups;
        group
    }

    fn default_name() -> String {
        "default".to_owned()
    }

    const fn default_type() -> JobType {
        JobType::Service
    }

    fn anywhere() -> Vec<String> {
        vec!["*".to_owned()]
    }
}

impl Group {
    pub(crate) const fn task(&self) -> &Task {
        let [task] = &self.tasks;
        task
    }

    const fn one() -> usize {
        1
    }
}

impl Default for Disk {
    /// Nomad's own default.
    fn default() -> Self {
        Self { size_mb: 300 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const JOB: &str = r#"{"Job":{"ID":"web","TaskGroups":[{"Name":"group","Count":2,"Tasks":[{"Name":"task",
        "Driver":"raw_exec","Config":{"command":"true"},"Resources":{"CPU":100,"MemoryMB":64}}]}]}}"#;

    #[test]
    fn what_is_not_said_is_as_in_nomad() {
        let job = Job::read(JOB.as_bytes()).unwrap();
        assert_eq!((job.job_type, job.namespace.as_str()), (JobType::Service, "default"));
        assert_eq!(
            (job.datacenters.as_slice(), job.node_pool.as_str()),
            (&["*".to_owned()][..], "default")
        );
        assert_eq!(job.group().ephemeral_disk.size_mb, 300);
    }

    #[test]
    fn what_can_not_be_done_is_refused_by_name() {
        for (part, instead, named) in [
            ("\"Name\":\"group\"", "\"Name\":\"group\",\"Constraints\":[]", "`Constraints`"),
            ("raw_exec", "docker", "`docker`"),
            ("\"ID\":\"web\"", "\"ID\":\"web\",\"Periodic\":{}", "`Periodic`"),
            ("\"ID\":\"web\"", "\"ID\":\"web\",\"Namespace\":\"lab\"", "\"lab\" does not exist"),
            ("\"Count\":2", "\"Count\":1001", "at most 1000"),
        ] {
            let error = Job::read(JOB.replacen(part, instead, 1).as_bytes()).unwrap_err();
            assert!(error.contains(named), "{error}");
        }
    }
}
