//! What an agent tells of its machines.

use std::time::Duration;

use agent_api::{
    Boot, Drift, Event, Fed, HistoryEntry, HoldEnds, Inventory, Life, Locks, Machine,
    OnSoftOffTimeout, Operation, Paths, Phase, Plan, PlanLine, Quarantine, Refusal, RefusalCode,
    Service, TakeHold, WakePath, wire,
};
use fleet::arbiter::{Dwell, Limits};
use fleet::feeds::FeedSum;
use fleet::{
    BootEnd, DeviceName, Draw, DriftPolicy, FeedName, FeedRoom, HoldKind, MachineName, Milliamps,
    OperationId, Origin, PlanId, PoolName, PowerState, QuarantineCause, Reason, Supply, Verb,
};

use crate::{
    NEWER, check, check_newer, dark_machine, decoded, fence, hold, inventory, machine, operation,
};

#[test]
fn an_inventory_keeps_its_bytes() {
    check::<Inventory, wire::InventoryReply>("inventory.hex", &inventory());
}

#[test]
fn events_keep_their_bytes() {
    check::<Event, wire::WatchEvent>("event_snapshot.hex", &Event::Snapshot(inventory()));
    check::<Event, wire::WatchEvent>("event_changed.hex", &Event::Changed(Box::new(machine())));
}

#[test]
fn locks_keep_their_bytes() {
    let holds = vec![
        hold(HoldKind::Maintenance, HoldEnds::Released),
        hold(HoldKind::Reservation, HoldEnds::In(Duration::from_secs(7200))),
        hold(HoldKind::Hold, HoldEnds::Lost),
    ];
    let locks = Locks { holds, never_off: true };
    let machine = Machine { hold: locks.holds.first().cloned(), locks, ..dark_machine() };
    check::<Machine, wire::Machine>("machine_locks.hex", &machine);
}

#[test]
fn drift_and_an_operation_of_the_agents_own_keep_their_bytes() {
    let drift = Drift {
        age: Duration::from_secs(40),
        wanted: PowerState::On,
        read: PowerState::Off,
        policy: DriftPolicy::Enforce,
        tries: 2,
        gave_up: false,
    };
    let own = Operation { origin: Origin::Agent, ..operation(Phase::Energizing) };
    let machine = Machine { drift: Some(drift), operation: Some(own), ..dark_machine() };
    check::<Machine, wire::Machine>("machine_drift.hex", &machine);
    for (name, policy) in [("report", DriftPolicy::Report), ("enforce", DriftPolicy::Enforce)] {
        let drift = Drift { policy, ..drift };
        assert_eq!(Drift::try_from(wire::Drift::from(&drift)).unwrap(), drift, "{name}");
    }
}

#[test]
fn a_plan_keeps_its_bytes() {
    let line = |machine: Option<&str>, text: &str| PlanLine {
        machine: machine.map(|name| MachineName::new(name).unwrap()),
        text: text.to_owned(),
        verb: None,
    };
    let plan = Plan {
        id: PlanId::new("plan-12").unwrap(),
        pool: PoolName::new("rack").unwrap(),
        author: "target".to_owned(),
        lines: vec![line(None, "2 wanted, 1 on"), line(Some("node3"), "started: first in line")],
        age: Duration::from_millis(20),
        inputs: Vec::new(),
        on_soft_off_timeout: OnSoftOffTimeout::Cut,
    };
    check::<Plan, wire::Plan>("plan.hex", &plan);
    let orders = PlanLine { verb: Some(Verb::On), ..line(Some("node3"), "is being lit") };
    let inputs = vec![line(None, "up asks for 2"), line(Some("node3"), "off; no node")];
    let plan = Plan { lines: vec![orders], inputs, ..plan };
    check::<Plan, wire::Plan>("plan_of_orders.hex", &plan);
    let plan =
        Plan { on_soft_off_timeout: OnSoftOffTimeout::Quarantine, lines: Vec::new(), ..plan };
    check::<Plan, wire::Plan>("plan_that_quarantines.hex", &plan);
}

#[test]
fn limits_of_switching_keep_their_bytes() {
    let (min_on, min_off) = (Duration::from_secs(600), Duration::from_secs(10));
    let dwell = Dwell {
        limits: Limits { min_on, min_off, cycles_per_hour: 6 },
        cut_in: Duration::from_millis(12_345),
        light_in: Duration::from_millis(8_500),
        cycles: 6,
        cycle_in: Duration::from_secs(1800),
    };
    let machine = Machine { dwell: Some(dwell), ..dark_machine() };
    check::<Machine, wire::Machine>("machine_dwell.hex", &machine);
}

