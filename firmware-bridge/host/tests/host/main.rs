//! The host's task and the simulated device, over a line that breaks on order, in virtual time.
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test that can not go on has found something"
)]

mod cut;
mod desk;
mod orders;
mod wrong;
