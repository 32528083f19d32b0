//! Edge: what Nomad says of waiting and system work, in the words of the decision.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use fleet::Resources;
use fleet::pending::{Ask, Constraint, Distinct, GroupKey, SystemGroup, WaitingGroup};
use nomad_api::{Evaluation, Job, JobSummary, JobType, Task, TaskGroup};

/// Groups of one job that wait. `evaluation` is the job's blocked one.
///
/// How many instances wait is the smaller of two counts, because each alone goes stale (seen on Nomad
/// 1.10): when a blocked evaluation places some of its work and blocks again, its failures keep the old
/// number; the summary's `Queued` falls with each placement and also counts what no evaluation has tried yet.
pub(super) fn waiting(
    evaluation: &Evaluation,
    job: &Job,
    summary: &JobSummary,
) -> Vec<WaitingGroup> {
    if job.stop || !evaluation.quota_limit_reached.is_empty() {
        return Vec::new();
    }
    let mut groups = Vec::new();
    for (name, failure) in &evaluation.failed_groups {
        let Some(group) = job.task_groups.iter().find(|group| group.name == *name) else {
            continue;
        };
        let queued = summary.groups.get(name).map_or(0, |summary| summary.queued);
        let count = failure.coalesced_failures.saturating_add(1).min(queued);
        if count == 0 {
            continue;
        }
        groups.push(WaitingGroup {
            key: key(job, group),
            version: job.job_modify_index,
            count: u32::try_from(count).unwrap_or(u32::MAX),
            ask: ask(job, group),
            class_eligibility: evaluation.class_eligibility.clone(),
        });
    }
    groups
}

/// The groups of a system job. Sysbatch jobs come and go, and are no standing load.
pub(super) fn system(job: &Job) -> Vec<SystemGroup> {
    if job.stop || job.job_type != JobType::System {
        return Vec::new();
    }
    let groups = job.task_groups.iter().filter(|group| group.count > 0);
    groups.map(|group| SystemGroup { key: key(job, group), ask: ask(job, group) }).collect()
}

/// Evaluations whose work a machine could be lit for: the newest of each job. System work waits for
/// room on machines that are there, and comes to every machine by itself.
pub(super) fn of_jobs(evaluations: Vec<Evaluation>) -> Vec<Evaluation> {
    let mut newest: BTreeMap<(String, String), Evaluation> = BTreeMap::new();
    for evaluation in evaluations {
        if matches!(evaluation.job_type, JobType::System | JobType::Sysbatch) {
            continue;
        }
        let job = (evaluation.namespace.clone(), evaluation.job_id.clone());
        let is_older = newest.get(&job).is_some_and(|n| n.create_index > evaluation.create_index);
        if !is_older {
            newest.insert(job, evaluation);
        }
    }
    newest.into_values().collect()
}

/// A job, shared by those who remember it.
pub(super) type SharedJob = Arc<Job>;

fn key(job: &Job, group: &TaskGroup) -> GroupKey {
    GroupKey { namespace: job.namespace.clone(), job: job.id.clone(), group: group.name.clone() }
}

fn ask(job: &Job, group: &TaskGroup) -> Ask {
    let of_tasks = group.tasks.iter().flat_map(|task| task.constraints.iter());
    let all = || job.constraints.iter().chain(&group.constraints).chain(of_tasks.clone());
    let distinct = if keeps_apart(&job.constraints) {
        Distinct::Job
    } else if keeps_apart(&group.constraints) {
        Distinct::Group
    } else {
        Distinct::No
    };
    let constraints = all().filter(|c| !c.operand.starts_with("distinct_")).map(|c| Constraint {
        left: c.left.clone(),
        operand: c.operand.clone(),
        right: c.right.clone(),
    });
    Ask {
        resources: resources(group),
        datacenters: job.datacenters.clone(),
        node_pool: job.node_pool.clone(),
        constraints: constraints.collect(),
        drivers: group.tasks.iter().map(|task| task.driver.clone()).collect(),
        distinct,
        unmodelled: unmodelled(group, all().any(|c| c.operand == "distinct_property")),
    }
}

/// Whether `distinct_hosts` stands there; like Nomad, everything but a clear "false" means yes.
fn keeps_apart(constraints: &[nomad_api::Constraint]) -> bool {
    let no = ["0", "f", "F", "false", "False", "FALSE"];
    constraints.iter().any(|c| c.operand == "distinct_hosts" && !no.contains(&c.right.as_str()))
}

/// What one instance takes, as Nomad sums it: tasks that do not run at the same time share their room
/// (nomad: structs.AllocatedResources.Comparable).
fn resources(group: &TaskGroup) -> Resources {
    let mut before = Resources::default();
    let mut main = Resources::default();
    let mut after = Resources::default();
    for task in &group.tasks {
        let takes = of_task(task);
        let hook = task.lifecycle.as_ref().map(|lifecycle| lifecycle.hook.as_str());
        let sidecar = task.lifecycle.as_ref().is_some_and(|lifecycle| lifecycle.sidecar);
        match hook {
            Some("prestart") => {
                before = before.plus(&takes);
                if sidecar {
                    main = main.plus(&takes);
                }
            }
            Some("poststop") => after = after.plus(&takes),
            _ => main = main.plus(&takes),
        }
    }
    Resources {
        cpu_mhz: before.cpu_mhz.max(main.cpu_mhz).max(after.cpu_mhz),
        memory_mb: before.memory_mb.max(main.memory_mb).max(after.memory_mb),
        disk_mb: group.ephemeral_disk.size_mb,
    }
}

