//! The host's side of the firmware bridge: one task for each device, which keeps its line open and its link alive.
//!
//! What is asked and why is the caller's; when it is asked again is the link's (`bridge_protocol::link`); what an outlet
//! does about it is the device's.

mod bridge;
mod task;
pub mod words;

pub use bridge::{AskError, Bridge, QUEUE_MAX, Standing, own};
pub use bridge_protocol as protocol;
