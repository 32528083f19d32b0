//! The board: relays, contacts, converters, flash. It does what it is told, and writes down each edge of a contact.

use std::collections::BTreeMap;

use bridge_device::hardware::RECORD_LEN;
use bridge_device::{Failed, Images, Meters, Pins, Quantity, Slot, Storage, Watchdog};
use bridge_protocol::{OutletNumber, PowerState, Reading};

use crate::Image;

/// Sectors of the flash for records: two are the least.
const SECTORS: u16 = 4;
/// As many records as a sector of 4 KiB has.
const RECORDS: u16 = 32;
/// Bytes of a place for firmware.
const IMAGE_LEN: usize = 256 << 10;

/// A contact moved.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Edge {
    /// Of which outlet.
    pub outlet: OutletNumber,
    /// To what.
    pub state: PowerState,
}

/// What is wrong with a contact.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Contact {
    /// It is welded or burnt, and stays.
    Stuck(PowerState),
    /// The wire that reads it is off.
    Unread,
}

/// A board.
#[derive(Debug)]
pub struct Board {
    coils: Vec<PowerState>,
    contacts: Vec<PowerState>,
    wrong: BTreeMap<OutletNumber, Contact>,
    readings: BTreeMap<(OutletNumber, usize), Reading>,
    edges: Vec<Edge>,
    sectors: Vec<Vec<[u8; RECORD_LEN]>>,
    images: [Vec<u8>; 2],
    restarts: bool,
}

impl Board {
    /// With so many outlets, all off, and empty flash.
    #[must_use]
    pub fn new(outlets: u8) -> Board {
        let relays = vec![PowerState::Off; usize::from(outlets)];
        Board {
            coils: relays.clone(),
            contacts: relays,
            wrong: BTreeMap::new(),
            readings: BTreeMap::new(),
            edges: Vec::new(),
            sectors: vec![vec![[0xFF; RECORD_LEN]; usize::from(RECORDS)]; usize::from(SECTORS)],
            images: [Vec::new(), Vec::new()],
            restarts: false,
        }
    }

    /// A relay is found in a state; no edge.
    pub fn found_in(&mut self, outlet: OutletNumber, state: PowerState) {
        for relays in [&mut self.coils, &mut self.contacts] {
            if let Some(relay) = relays.get_mut(outlet.index()) {
                *relay = state;
            }
        }
    }

    /// Where a contact is.
    #[must_use]
    pub fn contact_of(&self, outlet: OutletNumber) -> PowerState {
        self.contacts.get(outlet.index()).copied().unwrap_or(PowerState::Off)
    }

    /// From now on this is wrong with a contact; `None`: nothing.
    pub fn wrong(&mut self, outlet: OutletNumber, contact: Option<Contact>) {
        match contact {
            Some(contact) => drop(self.wrong.insert(outlet, contact)),
            None => drop(self.wrong.remove(&outlet)),
        }
        self.follow(outlet);
    }

    /// A measurement from now on; `None`: it can not be told.
    pub fn measures(&mut self, outlet: OutletNumber, quantity: Quantity, reading: Option<Reading>) {
        let place = (outlet, place(quantity));
        match reading {
            Some(reading) => drop(self.readings.insert(place, reading)),
            None => drop(self.readings.remove(&place)),
        }
    }

    /// The relays open: their coils are without current.
    pub fn drop_relays(&mut self) {
        for outlet in OutletNumber::all().take(self.coils.len()) {
            self.drive(outlet, PowerState::Off);
        }
    }

    /// The edges since they were taken last.
    pub(crate) fn take_edges(&mut self) -> Vec<Edge> {
        std::mem::take(&mut self.edges)
    }

    pub(crate) fn takes_restart(&mut self) -> bool {
        std::mem::take(&mut self.restarts)
    }

    /// The firmware in a place; `None`: the one that the board came with.
    pub(crate) fn image(&self, slot: Slot) -> Option<Image> {
        Image::read(self.images.get(index(slot))?)
    }

