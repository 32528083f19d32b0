//! Goal: who may not is refused before any byte reaches a board, and a line tells of it.
//! Method: the real agent on the network before silent boards of the virtual rack, which hear nothing but orders: after
//! each test the board has counted exactly the frames that were allowed.

#![expect(clippy::unwrap_used, clippy::panic, reason = "a helper of tests may fail them")]

mod bench;
mod door;
mod roles;
mod rotation;
mod told;
