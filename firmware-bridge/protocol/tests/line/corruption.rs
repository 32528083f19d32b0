//! A line that does everything wrong: bit flips, bursts, drops, duplicates, reorders. Each frame carries its own number,
//! and the checker knows what was sent: what comes out was sent so, or it does not come out.

use std::collections::VecDeque;

use bridge_protocol::{Decoder, Epoch, Frame, FrameKind, Header, Sequence, Version};

use crate::dice::{Dice, number};

/// Corrupted frames in CI.
const FRAMES: u64 = 100_000;

/// The first seed.
const SEED: u64 = 20_261_123;

/// How many frames later one may come on a line that reorders.
const LATE_MAX: u64 = 16;

/// Sent frames that the checker remembers: more than may be late.
const REMEMBERED: usize = 32;

#[derive(Debug, Default)]
struct Counted {
    sent: u64,
    flipped: u64,
    burst: u64,
    cut: u64,
    inserted: u64,
    doubled: u64,
    reordered: u64,
    arrived: u64,
    never_sent: u64,
    lost_beside: u64,
}

/// A frame with a payload of chance; some have many zeroes, which COBS feels.
fn random(dice: &mut Dice, number: u64) -> (Frame, Vec<u8>) {
    let kinds = [FrameKind::Request, FrameKind::Answer, FrameKind::Told, FrameKind::Hello];
    let header = Header {
        version: Version(dice.byte() % 3),
        kind: kinds[dice.below(kinds.len())],
        sequence: Sequence(u16::try_from(number & 0xFFFF).unwrap()),
        epoch: Epoch(u32::try_from(number >> 16).unwrap()),
    };
    let zeroes = dice.below(4);
    let length = if dice.once_in(8) { dice.below(241) } else { dice.below(24) };
    let payload: Vec<u8> =
        (0..length).map(|_| if dice.below(4) < zeroes { 0 } else { dice.byte() }).collect();
    let wire = header.frame(&payload).unwrap().to_vec();
    (Frame { header, payload: heapless::Vec::from_slice(&payload).unwrap() }, wire)
}

/// Does something wrong to a frame's bytes, and says whether they still are what was sent.
fn corrupt(dice: &mut Dice, wire: &mut Vec<u8>, counted: &mut Counted) {
    match dice.below(5) {
        0 | 1 => {
            for _ in 0..=dice.below(8) {
                let at = dice.below(wire.len());
                wire[at] ^= 1 << dice.below(8);
            }
            counted.flipped += 1;
        }
        2 => {
            let from = dice.below(wire.len());
            let until = (from + 1 + dice.below(16)).min(wire.len());
            wire[from..until].iter_mut().for_each(|byte| *byte = dice.byte());
            counted.burst += 1;
        }
        3 => {
            let from = dice.below(wire.len());
            let until = (from + 1 + dice.below(wire.len())).min(wire.len());
            wire.drain(from..until);
            counted.cut += 1;
        }
        _ => {
            let at = dice.below(wire.len() + 1);
            let noise: Vec<u8> = (0..=dice.below(6)).map(|_| dice.byte()).collect();
            wire.splice(at..at, noise);
            counted.inserted += 1;
        }
    }
}

fn run(frames: u64) -> Counted {
    let mut dice = Dice(number("LAMPLIGHTER_SEED", SEED));
    let mut counted = Counted::default();
    let mut decoder = Decoder::new();
    let mut sent: VecDeque<Frame> = VecDeque::new();
    let mut late: Vec<Vec<u8>> = Vec::new();
    while counted.sent < frames {
        let (frame, wire) = random(&mut dice, counted.sent);
        counted.sent += 1;
        sent.push_back(frame);
        if sent.len() > REMEMBERED {
            sent.pop_front();
        }
        let mut pieces = vec![wire];
        match dice.below(8) {
            0 => {
                pieces.push(pieces[0].clone());
                counted.doubled += 1;
            }
            1 => {
                late.push(pieces.remove(0));
                counted.reordered += 1;
            }
            _ => {}
        }
        if counted.sent.is_multiple_of(LATE_MAX) || dice.once_in(4) {
            pieces.append(&mut late);
        }
        // One whole copy among them stays whole now and then; all others are hit.
        for piece in &mut pieces {
            if !dice.once_in(16) {
                corrupt(&mut dice, piece, &mut counted);
            }
            for byte in &*piece {
                if let Some(heard) = decoder.take(*byte) {
                    counted.arrived += 1;
                    counted.never_sent += u64::from(!sent.contains(&heard));
                }
            }
        }
        if counted.sent.is_multiple_of(16) {
            counted.lost_beside += beside(&mut dice, &mut decoder);
        }
    }
    counted
}

/// Two frames that nothing hits, after whatever was: how often the second does not arrive.
fn beside(dice: &mut Dice, decoder: &mut Decoder) -> u64 {
    let (_, first) = random(dice, 0);
    let (second, wire) = random(dice, 1);
    let heard: Vec<Frame> =
        first.iter().chain(&wire).filter_map(|byte| decoder.take(*byte)).collect();
    u64::from(heard.last() != Some(&second))
}

#[test]
fn of_corrupted_frames_comes_none_that_was_not_sent_and_the_next_but_one_is_heard() {
    let frames = number("LAMPLIGHTER_RUNS", FRAMES);
    let counted = run(frames);
    println!("corrupted frames: {counted:?}");
    assert_eq!(counted.never_sent, 0, "{counted:?}");
    assert_eq!(counted.lost_beside, 0, "{counted:?}");
    assert!(counted.arrived > counted.sent / 32, "the whole ones arrive: {counted:?}");
}
