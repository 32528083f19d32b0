//! The scheduler's own rules, without sockets or processes: time and reports are given by hand.

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::json;

use super::job::Job;
use super::node::{DrainSpec, Registration};
use super::state::{Refusal, SILENCE_MAX, State};
use super::work::{ClientStatus, EvalStatus};

const START: Duration = Duration::from_secs(100);

fn node(state: &mut State, name: &str) {
    let own = Registration {
        id: name.to_owned(),
        name: name.to_owned(),
        datacenter: "dc1".to_owned(),
        node_pool: "default".to_owned(),
        node_class: String::new(),
        cpu_mhz: 2000,
        memory_mb: 1024,
        disk_mb: 10_000,
    };
    state.register_node(own, START).unwrap();
    state.settle();
}

fn job(kind: &str, id: &str, count: usize, memory: u64) -> Job {
    let body = json!({ "Job": { "ID": id, "Type": kind, "TaskGroups": [{
        "Name": "group",
        "Count": count,
        "Tasks": [{
            "Name": "task",
            "Driver": "raw_exec",
            "Config": { "command": "true" },
            "Resources": { "CPU": 100, "MemoryMB": memory },
        }],
    }]}});
    Job::read(body.to_string().as_bytes()).unwrap()
}

fn run(state: &mut State, job: Job) {
    state.register_job(job).unwrap();
    state.settle();
}

/// All clients report as they are told.
fn obeyed(state: &mut State) {
    let all: Vec<(String, String, bool)> = state
        .allocations
        .iter()
        .filter(|alloc| !alloc.is_over())
        .map(|alloc| (alloc.node_id.clone(), alloc.id.clone(), alloc.is_wanted))
        .collect();
    for (node, id, runs) in all {
        let status = if runs { ClientStatus::Running } else { ClientStatus::Complete };
        state.reported(&node, &id, status);
    }
    state.settle();
}

fn living(state: &State) -> Vec<(&str, &str)> {
    let alive = state.allocations.iter().filter(|alloc| alloc.is_alive());
    alive.map(|alloc| (alloc.job.id.as_str(), alloc.node_id.as_str())).collect()
}

fn blocked(state: &State) -> usize {
    state.evaluations.iter().filter(|evaluation| evaluation.status == EvalStatus::Blocked).count()
}

const PATIENT: DrainSpec = DrainSpec { deadline: 0, ignore_system_jobs: true };

fn drain(state: &mut State, node: &str, spec: DrainSpec) {
    state.drain(node, Some(spec), false, BTreeMap::new(), START).unwrap();
    state.settle();
}

#[test]
fn no_node_gets_more_than_it_has_and_the_fullest_is_filled_first() {
    let mut state = State::default();
    node(&mut state, "n1");
    node(&mut state, "n2");
    run(&mut state, job("service", "small", 1, 300));
    run(&mut state, job("service", "beside", 1, 300));
    let on: Vec<&str> = living(&state).into_iter().map(|(_, node)| node).collect();
    assert_eq!(on[0], on[1], "the second is packed beside the first");
    run(&mut state, job("service", "large", 3, 700));
    assert_eq!(living(&state).len(), 3, "one of three large ones has room");
    assert_eq!((state.queued["large"], blocked(&state)), (2, 1));
    let memory = |node: &str| -> u64 {
        let on_it = state.allocations.iter().filter(|alloc| alloc.node_id == node);
        on_it.map(|alloc| alloc.job.group().task().resources.memory_mb).sum()
    };
    assert!(memory("n1") <= 1024 && memory("n2") <= 1024);
}

#[test]
fn a_node_in_another_pool_or_datacenter_gets_no_work() {
    let mut state = State::default();
    node(&mut state, "n1");
    for (pool, datacenter, suits) in [
        ("gpu", "*", false),
        ("default", "dc2", false),
        ("default", "dc*", true),
        ("all", "dc1", true),
    ] {
        let id = format!("{pool}-{datacenter}");
        let mut asked = job("service", &id, 1, 64);
        asked.node_pool = pool.to_owned();
        asked.datacenters = vec![datacenter.to_owned()];
        run(&mut state, asked);
        assert_eq!(living(&state).iter().any(|(job, _)| *job == id), suits, "{id}");
    }
}

#[test]
fn a_silent_node_is_down_and_its_work_waits_or_moves() {
    let mut state = State::default();
    node(&mut state, "n1");
    run(&mut state, job("service", "web", 1, 64));
    obeyed(&mut state);
    assert!(state.heard("n1", START + SILENCE_MAX));
    state.passed(START + SILENCE_MAX * 2);
    assert!(state.nodes["n1"].is_up, "its silence is not over the bound yet");
    state.passed(START + SILENCE_MAX * 2 + Duration::from_millis(1));
    state.settle();
    assert!(!state.nodes["n1"].is_up && !state.heard("n1", START + SILENCE_MAX * 3));
    assert_eq!((state.allocations[0].status, blocked(&state)), (ClientStatus::Lost, 1));
    node(&mut state, "n2");
    assert_eq!((living(&state), blocked(&state)), (vec![("web", "n2")], 0));
}

