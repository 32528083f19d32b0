//! A machine's story: in the order of time, and each thing once.
#![expect(clippy::unwrap_used, reason = "a test")]

use std::time::Duration;

use agent_api::story::{lines, story};
use agent_api::{
    Boot, CommandedAge, Dwell, HistoryEntry, Hold, HoldEnds, Life, Locks, Machine, Operation,
    Paths, Plan, PlanLine, Quarantine, WakePath, wire,
};
use fleet::arbiter::Limits;
use fleet::{
    BootEnd, DeviceName, HoldKind, MachineName, OnSoftOffTimeout, OperationId, Origin, Phase,
    PlanId, PoolName, PowerState, QuarantineCause, Reason, Verb,
};

const fn seconds(count: u64) -> Duration {
    Duration::from_secs(count)
}

fn machine() -> Machine {
    let told = wire::Machine {
        name: "node1".into(),
        pool: "rack".into(),
        node: "n1".into(),
        ..<_>::default()
    };
    let machine = Machine::try_from(told).unwrap();
    let operation = operation("op-1", Phase::Done, 60);
    let commanded = CommandedAge {
        state: PowerState::On,
        age: seconds(55),
        origin: operation.origin.clone(),
        operation: operation.id.clone(),
    };
    Machine {
        reading: Some((PowerState::On, seconds(1))),
        commanded: Some(commanded),
        operation: Some(operation),
        ..machine
    }
}

fn operation(id: &str, phase: Phase, age: u64) -> Operation {
    Operation {
        id: OperationId::new(id).unwrap(),
        verb: Verb::On,
        origin: Origin::Person("ada".to_owned()),
        reason: Reason::new("course"),
        phase,
        age: seconds(age),
        deadline_in: None,
        changed: true,
        evidence: "read back on".to_owned(),
        took: seconds(9),
        progress: String::new(),
    }
}

fn entry(id: &str, outcome: &str, age: u64) -> HistoryEntry {
    HistoryEntry {
        verb: "on".to_owned(),
        operation: id.to_owned(),
        by: "ada".to_owned(),
        known: "socket".to_owned(),
        reason: "course".to_owned(),
        age: seconds(age),
        outcome: outcome.to_owned(),
        text: "read back on".to_owned(),
        changed: true,
        took: Some(seconds(9)),
        plan: "plan-1".to_owned(),
        ..HistoryEntry::default()
    }
}

fn plan(lines: &[(Option<&str>, &str)]) -> Plan {
    let line = |(machine, text): &(Option<&str>, &str)| PlanLine {
        machine: machine.map(|name| MachineName::new(name).unwrap()),
        text: (*text).to_owned(),
        verb: None,
    };
    Plan {
        id: PlanId::new("plan-2").unwrap(),
        pool: PoolName::new("rack").unwrap(),
        author: "target".to_owned(),
        lines: lines.iter().map(line).collect(),
        age: seconds(10),
        inputs: Vec::new(),
        on_soft_off_timeout: OnSoftOffTimeout::Cut,
    }
}

#[test]
fn it_is_told_in_the_order_of_time_and_nothing_twice() {
    let hold = Hold {
        by: "bob".to_owned(),
        reason: Reason::new("fan"),
        age: seconds(20),
        kind: HoldKind::Maintenance,
        ends: HoldEnds::In(seconds(100)),
    };
    let limits = Limits { min_on: seconds(90), min_off: seconds(8), cycles_per_hour: 2 };
    let machine = Machine {
        locks: Locks { holds: vec![hold], never_off: false },
        quarantine: Some(Quarantine {
            cause: QuarantineCause::NoBoot,
            reason: Reason::new("did not boot"),
            age: seconds(30),
            by: Origin::Agent,
        }),
        boots: vec![Boot {
            operation: OperationId::new("op-1").unwrap(),
            end: BootEnd::Missed,
            took: Some(seconds(15)),
            age: seconds(40),
        }],
        dwell: Some(Dwell {
            limits,
            cut_in: seconds(35),
            light_in: seconds(3),
            cycles: 2,
            cycle_in: seconds(3000),
        }),
        ..machine()
    };
    let plan = plan(&[
        (None, "2 wanted"),
        (Some("node1"), "is in quarantine: did not boot; `power-agent release node1` …"),
        (Some("node2"), "is being lit"),
    ]);
    let told = story(&machine, &[entry("op-1", "well", 60)], &[plan]);
    let told = lines(&told);
    let expected = [
        "60s ago   on: done in 9.0s: read back on\n              by ada [socket], because: course (plan plan-1)",
        "40s ago   its node was not ready in time, 15.0s after power",
        "30s ago   put in quarantine by the agent itself: did not boot; `power-agent release node1` returns it to \
         service, `power-agent on node1` tries it",
        "20s ago   lock maintenance by bob: fan",
        "10s ago   plan plan-2 (target):\n              2 wanted",
        "now       reads on, 1s ago, from its outlets",
        "now       in pool rack; its node is n1",
        "now       was lit 2 of the 2 times that an hour allows (cycles_per_hour)",
        "in 35.0s  may be cut (min_on of 1m30s); a person may say --force",
        "in 1m40s  the lock maintenance of bob ends; that moves nothing",
        "in 50m    may be lit once more (cycles_per_hour); a person may say --force",
    ];
    assert_eq!(told, expected, "{}", told.join("\n"));
}

