//! The device's pins: adopted as they are, set, read at the pin.

use fleet::DeviceName;

use super::super::DriverError;
use super::super::gpio::outlets::Lines;
use super::header::{Function, Header, HeaderError};
use super::settings::{Config, PinConfig};
use crate::descriptors::Descriptors;

/// The pins of one device on a header.
pub(crate) struct HeaderPins<H> {
    header: H,
    pins: Vec<PinConfig>,
    adopted: bool,
}

impl<H: Header> HeaderPins<H> {
    pub(super) fn new(config: &Config, header: H) -> Self {
        Self { header, pins: config.pins.clone(), adopted: false }
    }

    /// Makes each pin an output of the level that it has. Where one can not be had, none is touched.
    fn adopt(&mut self) -> Result<(), DriverError> {
        if self.adopted {
            return Ok(());
        }
        let mut levels = Vec::new();
        for pin in &self.pins {
            if let Some(holder) = self.header.holder(pin.number) {
                let what = format!(
                    "pin {} is held by {holder}, which asked the kernel for it: end that first",
                    pin.number
                );
                return Err(unreachable(what));
            }
            let (function, high) = self.header.look(pin.number).map_err(gone)?;
            if function == Function::Other {
                return Err(moved_by_the_board(pin.number));
            }
            levels.push(high);
        }
        for (pin, high) in self.pins.iter().zip(&levels) {
            self.header.drive(pin.number, *high).map_err(gone)?;
            if let Some(bias) = pin.bias {
                self.header.pull(pin.number, bias).map_err(gone)?;
            }
        }
        let pins: Vec<u8> = self.pins.iter().map(|pin| pin.number).collect();
        tracing::info!(?pins, ?levels, "pins taken as they are");
        self.adopted = true;
        Ok(())
    }

    /// After an error the next act begins as the first one did.
    fn after<T>(&mut self, result: Result<T, DriverError>) -> Result<T, DriverError> {
        self.adopted &= result.is_ok();
        result
    }

    fn set_one(&mut self, index: usize, active: bool) -> Result<(), DriverError> {
        self.adopt()?;
        let Some(pin) = self.pins.get(index).copied() else { return Ok(()) };
        // Somebody else's function is not written over: a bus has an owner who knows nothing of us.
        match self.header.look(pin.number).map_err(gone)? {
            (Function::Other, _) => Err(moved_by_the_board(pin.number)),
            _ => self.header.drive(pin.number, active != pin.active_low).map_err(gone),
        }
    }

    fn read_each(&mut self) -> Result<Vec<bool>, DriverError> {
        self.adopt()?;
        let mut active = Vec::new();
        for pin in &self.pins {
            match self.header.look(pin.number).map_err(gone)? {
                (Function::Other, _) => return Err(moved_by_the_board(pin.number)),
                // Also of a pin that somebody has made an input: its level is what the relay sees.
                (_, high) => active.push(high != pin.active_low),
            }
        }
        Ok(active)
    }
}

impl<H: Header> Lines for HeaderPins<H> {
    fn place(&self) -> String {
        place()
    }

    fn set(&mut self, index: usize, active: bool) -> Result<(), DriverError> {
        let done = self.set_one(index, active);
        self.after(done)
    }

    fn read(&mut self) -> Result<Vec<bool>, DriverError> {
        let read = self.read_each();
        self.after(read)
    }

    /// Registers have no descriptors.
    fn introduce(&mut self, _device: &DeviceName, _descriptors: &Descriptors) {}
}

fn place() -> String {
    "the header of the Raspberry Pi".to_owned()
}

fn gone(error: HeaderError) -> DriverError {
    let what = "its pins can not be had now".to_owned();
    DriverError::Unreachable { what, who: place(), source: Some(Box::new(error)) }
}

fn unreachable(what: String) -> DriverError {
    DriverError::Unreachable { what, who: place(), source: None }
}

fn moved_by_the_board(pin: u8) -> DriverError {
    let what = format!(
        "pin {pin} is neither an input nor an output now: the board uses it for something of its own; wire the relay to another pin"
    );
    DriverError::Misconfigured { what, who: place(), source: None }
}
