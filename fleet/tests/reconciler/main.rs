//! Goal: the pool's reconciler does what the stories say, whatever lags, fails or restarts.
//! Method: it runs in a small simulated world (virtual seconds, no IO); after every step the world
//! checks what must always hold, and each scenario looks at edges, orders and Nomad's state.

#![expect(clippy::unwrap_used, reason = "a broken world is a failed test")]

mod boots;
mod failures;
mod feeds;
mod first;
mod fuzz;
mod lines;
mod marks;
mod people;
mod planner;
mod power;
mod scale_in;
mod voices;
mod world;