#[test]
fn what_runs_is_told_as_of_now_and_what_the_audit_no_longer_has_as_the_agent_remembers_it() {
    let runs = Machine { operation: Some(operation("op-2", Phase::Dwelling, 5)), ..machine() };
    let history = [entry("op-1", "well", 60), entry("op-2", "accepted", 5)];
    let told = lines(&story(&runs, &history, &[])).join("\n");
    assert_eq!(told.matches("op-2").count(), 1, "{told}");
    assert!(told.contains("now      on: dwelling") && !told.contains("not ended"), "{told}");
    let told = lines(&story(&machine(), &[], &[])).join("\n");
    assert!(told.starts_with("60s ago  on: done in 9.0s: read back on"), "{told}");
    assert!(!told.contains("commanded"), "its order is told already: {told}");
    let other = Machine { operation: None, ..machine() };
    let told = lines(&story(&other, &[], &[])).join("\n");
    assert!(told.starts_with("55s ago  commanded on by ada (op-1)"), "{told}");
}

#[test]
fn a_machine_that_is_woken_is_told_with_its_paths_and_the_source_of_its_reading() {
    let wake =
        WakePath { device: DeviceName::new("lan").unwrap(), mac: "52:54:00:12:34:56".to_owned() };
    let life = |seen| Some(Life { seen, age: seconds(3) });
    let alive = Paths {
        wake: Some(wake),
        outlets_stay: true,
        on_only: true,
        life: life(Ok("ping 10.0.0.21".to_owned())),
    };
    let now = |machine: &Machine| -> Vec<String> {
        let told = lines(&story(machine, &[], &[]));
        told.into_iter()
            .filter_map(|line| Some(line.strip_prefix("now      ")?.to_owned()))
            .collect()
    };
    let reading = Some((PowerState::On, seconds(3)));
    let woken = Machine { reading, paths: alive.clone(), ..machine() };
    let paths = [
        "woken by lan (52:54:00:12:34:56): that path can neither cut nor be read",
        "its outlets open only where it does not go down by itself",
        "nothing can switch it off: it has neither an outlet nor a soft off",
        "in pool rack; its node is n1",
    ];
    let alive_now = ["reads on, 3s ago, from its signs of life: ping 10.0.0.21"];
    assert_eq!(now(&woken), [&alive_now[..], &paths].concat());
    let silent = Paths { life: life(Err("ping 10.0.0.21: no answer".to_owned())), ..alive };
    let silent_now = [
        "nothing is read of it",
        "no sign of life, 3s ago, which says nothing: ping 10.0.0.21: no answer",
    ];
    let silent = Machine { reading: None, paths: silent, ..machine() };
    assert_eq!(now(&silent), [&silent_now[..], &paths].concat());
    // A pool's answer leaves out what is as it should be: of one that sleeps nothing can be read.
    let told = story(&silent, &[], &[]);
    assert!(told.iter().filter(|told| told.when() == "now").all(|told| told.ordinary), "{told:?}");
    let deaf = Machine { reading: None, ..machine() };
    let told = story(&deaf, &[], &[]);
    let unread = told.iter().find(|told| told.text == "nothing is read of it");
    assert!(unread.is_some_and(|told| !told.ordinary), "{told:?}");
}
