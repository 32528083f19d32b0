//! Work for a cluster: jobs whose tasks are shell scripts on the host, so that they can leave files for a test.

use std::time::Duration;

use anyhow::{Context as _, Result};
use nomad_api::{AllocationStub, ClientStatus, QueryOptions};
use serde_json::{Value, json};

use crate::cluster::Server;
use crate::wait::{Probe, eventually};

const HEALTHY_AT_ONCE: &str = r#"
    update {
      health_check = "task_states"
      min_healthy_time = "0s"
    }
    migrate {
      health_check = "task_states"
      min_healthy_time = "0s"
    }"#;

/// A job of one group with one `raw_exec` task that runs a shell script.
#[derive(Debug, Clone)]
pub struct ShellJob {
    /// The job's id.
    pub id: String,
    /// `service`, `batch`, `system` or `sysbatch`.
    pub job_type: String,
    /// How many allocations are wanted; of no effect for system jobs.
    pub count: u32,
    /// What `sh -c` runs; Nomad's `${…}` variables are replaced, `$NAME` are the shell's.
    pub script: String,
    /// In MHz.
    pub cpu_mhz: u32,
    /// In MiB.
    pub memory_mb: u32,
    /// HCL that stands in the job's block: datacenters, node pool, constraints.
    pub in_job: String,
    /// HCL that stands in the group's block, beside its `update` and `migrate`: ephemeral disk, constraints.
    pub in_group: String,
    /// HCL that stands in the task's block: kill timeout, constraints.
    pub in_task: String,
}

impl ShellJob {
    /// A service that sleeps until it is stopped: 100 MHz, 64 MiB.
    #[must_use]
    pub fn service(id: &str, count: u32) -> Self {
        Self::of_type("service", id, count, "exec sleep 1000000")
    }

    /// A batch job that runs this script to its end: 100 MHz, 64 MiB.
    #[must_use]
    pub fn batch(id: &str, count: u32, script: &str) -> Self {
        Self::of_type("batch", id, count, script)
    }

    /// A system job that sleeps on every node: 100 MHz, 64 MiB.
    #[must_use]
    pub fn system(id: &str) -> Self {
        Self::of_type("system", id, 1, "exec sleep 1000000")
    }

    /// The same work, on the node of this name alone.
    #[must_use]
    pub fn only_on(mut self, node: &str) -> Self {
        self.in_job.push_str(&format!(
            "constraint {{\n  attribute = \"${{node.unique.name}}\"\n  value = {node:?}\n}}\n"
        ));
        self
    }

    fn of_type(job_type: &str, id: &str, count: u32, script: &str) -> Self {
        Self {
            id: id.to_owned(),
            job_type: job_type.to_owned(),
            count,
            script: script.to_owned(),
            cpu_mhz: 100,
            memory_mb: 64,
            in_job: String::new(),
            in_group: String::new(),
            in_task: String::new(),
        }
    }

    /// The job as Nomad's API takes it; none where it says more in HCL.
    #[must_use]
    pub fn json(&self) -> Option<Value> {
        if !(self.in_job.is_empty() && self.in_group.is_empty() && self.in_task.is_empty()) {
            return None;
        }
        let mut group = json!({
            "Name": "group",
            "Tasks": [{
                "Name": "task",
                "Driver": "raw_exec",
                "Config": { "command": "/bin/sh", "args": ["-c", self.script] },
                "Resources": { "CPU": self.cpu_mhz, "MemoryMB": self.memory_mb },
            }],
        });
        if !matches!(self.job_type.as_str(), "system" | "sysbatch") {
            group["Count"] = json!(self.count);
        }
        if self.job_type == "service" {
            // As HEALTHY_AT_ONCE.
            let at_once = json!({ "HealthCheck": "task_states", "MinHealthyTime": 0 });
            group["Update"] = at_once.clone();
            group["Migrate"] = at_once;
        }
        Some(json!({ "ID": self.id, "Type": self.job_type, "TaskGroups": [group] }))
    }

    /// The job's file.
    #[must_use]
    pub fn hcl(&self) -> String {
        let count = match self.job_type.as_str() {
            "system" | "sysbatch" => String::new(),
            _ => format!("count = {}", self.count),
        };
        // Nomad drains only what is healthy, and by default takes 10 s to say so: here, at once.
        let health = match self.job_type.as_str() {
            "service" => HEALTHY_AT_ONCE,
            _ => "",
        };
        format!(
            r#"
job {id:?} {{
  type = {job_type:?}
  {in_job}
  group "group" {{
    {count}
    {health}
    {in_group}
    task "task" {{
      driver = "raw_exec"
      config {{
        command = "/bin/sh"
        args = ["-c", <<SCRIPT
{script}
SCRIPT
        ]
      }}
      {in_task}
      resources {{
        cpu = {cpu}
        memory = {memory}
      }}
    }}
  }}
}}
"#,
            id = self.id,
            job_type = self.job_type,
            in_job = self.in_job,
            in_group = self.in_group,
            script = self.script,
            in_task = self.in_task,
            cpu = self.cpu_mhz,
            memory = self.memory_mb,
        )
    }
}

impl Server {
    /// Registers a job file; returns the id of its evaluation.
    pub async fn run_hcl(&self, hcl: &str) -> Result<String> {
        let job = self.api().parse_job(hcl).await?;
        Ok(self.api().register_job(&job).await?.eval_id)
    }

    /// Registers a job; returns the id of its evaluation.
    pub async fn run_job(&self, job: &ShellJob) -> Result<String> {
        match job.json() {
            Some(whole) => Ok(self.api().register_job(&whole).await?.eval_id),
            None => self.run_hcl(&job.hcl()).await,
        }
        .with_context(|| job.hcl())
    }

    /// Stops a job.
    pub async fn stop_job(&self, id: &str) -> Result<()> {
        self.api().deregister_job("default", id, false).await?;
        Ok(())
    }

    /// Waits until exactly `count` allocations of a job stand so, and returns them.
    pub async fn allocations_when(
        &self,
        id: &str,
        status: &ClientStatus,
        count: usize,
        bound: Duration,
    ) -> Result<Vec<AllocationStub>> {
        eventually(&format!("{count} allocations of {id} {status}"), bound, || async {
            let (all, _) = self.api().job_allocations("default", id, &QueryOptions::NOW).await?;
            let state: Vec<_> = all
                .iter()
                .map(|a| format!("{} on {}: {}", a.name, a.node_name, a.client_status))
                .collect();
            let found: Vec<_> = all.into_iter().filter(|a| a.client_status == *status).collect();
            Ok(Probe::of((found.len() == count).then_some(found), || format!("{state:?}")))
        })
        .await
        .with_context(|| self.log_tail())
    }
}