    /// The contact follows its coil, where it can.
    fn follow(&mut self, outlet: OutletNumber) {
        let Some(coil) = self.coils.get(outlet.index()).copied() else { return };
        let state = match self.wrong.get(&outlet) {
            Some(Contact::Stuck(state)) => *state,
            Some(Contact::Unread) | None => coil,
        };
        if let Some(contact) = self.contacts.get_mut(outlet.index())
            && *contact != state
        {
            *contact = state;
            self.edges.push(Edge { outlet, state });
        }
    }

    fn record(&mut self, sector: u16, record: u16) -> Result<&mut [u8; RECORD_LEN], Failed> {
        let sector = self.sectors.get_mut(usize::from(sector)).ok_or(Failed)?;
        sector.get_mut(usize::from(record)).ok_or(Failed)
    }
}

fn place(quantity: Quantity) -> usize {
    Quantity::ALL.iter().position(|other| *other == quantity).unwrap_or(Quantity::COUNT)
}

const fn index(slot: Slot) -> usize {
    match slot {
        Slot::A => 0,
        Slot::B => 1,
    }
}

impl Pins for Board {
    fn drive(&mut self, outlet: OutletNumber, state: PowerState) {
        if let Some(coil) = self.coils.get_mut(outlet.index()) {
            *coil = state;
        }
        self.follow(outlet);
    }

    fn level(&mut self, outlet: OutletNumber) -> PowerState {
        self.coils.get(outlet.index()).copied().unwrap_or(PowerState::Off)
    }

    fn contact(&mut self, outlet: OutletNumber) -> Option<PowerState> {
        let unread = self.wrong.get(&outlet) == Some(&Contact::Unread);
        (!unread).then(|| self.contact_of(outlet))
    }
}

impl Meters for Board {
    fn measure(&mut self, outlet: OutletNumber, quantity: Quantity) -> Option<Reading> {
        self.readings.get(&(outlet, place(quantity))).copied()
    }
}

impl Watchdog for Board {
    fn feed(&mut self) {}
}

impl Storage for Board {
    fn sectors(&self) -> u16 {
        SECTORS
    }

    fn records(&self) -> u16 {
        RECORDS
    }

    fn read(&mut self, sector: u16, record: u16) -> Result<[u8; RECORD_LEN], Failed> {
        self.record(sector, record).copied()
    }

    fn write(&mut self, sector: u16, record: u16, bytes: &[u8; RECORD_LEN]) -> Result<(), Failed> {
        let place = self.record(sector, record)?;
        // Flash takes zeroes only: what was written before shows through.
        place.iter_mut().zip(bytes).for_each(|(place, byte)| *place &= byte);
        Ok(())
    }

    fn erase(&mut self, sector: u16) -> Result<(), Failed> {
        let sector = self.sectors.get_mut(usize::from(sector)).ok_or(Failed)?;
        sector.fill([0xFF; RECORD_LEN]);
        Ok(())
    }
}

impl Images for Board {
    fn capacity(&self) -> u32 {
        u32::try_from(IMAGE_LEN).unwrap_or(u32::MAX)
    }

    fn clear(&mut self, slot: Slot) -> Result<(), Failed> {
        self.images.get_mut(index(slot)).ok_or(Failed)?.clear();
        Ok(())
    }

    fn write_image(&mut self, slot: Slot, offset: u32, bytes: &[u8]) -> Result<(), Failed> {
        let image = self.images.get_mut(index(slot)).ok_or(Failed)?;
        if usize::try_from(offset) != Ok(image.len()) || image.len() + bytes.len() > IMAGE_LEN {
            return Err(Failed);
        }
        image.extend_from_slice(bytes);
        Ok(())
    }

    fn read_image(&mut self, slot: Slot, offset: u32, bytes: &mut [u8]) -> Result<(), Failed> {
        let image = self.images.get(index(slot)).ok_or(Failed)?;
        let from = usize::try_from(offset).map_err(|_large| Failed)?;
        let piece = image.get(from..from + bytes.len()).ok_or(Failed)?;
        bytes.copy_from_slice(piece);
        Ok(())
    }

    fn restart(&mut self) {
        self.restarts = true;
    }
}
