//! The board: which pins are what, and the traits of `bridge-device` on the chip's own peripherals.

use bridge_device::hardware::RECORD_LEN;
use bridge_device::{Failed, Images, Meters, Pins, Quantity, Slot, Storage, Watchdog};
use bridge_protocol::{OutletNumber, PowerState, Reading};
use embassy_rp::adc::{self, Adc, Channel};
use embassy_rp::flash::{self, Flash};
use embassy_rp::gpio::{Input, Output};
use embassy_rp::peripherals::FLASH;
use embassy_rp::watchdog;
use embassy_time::Duration;

/// Outlets of this board: relays on GPIO2 to GPIO9, power LEDs of the machines on GPIO10 to GPIO17.
pub const OUTLETS: usize = 8;

/// The flash of a Pico.
pub const FLASH_LEN: usize = 2 * 1024 * 1024;

/// Longer than an erased sector takes (400 ms at worst, with all interrupts off), and than a verified image.
pub const WATCHDOG: Duration = Duration::from_millis(2000);

const SECTORS: u16 = 4;
const SECTOR_LEN: u32 = 4096;
const RECORDS: u16 = 32;

/// Where the device's memory begins: behind what memory.x gives to the program.
const STORE: u32 = 2 * 1024 * 1024 - 4 * SECTOR_LEN;

/// The board's peripherals.
pub struct Board {
    pub relays: [Output<'static>; OUTLETS],
    pub leds: [Input<'static>; OUTLETS],
    pub adc: Adc<'static, adc::Blocking>,
    pub thermometer: Channel<'static>,
    pub flash: Flash<'static, FLASH, flash::Blocking, FLASH_LEN>,
    pub watchdog: watchdog::Watchdog,
}

impl Pins for Board {
    // High is on: while the chip is in reset its pins are pulled down, and a relay that is on then would be on at every start.
    fn drive(&mut self, outlet: OutletNumber, state: PowerState) {
        if let Some(relay) = self.relays.get_mut(outlet.index()) {
            match state {
                PowerState::On => relay.set_high(),
                PowerState::Off => relay.set_low(),
            }
        }
    }

    fn level(&mut self, outlet: OutletNumber) -> PowerState {
        match self.relays.get(outlet.index()) {
            Some(relay) if relay.is_set_high() => PowerState::On,
            _ => PowerState::Off,
        }
    }

    // This board has no second contact to read: what the pin is driven to is no evidence of the relay.
    fn contact(&mut self, _outlet: OutletNumber) -> Option<PowerState> {
        None
    }
}

impl Meters for Board {
    fn measure(&mut self, outlet: OutletNumber, quantity: Quantity) -> Option<Reading> {
        match quantity {
            Quantity::Led => {
                let lit = self.leds.get(outlet.index())?.is_high();
                Some(Reading::Led(if lit { PowerState::On } else { PowerState::Off }))
            }
            // The chip's own, told with the first outlet.
            Quantity::Temperature if outlet.index() == 0 => {
                let raw = self.adc.blocking_read(&mut self.thermometer).ok()?;
                Some(Reading::Temperature(centidegrees(raw)?))
            }
            Quantity::Temperature
            | Quantity::Volts
            | Quantity::Amperes
            | Quantity::Button
            | Quantity::Turns => None,
        }
    }
}

/// RP2040 datasheet, 4.9.5: 27 °C at 706 mV, 1.721 mV less for each degree more, at a reference of 3.3 V.
fn centidegrees(raw: u16) -> Option<i16> {
    let microvolts = i32::from(raw) * 3_300_000 / 4096;
    i16::try_from(2700 - (microvolts - 706_000) * 100 / 1721).ok()
}

impl Watchdog for Board {
    fn feed(&mut self) {
        self.watchdog.feed(WATCHDOG);
    }
}

fn place(sector: u16, record: u16) -> Result<u32, Failed> {
    if sector >= SECTORS || record >= RECORDS {
        return Err(Failed);
    }
    let record_len = u32::try_from(RECORD_LEN).map_err(|_| Failed)?;
    Ok(STORE + u32::from(sector) * SECTOR_LEN + u32::from(record) * record_len)
}

impl Storage for Board {
    fn sectors(&self) -> u16 {
        SECTORS
    }

    fn records(&self) -> u16 {
        RECORDS
    }

    fn read(&mut self, sector: u16, record: u16) -> Result<[u8; RECORD_LEN], Failed> {
        let mut bytes = [0; RECORD_LEN];
        let read = self.flash.blocking_read(place(sector, record)?, &mut bytes);
        read.map(|()| bytes).map_err(|_| Failed)
    }

    fn write(&mut self, sector: u16, record: u16, bytes: &[u8; RECORD_LEN]) -> Result<(), Failed> {
        // Half a page: the driver fills the other half with ones, which change nothing.
        self.flash.blocking_write(place(sector, record)?, bytes).map_err(|_| Failed)
    }

    fn erase(&mut self, sector: u16) -> Result<(), Failed> {
        let from = place(sector, 0)?;
        self.flash.blocking_erase(from, from + SECTOR_LEN).map_err(|_| Failed)
    }
}

// There is no loader yet that could choose between two firmwares: the board does not say that it can be updated.
impl Images for Board {
    fn capacity(&self) -> u32 {
        0
    }

    fn clear(&mut self, _slot: Slot) -> Result<(), Failed> {
        Err(Failed)
    }

    fn write_image(&mut self, _slot: Slot, _offset: u32, _bytes: &[u8]) -> Result<(), Failed> {
        Err(Failed)
    }

    fn read_image(&mut self, _slot: Slot, _offset: u32, _bytes: &mut [u8]) -> Result<(), Failed> {
        Err(Failed)
    }

    fn restart(&mut self) {
        self.watchdog.trigger_reset();
    }
}
