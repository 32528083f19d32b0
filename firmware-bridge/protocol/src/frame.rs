//! Frames: a header, a payload and a CRC-32, stuffed by COBS and ended by a zero.
//!
//! ```text
//! COBS( version:1 | kind:1 | sequence:2 | epoch:4 | payload:0..=PAYLOAD_MAX | crc32:4 ) 00
//! ```
//!
//! Numbers are little-endian. The CRC is that of Ethernet, over all that stands before it.

use crc::{CRC_32_ISO_HDLC, Crc};
use heapless::Vec;

use crate::cobs::{Garbled, Unstuffer, stuff};
use crate::{Epoch, Sequence, Version};

/// Version, kind, sequence and epoch.
pub const HEADER_LEN: usize = 8;

/// The most of a message. Header, payload and CRC are then one full run of COBS, which adds one byte to it.
pub const PAYLOAD_MAX: usize = 240;

/// A frame before it is stuffed.
pub const RAW_MAX: usize = HEADER_LEN + PAYLOAD_MAX + CRC_LEN;

/// A frame on the line: one byte of COBS before it, one zero after it.
pub const WIRE_MAX: usize = RAW_MAX + 2;

const CRC_LEN: usize = 4;

static CRC: Crc<u32> = Crc::<u32>::new(&CRC_32_ISO_HDLC);

/// A frame as it stands on the line.
pub type Wire = Vec<u8, WIRE_MAX>;

/// CRC-32 of some bytes, as of frames and images.
#[must_use]
pub fn crc32(bytes: &[u8]) -> u32 {
    CRC.checksum(bytes)
}

/// CRC-32 of bytes that are read piece by piece.
#[derive(Clone)]
pub struct RunningCrc(crc::Digest<'static, u32>);

impl RunningCrc {
    /// Of no bytes yet.
    #[must_use]
    pub fn new() -> RunningCrc {
        RunningCrc(CRC.digest())
    }

    /// Adds bytes.
    pub fn add(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    /// The CRC of all that was added.
    #[must_use]
    pub fn finish(self) -> u32 {
        self.0.finalize()
    }
}

impl Default for RunningCrc {
    fn default() -> RunningCrc {
        RunningCrc::new()
    }
}

/// What a frame's payload is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum FrameKind {
    /// A host's greeting.
    Hello,
    /// A device's greeting.
    Welcome,
    /// A device that does not speak the host's version.
    Unspoken,
    /// A request of the host.
    Request,
    /// The answer to the request with the same sequence.
    Answer,
    /// What a device tells unasked.
    Told,
}

impl FrameKind {
    const fn code(self) -> u8 {
        match self {
            FrameKind::Hello => 1,
            FrameKind::Welcome => 2,
            FrameKind::Unspoken => 3,
            FrameKind::Request => 4,
            FrameKind::Answer => 5,
            FrameKind::Told => 6,
        }
    }

    fn of(code: u8) -> Option<FrameKind> {
        Some(match code {
            1 => FrameKind::Hello,
            2 => FrameKind::Welcome,
            3 => FrameKind::Unspoken,
            4 => FrameKind::Request,
            5 => FrameKind::Answer,
            6 => FrameKind::Told,
            _ => return None,
        })
    }
}

/// What stands before a payload.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Header {
    /// The version of the payload.
    pub version: Version,
    /// What the payload is.
    pub kind: FrameKind,
    /// The frame's number.
    pub sequence: Sequence,
    /// The device's start that is spoken of, or [`Epoch::UNKNOWN`].
    pub epoch: Epoch,
}

/// A frame that arrived whole.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Frame {
    /// Its header.
    pub header: Header,
    /// Its payload.
    pub payload: Vec<u8, PAYLOAD_MAX>,
}

impl Header {
    /// The frame as it goes onto the line; `None` where the payload is longer than [`PAYLOAD_MAX`].
    #[must_use]
    pub fn frame(self, payload: &[u8]) -> Option<Wire> {
        let mut raw: Vec<u8, RAW_MAX> = Vec::new();
        raw.extend_from_slice(&[self.version.0, self.kind.code()]).ok()?;
        raw.extend_from_slice(&self.sequence.0.to_le_bytes()).ok()?;
        raw.extend_from_slice(&self.epoch.0.to_le_bytes()).ok()?;
        raw.extend_from_slice(payload).ok()?;
        let crc = crc32(&raw);
        raw.extend_from_slice(&crc.to_le_bytes()).ok()?;
        let mut wire = Wire::new();
        let mut fits = true;
        stuff(&raw, |byte| fits &= wire.push(byte).is_ok());
        fits &= wire.push(0).is_ok();
        fits.then_some(wire)
    }
}

/// What a decoder has seen; each number stays at its largest.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Counts {
    /// Whole frames.
    pub frames: u32,
    /// Bytes between two zeroes that were no frame: torn, too long or too short.
    pub garbled: u32,
    /// Frames whose CRC was another.
    pub crc: u32,
    /// Whole frames of a kind that is not known.
    pub unknown: u32,
}

/// Makes frames of bytes as they come. A disturbance costs the frame that it hits and at most the next one.
#[derive(Debug, Clone, Default)]
pub struct Decoder {
    unstuffer: Unstuffer,
    counts: Counts,
}

impl Decoder {
    /// Waits for its first frame.
    #[must_use]
    pub const fn new() -> Decoder {
        let counts = Counts { frames: 0, garbled: 0, crc: 0, unknown: 0 };
        Decoder { unstuffer: Unstuffer::new(), counts }
    }

    /// What it has seen so far.
    #[must_use]
    pub const fn counts(&self) -> Counts {
        self.counts
    }

    /// Takes one byte; the frame that it ends.
    pub fn take(&mut self, byte: u8) -> Option<Frame> {
        if byte != 0 {
            self.unstuffer.take(byte);
            return None;
        }
        let raw = match self.unstuffer.finish() {
            Ok(raw) => raw,
            Err(Garbled::Empty) => return None,
            Err(Garbled::Torn | Garbled::Overlong) => {
                self.counts.garbled = self.counts.garbled.saturating_add(1);
                return None;
            }
        };
        let Some((checked, crc)) = raw.split_last_chunk::<CRC_LEN>() else {
            self.counts.garbled = self.counts.garbled.saturating_add(1);
            return None;
        };
        if crc32(checked) != u32::from_le_bytes(*crc) {
            self.counts.crc = self.counts.crc.saturating_add(1);
            return None;
        }
        let frame = parse(checked);
        let count = match frame {
            Some(_) => &mut self.counts.frames,
            None => &mut self.counts.unknown,
        };
        *count = count.saturating_add(1);
        frame
    }
}

/// A frame of bytes whose CRC was right.
fn parse(checked: &[u8]) -> Option<Frame> {
    let (&[version, kind, first, second, e0, e1, e2, e3], payload) =
        checked.split_first_chunk::<HEADER_LEN>()?;
    let header = Header {
        version: Version(version),
        kind: FrameKind::of(kind)?,
        sequence: Sequence(u16::from_le_bytes([first, second])),
        epoch: Epoch(u32::from_le_bytes([e0, e1, e2, e3])),
    };
    Some(Frame { header, payload: Vec::from_slice(payload).ok()? })
}
