//! The device's side of the line: repeats, sessions, versions, what is told unasked, the watchdog.

use bridge_device::{Facts, Quantity};
use bridge_protocol::codec::decode_greeting;
use bridge_protocol::{
    DeviceTime, Epoch, FrameKind, Generation, Header, Hello, News, Order, PowerState, Reading,
    Refusal, Request, ResetCause, Said, Sequence, SessionId, Unspoken, Version, Versions, Welcome,
    encode,
};

use crate::board::{Board, facts, outlet};
use crate::desk::Desk;
use crate::orders::rested;

const ON: PowerState = PowerState::On;

#[test]
fn a_repeat_gets_the_first_answer_and_an_older_one_none() {
    let mut desk = rested();
    desk.set(1, ON);
    desk.pass(300);
    let epoch = desk.device.epoch();
    let request = Request::Cycle(desk.order(), outlet(1), 500);
    let header =
        Header { version: desk.version, kind: FrameKind::Request, sequence: Sequence(900), epoch };
    let wire = encode(header, &request).unwrap();
    let mut answers = Vec::new();
    for _ in 0..3 {
        desk.now += 1;
        desk.device.received(&wire, DeviceTime(desk.now));
        let frames = desk.frames();
        answers.extend(frames.into_iter().filter(|f| f.header.kind == FrameKind::Answer));
    }
    assert_eq!(answers.len(), 3);
    assert!(answers.iter().all(|answer| *answer == answers[0]), "byte by byte: {answers:?}");
    let late = Header { sequence: Sequence(899), ..header };
    desk.device.received(&encode(late, &Request::Beat).unwrap(), DeviceTime(desk.now));
    assert_eq!(desk.frames(), []);
}

#[test]
fn a_greeting_that_comes_late_does_not_make_old_requests_new() {
    let mut desk = rested();
    let epoch = desk.device.epoch();
    let version = desk.version;
    let header =
        |sequence, kind, version| Header { version, kind, sequence: Sequence(sequence), epoch };
    let hello = Hello { session: SessionId(1), versions: Versions::ALL };
    let hello = encode(header(1, FrameKind::Hello, Version::GREETING), &hello).unwrap();
    let beat = encode(header(50, FrameKind::Request, version), &Request::Beat).unwrap();
    let old = encode(header(40, FrameKind::Request, version), &Request::Read).unwrap();
    for (wire, frames) in [(beat, 1), (hello, 1), (old, 0)] {
        desk.device.received(&wire, DeviceTime(desk.now));
        assert_eq!(desk.frames().len(), frames);
    }
}

#[test]
fn a_host_that_was_killed_goes_on_above_the_generation_that_the_device_tells() {
    let mut desk = rested();
    desk.set(1, ON);
    desk.pass(300);
    desk.set(1, PowerState::Off);
    let welcome = desk.greet(SessionId(2), Versions::ALL);
    assert_eq!(welcome.generation, Generation(desk.generation));
    assert!(welcome.newest_event.0 >= 3);
}

fn of(versions: Versions) -> Facts {
    Facts { versions, ..facts() }
}

#[test]
fn every_pair_of_versions_speaks_the_newest_in_common_or_says_that_there_is_none() {
    let all: Vec<Versions> = [(1, 1), (1, 2), (2, 2), (3, 4)]
        .map(|(lowest, highest)| Versions { lowest: Version(lowest), highest: Version(highest) })
        .into();
    for device in &all[..3] {
        let mut desk = Desk::with(Board::new(), of(*device), ResetCause::PowerUp);
        for (number, host) in (10..).zip(&all) {
            let hello = Hello { session: SessionId(number), versions: *host };
            let hello = desk.exchange(Version::GREETING, FrameKind::Hello, Epoch::UNKNOWN, &hello);
            let answer = hello.expect("an answer");
            let Some(common) = device.common(*host) else {
                assert_eq!(answer.header.kind, FrameKind::Unspoken, "{device:?} {host:?}");
                let unspoken: Unspoken = decode_greeting(&answer).unwrap();
                assert_eq!(unspoken.versions, *device);
                continue;
            };
            let welcome: Welcome = decode_greeting(&answer).unwrap();
            assert_eq!(welcome.speaks, common);
            desk.version = common;
            assert_eq!(desk.ask(&Request::Beat), Said::Alive);
            let measure = desk.ask(&Request::Measure(outlet(1)));
            match common {
                Version::SWITCHES => assert_eq!(measure, Said::Refused(Refusal::NotInVersion)),
                _ => assert!(matches!(measure, Said::Measured(..))),
            }
        }
    }
}