const fn of_task(task: &Task) -> Resources {
    Resources { cpu_mhz: task.resources.cpu_mhz, memory_mb: task.resources.memory_mb, disk_mb: 0 }
}

fn unmodelled(group: &TaskGroup, distinct_property: bool) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    let resources = || group.tasks.iter().map(|task| &task.resources);
    let devices = resources().flat_map(|r| r.devices.iter());
    found.extend(devices.map(|device| format!("a free device {:?}", device.name)));
    if resources().any(|resources| resources.cores > 0) {
        found.insert("room for the cores that it reserves".to_owned());
    }
    let networks = group.networks.iter().chain(resources().flat_map(|r| r.networks.iter()));
    let ports = networks.flat_map(|network| network.reserved_ports.iter());
    found.extend(ports.map(|port| format!("nobody else on port {}", port.value)));
    let volumes = group.volumes.values();
    found.extend(volumes.map(|volume| format!("a {} volume {:?}", volume.kind, volume.source)));
    if distinct_property {
        found.insert("a machine that distinct_property allows".to_owned());
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use nomad_api::{GroupSummary, Lifecycle, PlacementFailure, TaskResources};

    fn task(cpu_mhz: u64, lifecycle: Option<(&str, bool)>) -> Task {
        Task {
            driver: "raw_exec".into(),
            resources: TaskResources { cpu_mhz, memory_mb: cpu_mhz, ..TaskResources::default() },
            lifecycle: lifecycle.map(|(hook, sidecar)| Lifecycle { hook: hook.into(), sidecar }),
            ..Task::default()
        }
    }

    fn job(tasks: Vec<Task>) -> Job {
        let group = TaskGroup { name: "g".into(), count: 3, tasks, ..TaskGroup::default() };
        Job {
            id: "web".into(),
            namespace: "default".into(),
            task_groups: vec![group],
            ..Job::default()
        }
    }

    fn evaluation(coalesced_failures: u64) -> Evaluation {
        let failure = PlacementFailure { coalesced_failures, ..PlacementFailure::default() };
        Evaluation {
            namespace: "default".into(),
            job_id: "web".into(),
            failed_groups: [("g".to_owned(), failure)].into(),
            ..Evaluation::default()
        }
    }

    fn summary(queued: u64) -> JobSummary {
        let group = GroupSummary { queued, ..GroupSummary::default() };
        JobSummary { groups: [("g".to_owned(), group)].into(), ..JobSummary::default() }
    }

    #[test]
    fn the_smaller_of_two_counts_is_what_waits() {
        let count = |coalesced, queued| {
            waiting(&evaluation(coalesced), &job(vec![task(100, None)]), &summary(queued))
                .first()
                .map(|group| group.count)
        };
        assert_eq!(count(2, 3), Some(3), "nothing is placed yet");
        assert_eq!(count(2, 2), Some(2), "one was placed, and the evaluation blocked again");
        assert_eq!(count(0, 4), Some(1), "others are not tried yet");
        assert_eq!(count(0, 0), None, "all of this group are placed");
    }

    #[test]
    fn a_stopped_job_waits_for_nothing() {
        let stopped = Job { stop: true, ..job(vec![task(100, None)]) };
        assert_eq!(waiting(&evaluation(2), &stopped, &summary(3)), []);
    }

    #[test]
    fn tasks_that_do_not_run_at_the_same_time_share_their_room() {
        let tasks = vec![
            task(100, None),
            task(50, Some(("poststart", false))),
            task(20, Some(("prestart", true))),
            task(400, Some(("prestart", false))),
            task(300, Some(("poststop", false))),
        ];
        let found = &waiting(&evaluation(0), &job(tasks), &summary(1))[0];
        assert_eq!(found.ask.resources.cpu_mhz, 420, "prestart and its sidecar; main takes 170");
    }

    #[test]
    fn only_the_newest_blocked_evaluation_of_a_job_counts_and_system_work_lights_nothing() {
        let of = |id: &str, create_index, job_type| Evaluation {
            id: id.into(),
            job_id: if job_type == JobType::System { "logs".into() } else { "web".into() },
            create_index,
            job_type,
            ..Evaluation::default()
        };
        let found = of_jobs(vec![
            of("new", 9, JobType::Service),
            of("old", 3, JobType::Service),
            of("system", 4, JobType::System),
        ]);
        assert_eq!(found.iter().map(|e| e.id.as_str()).collect::<Vec<_>>(), ["new"]);
    }
}
