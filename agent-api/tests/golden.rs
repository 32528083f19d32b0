//! The wire, byte by byte. Goal: a message of today is understood for ever.
//! Method: one file of hex per message under `golden/v1`; it is decoded, compared with the typed value, encoded
//! again, and must be the same bytes. Files are added, never edited.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "helpers of tests fail by panic as the tests do"
)]

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::path::Path;
use std::time::Duration;

use agent_api::{
    Answer, Boot, CommandedAge, Drift, DryRun, Event, Fed, Forecast, ForecastStep, Foretold,
    HistoryEntry, Hold, HoldEnds, Inventory, Life, Locks, Machine, OnSoftOffTimeout, Operation,
    Order, Outlet, Paths, Pending, Phase, Plan, PlanLine, Quarantine, Refusal, RefusalCode,
    Release, Released, Service, TakeHold, Taken, WakePath, wire,
};
use fleet::arbiter::{Dwell, Limits};
use fleet::feeds::FeedSum;
use fleet::forecast::Doing;
use fleet::{
    BootEnd, ClusterId, DeviceName, Draw, DriftPolicy, FeedName, FeedRoom, Fence, FenceNumber,
    HoldKind, MachineName, Milliamps, OperationId, Origin, PlanId, PoolName, PowerState,
    QuarantineCause, Reason, Resources, Shape, Supply, Verb,
};
use prost::Message;

fn hex(bytes: &[u8]) -> String {
    let mut text = String::new();
    for line in bytes.chunks(32) {
        for byte in line {
            text.push_str(&format!("{byte:02x}"));
        }
        text.push('\n');
    }
    text
}

fn unhex(text: &str) -> Vec<u8> {
    let digits: String = text.split_whitespace().collect();
    let pair = |index| u8::from_str_radix(&digits[index..index + 2], 16).unwrap();
    (0..digits.len()).step_by(2).map(pair).collect()
}

/// Both ways between the golden bytes and `value`.
fn check<T, W>(name: &str, value: &T)
where
    W: Message + Default + for<'a> From<&'a T>,
    T: Debug + PartialEq + TryFrom<W>,
    <T as TryFrom<W>>::Error: Debug,
{
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/v1").join(name);
    let encoded = W::from(value).encode_to_vec();
    let golden = std::fs::read_to_string(&path)
        .unwrap_or_else(|error| panic!("{name}: {error}; its bytes are\n{}", hex(&encoded)));
    let decoded = T::try_from(W::decode(unhex(&golden).as_slice()).unwrap()).unwrap();
    assert_eq!(&decoded, value, "{name}: the golden bytes mean something else now");
    assert_eq!(hex(&encoded), golden, "{name}: the same value is other bytes now");
}

fn fence(number: u64) -> Fence {
    Fence {
        cluster: ClusterId::new("global").unwrap(),
        pool: PoolName::new("rack").unwrap(),
        number: FenceNumber(number),
    }
}

fn shape() -> Shape {
    Shape {
        resources: Resources { cpu_mhz: 6000, memory_mb: 7820, disk_mb: 29_000 },
        datacenter: "dc1".to_owned(),
        node_pool: "default".to_owned(),
        node_class: "sbc".to_owned(),
        attributes: BTreeMap::from([
            ("attr.kernel.name".to_owned(), "linux".to_owned()),
            ("meta.rack".to_owned(), "cellar".to_owned()),
        ]),
    }
}

fn operation(phase: Phase) -> Operation {
    Operation {
        id: OperationId::new("op-7").unwrap(),
        verb: Verb::Cycle,
        origin: Origin::Person("ada".to_owned()),
        reason: Reason::new("hangs"),
        phase,
        age: Duration::from_millis(1500),
        deadline_in: (!phase.is_finished()).then(|| Duration::from_secs(90)),
        changed: phase == Phase::Done,
        evidence: if phase.is_finished() { "read back on".to_owned() } else { String::new() },
        took: Duration::from_millis(if phase.is_finished() { 9_000 } else { 0 }),
        progress: if phase.is_finished() { String::new() } else { "2 allocations".to_owned() },
    }
}

fn machine() -> Machine {
    Machine {
        name: MachineName::new("node3").unwrap(),
        pool: Some(PoolName::new("rack").unwrap()),
        node: "node3.lab".to_owned(),
        outlets: vec![
            Outlet {
                device: DeviceName::new("board1").unwrap(),
                number: 3,
                can_read_back: true,
                reading: Some((PowerState::Off, Duration::from_millis(250))),
                trouble: None,
            },
            Outlet {
                device: DeviceName::new("board2").unwrap(),
                number: 1,
                can_read_back: false,
                reading: None,
                trouble: Some("no answer within 500 ms".to_owned()),
            },
        ],
        reading: Some((PowerState::On, Duration::from_millis(250))),
        commanded: Some(CommandedAge {
            state: PowerState::On,
            age: Duration::from_secs(3600),
            origin: Origin::Autoscaler(fence(4)),
            operation: OperationId::new("op-6").unwrap(),
        }),
        hold: Some(Hold {
            by: "ada".to_owned(),
            reason: Reason::new("new fan"),
            age: Duration::from_secs(60),
            kind: HoldKind::Off,
            ends: HoldEnds::Released,
        }),
        operation: Some(operation(Phase::Settling)),
        declared: Some(shape()),
        last_seen: None,
        boot_deadline: Duration::from_secs(180),
        soft_off: true,
        quarantine: None,
        drift: None,
        boots: Vec::new(),
        locks: Locks::default(),
        fed: Fed::default(),
        paths: Paths::default(),
        dwell: None,
    }
}

