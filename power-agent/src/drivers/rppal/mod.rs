//! Pins of a Raspberry Pi's header as outlets, by its registers and the crate `rppal`: what the Pi itself can do, without
//! asking the kernel.
//!
//! The same promises as driver `gpio`, as far as registers can give them: a pin is adopted with the level that it has,
//! the level is written before the pin is made an output, and it is read at the pin. Registers have no owner: nobody
//! else is kept from a pin, and only who asked the kernel for it is seen. They stay as they are when the agent ends.

#[cfg(test)]
pub(super) mod bench;
mod header;
mod look;
mod pins;
mod settings;
#[cfg(test)]
mod tests;

use super::gpio::outlets::Outlets;
use header::Registers;
use pins::HeaderPins;

pub use look::look_at;
pub use settings::Config;

/// The driver: owns its pins as far as it can.
pub(crate) type Rppal = Outlets<HeaderPins<Registers>>;
