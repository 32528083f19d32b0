//! The images, and what must be read from each.

use super::model::Model;
use super::tape::{Step, Tape};
use super::{Dice, IMAGES, RUNS, SEED, begun, number, store};
use crate::store::Loaded;

/// How many commits one workload makes before the agent comes back: the next one has another seed.
const COMMITS: usize = 120;

/// How many images are built of one workload.
const IMAGES_PER_WORKLOAD: u64 = 1_000;

/// What a disk writes in one piece.
const SECTOR: usize = 512;

/// The database's first page. Of its bytes a crash leaves old and new ones, in any mixture; all others may be zero too.
/// A device that loses a sector which it was told to write over loses the file: see `damage.rs`.
const HEAD: usize = 4096;

/// A tape, and the states that were committed on the way: `states[n]` after commit `n`.
struct Story {
    first: Vec<u8>,
    steps: Vec<Step>,
    states: Vec<Loaded>,
}

fn story(seed: u64) -> Story {
    let tape = begun();
    let mut model = Model::new(seed);
    let mut states = vec![Loaded::default()];
    let first = tape.bytes();
    let journal = store(&tape).expect("it opens");
    for commit in 1..=COMMITS {
        let change = model.change();
        tape.mark(Step::Begun(commit));
        journal.commit(&change).expect("nothing fails here");
        tape.mark(Step::Returned(commit));
        model.apply(&change);
        states.push(super::model::after(&model.state, &crate::memory::Change::default()));
    }
    drop(journal);
    Story { first, steps: tape.steps(), states }
}

/// The disk as far as the tape was played: what is surely there, and what is perhaps.
pub(super) struct Disk {
    synced: Vec<u8>,
    waiting: Vec<Step>,
    returned: usize,
    begun: usize,
    /// Decides what a sync that failed has kept.
    dice: Dice,
}

impl Disk {
    pub(super) fn new(synced: Vec<u8>) -> Self {
        Self { synced, waiting: Vec::new(), returned: 0, begun: 0, dice: Dice(1) }
    }

    /// The system takes what a failed sync should have written for written, and keeps some of it from the disk.
    fn lose(&mut self) {
        let lost_one_in = [1, 2, 1000][self.dice.below(3)];
        for step in std::mem::take(&mut self.waiting) {
            if matches!(step, Step::Length(_)) || !self.dice.once_in(lost_one_in) {
                obey(&mut self.synced, &step);
            }
        }
    }

    pub(super) fn play(&mut self, step: &Step) {
        match step {
            Step::Write { .. } | Step::Length(_) => self.waiting.push(step.clone()),
            Step::Sync => {
                for step in self.waiting.drain(..) {
                    obey(&mut self.synced, &step);
                }
            }
            Step::Replaced(bytes) => {
                self.synced.clone_from(bytes);
                self.waiting.clear();
            }
            Step::Begun(commit) => self.begun = *commit,
            Step::Returned(commit) => self.returned = *commit,
            Step::SyncFailed => self.lose(),
        }
    }

    /// What a crash leaves now.
    pub(super) fn image(&self, dice: &mut Dice) -> Vec<u8> {
        let mut bytes = self.synced.clone();
        let lengths = self.waiting.iter().filter_map(|step| match step {
            Step::Length(length) => Some(*length),
            _ => None,
        });
        // The length is told apart from the data, and may be any that was asked for.
        let lengths: Vec<usize> = std::iter::once(bytes.len()).chain(lengths).collect();
        let length = lengths[dice.below(lengths.len())];
        let room = lengths.into_iter().max().unwrap_or(length);
        bytes.resize(room, 0);
        let mut order: Vec<&Step> = self.waiting.iter().collect();
        for last in (1..order.len()).rev() {
            order.swap(last, dice.below(last + 1));
        }
        // Mostly all or most of it arrives: that is where the dangerous mixtures are.
        let lost_one_in = [1, 2, 4, 16, 1000][dice.below(5)];
        for step in order {
            if let Step::Write { offset, data } = step
                && !dice.once_in(lost_one_in)
            {
                scrawl(&mut bytes, *offset, data, dice);
            }
        }
        bytes.resize(length, 0);
        bytes
    }
}

fn obey(bytes: &mut Vec<u8>, step: &Step) {
    match step {
        Step::Write { offset, data } => bytes[*offset..*offset + data.len()].copy_from_slice(data),
        Step::Length(length) => bytes.resize(*length, 0),
        Step::Sync | Step::SyncFailed | Step::Replaced(_) | Step::Begun(_) | Step::Returned(_) => {}
    }
}

