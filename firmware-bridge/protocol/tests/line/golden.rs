//! Bytes of each version as they once were sent. Each line is a message's name and its whole frame.
//! If one of these fails, do not change the line: devices in the field send and read these bytes. Lines are added only.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use bridge_protocol::codec::decode_greeting;
use bridge_protocol::{
    Answer, Decoder, DeviceTime, Frame, FrameKind, Hello, Request, Told, Unspoken, Version,
    Welcome, Wire, decode,
};

use crate::samples::{UNSPOKEN, answers, framed, hello, requests, told, welcome};

fn hex(wire: &[u8]) -> String {
    let mut text = String::new();
    wire.iter().for_each(|byte| write!(text, "{byte:02x}").unwrap());
    text
}

fn bytes(hex: &str) -> Vec<u8> {
    let digits: Vec<char> = hex.chars().collect();
    let pair = |pair: &[char]| u8::from_str_radix(&String::from_iter(pair), 16).unwrap();
    digits.chunks(2).map(pair).collect()
}

fn frame(wire: &[u8]) -> Frame {
    let mut decoder = Decoder::new();
    wire.iter().find_map(|byte| decoder.take(*byte)).expect("a golden line is a frame")
}

/// What these lines send in a version, by name.
fn sent(version: Version) -> Vec<(String, Wire)> {
    let mut all = Vec::new();
    for (name, request) in requests() {
        if request.since() <= version {
            let wire = framed(version, FrameKind::Request, &request);
            all.push((format!("request-{name}"), wire));
        }
    }
    for (name, since, said) in answers() {
        if since <= version {
            let answer = Answer { at: DeviceTime(69_500), said };
            let wire = framed(version, FrameKind::Answer, &answer);
            all.push((format!("answer-{name}"), wire));
        }
    }
    for (name, news) in told() {
        if news.since() <= version {
            let told = Told { at: DeviceTime(69_500), news };
            all.push((format!("told-{name}"), framed(version, FrameKind::Told, &told)));
        }
    }
    all
}

fn greetings() -> Vec<(String, Wire)> {
    let greeting = Version::GREETING;
    vec![
        ("hello".to_owned(), framed(greeting, FrameKind::Hello, &hello())),
        ("welcome".to_owned(), framed(greeting, FrameKind::Welcome, &welcome())),
        ("unspoken".to_owned(), framed(greeting, FrameKind::Unspoken, &UNSPOKEN)),
    ]
}

fn check(golden: &str, sent: &[(String, Wire)]) {
    let lines = golden.lines().filter(|line| !line.starts_with('#'));
    let mut kept: BTreeMap<&str, &str> = lines.filter_map(|line| line.split_once(' ')).collect();
    let mut missing = String::new();
    for (name, wire) in sent {
        match kept.remove(name.as_str()) {
            Some(line) => assert_eq!(line, hex(wire), "{name}: the bytes of a version stay"),
            None => writeln!(missing, "{name} {}", hex(wire)).unwrap(),
        }
    }
    assert!(missing.is_empty(), "to be added:\n{missing}");
    assert!(kept.is_empty(), "nobody sends these any more: {kept:?}");
}

#[test]
fn bytes_of_each_version_stay_as_they_were_first_sent() {
    check(include_str!("../golden/greeting.txt"), &greetings());
    check(include_str!("../golden/v1.txt"), &sent(Version::SWITCHES));
    check(include_str!("../golden/v2.txt"), &sent(Version::MEASURES));
}

#[test]
fn messages_are_read_from_the_bytes_of_each_version() {
    for golden in [include_str!("../golden/v1.txt"), include_str!("../golden/v2.txt")] {
        let lines = golden.lines().filter_map(|line| line.split_once(' '));
        let kept: BTreeMap<&str, &str> = lines.collect();
        for (name, request) in requests() {
            let Some(line) = kept.get(format!("request-{name}").as_str()) else { continue };
            assert_eq!(decode::<Request>(&frame(&bytes(line))), Ok(request));
        }
        for (name, _, said) in answers() {
            let Some(line) = kept.get(format!("answer-{name}").as_str()) else {
                continue;
            };
            let answer = Answer { at: DeviceTime(69_500), said };
            assert_eq!(decode::<Answer>(&frame(&bytes(line))), Ok(answer));
        }
        for (name, news) in told() {
            let Some(line) = kept.get(format!("told-{name}").as_str()) else { continue };
            assert_eq!(
                decode::<Told>(&frame(&bytes(line))),
                Ok(Told { at: DeviceTime(69_500), news })
            );
        }
    }
}

#[test]
fn a_greeting_is_read_by_its_beginning_also_where_a_newer_version_appends_to_it() {
    for (name, wire) in greetings() {
        let old = frame(&wire);
        let mut payload = old.payload.to_vec();
        payload.extend_from_slice(b"newer");
        let wire = old.header.frame(&payload).unwrap();
        let newer = frame(&wire);
        match name.as_str() {
            "hello" => assert_eq!(decode_greeting::<Hello>(&newer), Ok(hello())),
            "welcome" => assert_eq!(decode_greeting::<Welcome>(&newer), Ok(welcome())),
            _ => assert_eq!(decode_greeting::<Unspoken>(&newer), Ok(UNSPOKEN)),
        }
        assert!(decode::<Request>(&newer).is_err(), "{name} is no request");
    }
}