fn boot(operation: &str, end: BootEnd, took: Option<u64>) -> Boot {
    Boot {
        operation: OperationId::new(operation).unwrap(),
        end,
        took: took.map(Duration::from_millis),
        age: Duration::from_secs(7),
    }
}

#[test]
fn quarantine_and_boots_keep_their_bytes() {
    let quarantine = Quarantine {
        cause: QuarantineCause::NoBoot,
        reason: Reason::new("its node was not ready within 3 min, twice"),
        age: Duration::from_secs(61),
        by: Origin::Autoscaler(fence(4)),
    };
    let boots = vec![
        boot("op-1", BootEnd::Ready, None),
        boot("op-2", BootEnd::Ready, Some(41_000)),
        boot("op-3", BootEnd::Missed, Some(180_000)),
    ];
    let machine = Machine { quarantine: Some(quarantine), boots, ..dark_machine() };
    check::<Machine, wire::Machine>("machine_boots.hex", &machine);
    let up = Some(Duration::from_secs(90));
    let restarted = Inventory { host_up: up, running: up, machines: Vec::new(), ..inventory() };
    check::<Inventory, wire::InventoryReply>("inventory_up.hex", &restarted);
    let service = |quarantine| Service {
        machine: MachineName::new("node3").unwrap(),
        origin: Origin::Autoscaler(fence(4)),
        quarantine,
        reason: Reason::new("its node is ready"),
    };
    check::<Service, wire::SetQuarantineRequest>(
        "set_quarantine.hex",
        &service(Some(QuarantineCause::NoShutdown)),
    );
    check::<Service, wire::SetQuarantineRequest>("lift_quarantine.hex", &service(None));
}

#[test]
fn a_machine_that_is_woken_is_these_bytes() {
    let life = Life { seen: Ok("ping".to_owned()), age: Duration::from_millis(1500) };
    let wake =
        WakePath { device: DeviceName::new("lan").unwrap(), mac: "52:54:00:12:34:56".to_owned() };
    let paths = Paths { wake: Some(wake), outlets_stay: true, on_only: false, life: Some(life) };
    let woken = Machine {
        operation: Some(operation(Phase::Waking)),
        paths: paths.clone(),
        ..dark_machine()
    };
    check::<_, wire::Machine>("machine_paths.hex", &woken);
    let silent = Life { seen: Err("ping: no answer".to_owned()), age: Duration::ZERO };
    let paths = Paths { wake: None, on_only: true, life: Some(silent), ..paths };
    let told = Machine { paths, ..dark_machine() };
    assert_eq!(Machine::try_from(wire::Machine::from(&told)).unwrap(), told);
}

#[test]
fn every_phase_verb_and_refusal_code_survives_the_wire() {
    let phases = [
        Phase::Accepted,
        Phase::Draining,
        Phase::Waiting,
        Phase::SoftOff,
        Phase::Settling,
        Phase::Cutting,
        Phase::Dwelling,
        Phase::Energizing,
        Phase::Waking,
        Phase::Done,
        Phase::Failed,
    ];
    for (index, phase) in phases.into_iter().enumerate() {
        let mut sent = operation(phase);
        sent.verb = [Verb::On, Verb::Off, Verb::Cycle][index % 3];
        assert_eq!(Operation::try_from(wire::Operation::from(&sent)).unwrap(), sent);
    }
    let codes = [
        RefusalCode::Held,
        RefusalCode::StaleFence,
        RefusalCode::Busy,
        RefusalCode::NotEmpty,
        RefusalCode::WrongPool,
        RefusalCode::Expired,
        RefusalCode::Forbidden,
        RefusalCode::Quarantined,
        RefusalCode::TooManyCycles,
        RefusalCode::Flapping,
        RefusalCode::FeedFull,
        RefusalCode::NeverOff,
        RefusalCode::Reserved,
    ];
    for code in codes {
        let sent = Refusal { code, text: "why".to_owned() };
        assert_eq!(Refusal::try_from(wire::Refusal::from(&sent)).unwrap(), sent);
    }
}