#[test]
fn a_host_that_did_not_greet_is_not_obeyed() {
    let mut desk = rested();
    let epoch = desk.device.epoch();
    desk.version = Version::SWITCHES;
    let order = Order { generation: Generation(1), until: DeviceTime(99_999) };
    let arm = Request::ArmAllOff(order);
    let answer = desk.exchange(Version::SWITCHES, FrameKind::Request, epoch, &arm);
    assert_eq!(answer, None, "its greeting was for another version");
    let answer = desk.exchange(Version(9), FrameKind::Request, epoch, &arm).unwrap();
    assert_eq!(answer.header.kind, FrameKind::Unspoken);
}

#[test]
fn a_payload_that_is_no_request_is_refused() {
    let mut desk = rested();
    let epoch = desk.device.epoch();
    for payload in [&[200_u8, 1, 2][..], &[0, 0], &[]] {
        let frame = desk.exchange(desk.version, FrameKind::Request, epoch, &Raw(payload)).unwrap();
        let answer: bridge_protocol::Answer = bridge_protocol::decode(&frame).unwrap();
        assert_eq!(answer.said, Said::Refused(Refusal::Malformed), "{payload:?}");
    }
}

/// Bytes as they are.
struct Raw<'a>(&'a [u8]);

impl serde::Serialize for Raw<'_> {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        use serde::ser::SerializeTuple as _;
        let mut tuple = serializer.serialize_tuple(self.0.len())?;
        self.0.iter().try_for_each(|byte| tuple.serialize_element(byte))?;
        tuple.end()
    }
}

#[test]
fn events_are_told_unasked_and_kept_for_a_host_that_was_gone() {
    let mut desk = rested();
    desk.set(1, ON);
    let told = desk.told();
    assert!(told.is_empty(), "told with the answer: {told:?}");
    for _ in 0..40 {
        desk.pass(400);
        desk.set(1, PowerState::Off);
        desk.pass(400);
        desk.set(1, ON);
    }
    let events = desk.events();
    assert_eq!(events.len(), bridge_device::log::EVENTS_MAX);
    let numbers: Vec<u32> = events.iter().map(|event| event.number.0).collect();
    assert!(numbers.windows(2).all(|pair| pair[1] == pair[0] + 1));
    assert!(numbers[0] > 1, "a gap says that the oldest have gone");
}

#[test]
fn buttons_are_told_at_once_and_measurements_in_their_period() {
    let mut desk = rested();
    let milliamps = Reading::Milliamps(500);
    desk.device.hardware().readings.insert((2, 1), milliamps);
    desk.device.hardware().readings.insert((2, 3), Reading::Button(PowerState::Off));
    assert_eq!(desk.ask(&Request::Watch(Some(100))), Said::Refused(Refusal::TooShort(250)));
    assert_eq!(desk.ask(&Request::Watch(Some(1000))), Said::Alive);
    desk.pass(100);
    desk.told();
    desk.device.hardware().readings.insert((2, 1), Reading::Milliamps(900));
    desk.pass(100);
    assert_eq!(desk.told(), [], "a measurement waits for its period");
    desk.device.hardware().readings.insert((2, 3), Reading::Button(ON));
    desk.pass(50);
    let told = desk.told();
    let [bridge_protocol::Told { news: News::Measured(samples), .. }] = &told[..] else {
        panic!("{told:?}")
    };
    assert_eq!(samples.len(), 1);
    assert_eq!(samples[0].reading, Reading::Button(ON));
    desk.pass(1000);
    assert_eq!(desk.told().len(), 1);
    desk.device.hardware().readings.clear();
    desk.pass(100);
    let Said::Measured(samples, next) = desk.ask(&Request::Measure(outlet(1))) else {
        panic!("nothing measured")
    };
    assert_eq!((samples.len(), next), (0, None), "what can not be measured is not told");
}

#[test]
fn more_measurements_than_a_message_holds_come_in_several() {
    let mut desk = rested();
    for number in 1..=6 {
        for place in 0..Quantity::COUNT {
            desk.device.hardware().readings.insert((number, place), Reading::Millivolts(5000));
        }
    }
    desk.pass(100);
    let mut first = Some(outlet(1));
    let mut count = 0;
    while let Some(from) = first {
        let Said::Measured(samples, next) = desk.ask(&Request::Measure(from)) else {
            panic!("nothing measured")
        };
        count += samples.len();
        first = next;
    }
    assert_eq!(count, 36);
}

#[test]
fn the_watchdog_is_fed_only_while_loop_and_link_both_run() {
    let mut desk = Desk::new();
    desk.pass(10);
    assert_eq!(desk.device.hardware().fed, 10);
    for now in 11..30 {
        desk.device.run(DeviceTime(now));
    }
    assert_eq!(desk.device.hardware().fed, 10, "the link's task hangs");
    for now in 30..50 {
        desk.device.received(&[], DeviceTime(now));
    }
    assert_eq!(desk.device.hardware().fed, 10, "the main loop hangs");
    desk.device.run(DeviceTime(51));
    assert_eq!(desk.device.hardware().fed, 11);
}
