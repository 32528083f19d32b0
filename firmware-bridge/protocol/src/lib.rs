//! What a host and a firmware bridge say to each other: frames, messages, and the host's side of the link.
//!
//! No allocator, no clock, no IO: the firmware, the host and the simulated device use these same lines. What an outlet
//! does about a message is decided in `bridge-device` alone.

#![no_std]
#![deny(clippy::indexing_slicing, clippy::arithmetic_side_effects, clippy::wildcard_enum_match_arm)]

pub mod cobs;
pub mod codec;
pub mod event;
pub mod frame;
pub mod greeting;
pub mod image;
pub mod link;
pub mod message;
pub mod outlet;
pub mod reading;
pub mod version;

pub use codec::{MessageError, decode, encode};
pub use event::{Event, EventNumber, What};
pub use frame::{Decoder, Frame, FrameKind, Header, Wire};
pub use greeting::{Capability, Hello, Identity, ResetCause, Unspoken, Welcome};
pub use image::{CHUNK_MAX, ImageFacts};
pub use link::{Happening, Link, Lost, Moment, Output, Pace, Ticket};
pub use message::{Answer, News, Order, Outcome, Refusal, Request, Said, Switch, Told};
pub use outlet::{
    DeviceTime, Epoch, Generation, OUTLETS_MAX, OutletNumber, PowerState, SafeState, Sequence,
    SessionId,
};
pub use reading::{OutletSeen, Reading, Sample};
pub use version::{Version, Versions};
