//! Consistent overhead byte stuffing: a frame holds no zero, so a zero ends it and whoever lost count begins anew there.

use crate::frame::RAW_MAX;

/// Bytes of which a frame is made, stuffed one by one into a sink.
///
/// `raw` is at most [`RAW_MAX`] long, shorter than the longest run that a code byte names: so one byte is added in
/// all, and what the algorithm does about longer runs is not needed.
pub fn stuff(raw: &[u8], mut sink: impl FnMut(u8)) {
    assert!(raw.len() <= RAW_MAX, "a frame is short");
    for run in raw.split(|byte| *byte == 0) {
        sink(u8::try_from(run.len()).unwrap_or(u8::MAX).saturating_add(1));
        run.iter().for_each(|byte| sink(*byte));
    }
}

/// Takes stuffed bytes one by one, without a second buffer.
#[derive(Debug, Clone, Default)]
pub struct Unstuffer {
    /// Bytes that are still to come of the present run.
    left: u8,
    /// Whether a zero is meant before the next run.
    zero_before: bool,
    raw: heapless::Vec<u8, RAW_MAX>,
    /// More came than any frame has: what comes is thrown away until the next zero.
    overlong: bool,
    empty: bool,
}

/// Why bytes between two zeroes are no frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Garbled {
    /// Nothing stood between the zeroes: a sender may say two in a row.
    Empty,
    /// A run ended too soon.
    Torn,
    /// Longer than [`RAW_MAX`].
    Overlong,
}

impl Unstuffer {
    /// Waits for the first byte after a zero.
    #[must_use]
    pub const fn new() -> Unstuffer {
        Unstuffer {
            left: 0,
            zero_before: false,
            raw: heapless::Vec::new(),
            overlong: false,
            empty: true,
        }
    }

    /// Takes one byte that is no zero.
    pub fn take(&mut self, byte: u8) {
        self.empty = false;
        if self.left > 0 {
            self.left = self.left.saturating_sub(1);
            self.keep(byte);
            return;
        }
        if self.zero_before {
            self.keep(0);
        }
        self.left = byte.saturating_sub(1);
        self.zero_before = true;
    }

    /// A zero came: what stood before it, and all is as new.
    ///
    /// # Errors
    ///
    /// Where it was no whole run of frames' bytes, and why.
    pub fn finish(&mut self) -> Result<heapless::Vec<u8, RAW_MAX>, Garbled> {
        let done = core::mem::replace(self, Unstuffer::new());
        match done {
            Unstuffer { empty: true, .. } => Err(Garbled::Empty),
            Unstuffer { overlong: true, .. } => Err(Garbled::Overlong),
            Unstuffer { left: 0, raw, .. } => Ok(raw),
            Unstuffer { .. } => Err(Garbled::Torn),
        }
    }

    fn keep(&mut self, byte: u8) {
        self.overlong |= self.raw.push(byte).is_err();
    }
}
