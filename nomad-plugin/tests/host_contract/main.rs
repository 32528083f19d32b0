//! The host contract, item by item: tests named `item_N_…` check item N of the contract's list.
//!
//! `process` starts the real binary; `services` and `payloads` speak to a server in this process, so that a
//! plugin of the test's own can answer; `hosts` sets ours beside a Go plugin and below the real autoscaler.
#![expect(clippy::panic, reason = "helpers of tests fail by panicking")]

mod hosts;
mod payloads;
mod process;
mod rig;
mod services;
