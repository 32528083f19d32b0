//! What a firmware bridge does, as portable code: the firmware and the simulated device run these same lines.
//!
//! Time is an argument, hardware stands behind small traits, and there is no allocator. What an outlet is to be, the host
//! says; when it may be driven is decided here.

#![no_std]
#![deny(clippy::indexing_slicing, clippy::arithmetic_side_effects, clippy::wildcard_enum_match_arm)]

pub mod device;
pub mod facts;
pub mod hardware;
pub mod image;
pub mod lease;
pub mod log;
pub mod outlets;
pub mod sampler;
pub mod session;
pub mod store;

pub use device::Device;
pub use facts::{Facts, Limits};
pub use hardware::{Failed, Hardware, Images, Meters, Pins, Quantity, Slot, Storage, Watchdog};
pub use image::choose;
