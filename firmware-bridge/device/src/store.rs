//! What a device remembers over its resets: one record holds all of it, the newest whole one counts, and records go round
//! through all sectors, so that each is erased as often as the others.

use bridge_protocol::frame::crc32;
use bridge_protocol::{Epoch, OUTLETS_MAX, OutletNumber, SafeState};
use heapless::Vec;
use serde::{Deserialize, Serialize};

use crate::hardware::RECORD_LEN;
use crate::{Failed, Slot, Storage};

/// Which firmware runs, and how it came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Firmware {
    /// This one, and it is known to work.
    Settled(Slot),
    /// This one was verified and is to be started.
    New(Slot),
    /// This one was started, and nobody said yet that it works.
    Trial(Slot),
    /// This one again, because the other did not prove itself.
    FellBack(Slot),
}

/// A cycle whose off may have been driven, and whose on was not.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct OpenCycle {
    /// Which outlet.
    pub outlet: OutletNumber,
    /// Its off, in tenths of a second, rounded up: three bytes at most, so that a record holds one for each outlet.
    pub off_tenths: u16,
}

/// All that is remembered.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Memory {
    /// The present start.
    pub epoch: Epoch,
    /// The safe state of each outlet.
    pub safe: [SafeState; OUTLETS_MAX],
    /// Cycles that have to be ended.
    pub cycles: Vec<OpenCycle, OUTLETS_MAX>,
    /// The firmware.
    pub firmware: Firmware,
}

impl Memory {
    /// Of a device that never ran: what nobody spoke of is safe without power.
    pub const BLANK: Memory = Memory {
        epoch: Epoch::UNKNOWN,
        safe: [SafeState::Off; OUTLETS_MAX],
        cycles: Vec::new(),
        firmware: Firmware::Settled(Slot::A),
    };
}

/// Counter and CRC of a record.
const COUNTER_LEN: usize = 4;
const CRC_LEN: usize = 4;
const PAYLOAD_LEN: usize = RECORD_LEN - COUNTER_LEN - CRC_LEN;

/// The place of a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Place {
    sector: u16,
    record: u16,
}

/// The records in a storage.
#[derive(Debug, Clone)]
pub struct Store {
    memory: Memory,
    /// The number of the newest record; it only grows, and 2^32 writes are more than flash bears.
    counter: u32,
    /// Where the newest record stands; `None`: there is none.
    newest: Option<Place>,
}

impl Store {
    /// Finds the newest whole record. One that the supply left torn is passed over.
    ///
    /// # Errors
    ///
    /// Where the chip does not answer.
    pub fn open(storage: &mut impl Storage) -> Result<Store, Failed> {
        let mut store = Store::blank();
        for sector in 0..storage.sectors() {
            for record in 0..storage.records() {
                let Some((counter, memory)) = read(&storage.read(sector, record)?) else {
                    continue;
                };
                if counter > store.counter {
                    store = Store { memory, counter, newest: Some(Place { sector, record }) };
                }
            }
        }
        Ok(store)
    }

    /// Of a device that remembers nothing.
    #[must_use]
    pub const fn blank() -> Store {
        Store { memory: Memory::BLANK, counter: 0, newest: None }
    }

    /// What is remembered.
    #[must_use]
    pub const fn memory(&self) -> &Memory {
        &self.memory
    }

    /// Remembers something else from now on; nothing is written where it is the same.
    ///
    /// # Errors
    ///
    /// Where it could not be written and read back: then what was remembered before still is.
    pub fn remember(&mut self, memory: &Memory, storage: &mut impl Storage) -> Result<(), Failed> {
        if self.newest.is_some() && self.memory == *memory {
            return Ok(());
        }
        let counter = self.counter.saturating_add(1);
        let bytes = written(counter, memory)?;
        let place = self.free_place(storage)?;
        storage.write(place.sector, place.record, &bytes)?;
        if storage.read(place.sector, place.record)? != bytes {
            return Err(Failed);
        }
        *self = Store { memory: memory.clone(), counter, newest: Some(place) };
        Ok(())
    }

    /// The next place in which nothing was written, after the newest record: in its sector, or first in the next one, which is
    /// erased before.
    fn free_place(&self, storage: &mut impl Storage) -> Result<Place, Failed> {
        let next_sector = match self.newest {
            Some(Place { sector, record }) => {
                for record in record.saturating_add(1)..storage.records() {
                    // A torn one may stand there.
                    if storage.read(sector, record)? == [0xFF; RECORD_LEN] {
                        return Ok(Place { sector, record });
                    }
                }
                let next = sector.saturating_add(1);
                if next < storage.sectors() { next } else { 0 }
            }
            None => 0,
        };
        storage.erase(next_sector)?;
        Ok(Place { sector: next_sector, record: 0 })
    }
}

fn written(counter: u32, memory: &Memory) -> Result<[u8; RECORD_LEN], Failed> {
    let mut payload = [0; PAYLOAD_LEN];
    postcard::to_slice(memory, &mut payload).map_err(|_full| Failed)?;
    let mut record: Vec<u8, RECORD_LEN> = Vec::new();
    let fits = record.extend_from_slice(&counter.to_le_bytes()).is_ok()
        && record.extend_from_slice(&payload).is_ok();
    assert!(fits, "a record holds its parts");
    let crc = crc32(&record);
    record.extend_from_slice(&crc.to_le_bytes()).map_err(|_full| Failed)?;
    record.into_array().map_err(|_short| Failed)
}

fn read(bytes: &[u8; RECORD_LEN]) -> Option<(u32, Memory)> {
    let (checked, crc) = bytes.split_last_chunk::<CRC_LEN>()?;
    if crc32(checked) != u32::from_le_bytes(*crc) {
        return None;
    }
    let (counter, payload) = checked.split_first_chunk::<COUNTER_LEN>()?;
    let (memory, _padding) = postcard::take_from_bytes(payload).ok()?;
    Some((u32::from_le_bytes(*counter), memory))
}
