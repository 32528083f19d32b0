//! The bytes of an LCUS-1/2/4/8 relay board, as the board hears and answers them: written from the
//! vendor's tables (`A0 channel op sum`, `FF` for status), never from a driver of ours.

use std::time::Duration;

use serde::Deserialize;
use serde::Serialize;

use crate::moment::Moment;
use crate::relay::Power;

/// First byte of a set frame.
const SET: u8 = 0xA0;
/// The status query, a frame of one byte.
const QUERY: u8 = 0xFF;
/// Bytes of a set frame.
const FRAME_LEN: usize = 4;
/// The board gives a half-heard frame up when no byte came for this long. At 9600 baud a byte takes
/// 1 ms; an adapter hands bytes on every 16 ms at worst; a hundred is far above both and below any
/// pause that a sender makes on purpose before it starts anew.
pub const PARTIAL_WAIT_MAX: Duration = Duration::from_millis(100);

/// What a board understood.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Heard {
    /// Drive the coil of a channel, counted from 1.
    Set {
        /// Counted from 1; within the board's channels.
        channel: u8,
        /// What the coil is driven to.
        power: Power,
    },
    /// Report every channel.
    Query,
}

/// What a board has heard since its start. Every byte that reached it while it had power ends in
/// exactly one of these.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Counts {
    /// Set frames that were obeyed (also those that changed nothing).
    pub accepted: u64,
    /// Status queries that were heard in time.
    pub queries: u64,
    /// Frames and queries that began within the board's minimum gap, or that a fault took away, and
    /// were not obeyed.
    pub lost: u64,
    /// Frames with a wrong sum, frames that never ended, and stray bytes.
    pub bad: u64,
    /// Whole frames with a channel that the board has not, or an operation that is not 0 or 1.
    pub ignored: u64,
}

/// Takes bytes one by one, with the moment at which each arrived.
#[derive(Debug, Clone)]
pub struct Decoder {
    channels: u8,
    gap: Duration,
    partial: Vec<u8>,
    partial_began: Moment,
    partial_grew: Moment,
    busy_since: Option<Moment>,
    counts: Counts,
}

impl Decoder {
    /// A board of `channels` channels that is deaf for `gap` after each frame that it obeyed and
    /// each query that it heard.
    #[must_use]
    pub fn new(channels: u8, gap: Duration) -> Self {
        Self {
            channels,
            gap,
            partial: Vec::with_capacity(FRAME_LEN),
            partial_began: Moment::START,
            partial_grew: Moment::START,
            busy_since: None,
            counts: Counts::default(),
        }
    }

    /// What was heard so far.
    #[must_use]
    pub fn counts(&self) -> Counts {
        self.counts
    }

    /// Gives up a frame whose rest never came.
    pub fn expire(&mut self, now: Moment) {
        if !self.partial.is_empty() && now.since(self.partial_grew) >= PARTIAL_WAIT_MAX {
            self.partial.clear();
            self.counts.bad += 1;
        }
    }

    /// The frame or query that was understood just now was not heard after all: a fault took it.
    pub fn lose(&mut self, heard: Heard) {
        let counted = match heard {
            Heard::Set { .. } => &mut self.counts.accepted,
            Heard::Query => &mut self.counts.queries,
        };
        *counted = counted.saturating_sub(1);
        self.counts.lost += 1;
    }

    /// Forgets a frame that was half heard, and when the last one was: the board lost its power.
    pub fn reset(&mut self) {
        self.counts.bad += u64::from(!self.partial.is_empty());
        self.partial.clear();
        self.busy_since = None;
    }

    /// One byte that arrived at `now`.
    pub fn hear(&mut self, byte: u8, now: Moment) -> Option<Heard> {
        self.expire(now);
        if self.partial.is_empty() {
            match byte {
                SET => self.partial_began = now,
                QUERY => return self.query(now),
                _ => {
                    self.counts.bad += 1;
                    return None;
                }
            }
        }
        self.partial_grew = now;
        self.partial.push(byte);
        if self.partial.len() < FRAME_LEN {
            return None;
        }
        let frame = std::mem::replace(&mut self.partial, Vec::with_capacity(FRAME_LEN));
        self.frame(&frame, now)
    }

