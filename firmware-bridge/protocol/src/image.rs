//! What is said of a firmware image that is to replace the present one.

use serde::{Deserialize, Serialize};

/// Bytes of an image in one message: a divisor of a flash page of 256 bytes, and small enough for a frame.
pub const CHUNK_MAX: usize = 128;

/// An image, as the host announces it and the device verifies it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct ImageFacts {
    /// For what kind of board it was made.
    pub board: u16,
    /// The version of the firmware in it.
    pub firmware: u32,
    /// How long it is, in bytes.
    pub length: u32,
    /// CRC-32 of all its bytes.
    pub crc: u32,
}
