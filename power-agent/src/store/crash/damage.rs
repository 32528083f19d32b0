//! Damage from outside: flipped, cut, emptied and foreign files, and an agent that died at its first start. Goal: the
//! journal opens as it was, or there is one clear error; it never panics and never tells another state.

use std::os::unix::fs::FileExt;
use std::path::Path;

use fleet::HoldKind;
use redb::{Database, TableDefinition};
use tempfile::TempDir;

use super::model::Model;
use super::{Dice, RUNS, SEED, boot, number};
use crate::node::chain;
use crate::store::{Loaded, Store, StoreError};

const FILE: &str = "agent.redb";
const NEXT: &str = "agent.redb.new";

/// How many damaged files are opened where nobody asks for more.
const FILES: u64 = 300;

fn open(home: &Path) -> Result<Loaded, StoreError> {
    Store::open(home, boot())?.load()
}

/// A journal with something in it, closed as an agent that ends closes it.
fn journal(home: &TempDir) -> Loaded {
    let journal = Store::open(home.path(), boot()).expect("it opens");
    let mut model = Model::new(7);
    for _ in 0..80 {
        let change = model.change();
        journal.commit(&change).expect("written");
        model.apply(&change);
    }
    model.state
}

fn is_clear(error: &StoreError) {
    let text = chain(error);
    assert!(text.contains(FILE) && text.contains("move"), "{text}");
}

#[test]
fn a_damaged_file_opens_as_it_was_or_gives_one_clear_error() {
    let files = number(RUNS).unwrap_or(FILES);
    let mut dice = Dice(number(SEED).unwrap_or(4));
    let home = tempfile::tempdir().expect("a directory");
    let state = journal(&home);
    let whole = std::fs::read(home.path().join(FILE)).expect("it is there");
    let (mut opened, mut refused) = (0, 0);
    for round in 0..files {
        let mut bytes = whole.clone();
        match dice.below(4) {
            0 => bytes.truncate(dice.below(whole.len())),
            1 => {
                let from = dice.below(whole.len());
                let end = (from + 512).min(whole.len());
                bytes[from..end].fill(0);
            }
            2 => {
                let head = dice.below(320);
                bytes[head] ^= 1 << dice.below(8);
            }
            _ => {
                for _ in 0..=dice.below(8) {
                    let at = dice.below(whole.len());
                    bytes[at] ^= 1 << dice.below(8);
                }
            }
        }
        std::fs::write(home.path().join(FILE), &bytes).expect("written");
        match open(home.path()) {
            Ok(told) => {
                assert!(told == state, "round {round}: another state");
                opened += 1;
            }
            Err(error) => {
                is_clear(&error);
                refused += 1;
            }
        }
    }
    println!(
        "damaged journals: {files} files: {opened} opened as they were, {refused} refused, 0 told anything else"
    );
    assert!(opened > 0 && refused > 0);
}

#[test]
fn a_foreign_or_empty_file_is_an_error_that_says_what_to_do_and_is_left_alone() {
    let head_lost = {
        let home = tempfile::tempdir().expect("a directory");
        journal(&home);
        let file = std::fs::File::options().write(true).open(home.path().join(FILE));
        file.expect("it is there").write_all_at(&[0; 512], 0).expect("written");
        std::fs::read(home.path().join(FILE)).expect("it is there")
    };
    for content in [&b""[..], b"holds:\n  node3: ada\n", &[0; 100_000], &head_lost] {
        let home = tempfile::tempdir().expect("a directory");
        let file = home.path().join(FILE);
        std::fs::write(&file, content).expect("written");
        let error = open(home.path()).expect_err("that is no journal");
        is_clear(&error);
        assert_eq!(std::fs::read(&file).expect("it is there"), content);
    }
    let home = tempfile::tempdir().expect("a directory");
    std::fs::create_dir(home.path().join(FILE)).expect("made");
    is_clear(&open(home.path()).expect_err("a directory is no journal"));
}

#[test]
fn an_agent_that_died_at_its_first_start_left_nothing_in_the_way() {
    let mut dice = Dice(9);
    let begun = {
        let home = tempfile::tempdir().expect("a directory");
        assert!(open(home.path()).expect("it begins") == Loaded::default());
        std::fs::read(home.path().join(FILE)).expect("it is there")
    };
    for _ in 0..20 {
        let home = tempfile::tempdir().expect("a directory");
        let state = home.path().join("var/lib");
        std::fs::create_dir_all(&state).expect("made");
        let mut left = begun[..dice.below(begun.len())].to_vec();
        if dice.once_in(2) {
            left.fill(0);
        }
        std::fs::write(state.join(NEXT), left).expect("written");
        assert!(open(&state).expect("it begins anew") == Loaded::default());
        assert!(!state.join(NEXT).exists() && state.join(FILE).exists());
    }
}

#[test]
fn two_agents_never_have_the_same_journal() {
    let home = tempfile::tempdir().expect("a directory");
    let first = Store::open(home.path(), boot()).expect("it opens");
    let second = Store::open(home.path(), boot()).expect_err("it is taken");
    assert!(matches!(second, StoreError::Locked { .. }), "{second}");
    drop(first);
    open(home.path()).expect("it is free again");
}

#[test]
fn a_step_of_the_wall_clock_changes_nothing_that_is_read() {
    let journal = |wall_ms: &str| {
        let machine = MACHINE.replace("\"wall_ms\":1", &format!("\"wall_ms\":{wall_ms}"));
        let home = tempfile::tempdir().expect("a directory");
        write_old(home.path(), &machine);
        open(home.path()).expect("it opens")
    };
    let usual = journal("1790000000000");
    for stepped in ["0", "18446744073709551615"] {
        assert!(journal(stepped) == usual, "{stepped}");
    }
}

const MACHINE: &str = r#"{"boot":"this boot","wall_ms":1,"value":{"running":null,"last":null,
    "commanded":{"state":"off","at_ms":5,"origin":{"person":"ada"},"operation":"op-1"},
    "hold":{"by":"ada","reason":"repair","since_ms":4,"operation":"op-1"},"last_seen":null}}"#;

/// What the first released layout wrote: these names and this JSON are read for ever.
fn write_old(home: &Path, machine: &str) {
    const MACHINES: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("machines");
    const FENCES: TableDefinition<'_, (&str, &str), u64> = TableDefinition::new("fences");
    let old = Database::create(home.join(FILE)).expect("a database");
    let write = old.begin_write().expect("a write");
    write.open_table(MACHINES).expect("a table").insert("node3", machine.as_bytes()).expect("kept");
    write.open_table(FENCES).expect("a table").insert(("global", "rack"), 7).expect("kept");
    write.commit().expect("written");
}

#[test]
fn a_journal_of_the_first_agents_opens() {
    let home = tempfile::tempdir().expect("a directory");
    write_old(home.path(), MACHINE);
    let told = open(home.path()).expect("it opens");
    let node3 = fleet::MachineName::new("node3").expect("a name");
    let hold = told.machines[&node3].holds.of(HoldKind::Off).expect("the hold is kept");
    assert_eq!((hold.by.as_str(), hold.since.as_millis()), ("ada", 4));
    assert_eq!(told.fences.iter().map(|fence| fence.number.0).collect::<Vec<_>>(), [7]);
}