    fn query(&mut self, now: Moment) -> Option<Heard> {
        if self.deaf_at(now) {
            self.counts.lost += 1;
            return None;
        }
        self.counts.queries += 1;
        self.busy_since = Some(now);
        Some(Heard::Query)
    }

    fn frame(&mut self, frame: &[u8], now: Moment) -> Option<Heard> {
        let &[first, channel, op, sum] = frame else { return None };
        if self.deaf_at(self.partial_began) {
            self.counts.lost += 1;
            return None;
        }
        if first.wrapping_add(channel).wrapping_add(op) != sum {
            self.counts.bad += 1;
            return None;
        }
        let power = match op {
            0 => Power::Off,
            1 => Power::On,
            _ => {
                self.counts.ignored += 1;
                return None;
            }
        };
        if channel == 0 || channel > self.channels {
            self.counts.ignored += 1;
            return None;
        }
        self.counts.accepted += 1;
        self.busy_since = Some(now);
        Some(Heard::Set { channel, power })
    }

    fn deaf_at(&self, began: Moment) -> bool {
        self.busy_since.is_some_and(|busy| began.since(busy) < self.gap)
    }
}

/// The answer to a status query: one line per channel, `ON` padded to the width of `OFF`.
#[must_use]
pub fn status_lines(coils: impl Iterator<Item = Power>) -> Vec<u8> {
    let mut lines = Vec::new();
    for (channel, coil) in (1..).zip(coils) {
        let word = match coil {
            Power::On => "ON ",
            Power::Off => "OFF",
        };
        lines.extend_from_slice(format!("CH{channel}: {word}\r\n").as_bytes());
        debug_assert!(channel <= 8, "no LCUS board has more than eight channels");
    }
    lines
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const GAP: Duration = Duration::from_millis(50);
    const ON_1: [u8; 4] = [0xA0, 0x01, 0x01, 0xA2];
    const OFF_2: [u8; 4] = [0xA0, 0x02, 0x00, 0xA2];

    fn board(gap: Duration) -> crate::board::Board {
        let unpowered = crate::board::Unpowered::Drop;
        crate::board::Board::new(crate::board::Kind::LcusAscii, 4, gap, unpowered)
    }

    fn hear(decoder: &mut Decoder, bytes: &[u8], millis: u64) -> Vec<Heard> {
        let at = Moment::from_millis(millis);
        bytes.iter().filter_map(|byte| decoder.hear(*byte, at)).collect()
    }

    #[test]
    fn the_vendors_frames_are_heard() {
        for (frame, channel, power) in [
            ([0xA0, 0x01, 0x01, 0xA2], 1, Power::On),
            ([0xA0, 0x01, 0x00, 0xA1], 1, Power::Off),
            ([0xA0, 0x02, 0x01, 0xA3], 2, Power::On),
            ([0xA0, 0x02, 0x00, 0xA2], 2, Power::Off),
            ([0xA0, 0x08, 0x01, 0xA9], 8, Power::On),
            ([0xA0, 0x08, 0x00, 0xA8], 8, Power::Off),
        ] {
            let mut decoder = Decoder::new(8, GAP);
            assert_eq!(hear(&mut decoder, &frame, 0), [Heard::Set { channel, power }]);
        }
        assert_eq!(hear(&mut Decoder::new(8, GAP), &[0xFF], 0), [Heard::Query]);
    }

    #[test]
    fn the_status_lines_are_padded_as_the_boards_are() {
        let coils = [Power::On, Power::Off];
        assert_eq!(status_lines(coils.into_iter()), b"CH1: ON \r\nCH2: OFF\r\n");
    }

    #[test]
    fn of_two_frames_in_one_write_the_second_is_lost() {
        let mut decoder = Decoder::new(4, GAP);
        let heard = hear(&mut decoder, &[ON_1, OFF_2].concat(), 0);
        assert_eq!(heard, [Heard::Set { channel: 1, power: Power::On }]);
        assert_eq!(decoder.counts(), Counts { accepted: 1, lost: 1, ..Counts::default() });
    }

    #[test]
    fn the_gap_runs_from_the_last_frame_or_query_to_a_frames_first_byte() {
        let mut decoder = Decoder::new(4, GAP);
        assert_eq!(hear(&mut decoder, &[0xFF], 0).len(), 1);
        assert_eq!(hear(&mut decoder, &[0xFF], 49), []);
        assert_eq!(hear(&mut decoder, &ON_1[..1], 49), [], "begins too soon");
        assert_eq!(hear(&mut decoder, &ON_1[1..], 60), [], "and ends in time: lost all the same");
        assert_eq!(hear(&mut decoder, &ON_1, 60).len(), 1, "a lost frame starts no gap");
        assert_eq!(hear(&mut decoder, &OFF_2, 110).len(), 1, "exactly the gap is enough");
        let counts = Counts { accepted: 2, queries: 1, lost: 2, ..Counts::default() };
        assert_eq!(decoder.counts(), counts);
    }

    #[test]
    fn what_is_no_order_of_this_board_moves_nothing_and_is_counted() {
        let mut decoder = Decoder::new(4, GAP);
        let strange: [&[u8]; 6] = [
            &[0xA0, 0x01, 0x01, 0xA3], // a wrong sum
            &[0x42],                   // a stray byte
            &[0xA0, 0x01, 0x02, 0xA3], // off with echo: another dialect
            &[0xA0, 0x01, 0x04, 0xA5], // invert: another dialect
            &[0xA0, 0x05, 0x01, 0xA6], // a fifth channel of four
            &[0xA0, 0x00, 0x01, 0xA1], // channel 0
        ];
        for bytes in strange {
            assert_eq!(hear(&mut decoder, bytes, 0), []);
        }
        assert_eq!(decoder.counts(), Counts { bad: 2, ignored: 4, ..Counts::default() });
    }

    #[test]
    fn a_frame_whose_rest_never_comes_does_not_spoil_the_next() {
        let mut decoder = Decoder::new(4, GAP);
        assert_eq!(hear(&mut decoder, &ON_1[..3], 0), []);
        assert_eq!(hear(&mut decoder, &ON_1, 100).len(), 1);
        assert_eq!(decoder.counts(), Counts { accepted: 1, bad: 1, ..Counts::default() });
    }

    proptest! {
        /// However the same bytes are portioned, the board hears the same; and every byte is in
        /// exactly one count.
        #[test]
        fn portions_do_not_matter(
            bytes in prop::collection::vec(prop_oneof![
                Just(0xA0), Just(0xFF), 0_u8..=9, Just(0xA1), Just(0xA2), any::<u8>()
            ], 0..64),
            cuts in prop::collection::vec(0_usize..64, 0..8),
            gap_ms in prop_oneof![Just(0), Just(50)],
        ) {
            let gap = Duration::from_millis(gap_ms);
            let mut whole = board(gap);
            let mut split = whole.clone();
            let expected = whole.receive(&bytes, Moment::START);
            let mut cuts: Vec<usize> = cuts.into_iter().map(|cut| cut.min(bytes.len())).collect();
            cuts.extend([0, bytes.len()]);
            cuts.sort_unstable();
            let found: Vec<_> = cuts
                .windows(2)
                .flat_map(|pair| split.receive(&bytes[pair[0]..pair[1]], Moment::START))
                .collect();
            prop_assert_eq!(found, expected);
            let later = Moment::START + PARTIAL_WAIT_MAX;
            prop_assert_eq!(split.counts(later), whole.counts(later));
        }
    }
}