fn dark_machine() -> Machine {
    Machine {
        name: MachineName::new("lamp").unwrap(),
        pool: None,
        node: "lamp".to_owned(),
        outlets: Vec::new(),
        reading: None,
        commanded: None,
        hold: None,
        operation: None,
        declared: None,
        last_seen: Some(Shape::default()),
        boot_deadline: Duration::ZERO,
        soft_off: false,
        quarantine: None,
        drift: None,
        boots: Vec::new(),
        locks: Locks::default(),
        fed: Fed::default(),
        paths: Paths::default(),
        dwell: None,
    }
}

fn inventory() -> Inventory {
    Inventory {
        agent: "cellar".to_owned(),
        version: "0.1.0".to_owned(),
        machines: vec![machine(), dark_machine()],
        fences: vec![fence(4)],
        host_up: None,
        running: None,
        feeds: Vec::new(),
    }
}

fn order(origin: Origin) -> Order {
    Order {
        operation: OperationId::new("op-8").unwrap(),
        machine: MachineName::new("node3").unwrap(),
        verb: Verb::Off,
        reason: Reason::new("pool rack wants 2, this is idle for 10 min"),
        origin,
        valid_for: Duration::from_secs(30),
        on_soft_off_timeout: OnSoftOffTimeout::Quarantine,
        force: false,
        drain: true,
        plan: None,
    }
}

#[test]
fn an_order_of_the_autoscaler_keeps_its_bytes() {
    check::<Order, wire::SetPowerRequest>(
        "set_power_autoscaler.hex",
        &order(Origin::Autoscaler(fence(5))),
    );
}

#[test]
fn an_order_of_a_plan_keeps_its_bytes() {
    let plan = PlanId::new("plan-12").ok();
    let order = Order { plan, ..order(Origin::Autoscaler(fence(5))) };
    check::<Order, wire::SetPowerRequest>("set_power_of_plan.hex", &order);
}

#[test]
fn an_order_of_a_person_keeps_its_bytes() {
    check::<Order, wire::SetPowerRequest>(
        "set_power_person.hex",
        &order(Origin::Person("ada".to_owned())),
    );
}

#[test]
fn answers_keep_their_bytes() {
    let operation = operation(Phase::Draining);
    check::<Answer, wire::SetPowerReply>(
        "answer_accepted.hex",
        &Answer::Accepted { operation, repeated: true },
    );
    let text = "held off by ada since 1 min: new fan; `power-agent release node3` ends that";
    check::<Answer, wire::SetPowerReply>(
        "answer_refused.hex",
        &Answer::Refused(Refusal { code: RefusalCode::Held, text: text.to_owned() }),
    );
}

#[test]
fn a_refusal_for_want_of_a_role_keeps_its_bytes() {
    let text = "\"eve\" (viewer) may not order machines";
    check::<Answer, wire::SetPowerReply>(
        "answer_forbidden.hex",
        &Answer::Refused(Refusal { code: RefusalCode::Forbidden, text: text.to_owned() }),
    );
}

fn forecast() -> Forecast {
    let step = |doing, from, by| ForecastStep {
        doing,
        from: Duration::from_secs(from),
        by: Duration::from_secs(by),
        lasts: Duration::from_millis(8_500),
        outlets: Vec::new(),
    };
    let outlets = [("board1", 3), ("board2", 1)];
    let outlets = outlets.map(|(device, number)| (DeviceName::new(device).unwrap(), number));
    let (opens, closes) = (Doing::Drive(PowerState::Off), Doing::Drive(PowerState::On));
    Forecast {
        operation: OperationId::new("op-8").unwrap(),
        verb: Verb::Cycle,
        steps: vec![
            step(Doing::Drain, 0, 15),
            step(Doing::Undrain, 0, 15),
            step(Doing::Wait(PowerState::Off), 1, 615),
            step(Doing::SoftOff, 1, 615),
            step(Doing::Settle, 2, 675),
            ForecastStep { outlets: outlets.to_vec(), ..step(opens, 7, 680) },
            step(Doing::Restore, 7, 740),
            step(Doing::Dwell, 7, 770),
            step(Doing::Wait(PowerState::On), 8, 778),
            step(closes, 15, 778),
        ],
        from: Duration::from_secs(15),
        by: Duration::from_secs(838),
        well: true,
        evidence: "read back on".to_owned(),
        on_soft_off_timeout: OnSoftOffTimeout::Cut,
    }
}

