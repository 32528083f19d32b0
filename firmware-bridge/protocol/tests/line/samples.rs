//! One of each message, for the golden bytes, and the largest of each, for the bounds.

use bridge_protocol::event::{Cause, Event, EventNumber, What};
use bridge_protocol::greeting::{Capability, Hello, Identity, ResetCause, Unspoken, Welcome};
use bridge_protocol::image::{CHUNK_MAX, ImageFacts};
use bridge_protocol::message::{
    Answer, News, Order, Outcome, Refusal, Request, Said, Switch, Told,
};
use bridge_protocol::{
    DeviceTime, Epoch, FrameKind, Generation, Header, OutletNumber, OutletSeen, PowerState,
    Reading, SafeState, Sample, Sequence, SessionId, Version, Versions, Wire, encode,
};

pub(crate) fn outlet(number: u8) -> OutletNumber {
    OutletNumber::new(number).unwrap()
}

pub(crate) const ORDER: Order = Order { generation: Generation(300), until: DeviceTime(70_000) };

pub(crate) const LAST_ORDER: Order =
    Order { generation: Generation(u32::MAX), until: DeviceTime(u64::MAX) };

const IMAGE: ImageFacts = ImageFacts { board: 2040, firmware: 7, length: 65_536, crc: 0xDEAD_BEEF };

fn list<T: Clone, const N: usize>(items: &[T]) -> heapless::Vec<T, N> {
    heapless::Vec::from_slice(items).unwrap()
}

pub(crate) fn requests() -> Vec<(&'static str, Request)> {
    let on = Switch { outlet: outlet(1), state: PowerState::On };
    let off = Switch { outlet: outlet(16), state: PowerState::Off };
    let safe =
        [(outlet(1), SafeState::Off), (outlet(2), SafeState::On), (outlet(3), SafeState::Keep)];
    vec![
        ("beat", Request::Beat),
        ("read", Request::Read),
        ("set", Request::Set(ORDER, list(&[on, off]))),
        ("cycle", Request::Cycle(ORDER, outlet(3), 10_000)),
        ("arm-all-off", Request::ArmAllOff(ORDER)),
        ("all-off", Request::AllOff(ORDER, 0xCAFE)),
        ("lease", Request::Lease(ORDER, Some(3000), list(&safe))),
        ("no-lease", Request::Lease(ORDER, None, list(&[]))),
        ("log", Request::Log(EventNumber(12))),
        ("measure", Request::Measure(outlet(2))),
        ("watch", Request::Watch(Some(1000))),
        ("watch-not", Request::Watch(None)),
        ("update-begin", Request::UpdateBegin(ORDER, IMAGE)),
        ("update-bytes", Request::UpdateBytes(256, list(&[1, 0, 255]))),
        ("update-end", Request::UpdateEnd(ORDER)),
        ("update-keep", Request::UpdateKeep(ORDER)),
    ]
}

fn whats() -> Vec<What> {
    let driven = |state, by| What::Driven { outlet: outlet(4), state, by };
    vec![
        What::Started(ResetCause::BrownOut),
        driven(PowerState::On, Cause::Order),
        driven(PowerState::Off, Cause::Cycle),
        driven(PowerState::Off, Cause::Lease),
        driven(PowerState::Off, Cause::Start),
        What::Disagrees { outlet: outlet(5), contact: Some(PowerState::On) },
        What::Disagrees { outlet: outlet(5), contact: None },
        What::LeaseEnded,
    ]
}

fn late_whats() -> Vec<What> {
    vec![What::CycleLeftOff(outlet(6)), What::StorageFailed, What::OnTrial, What::FellBack]
}

fn refusals() -> Vec<Refusal> {
    vec![
        Refusal::Malformed,
        Refusal::NotInVersion,
        Refusal::OtherEpoch,
        Refusal::Stale(Generation(301)),
        Refusal::TooLate,
        Refusal::NoSuchOutlet,
        Refusal::Dwell(4000),
        Refusal::InCycle(900),
        Refusal::NotOn,
        Refusal::TooShort(500),
        Refusal::TooLong(600_000),
        Refusal::NotArmed,
        Refusal::StorageFailed,
        Refusal::Unable,
    ]
}

fn refusals_of_images() -> Vec<Refusal> {
    vec![
        Refusal::OtherBoard(2040),
        Refusal::ImageTooLong(1_000_000),
        Refusal::OutOfOrder(128),
        Refusal::NoImage,
        Refusal::DoesNotVerify(0xDEAD_BEEF),
        Refusal::OutletsOn,
        Refusal::OnTrial,
    ]
}

fn events(whats: &[What]) -> heapless::Vec<Event, 8> {
    let event = |(number, what): (u32, &What)| Event {
        number: EventNumber(number),
        at: DeviceTime(1000 + u64::from(number)),
        what: *what,
    };
    (40..).zip(whats).map(event).collect()
}

fn samples() -> Vec<Sample> {
    let sample = |number, reading| Sample { outlet: outlet(number), reading, age_ms: 40 };
    vec![
        sample(1, Reading::Millivolts(5050)),
        sample(1, Reading::Milliamps(620)),
        sample(2, Reading::Temperature(-550)),
        sample(2, Reading::Button(PowerState::On)),
        sample(3, Reading::Led(PowerState::Off)),
        sample(3, Reading::TurnsPerMinute(1200)),
    ]
}

