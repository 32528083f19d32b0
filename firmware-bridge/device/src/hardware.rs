//! The board behind the logic. Each trait is as small as its chip: none of them decides anything.

use bridge_protocol::{Capability, OutletNumber, PowerState, Reading};
use serde::{Deserialize, Serialize};

/// Everything of a board.
pub trait Hardware: Pins + Meters + Watchdog + Storage + Images {}

impl<T: Pins + Meters + Watchdog + Storage + Images> Hardware for T {}

/// Relays and their contacts.
pub trait Pins {
    /// Drives an outlet.
    fn drive(&mut self, outlet: OutletNumber, state: PowerState);

    /// What an outlet's pin is at now, also before anything was driven: of a relay that holds its state by itself, that state.
    fn level(&mut self, outlet: OutletNumber) -> PowerState;

    /// What an outlet's contact reads; `None`: it can not be told.
    fn contact(&mut self, outlet: OutletNumber) -> Option<PowerState>;
}

/// What may be measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Quantity {
    /// Volts.
    Volts,
    /// Amperes.
    Amperes,
    /// A temperature.
    Temperature,
    /// A machine's button.
    Button,
    /// A machine's power LED.
    Led,
    /// A fan's turns.
    Turns,
}

impl Quantity {
    /// How many there are.
    pub const COUNT: usize = 6;

    /// All, in the order in which they are told.
    pub const ALL: [Quantity; Quantity::COUNT] = [
        Quantity::Volts,
        Quantity::Amperes,
        Quantity::Temperature,
        Quantity::Button,
        Quantity::Led,
        Quantity::Turns,
    ];

    /// What a board has that measures it.
    #[must_use]
    pub const fn capability(self) -> Capability {
        match self {
            Quantity::Volts => Capability::Volts,
            Quantity::Amperes => Capability::Amperes,
            Quantity::Temperature => Capability::Temperature,
            Quantity::Button => Capability::Button,
            Quantity::Led => Capability::Led,
            Quantity::Turns => Capability::Tachometer,
        }
    }

    /// Whether a change is told at once: what a person does, and what a machine says of itself.
    #[must_use]
    pub const fn is_told_at_once(self) -> bool {
        matches!(self, Quantity::Button | Quantity::Led)
    }
}

/// Converters and inputs.
pub trait Meters {
    /// Measures; `None`: it can not be told now.
    fn measure(&mut self, outlet: OutletNumber, quantity: Quantity) -> Option<Reading>;
}

/// The chip's watchdog, which resets it where it is not fed.
pub trait Watchdog {
    /// Feeds it.
    fn feed(&mut self);
}

/// The hardware did not do it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Failed;

/// Bytes of one record of the storage. 32 of them fill a sector of common flash.
pub const RECORD_LEN: usize = 128;

/// Flash for records: sectors that are erased to ones as a whole, in which each record is written once.
pub trait Storage {
    /// How many sectors: at least two, so that the newest record stays while the next sector is erased.
    fn sectors(&self) -> u16;

    /// Records in a sector.
    fn records(&self) -> u16;

    /// Reads a record.
    ///
    /// # Errors
    ///
    /// Where the chip does not answer.
    fn read(&mut self, sector: u16, record: u16) -> Result<[u8; RECORD_LEN], Failed>;

    /// Writes a record where nothing was written since the sector was erased. The supply may go in the midst of it.
    ///
    /// # Errors
    ///
    /// Where the chip does not do it.
    fn write(&mut self, sector: u16, record: u16, bytes: &[u8; RECORD_LEN]) -> Result<(), Failed>;

    /// Erases a sector.
    ///
    /// # Errors
    ///
    /// Where the chip does not do it.
    fn erase(&mut self, sector: u16) -> Result<(), Failed>;
}

/// One of the two places for firmware.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Slot {
    /// The first.
    A,
    /// The second.
    B,
}

impl Slot {
    /// The other one.
    #[must_use]
    pub const fn other(self) -> Slot {
        match self {
            Slot::A => Slot::B,
            Slot::B => Slot::A,
        }
    }
}

/// Flash for firmware.
pub trait Images {
    /// How many bytes a place holds.
    fn capacity(&self) -> u32;

    /// Makes a place empty.
    ///
    /// # Errors
    ///
    /// Where the chip does not do it.
    fn clear(&mut self, slot: Slot) -> Result<(), Failed>;

    /// Writes bytes of an image, in order.
    ///
    /// # Errors
    ///
    /// Where the chip does not do it.
    fn write_image(&mut self, slot: Slot, offset: u32, bytes: &[u8]) -> Result<(), Failed>;

    /// Reads bytes of an image.
    ///
    /// # Errors
    ///
    /// Where the chip does not answer.
    fn read_image(&mut self, slot: Slot, offset: u32, bytes: &mut [u8]) -> Result<(), Failed>;

    /// Starts the device anew, by software.
    fn restart(&mut self);
}
