//! GPIO on real kernels: the facts on which the agent's driver is built, shown without it. Each test has a kernel
//! of its own.
#![expect(clippy::panic, reason = "tests tell what is wrong by panicking")]

mod kernels;
mod lines;