pub(crate) fn answers() -> Vec<(String, Version, Said)> {
    let seen = |number, driven, contact, changes_in_ms| OutletSeen {
        outlet: outlet(number),
        driven,
        contact,
        changes_in_ms,
    };
    let outlets = [
        seen(1, PowerState::On, Some(PowerState::On), None),
        seen(2, PowerState::Off, None, Some(250)),
        seen(3, PowerState::Off, Some(PowerState::On), None),
    ];
    let mut outcomes = vec![Outcome::Changed, Outcome::Unchanged, Outcome::Scheduled(400)];
    outcomes.push(Outcome::Refused(Refusal::Dwell(4000)));
    let one = Version::SWITCHES;
    let two = Version::MEASURES;
    let mut all: Vec<(String, Version, Said)> = [
        ("alive", one, Said::Alive),
        ("outlets", one, Said::Outlets(list(&outlets))),
        ("set", one, Said::Set(Generation(300), list(&outcomes))),
        ("done", one, Said::Done(Generation(300))),
        ("armed", one, Said::Armed(Generation(300), 0xCAFE, DeviceTime(75_000))),
        ("events", one, Said::Events(events(&whats()), EventNumber(99))),
        ("events-late", one, Said::Events(events(&late_whats()), EventNumber(99))),
        ("measured", two, Said::Measured(list(&samples()), Some(outlet(4)))),
        ("image-up-to", two, Said::ImageUpTo(384)),
    ]
    .map(|(name, since, said)| (name.to_owned(), since, said))
    .into();
    let of_switches = refusals().into_iter().map(|why| (one, why));
    let of_images = refusals_of_images().into_iter().map(|why| (two, why));
    for (number, (since, why)) in of_switches.chain(of_images).enumerate() {
        all.push((format!("refused-{number}"), since, Said::Refused(why)));
    }
    all
}

pub(crate) fn told() -> Vec<(&'static str, News)> {
    vec![
        ("event", News::Event(events(&whats())[1])),
        ("measured", News::Measured(list(&samples()))),
    ]
}

pub(crate) fn hello() -> Hello {
    Hello { session: SessionId(0x1234_5678), versions: Versions::ALL }
}

pub(crate) fn welcome() -> Welcome {
    let capabilities = [Capability::Contacts.code(), Capability::Updates.code()];
    Welcome {
        session: SessionId(0x1234_5678),
        versions: Versions::ALL,
        speaks: Version::MEASURES,
        identity: Identity(*b"LAMP0001"),
        board: 2040,
        firmware: 7,
        outlets: 8,
        capabilities: list(&capabilities),
        cause: ResetCause::Watchdog,
        at: DeviceTime(69_000),
        generation: Generation(299),
        newest_event: EventNumber(99),
    }
}

pub(crate) const UNSPOKEN: Unspoken = Unspoken { versions: Versions::ALL };

/// The frame of a message, as a host or a device at its work sends it.
pub(crate) fn framed(version: Version, kind: FrameKind, message: &impl serde::Serialize) -> Wire {
    let header = Header { version, kind, sequence: Sequence(0x0102), epoch: Epoch(9) };
    encode(header, message).unwrap()
}

/// Messages that are as long as they can be.
pub(crate) fn longest() -> Vec<Wire> {
    let every: Vec<OutletNumber> = OutletNumber::all().collect();
    let switch = |outlet: &OutletNumber| Switch { outlet: *outlet, state: PowerState::On };
    let safe = |outlet: &OutletNumber| (*outlet, SafeState::Keep);
    let seen = |outlet: &OutletNumber| OutletSeen {
        outlet: *outlet,
        driven: PowerState::On,
        contact: Some(PowerState::On),
        changes_in_ms: Some(u32::MAX),
    };
    let event = Event {
        number: EventNumber(u32::MAX),
        at: DeviceTime(u64::MAX),
        what: What::Disagrees { outlet: outlet(16), contact: Some(PowerState::On) },
    };
    let sample =
        Sample { outlet: outlet(16), reading: Reading::Milliamps(u32::MAX), age_ms: u16::MAX };
    let outcome = Outcome::Refused(Refusal::DoesNotVerify(u32::MAX));
    let (v, at) = (Version::NEWEST, DeviceTime(u64::MAX));
    let image = ImageFacts { board: u16::MAX, firmware: u32::MAX, length: u32::MAX, crc: u32::MAX };
    let largest = Generation(u32::MAX);
    let set = Request::Set(LAST_ORDER, every.iter().map(switch).collect());
    let lease = Request::Lease(LAST_ORDER, Some(u32::MAX), every.iter().map(safe).collect());
    let said = [
        Said::Outlets(every.iter().map(seen).collect()),
        Said::Set(largest, list(&[outcome; 16])),
        Said::Events(list(&[event; 8]), EventNumber(u32::MAX)),
        Said::Measured(list(&[sample; 16]), Some(outlet(16))),
        Said::Armed(largest, u32::MAX, at),
    ];
    let mut all = vec![
        framed(v, FrameKind::Request, &set),
        framed(v, FrameKind::Request, &lease),
        framed(v, FrameKind::Request, &Request::UpdateBegin(LAST_ORDER, image)),
        framed(v, FrameKind::Request, &Request::UpdateBytes(u32::MAX, list(&[255; CHUNK_MAX]))),
        framed(v, FrameKind::Told, &Told { at, news: News::Measured(list(&[sample; 16])) }),
    ];
    all.extend(said.map(|said| framed(v, FrameKind::Answer, &Answer { at, said })));
    let mut welcome = welcome();
    welcome.capabilities = list(&[255; 16]);
    welcome.cause = ResetCause::Other(255);
    (welcome.at, welcome.generation) = (at, largest);
    (welcome.newest_event, welcome.firmware) = (EventNumber(u32::MAX), u32::MAX);
    (welcome.session, welcome.board) = (SessionId(u32::MAX), u16::MAX);
    all.push(framed(Version::GREETING, FrameKind::Welcome, &welcome));
    all
}
