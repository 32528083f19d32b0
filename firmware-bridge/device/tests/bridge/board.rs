//! A board that is modelled: its pins, its flash, its watchdog. It does what it is told, and writes down each edge.

use std::collections::BTreeMap;

use bridge_device::hardware::RECORD_LEN;
use bridge_device::{
    Facts, Failed, Images, Limits, Meters, Pins, Quantity, Slot, Storage, Watchdog,
};
use bridge_protocol::{Capability, Identity, OutletNumber, PowerState, Reading, Versions};

/// Outlets of the boards in these tests.
pub(crate) const OUTLETS: u8 = 6;

const RECORDS: u16 = 8;
const IMAGE_LEN: usize = 4096;

pub(crate) const LIMITS: Limits = Limits { min_on_ms: 300, min_off_ms: 200, start_gap_ms: 40 };

/// An outlet was driven otherwise than it was.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Seen {
    pub(crate) outlet: OutletNumber,
    pub(crate) state: PowerState,
}

#[derive(Debug)]
pub(crate) struct Board {
    pub(crate) levels: Vec<PowerState>,
    pub(crate) stuck: BTreeMap<u8, Option<PowerState>>,
    pub(crate) readings: BTreeMap<(u8, usize), Reading>,
    pub(crate) edges: Vec<Seen>,
    pub(crate) fed: u32,
    pub(crate) sectors: Vec<Vec<[u8; RECORD_LEN]>>,
    pub(crate) erased: Vec<u32>,
    /// After so many writes the supply goes in the midst of the next one; it and what follows fails.
    pub(crate) writes_left: Option<u32>,
    pub(crate) images: [Vec<u8>; 2],
    /// A bit of the first place's flash, or of the second's, that does not take a zero.
    pub(crate) bad_byte: Option<usize>,
    pub(crate) restarted: bool,
}

pub(crate) fn outlet(number: u8) -> OutletNumber {
    OutletNumber::new(number).unwrap()
}

pub(crate) fn facts() -> Facts {
    let capabilities = [Capability::Contacts, Capability::HoldsOverReset, Capability::Updates];
    let meters = Quantity::ALL.map(Quantity::capability);
    Facts {
        identity: Identity(*b"LAMP0001"),
        board: 2040,
        firmware: 7,
        versions: Versions::ALL,
        outlets: OUTLETS,
        capabilities: capabilities.into_iter().chain(meters).collect(),
        limits: LIMITS,
    }
}

impl Board {
    pub(crate) fn new() -> Board {
        Board {
            levels: vec![PowerState::Off; usize::from(OUTLETS)],
            stuck: BTreeMap::new(),
            readings: BTreeMap::new(),
            edges: Vec::new(),
            fed: 0,
            sectors: vec![vec![[0xFF; RECORD_LEN]; usize::from(RECORDS)]; 4],
            erased: vec![0; 4],
            writes_left: None,
            images: [vec![0xFF; IMAGE_LEN], vec![0xFF; IMAGE_LEN]],
            bad_byte: None,
            restarted: false,
        }
    }

    fn spend_write(&mut self) -> Result<(), Failed> {
        match &mut self.writes_left {
            None => Ok(()),
            Some(0) => Err(Failed),
            Some(left) => {
                *left -= 1;
                Ok(())
            }
        }
    }

    fn image(&mut self, slot: Slot) -> &mut Vec<u8> {
        &mut self.images[usize::from(slot == Slot::B)]
    }
}

impl Pins for Board {
    fn drive(&mut self, outlet: OutletNumber, state: PowerState) {
        if self.levels[outlet.index()] != state {
            self.levels[outlet.index()] = state;
            self.edges.push(Seen { outlet, state });
        }
    }

    fn level(&mut self, outlet: OutletNumber) -> PowerState {
        self.levels[outlet.index()]
    }

    fn contact(&mut self, outlet: OutletNumber) -> Option<PowerState> {
        let level = self.levels[outlet.index()];
        self.stuck.get(&outlet.get()).copied().unwrap_or(Some(level))
    }
}

impl Meters for Board {
    fn measure(&mut self, outlet: OutletNumber, quantity: Quantity) -> Option<Reading> {
        let place = Quantity::ALL.iter().position(|other| *other == quantity).unwrap();
        self.readings.get(&(outlet.get(), place)).copied()
    }
}

impl Watchdog for Board {
    fn feed(&mut self) {
        self.fed += 1;
    }
}

impl Storage for Board {
    fn sectors(&self) -> u16 {
        u16::try_from(self.sectors.len()).unwrap()
    }

    fn records(&self) -> u16 {
        RECORDS
    }

    fn read(&mut self, sector: u16, record: u16) -> Result<[u8; RECORD_LEN], Failed> {
        Ok(self.sectors[usize::from(sector)][usize::from(record)])
    }

    fn write(&mut self, sector: u16, record: u16, bytes: &[u8; RECORD_LEN]) -> Result<(), Failed> {
        let place = &mut self.sectors[usize::from(sector)][usize::from(record)];
        assert_eq!(*place, [0xFF; RECORD_LEN], "flash is written once");
        if self.writes_left == Some(0) {
            // Torn: only its beginning stands.
            place[..RECORD_LEN / 3].copy_from_slice(&bytes[..RECORD_LEN / 3]);
        } else {
            *place = *bytes;
        }
        self.spend_write()
    }

    fn erase(&mut self, sector: u16) -> Result<(), Failed> {
        self.spend_write()?;
        self.erased[usize::from(sector)] += 1;
        self.sectors[usize::from(sector)].fill([0xFF; RECORD_LEN]);
        Ok(())
    }
}

impl Images for Board {
    fn capacity(&self) -> u32 {
        u32::try_from(IMAGE_LEN).unwrap()
    }

    fn clear(&mut self, slot: Slot) -> Result<(), Failed> {
        self.image(slot).fill(0xFF);
        Ok(())
    }

    fn write_image(&mut self, slot: Slot, offset: u32, bytes: &[u8]) -> Result<(), Failed> {
        let offset = usize::try_from(offset).unwrap();
        let bad = self.bad_byte;
        let image = self.image(slot);
        image[offset..offset + bytes.len()].copy_from_slice(bytes);
        if let Some(bad) = bad {
            image[bad] |= 1;
        }
        Ok(())
    }

    fn read_image(&mut self, slot: Slot, offset: u32, bytes: &mut [u8]) -> Result<(), Failed> {
        let offset = usize::try_from(offset).unwrap();
        bytes.copy_from_slice(&self.image(slot)[offset..offset + bytes.len()]);
        Ok(())
    }

    fn restart(&mut self) {
        self.restarted = true;
    }
}
