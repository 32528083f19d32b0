//! An agent that is killed again and again. Goal: every order's movements happen once, also those of an order whose
//! agent died in the midst of it; nothing else moves; no machine stays off between off and on. Method: the real agent
//! on a rack outside of it, SIGKILL at moments that a seed draws, the rack's own edge log against what was ordered.

#![expect(clippy::panic, reason = "helpers of tests fail by panic as the tests do")]

mod bench;
mod kills;
mod ledger;
mod pdudaemon;
mod powerman;
mod storm;
