//! Crash images of the journal. Goal: whatever the disk kept of what was not synced, the journal opens and tells one
//! committed state, never one that is older than what was told durable. Method: every write, length and sync of a
//! seeded workload is recorded below the database; images are built from the tape; the shipped code opens them.

mod bounds;
mod damage;
mod images;
mod model;
mod refusals;
mod tape;

use std::path::PathBuf;

use self::tape::Tape;
use super::{Store, StoreError, prepared};
use crate::clock::BootId;

/// How many images a test run builds where nobody asks for more; [`RUNS`] asks.
const IMAGES: u64 = 2_000;

/// The environment variable that names another number of images.
const RUNS: &str = "LAMPLIGHTER_RUNS";

/// The environment variable that names the seed.
const SEED: &str = "LAMPLIGHTER_SEED";

fn number(variable: &str) -> Option<u64> {
    let text = std::env::var(variable).ok()?;
    Some(text.parse().unwrap_or_else(|_| panic!("{variable}={text:?} is no number")))
}

fn boot() -> BootId {
    BootId::new("this boot")
}

fn store(tape: &Tape) -> Result<Store, StoreError> {
    Store::at(Box::new(tape.clone()), PathBuf::from("tape"), boot())
}

/// A journal in memory, begun as the shipped code begins one, with its tape from here on.
fn begun() -> Tape {
    let tape = Tape::default();
    prepared(tape.clone()).expect("a journal").close().expect("closed");
    tape.rewind();
    tape
}

/// Numbers that a seed decides (splitmix64).
#[derive(Debug, Clone)]
struct Dice(u64);

impl Dice {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// 0 to `end` - 1.
    fn below(&mut self, end: usize) -> usize {
        let end = u64::try_from(end.max(1)).expect("a number");
        usize::try_from(self.next() % end).expect("below a usize")
    }

    /// Once in `times`.
    fn once_in(&mut self, times: usize) -> bool {
        self.below(times) == 0
    }
}