/// Writes whole, torn at a byte, by sectors, or as zeros.
fn scrawl(bytes: &mut [u8], offset: usize, data: &[u8], dice: &mut Dice) {
    let target = &mut bytes[offset..offset + data.len()];
    let head = offset < HEAD;
    match dice.below(8) {
        0 => {
            let torn = dice.below(data.len() + 1);
            target[..torn].copy_from_slice(&data[..torn]);
        }
        1 => {
            let torn = dice.below(data.len() + 1);
            target[torn..].copy_from_slice(&data[torn..]);
        }
        2 => {
            for (target, data) in target.chunks_mut(SECTOR).zip(data.chunks(SECTOR)) {
                if dice.once_in(2) {
                    target.copy_from_slice(data);
                }
            }
        }
        3 if head => {
            for (target, data) in target.iter_mut().zip(data) {
                if dice.once_in(2) {
                    *target = *data;
                }
            }
        }
        3 => {
            for target in target.chunks_mut(SECTOR) {
                if dice.once_in(2) {
                    target.fill(0);
                }
            }
        }
        _ => target.copy_from_slice(data),
    }
}

/// What was read from an image.
#[derive(Debug, Default)]
struct Tally {
    images: u64,
    told_last: u64,
    unfinished_kept: u64,
    crashed_again: u64,
    written_on: u64,
}

impl Tally {
    /// Opens an image: it must tell a commit that was not older than what had returned.
    fn open(&mut self, story: &Story, disk: &Disk, image: Vec<u8>, dice: &mut Dice, said: &str) {
        let allowed = &story.states[disk.returned..=disk.begun.max(disk.returned)];
        let tape = Tape::of(image.clone());
        let journal = store(&tape).unwrap_or_else(|error| panic!("{said}: {error:?}"));
        let opening = tape.steps();
        let told = journal.load().unwrap_or_else(|error| panic!("{said}: {error:?}"));
        let which = allowed.iter().position(|state| *state == told);
        let which = which.unwrap_or_else(|| {
            panic!("{said}: neither commit {} nor {}", disk.returned, disk.begun)
        });
        self.images += 1;
        self.told_last += u64::from(which == 0);
        self.unfinished_kept += u64::from(which == 1);
        if dice.once_in(16) {
            let more = loop {
                let change = Model::new(dice.next()).change();
                // A fence of another story might be an older one, which an agent never writes.
                if change.fence.is_none() {
                    break change;
                }
            };
            journal.commit(&more).unwrap_or_else(|error| panic!("{said}: {error:?}"));
            let expected = super::model::after(&told, &more);
            drop(journal);
            let again = store(&tape).and_then(|journal| journal.load());
            assert!(again.expect("it opens again") == expected, "{said}: written on");
            self.written_on += 1;
        }
        if dice.once_in(16) {
            // The agent dies again while it opens the journal.
            let mut again = Disk::new(image);
            for step in &opening[..dice.below(opening.len() + 1)] {
                again.play(step);
            }
            let second = Tape::of(again.image(dice));
            let told = store(&second).and_then(|journal| journal.load());
            let told = told.unwrap_or_else(|error| panic!("{said}, died again: {error:?}"));
            assert!(allowed.contains(&told), "{said}, died again");
            self.crashed_again += 1;
        }
    }
}

#[test]
fn every_crash_image_opens_and_tells_a_state_that_was_committed() {
    let images = number(RUNS).unwrap_or(IMAGES);
    let seed = number(SEED).unwrap_or(4);
    let mut tally = Tally::default();
    let mut points = 0;
    let mut workload = 0;
    while tally.images < images {
        let story = story(seed.wrapping_add(workload));
        let mut dice = Dice(seed.wrapping_add(workload) ^ 0x5eed);
        let quota = IMAGES_PER_WORKLOAD.min(images - tally.images);
        let steps = u64::try_from(story.steps.len()).expect("a number");
        let mut disk = Disk::new(story.first.clone());
        for (at, step) in story.steps.iter().enumerate() {
            disk.play(step);
            points += 1;
            // Spread evenly over all points, several on each where there are enough.
            let place = u64::try_from(at).expect("a number");
            let share = (place + 1) * quota / steps - place * quota / steps;
            for _ in 0..share {
                let image = disk.image(&mut dice);
                let said = format!("seed {seed}, workload {workload}, step {at}");
                tally.open(&story, &disk, image, &mut dice, &said);
            }
        }
        workload += 1;
    }
    println!(
        "journal crash images: seed {seed}, {workload} workloads of {COMMITS} commits, {points} points, {} images: all opened; \
         {} told the last commit that had returned, {} the one that was being written; 0 an older or another state; \
         {} were crashed again while opening, {} were written on",
        tally.images, tally.told_last, tally.unfinished_kept, tally.crashed_again, tally.written_on
    );
    assert!(
        tally.unfinished_kept > 0 && tally.told_last > 0 && tally.crashed_again > 0,
        "{tally:?}"
    );
}