#[test]
fn what_is_foretold_keeps_its_bytes() {
    let hold = Some(hold(HoldKind::Off, HoldEnds::Released));
    let called_off = Some(Forecast { steps: Vec::new(), well: false, ..forecast() });
    let work = Some("web of job web (running)".to_owned());
    let begins = DryRun { answer: Foretold::Begins(forecast()), called_off, hold, work };
    check::<DryRun, wire::DryRunReply>("dry_run_begins.hex", &begins);
    let on_soft_off_timeout = OnSoftOffTimeout::Quarantine;
    let other = Forecast { on_soft_off_timeout, steps: Vec::new(), ..forecast() };
    let quarantines = DryRun { answer: Foretold::Begins(other), called_off: None, ..begins };
    check::<DryRun, wire::DryRunReply>("dry_run_quarantines.hex", &quarantines);
    let refusal = Refusal { code: RefusalCode::Held, text: "it is ada's".to_owned() };
    check::<DryRun, wire::DryRunReply>("dry_run_refused.hex", &DryRun::refused(refusal.clone()));
    for to in [PowerState::Off, PowerState::On] {
        let step = ForecastStep { doing: Doing::AwaitRoom(to), ..forecast().steps.remove(0) };
        assert_eq!(ForecastStep::try_from(wire::ForecastStep::from(&step)).unwrap(), step);
    }
    for answer in [Foretold::Joins(forecast()), Foretold::Known] {
        let run = DryRun { answer, ..DryRun::refused(refusal.clone()) };
        assert_eq!(DryRun::try_from(wire::DryRunReply::from(&run)).unwrap(), run);
    }
    let pending = Pending {
        machine: MachineName::new("node3").unwrap(),
        forecast: Some(forecast()),
        owed: OperationId::new("op-7").ok(),
        relit_in: Some(Duration::from_secs(5)),
    };
    check::<Pending, wire::PendingMachine>("pending.hex", &pending);
}

#[test]
fn an_inventory_keeps_its_bytes() {
    check::<Inventory, wire::InventoryReply>("inventory.hex", &inventory());
}

#[test]
fn events_keep_their_bytes() {
    check::<Event, wire::WatchEvent>("event_snapshot.hex", &Event::Snapshot(inventory()));
    check::<Event, wire::WatchEvent>("event_changed.hex", &Event::Changed(Box::new(machine())));
}

fn hold(kind: HoldKind, ends: HoldEnds) -> Hold {
    Hold {
        by: "ada".to_owned(),
        reason: Reason::new("course"),
        age: Duration::from_secs(90),
        kind,
        ends,
    }
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
fn holds_that_are_asked_for_and_released_keep_their_bytes() {
    let machine = || MachineName::new("node3").unwrap();
    let asked = TakeHold {
        machine: machine(),
        kind: HoldKind::Reservation,
        by: "bob".to_owned(),
        reason: Reason::new("course"),
        span: Some(Duration::from_secs(7200)),
        force: true,
    };
    check::<TakeHold, wire::SetHoldRequest>("set_hold.hex", &asked);
    let taken = Taken::Held(hold(HoldKind::Reservation, HoldEnds::Expired));
    check::<Taken, wire::SetHoldReply>("set_hold_taken.hex", &taken);
    let refusal = Refusal { code: RefusalCode::Reserved, text: "it is ada's".to_owned() };
    let refused = Taken::Refused(refusal.clone());
    check::<Taken, wire::SetHoldReply>("set_hold_refused.hex", &refused);
    let asked = Release {
        machine: machine(),
        by: "bob".to_owned(),
        kind: Some(HoldKind::Maintenance),
        force: true,
    };
    check::<Release, wire::ReleaseRequest>("release.hex", &asked);
    let released = Released {
        ended: vec![hold(HoldKind::Off, HoldEnds::Released)],
        was_quarantined: true,
        refused: Some(refusal),
    };
    check::<Released, wire::ReleaseReply>("released.hex", &released);
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
fn a_reset_of_a_fence() {
    let request = wire::ResetFenceRequest {
        pool: "rack".to_owned(),
        cluster: "global".to_owned(),
        by: "ada".to_owned(),
        reason: "restored from a snapshot".to_owned(),
    };
    let reply = wire::ResetFenceReply { was: Some((&fence(7)).into()) };
    let golden = |name: &str| {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/v1").join(name);
        std::fs::read_to_string(path).unwrap_or_default()
    };
    assert_eq!(hex(&request.encode_to_vec()), golden("reset_fence.hex"));
    assert_eq!(hex(&reply.encode_to_vec()), golden("reset_fence_reply.hex"));
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
