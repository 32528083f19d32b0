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

/// What a board has heard since its start. Every byte ends in exactly one of these.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Counts {
    /// Set frames that were obeyed (also those that changed nothing).
    pub accepted: u64,
    /// Status queries that were heard in time.
    pub queries: u64,
    /// Frames and queries that began within the board's minimum gap and were not obeyed.
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
