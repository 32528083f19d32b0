//! The device's logic on a modelled board. Goal: no edge that nobody ordered, none twice, none late, none against the
//! board's limits, whatever line, host and supply do; what was begun is ended without the host. Method: requests by hand,
//! and random worlds by seed in simulated time, whose books know only what arrived and which edges were.
//! `LAMPLIGHTER_RUNS` says how many faults, `LAMPLIGHTER_SEED` from where; figures in figures/firmware-bridge.md.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "helpers of tests fail by panic as the tests do"
)]

mod board;
mod books;
mod desk;
#[path = "../../../protocol/tests/line/dice.rs"]
mod dice;
mod world;

mod hostile;
mod lease;
mod orders;
mod remembers;
mod speaks;
mod update;
mod whole;
mod worlds;
