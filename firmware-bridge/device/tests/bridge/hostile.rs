//! Orders over a line that garbles nearly all of them: whatever arrives, the device does what somebody said, once and in time.

use std::collections::VecDeque;

use bridge_device::Device;
use bridge_protocol::{
    Decoder, DeviceTime, Epoch, FrameKind, Generation, Header, Hello, Order, PowerState, Request,
    ResetCause, SafeState, Sequence, SessionId, Switch, Version, Versions, Wire, encode,
};

use crate::board::{Board, OUTLETS, facts, outlet};
use crate::books::Books;
use crate::dice::{Dice, number};

/// Frames in CI.
const FRAMES: u64 = 30_000;

/// The first seed.
const SEED: u64 = 20_261_123;

/// How many frames later one may come.
const LATE_MAX: u64 = 16;

/// Sent frames that the checker remembers: more than may be late.
const REMEMBERED: usize = 32;

/// A round of the loop may take so long, and each of six starts that wait may lose one.
const ROUND_MS_MAX: u64 = 20;
const BEHIND_MS: u64 = 6 * (ROUND_MS_MAX + 1);

/// A silence that ends each lease.
const SILENCE_MS: u64 = 1000;

struct Hostile {
    dice: Dice,
    now: u64,
    epoch: Epoch,
    generation: u32,
    sequence: Sequence,
    session: u32,
    armed: u32,
}

impl Hostile {
    fn frame(&mut self) -> Wire {
        self.sequence = self.sequence.next();
        if self.dice.once_in(500) {
            self.session += u32::from(self.dice.once_in(2));
            let hello = Hello { session: SessionId(self.session), versions: Versions::ALL };
            let header = Header {
                version: Version::GREETING,
                kind: FrameKind::Hello,
                sequence: self.sequence,
                epoch: Epoch::UNKNOWN,
            };
            return encode(header, &hello).unwrap();
        }
        let request = self.request();
        let old = self.dice.once_in(50);
        let header = Header {
            version: Version::NEWEST,
            kind: FrameKind::Request,
            sequence: self.sequence,
            epoch: if old { Epoch(self.epoch.0 - 1) } else { self.epoch },
        };
        encode(header, &request).unwrap()
    }

    fn request(&mut self) -> Request {
        self.generation += 1;
        let late = u64::try_from(self.dice.below(100)).unwrap();
        let order = Order {
            generation: Generation(self.generation),
            until: DeviceTime((self.now + late).saturating_sub(10)),
        };
        let number = u8::try_from(1 + self.dice.below(usize::from(OUTLETS))).unwrap();
        let state = [PowerState::Off, PowerState::On, PowerState::On][self.dice.below(3)];
        let switch = Switch { outlet: outlet(number), state };
        match self.dice.below(12) {
            0 => Request::Beat,
            1 => Request::Read,
            2 => {
                self.armed = self.generation;
                Request::ArmAllOff(order)
            }
            3 => Request::AllOff(order, self.armed),
            4 => {
                let states = [SafeState::Off, SafeState::On, SafeState::Keep];
                let safe = (1..=OUTLETS).map(|n| (outlet(n), states[self.dice.below(3)]));
                Request::Lease(order, Some(400), safe.collect())
            }
            5 | 6 => Request::Cycle(order, outlet(number), 200 + u32::from(number)),
            _ => Request::Set(order, [switch].into_iter().collect()),
        }
    }

    /// What becomes of a frame on this line: mostly something wrong.
    fn garble(&mut self, wire: &[u8]) -> Vec<u8> {
        let dice = &mut self.dice;
        let mut wire = wire.to_vec();
        match dice.below(8) {
            0..=3 => {
                for _ in 0..=dice.below(8) {
                    let at = dice.below(wire.len());
                    wire[at] ^= 1 << dice.below(8);
                }
            }
            4 | 5 => {
                let from = dice.below(wire.len());
                let until = (from + 1 + dice.below(12)).min(wire.len());
                wire[from..until].iter_mut().for_each(|byte| *byte = dice.byte());
            }
            6 => {
                let from = dice.below(wire.len());
                let until = (from + 1 + dice.below(12)).min(wire.len());
                wire.drain(from..until);
            }
            _ => {}
        }
        wire
    }
}

#[test]
fn of_corrupted_frames_the_device_does_nothing_wrong() {
    let frames = number("LAMPLIGHTER_RUNS", FRAMES);
    let mut books = Books::new(BEHIND_MS);
    let mut device = Device::start(Board::new(), facts(), ResetCause::PowerUp, DeviceTime(0));
    books.started(device.epoch(), true, 0);
    let mut heard = Decoder::new();
    let mut hostile = Hostile {
        dice: Dice(number("LAMPLIGHTER_SEED", SEED)),
        now: 0,
        epoch: device.epoch(),
        generation: 0,
        sequence: Sequence(0),
        session: 1,
        armed: 0,
    };
    let mut remembered: VecDeque<Wire> = VecDeque::new();
    let mut late: VecDeque<Vec<u8>> = VecDeque::new();
    let (mut sent, mut doubled, mut reordered) = (0_u64, 0_u64, 0_u64);
    while sent < frames {
        sent += 1;
        hostile.now += 1 + u64::from(hostile.dice.once_in(10)) * ROUND_MS_MAX;
        let silence = u64::from(hostile.dice.once_in(2000)) * SILENCE_MS;
        for _ in 0..silence {
            hostile.now += 1;
            device.run(DeviceTime(hostile.now));
            let edges: Vec<_> = device.hardware().edges.drain(..).collect();
            books.round(&edges, hostile.now);
        }
        let frame = hostile.frame();
        remembered.push_back(frame.clone());
        if remembered.len() > REMEMBERED {
            remembered.pop_front();
        }
        let mut wires = vec![hostile.garble(&frame)];
        if hostile.dice.once_in(8) {
            doubled += 1;
            wires.push(hostile.garble(&frame));
        }
        if hostile.dice.once_in(8) {
            reordered += 1;
            late.extend(wires.pop());
        }
        if sent.is_multiple_of(LATE_MAX) {
            wires.extend(late.drain(..));
        }
        let at = DeviceTime(hostile.now);
        for byte in wires.into_iter().flatten() {
            device.received(&[byte], at);
            if let Some(frame) = heard.take(byte) {
                let wire = frame.header.frame(&frame.payload).unwrap();
                assert!(remembered.contains(&wire), "nobody sent {frame:?}");
                books.heard(&frame, hostile.now);
                let edges: Vec<_> = device.hardware().edges.drain(..).collect();
                books.at_once(&edges, hostile.now);
            }
        }
        device.run(at);
        while device.frame(at).is_some() {}
        let edges: Vec<_> = device.hardware().edges.drain(..).collect();
        books.round(&edges, hostile.now);
    }
    let whole = heard.counts();
    println!(
        "hostile line: {sent} frames, {doubled} doubled, {reordered} late; {whole:?}; {:?}",
        books.counts
    );
    assert!(books.counts.edges > frames / 1000, "{:?}", books.counts);
}
