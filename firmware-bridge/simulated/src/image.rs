//! What a simulated firmware image says of itself, so that a board that is started with it is another one.

use bridge_protocol::{Version, Versions};

/// How an image of a simulated firmware begins.
const MAGIC: [u8; 4] = *b"LSIM";

/// A simulated firmware.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Image {
    /// Its version.
    pub firmware: u32,
    /// What it speaks.
    pub versions: Versions,
}

impl Image {
    /// The image as it is sent: what it says, and filling up to a length.
    #[must_use]
    pub fn bytes(self, length: usize) -> Vec<u8> {
        let mut bytes = MAGIC.to_vec();
        bytes.extend(self.firmware.to_le_bytes());
        bytes.extend([self.versions.lowest.0, self.versions.highest.0]);
        bytes.resize(bytes.len().max(length), 0xA5);
        bytes
    }

    /// What an image says; `None`: it is none of a simulated firmware.
    pub(crate) fn read(bytes: &[u8]) -> Option<Image> {
        let rest = bytes.strip_prefix(&MAGIC)?;
        let (firmware, rest) = rest.split_first_chunk()?;
        let ([lowest, highest], _) = rest.split_first_chunk()?;
        let versions = Versions { lowest: Version(*lowest), highest: Version(*highest) };
        Some(Image { firmware: u32::from_le_bytes(*firmware), versions })
    }
}
