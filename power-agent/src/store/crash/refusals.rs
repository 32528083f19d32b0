//! Writes that fail. Goal: what was refused is not there once anything can be written again, what was told durable is,
//! and until then a crash tells the one or the other. Method: as in `images.rs`, on a disk that fails by a seed.

use super::images::Disk;
use super::model::{Model, after};
use super::tape::{Fault, Tape};
use super::{Dice, SEED, begun, number, store};
use crate::memory::Change;
use crate::store::{Loaded, Store};

/// How many faults one run has.
const FAULTS: usize = 60;

/// How many images are built of each.
const IMAGES: usize = 8;

fn told(tape: &Tape) -> Loaded {
    store(tape).and_then(|journal| journal.load()).expect("it opens")
}

/// Commits changes until one is refused by the fault; those that went well before are applied.
fn refused(journal: &Store, model: &mut Model, tape: &Tape, fault: Fault) -> Change {
    tape.fail(Some(fault));
    loop {
        let change = model.change();
        match journal.commit(&change) {
            Ok(()) => model.apply(&change),
            Err(_) => return change,
        }
    }
}

#[test]
fn a_refused_write_is_not_there_and_a_told_one_is_whatever_failed() {
    let seed = number(SEED).unwrap_or(4);
    let mut dice = Dice(seed);
    let tape = begun();
    let mut disk = Disk::new(tape.bytes());
    let mut model = Model::new(seed);
    let journal = store(&tape).expect("it opens");
    let mut kept_though_refused = 0;
    for round in 0..FAULTS {
        let fault = match dice.below(3) {
            0 => Fault::OneSync { after: dice.below(3) },
            1 => Fault::EverySync { after: dice.below(3) },
            _ => Fault::NothingMore { after: dice.below(30) },
        };
        let said = format!("seed {seed}, round {round}, {fault:?}");
        let change = refused(&journal, &mut model, &tape, fault);
        tape.news().iter().for_each(|step| disk.play(step));
        // The agent dies now: the refused change is there or it is not, and nothing else.
        let with_it = after(&model.state, &change);
        for _ in 0..IMAGES {
            let crashed = told(&Tape::of(disk.image(&mut dice)));
            assert!(crashed == model.state || crashed == with_it, "{said}: died");
            kept_though_refused += usize::from(crashed == with_it && with_it != model.state);
        }
        // The disk is well again: the refused change is not there, and stays away through a crash.
        tape.fail(None);
        assert!(journal.load().expect("it reads") == model.state, "{said}: read");
        tape.news().iter().for_each(|step| disk.play(step));
        let crashed = told(&Tape::of(disk.image(&mut dice)));
        assert!(crashed == model.state, "{said}: well again, then died");
        let next = model.change();
        journal.commit(&next).expect("the disk is well");
        model.apply(&next);
    }
    println!(
        "failed writes: seed {seed}, {FAULTS} faults: 0 acknowledged changes lost, 0 refused ones kept once the disk was \
         well; {kept_though_refused} refused ones were on the disk where the agent died before"
    );
    assert!(kept_though_refused > 0, "no fault came after the last write of a commit");
}
