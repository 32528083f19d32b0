//! Goal: who may not gets nothing from the page, and who may sees the rack as it is and moves it with the same rules as
//! everywhere. Method: the real agent before boards of the virtual rack, asked by plain HTTP and by a real Chromium.

#![expect(clippy::unwrap_used, clippy::panic, reason = "a helper of tests may fail them")]

mod bench;
mod doors;
mod orders;
mod seen;
mod tls;
mod trouble;
