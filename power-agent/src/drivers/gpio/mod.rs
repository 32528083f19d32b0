//! Lines of a GPIO chip as outlets: one request of the kernel's for all lines of a device, taken as they are.
//!
//! The first look takes the lines without touching them, reads them, and makes them outputs of the level that they
//! have, by one call. From then on the descriptor is never let go: not by a reload, and where systemd keeps it, not
//! by a restart. No line is ever toggled.

#[cfg(test)]
pub(super) mod bench;
pub(super) mod chip;
mod kernel;
pub(super) mod look;
pub(super) mod outlets;
pub(super) mod pins;
pub(super) mod settings;
#[cfg(test)]
mod tests;

use kernel::KernelLines;
use outlets::Outlets;

pub use look::{Looked, Standing, look_at};
pub(crate) use pins::is_header;
pub use settings::Config;

/// The driver: owns the lines of one device.
pub(crate) type Gpio = Outlets<KernelLines>;