#[test]
fn a_drain_moves_one_of_a_group_after_the_other_and_none_of_one_that_is_short() {
    let mut state = State::default();
    node(&mut state, "n1");
    run(&mut state, job("service", "web", 3, 64));
    obeyed(&mut state);
    node(&mut state, "n2");
    drain(&mut state, "n1", PATIENT);
    for moved in 1..=3 {
        let on_n2 = living(&state).iter().filter(|(_, node)| *node == "n2").count();
        assert_eq!((on_n2, living(&state).len()), (moved, 3));
        obeyed(&mut state);
    }
    assert!(state.nodes["n1"].drain.is_none() && !state.nodes["n1"].is_eligible);

    let mut short = State::default();
    node(&mut short, "n1");
    run(&mut short, job("service", "web", 2, 600));
    obeyed(&mut short);
    drain(&mut short, "n1", PATIENT);
    assert!(!short.allocations[0].is_to_move && short.nodes["n1"].drain.is_some());
}

#[test]
fn work_that_has_nowhere_to_go_is_stopped_all_the_same_and_waits() {
    let mut state = State::default();
    node(&mut state, "n1");
    run(&mut state, job("service", "web", 1, 64));
    obeyed(&mut state);
    drain(&mut state, "n1", PATIENT);
    assert_eq!((living(&state), blocked(&state)), (vec![], 1));
    obeyed(&mut state);
    assert!(state.nodes["n1"].drain.is_none());
    node(&mut state, "n2");
    assert_eq!((living(&state), blocked(&state)), (vec![("web", "n2")], 0));
}

#[test]
fn work_that_was_stopped_keeps_its_room_and_its_drain_until_it_is_over() {
    let mut state = State::default();
    node(&mut state, "n1");
    run(&mut state, job("service", "web", 1, 700));
    obeyed(&mut state);
    state.deregister_job("web", false).unwrap();
    state.settle();
    drain(&mut state, "n1", PATIENT);
    assert!(state.nodes["n1"].drain.is_some(), "its client has not said that it is over");
    state.drain("n1", None, true, BTreeMap::new(), START).unwrap();
    run(&mut state, job("service", "next", 1, 700));
    assert_eq!((living(&state), blocked(&state)), (vec![], 1));
    obeyed(&mut state);
    assert_eq!((living(&state), blocked(&state)), (vec![("next", "n1")], 0));
}

#[test]
fn batch_work_that_has_ended_is_not_begun_again_and_a_failed_service_neither() {
    let mut state = State::default();
    node(&mut state, "n1");
    run(&mut state, job("batch", "sums", 2, 64));
    run(&mut state, job("service", "web", 1, 64));
    let all: Vec<(String, bool)> =
        state.allocations.iter().map(|a| (a.id.clone(), a.job.id == "sums")).collect();
    for (id, well) in all {
        let status = if well { ClientStatus::Complete } else { ClientStatus::Failed };
        state.reported("n1", &id, status);
    }
    state.settle();
    assert_eq!((state.allocations.len(), living(&state), blocked(&state)), (3, vec![], 0));
}

#[test]
fn a_report_of_another_node_or_of_what_is_over_changes_nothing() {
    let mut state = State::default();
    node(&mut state, "n1");
    run(&mut state, job("service", "web", 1, 64));
    let id = state.allocations[0].id.clone();
    state.reported("n2", &id, ClientStatus::Failed);
    assert_eq!(state.allocations[0].status, ClientStatus::Pending);
    state.reported("n1", &id, ClientStatus::Complete);
    let index = state.last_index();
    state.reported("n1", &id, ClientStatus::Running);
    assert_eq!((state.allocations[0].status, state.last_index()), (ClientStatus::Complete, index));
}

#[test]
fn what_is_over_is_forgotten_at_a_bound_and_what_stands_is_not() {
    let mut state = State::default();
    node(&mut state, "n1");
    run(&mut state, job("service", "web", 1, 64));
    obeyed(&mut state);
    run(&mut state, job("batch", "sums", 1, 64));
    let ended = state.allocations[1].id.clone();
    state.reported("n1", &ended, ClientStatus::Complete);
    for _ in 0..1100 {
        run(&mut state, job("service", "brief", 1, 64));
        state.deregister_job("brief", false).unwrap();
        obeyed(&mut state);
    }
    assert_eq!((state.evaluations.len(), state.allocations.len()), (1000, 1000));
    assert_eq!(living(&state), [("web", "n1")]);
    assert!(state.allocations.iter().any(|alloc| alloc.id == ended), "or it would be begun again");
}

#[test]
fn a_write_about_nobody_is_refused_and_makes_no_index() {
    let mut state = State::default();
    let index = state.last_index();
    let gone = Refusal::NotFound("node not found");
    assert_eq!(state.set_eligibility("n1", true), Err(gone));
    assert!(state.purge_node("n1").is_err() && state.deregister_job("web", true).is_err());
    assert!(state.drain("n1", None, true, BTreeMap::new(), START).is_err());
    assert_eq!(state.last_index(), index);
}
