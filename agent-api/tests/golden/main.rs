//! The wire, byte by byte. Goal: a message of today is understood for ever.
//! Method: one file of hex per message under `golden/v1`; it is decoded, compared with the typed value, encoded
//! again, and must be the same bytes. Files are added, never edited.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "helpers of tests fail by panic as the tests do"
)]

mod asked;
mod readings;
mod told;

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::path::Path;
use std::time::Duration;

use agent_api::{
    CommandedAge, Fed, Hold, HoldEnds, Inventory, Locks, Machine, Operation, Outlet, Paths, Phase,
};
use fleet::{
    ClusterId, DeviceName, Fence, FenceNumber, HoldKind, MachineName, OperationId, Origin,
    PoolName, PowerState, ReadSource, Reason, Resources, Shape, Verb,
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

fn golden(name: &str, encoded: &[u8]) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/v1").join(name);
    std::fs::read_to_string(&path)
        .unwrap_or_else(|error| panic!("{name}: {error}; its bytes are\n{}", hex(encoded)))
}

/// What the golden bytes say to us, who would not say it so.
fn decoded<T, W>(name: &str) -> T
where
    W: Message + Default,
    T: TryFrom<W>,
    <T as TryFrom<W>>::Error: Debug,
{
    T::try_from(W::decode(unhex(&golden(name, &[])).as_slice()).unwrap()).unwrap()
}

/// A number that no enumeration of ours has.
const NEWER: i32 = 99;

/// What a newer agent tells, with words that we do not know, and what we take it for.
fn check_newer<T, W>(name: &str, told: &W, taken: &T)
where
    W: Message + Default,
    T: Debug + PartialEq + TryFrom<W>,
    <T as TryFrom<W>>::Error: Debug,
{
    let encoded = told.encode_to_vec();
    assert_eq!(hex(&encoded), golden(name, &encoded), "{name}");
    assert_eq!(&decoded::<T, W>(name), taken, "{name}");
}

/// Both ways between the golden bytes and `value`.
fn check<T, W>(name: &str, value: &T)
where
    W: Message + Default + for<'a> From<&'a T>,
    T: Debug + PartialEq + TryFrom<W>,
    <T as TryFrom<W>>::Error: Debug,
{
    let encoded = W::from(value).encode_to_vec();
    let golden = golden(name, &encoded);
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
                source: ReadSource::Device,
            },
            Outlet {
                device: DeviceName::new("board2").unwrap(),
                number: 1,
                can_read_back: false,
                reading: None,
                trouble: Some("no answer within 500 ms".to_owned()),
                source: ReadSource::Device,
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

fn hold(kind: HoldKind, ends: HoldEnds) -> Hold {
    Hold {
        by: "ada".to_owned(),
        reason: Reason::new("course"),
        age: Duration::from_secs(90),
        kind,
        ends,
    }
}
