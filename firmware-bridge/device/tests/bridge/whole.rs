//! Frames that are whole and say anything: what a broken or a strange host would send. The device does not panic, and its
//! relays keep their minimum times and their distance whoever orders.

use std::collections::BTreeMap;

use bridge_device::Device;
use bridge_protocol::{
    DeviceTime, Epoch, FrameKind, Generation, Header, Hello, ImageFacts, Order, OutletNumber,
    PowerState, Request, ResetCause, SafeState, Sequence, SessionId, Switch, Version, Versions,
    codec::payload,
};

use crate::board::{Board, LIMITS, OUTLETS, facts, outlet};
use crate::dice::{Dice, number};

/// Frames in CI.
const FRAMES: u64 = 50_000;

/// The first seed.
const SEED: u64 = 20_261_123;

/// A payload as a host sends it, with an order whose time has come or not.
fn sane(dice: &mut Dice, generation: u32, now: u64) -> Vec<u8> {
    let until = DeviceTime(now + u64::try_from(dice.below(200)).unwrap());
    let order = Order { generation: Generation(generation), until };
    let number = u8::try_from(1 + dice.below(usize::from(OUTLETS))).unwrap();
    let state = if dice.once_in(3) { PowerState::Off } else { PowerState::On };
    let image = ImageFacts { board: 2040, firmware: 8, length: 300, crc: 1 };
    let safe = [(outlet(number), SafeState::Off)].into_iter().collect();
    let switch = Switch { outlet: outlet(number), state };
    let request = match dice.below(14) {
        0 => Request::Read,
        1 => Request::Cycle(order, outlet(number), 250),
        2 => Request::ArmAllOff(order),
        3 => Request::AllOff(order, generation.saturating_sub(1)),
        4 => Request::Lease(order, Some(500), safe),
        5 => Request::Log(bridge_protocol::EventNumber(3)),
        6 => Request::Measure(outlet(number)),
        7 => Request::Watch(Some(300)),
        8 => Request::UpdateBegin(order, image),
        9 => Request::UpdateBytes(0, heapless::Vec::from_slice(&[7; 100]).unwrap()),
        10 => Request::UpdateEnd(order),
        _ => Request::Set(order, [switch].into_iter().collect()),
    };
    payload(&request).unwrap().to_vec()
}

/// What becomes of a payload before its frame is made.
fn strange(dice: &mut Dice, mut payload: Vec<u8>) -> Vec<u8> {
    match dice.below(6) {
        0 => {
            let at = dice.below(payload.len());
            payload[at] = dice.byte();
        }
        1 => payload.truncate(dice.below(payload.len())),
        2 => payload = (0..dice.below(64)).map(|_| dice.byte()).collect(),
        _ => {}
    }
    payload
}

#[test]
fn a_device_bears_whole_frames_that_say_anything() {
    let frames = number("LAMPLIGHTER_RUNS", FRAMES);
    let mut dice = Dice(number("LAMPLIGHTER_SEED", SEED));
    let mut device = Device::start(Board::new(), facts(), ResetCause::PowerUp, DeviceTime(0));
    let (mut now, mut generation, mut offset) = (0_u64, 0_u32, 0_u64);
    let (mut edges, mut answers, mut starts) = (0_u64, 0_u64, 1_u64);
    let mut last: BTreeMap<OutletNumber, u64> = BTreeMap::new();
    let mut last_on: Option<u64> = None;
    for frame in 0..frames {
        now += u64::try_from(dice.below(12)).unwrap();
        let device_now = DeviceTime(now - offset);
        generation = generation.wrapping_add(1);
        let greets = dice.once_in(100);
        let plain = if greets {
            let hello =
                Hello { session: SessionId(u32::from(dice.byte())), versions: Versions::ALL };
            payload(&hello).unwrap().to_vec()
        } else {
            sane(&mut dice, generation, device_now.0)
        };
        let kind = if greets { FrameKind::Hello } else { FrameKind::Request };
        let usual = if greets { Version::GREETING } else { Version::NEWEST };
        let epoch = device.epoch();
        let header = Header {
            version: if dice.once_in(20) { Version(dice.byte() % 4) } else { usual },
            kind: if dice.once_in(50) { FrameKind::Answer } else { kind },
            sequence: Sequence(u16::try_from(frame & 0xFFFF).unwrap()),
            epoch: if dice.once_in(20) { Epoch(epoch.0.wrapping_sub(1)) } else { epoch },
        };
        let wire = header.frame(&strange(&mut dice, plain)).unwrap();
        device.received(&wire, device_now);
        device.run(device_now);
        while device.frame(device_now).is_some() {
            answers += 1;
        }
        for edge in device.hardware().edges.drain(..).collect::<Vec<_>>() {
            edges += 1;
            let since = last.insert(edge.outlet, now).unwrap_or(0);
            if edge.state == PowerState::On {
                assert!(now >= since + u64::from(LIMITS.min_off_ms), "{edge:?} at {now}");
                let gap = u64::from(LIMITS.start_gap_ms);
                assert!(last_on.is_none_or(|before| now >= before + gap), "{edge:?} at {now}");
                last_on = Some(now);
            }
        }
        // A generation of chance may be the largest that there is: another start begins anew.
        if device.hardware().restarted || dice.once_in(500) {
            let mut board = device.into_hardware();
            board.restarted = false;
            offset = now;
            generation = 0;
            starts += 1;
            device = Device::start(board, facts(), ResetCause::Software, DeviceTime(0));
        }
    }
    println!("strange hosts: {frames} frames, {answers} said, {edges} edges, {starts} starts");
    assert!(edges > frames / 500 && answers > frames / 4, "{edges} {answers}");
}