#[test]
fn an_operation_of_the_past_is_the_same_bytes_as_ever() {
    let entry = HistoryEntry {
        machine: "node3".to_owned(),
        verb: "off".to_owned(),
        operation: "op-7".to_owned(),
        by: "ada".to_owned(),
        known: "certificate".to_owned(),
        reason: "new fan".to_owned(),
        age: Duration::from_secs(90),
        time: "2026-11-22T21:07:58.120Z".to_owned(),
        outcome: "well".to_owned(),
        code: String::new(),
        text: "read back off".to_owned(),
        changed: true,
        took: Some(Duration::from_millis(85)),
        plan: String::new(),
    };
    check::<_, wire::HistoryEntry>("history_entry.hex", &entry);
    let entry = HistoryEntry { plan: "plan-12".to_owned(), ..entry };
    check::<_, wire::HistoryEntry>("history_entry_of_plan.hex", &entry);
}

#[test]
fn feeds_and_what_hangs_on_them_are_the_same_bytes_as_ever() {
    let feed = FeedName::new("a").unwrap();
    let draw = Draw {
        running: Milliamps::new(600),
        inrush: Milliamps::new(2100),
        inrush_for: Duration::from_millis(500),
    };
    let supplies = vec![Supply { feed: feed.clone(), draw }];
    let fed = Fed { supplies, counted: true, starts: true };
    check::<Machine, wire::Machine>("machine_feeds.hex", &Machine { fed, ..dark_machine() });
    let room = FeedRoom {
        budget: Milliamps::new(16_000),
        committed: Milliamps::new(9500),
        reserve: Milliamps::new(1500),
    };
    let feeds = vec![FeedSum { feed, room, current: Milliamps::new(11_000) }];
    let fed = Inventory { feeds, machines: Vec::new(), ..inventory() };
    check::<Inventory, wire::InventoryReply>("inventory_feeds.hex", &fed);
}

#[test]
fn a_phase_of_a_newer_agent_is_not_known_and_all_else_is_read() {
    let newer = decoded::<Inventory, wire::InventoryReply>("inventory_newer.hex");
    let mut expected = inventory();
    if let Some(operation) = &mut expected.machines[0].operation {
        operation.phase = Phase::Unknown;
    }
    assert_eq!(newer, expected);
    assert!(!Phase::Unknown.is_finished(), "what is not known to have ended goes on");
}

#[test]
fn words_of_a_newer_agent_are_taken_for_the_stricter_of_ours_and_all_else_is_read() {
    let quarantine = Quarantine {
        cause: QuarantineCause::NoShutdown,
        reason: Reason::new("its fan does not turn"),
        age: Duration::from_secs(61),
        by: Origin::Agent,
    };
    let drift = Drift {
        age: Duration::from_secs(40),
        wanted: PowerState::On,
        read: PowerState::Off,
        policy: DriftPolicy::Report,
        tries: 0,
        gave_up: false,
    };
    let held = hold(HoldKind::Hold, HoldEnds::Released);
    let machine = Machine {
        hold: Some(held.clone()),
        locks: Locks { holds: vec![held], never_off: false },
        quarantine: Some(quarantine),
        boots: vec![boot("op-3", BootEnd::Missed, None)],
        drift: Some(drift),
        ..dark_machine()
    };
    let mut told = wire::Machine::from(&machine);
    told.hold.as_mut().unwrap().kind = NEWER;
    told.locks.as_mut().unwrap().holds[0].kind = NEWER;
    told.quarantine.as_mut().unwrap().cause = NEWER;
    told.boots.as_mut().unwrap().last[0].end = NEWER;
    told.drift.as_mut().unwrap().policy = NEWER;
    check_newer("machine_newer.hex", &told, &machine);
    let refusal = Refusal { code: RefusalCode::Unknown, text: "its fan does not turn".to_owned() };
    let told = wire::Refusal { code: NEWER, ..(&refusal).into() };
    check_newer("refusal_newer.hex", &told, &refusal);
}

#[test]
fn an_unknown_word_of_who_asks_is_refused() {
    let asked = wire::SetHoldRequest {
        machine: "node3".to_owned(),
        kind: NEWER,
        by: "ada".to_owned(),
        ..Default::default()
    };
    let error = TakeHold::try_from(asked).unwrap_err().to_string();
    assert!(error.contains("found 99, which is no kind of hold"), "{error}");
    let aside = wire::SetQuarantineRequest {
        machine: "node3".to_owned(),
        origin: Some((&Origin::Agent).into()),
        quarantined: true,
        cause: NEWER,
        ..Default::default()
    };
    let error = Service::try_from(aside).unwrap_err().to_string();
    assert!(error.contains("found 99, which is no quarantine cause"), "{error}");
}
