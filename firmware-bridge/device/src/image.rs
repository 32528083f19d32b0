//! A new firmware: it is written beside the present one, verified, started on trial, and left again unless it is kept.

use bridge_protocol::frame::RunningCrc;
use bridge_protocol::{DeviceTime, ImageFacts, Refusal};

use crate::store::{Firmware, Memory, Store};
use crate::{Facts, Images, Slot, Storage};

/// How long a new firmware has to be kept by its host: it opens the line, looks and says so.
pub const TRIAL_MS: u32 = 60_000;

/// How much of an image is read at once when it is verified.
const READ_LEN: usize = 256;

/// An image that is being sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Update {
    image: ImageFacts,
    slot: Slot,
    received: u32,
}

impl Update {
    /// An image is announced: its place is made empty.
    ///
    /// # Errors
    ///
    /// Why it is not taken.
    pub fn begin(
        image: ImageFacts,
        facts: &Facts,
        firmware: Firmware,
        images: &mut impl Images,
    ) -> Result<Update, Refusal> {
        // While one is on trial its place is the running one, and the other is the way back.
        let Firmware::Settled(running) = firmware else { return Err(Refusal::Unable) };
        if image.board != facts.board {
            return Err(Refusal::OtherBoard(facts.board));
        }
        if image.length > images.capacity() {
            return Err(Refusal::ImageTooLong(images.capacity()));
        }
        if image.length == 0 {
            return Err(Refusal::Malformed);
        }
        let slot = running.other();
        images.clear(slot).map_err(|_failed| Refusal::StorageFailed)?;
        Ok(Update { image, slot, received: 0 })
    }

    /// The next bytes of the image; how many have arrived.
    ///
    /// # Errors
    ///
    /// Why they are not taken.
    pub fn take(
        &mut self,
        offset: u32,
        bytes: &[u8],
        images: &mut impl Images,
    ) -> Result<u32, Refusal> {
        let length = u32::try_from(bytes.len()).map_err(|_long| Refusal::Malformed)?;
        let until = self.received.saturating_add(length);
        if offset != self.received {
            return Err(Refusal::OutOfOrder(self.received));
        }
        if length == 0 || until > self.image.length {
            return Err(Refusal::Malformed);
        }
        let written = images.write_image(self.slot, offset, bytes);
        written.map_err(|_failed| Refusal::StorageFailed)?;
        self.received = until;
        Ok(until)
    }

    /// Verifies what was written, as it reads from the flash; the place in which it lies.
    ///
    /// # Errors
    ///
    /// Where it is not whole, or not what was announced.
    pub fn verify(&self, images: &mut impl Images) -> Result<Slot, Refusal> {
        if self.received != self.image.length {
            return Err(Refusal::OutOfOrder(self.received));
        }
        let mut crc = RunningCrc::new();
        let mut offset = 0_u32;
        let mut buffer = [0; READ_LEN];
        while offset < self.image.length {
            let left = usize::try_from(self.image.length.saturating_sub(offset));
            let length = left.unwrap_or(READ_LEN).min(READ_LEN);
            let Some(piece) = buffer.get_mut(..length) else { return Err(Refusal::Malformed) };
            let read = images.read_image(self.slot, offset, piece);
            read.map_err(|_failed| Refusal::StorageFailed)?;
            crc.add(piece);
            offset = offset.saturating_add(u32::try_from(piece.len()).unwrap_or(u32::MAX));
        }
        match crc.finish() {
            found if found == self.image.crc => Ok(self.slot),
            found => Err(Refusal::DoesNotVerify(found)),
        }
    }
}

/// Which firmware is started, for the loader to ask before each start. One that was started on trial and was not kept before
/// the next start is left: whatever made it start anew, a fault of its own or the end of [`TRIAL_MS`].
pub fn choose(storage: &mut impl Storage) -> Slot {
    let Ok(mut store) = Store::open(storage) else { return Slot::A };
    let (runs, next, otherwise) = match store.memory().firmware {
        Firmware::Settled(slot) | Firmware::FellBack(slot) => return slot,
        Firmware::New(slot) => (slot, Firmware::Trial(slot), slot.other()),
        Firmware::Trial(slot) => (slot.other(), Firmware::FellBack(slot.other()), slot.other()),
    };
    let memory = Memory { firmware: next, ..store.memory().clone() };
    // A trial that can not be remembered would never end: then there is none.
    match store.remember(&memory, storage) {
        Ok(()) => runs,
        Err(_failed) => otherwise,
    }
}

/// A firmware on trial, and until when it is to be kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Trial {
    /// Where it lies.
    pub slot: Slot,
    /// On the device's clock.
    pub until: DeviceTime,
}
