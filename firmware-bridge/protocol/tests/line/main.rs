//! Frames and messages as they stand on the line. Goal: no disturbance makes a frame that nobody sent, bytes of each
//! version stay what they are, and each message fits. `LAMPLIGHTER_RUNS` says how many frames are corrupted,
//! `LAMPLIGHTER_SEED` from where; the figures are kept in figures/firmware-frames.md.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "helpers of tests fail by panic as the tests do"
)]

mod bounds;
mod corruption;
mod dice;
mod golden;
mod samples;
mod stuffing;
mod talk;
mod whole;
