//! Frames that are whole and say anything: what a broken or a strange device would send. The link takes them all, does not
//! stop, and does not panic.

use bridge_protocol::{
    Answer, Decoder, DeviceTime, Epoch, FrameKind, Header, Link, Moment, Output, Pace, Sequence,
    SessionId, Told, Version, Versions, Wire,
};

use crate::dice::{Dice, number};
use crate::samples::{UNSPOKEN, answers, framed, requests, told, welcome};

/// Steps in CI.
const STEPS: u64 = 50_000;

/// The first seed.
const SEED: u64 = 20_261_123;

/// What a link may have to say in one go: what it keeps, a frame and a wait.
const OUTPUTS_MAX: usize = 12;

/// The payloads of one message of each kind that a device may send, as the line has them.
fn payloads() -> Vec<(FrameKind, Vec<u8>)> {
    let mut all = Vec::new();
    let mut greeting = welcome();
    greeting.session = SessionId(1);
    let mut add = |kind, wire: Wire| {
        let mut decoder = Decoder::new();
        let frame = wire.iter().find_map(|byte| decoder.take(*byte)).unwrap();
        all.push((kind, frame.payload.to_vec()));
    };
    add(FrameKind::Welcome, framed(Version::GREETING, FrameKind::Welcome, &greeting));
    add(FrameKind::Unspoken, framed(Version::GREETING, FrameKind::Unspoken, &UNSPOKEN));
    for (_, _, said) in answers() {
        let answer = Answer { at: DeviceTime(70_000), said };
        add(FrameKind::Answer, framed(Version::NEWEST, FrameKind::Answer, &answer));
    }
    for (_, news) in told() {
        let told = Told { at: DeviceTime(70_000), news };
        add(FrameKind::Told, framed(Version::NEWEST, FrameKind::Told, &told));
    }
    all
}

fn strange(dice: &mut Dice, payloads: &[(FrameKind, Vec<u8>)]) -> Vec<u8> {
    let (kind, payload) = &payloads[dice.below(payloads.len())];
    let mut payload = payload.clone();
    match dice.below(4) {
        0 if !payload.is_empty() => {
            let at = dice.below(payload.len());
            payload[at] = dice.byte();
        }
        1 => payload.truncate(dice.below(payload.len() + 1)),
        2 => payload = (0..dice.below(64)).map(|_| dice.byte()).collect(),
        _ => {}
    }
    let greets = matches!(kind, FrameKind::Welcome | FrameKind::Unspoken);
    let usual = if greets { Version::GREETING } else { Version::NEWEST };
    let header = Header {
        version: if dice.below(8) == 0 { Version(dice.byte() % 4) } else { usual },
        kind: *kind,
        sequence: Sequence(u16::try_from(dice.below(12)).unwrap()),
        epoch: Epoch([9, 9, 9, 9, 9, 9, 8, 10][dice.below(8)]),
    };
    header.frame(&payload).unwrap().to_vec()
}

#[test]
fn a_link_bears_whole_frames_that_say_anything() {
    let steps = number("LAMPLIGHTER_RUNS", STEPS);
    let mut dice = Dice(number("LAMPLIGHTER_SEED", SEED));
    let payloads = payloads();
    let (mut heard, mut happened, mut opened, mut taken) = (0_u64, 0_u64, 0_u64, 0_u64);
    let mut link = Link::new(Versions::ALL, None, Pace::DEFAULT);
    let mut now = 0;
    for _ in 0..steps {
        now += u64::try_from(dice.below(30)).unwrap();
        match dice.below(400) {
            0 => link.closed(),
            1..4 => {
                // Numbers begin again, so that strange answers meet them.
                link = Link::new(Versions::ALL, None, Pace::DEFAULT);
                link.opened(SessionId(1), Moment(now));
                opened += 1;
            }
            4..60 => {
                let all = requests();
                let (_, request) = &all[dice.below(all.len())];
                taken += u64::from(link.ask(request, Moment(now)).is_ok());
            }
            _ => {
                let wire = strange(&mut dice, &payloads);
                heard += 1;
                let mut rest = &wire[..];
                while !rest.is_empty() {
                    let bytes = link.received(rest, Moment(now));
                    rest = &rest[bytes..];
                    happened += said(&mut link, now);
                }
            }
        }
        happened += said(&mut link, now);
    }
    println!(
        "strange devices: {steps} steps, {heard} frames, {opened} openings, {taken} requests, {happened} happenings"
    );
    assert!(happened > steps / 100, "{happened}");
}

fn said(link: &mut Link, now: u64) -> u64 {
    let mut happened = 0;
    for _ in 0..OUTPUTS_MAX {
        match link.poll(Moment(now)) {
            Output::Wait(_) => return happened,
            Output::Happened(_) => happened += 1,
            Output::Send(_) => {}
        }
    }
    panic!("it never waits at {now}");
}
