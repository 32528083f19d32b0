//! Goal: what was written is found changed, removed, reordered or cut off; and no crash breaks the chain. Method: the
//! real files in a directory, beside them the rows as the journal's transactions would hold them.

use std::collections::BTreeMap;
use std::path::PathBuf;

use fleet::MachineName;
use tempfile::TempDir;

use super::chain::{Break, Head, Span, check_directory, check_file};
use super::event::{Event, Outcome, What, Who};
use super::files::{FILE_BYTES_MAX, FILE_NAME, FILES_MAX, in_order};
use super::line::AuditLine;
use super::log::{Log, SYNC_EVERY};
use crate::clock::BootId;

/// A state directory, the open audit, and what the journal holds of it.
struct Rig {
    home: TempDir,
    log: Log,
    journal: BTreeMap<u64, String>,
}

impl Rig {
    fn new() -> Self {
        let home = tempfile::tempdir().unwrap();
        let log = Log::open(home.path(), BootId::new("boot"), Vec::new()).unwrap();
        Self { home, log, journal: BTreeMap::new() }
    }

    /// As a transaction of the journal does.
    fn commit(&mut self, events: &[Event]) {
        let prepared = self.log.prepare(events).unwrap();
        let (oldest, rows) = self.log.rows(&prepared);
        self.journal.retain(|seq, _| *seq >= oldest);
        self.journal.extend(rows.cloned());
        self.log.kept(prepared);
    }

    fn reopen(&mut self) {
        let kept = self.journal.clone().into_iter().collect();
        self.log = Log::open(self.home.path(), BootId::new("boot"), kept).unwrap();
    }

    fn head(&self) -> Head {
        let line = AuditLine::read(self.journal.last_key_value().unwrap().1).unwrap();
        Head { seq: line.seq, hash: line.hash }
    }

    fn file(&self) -> PathBuf {
        self.home.path().join(FILE_NAME)
    }

    fn lines(&self) -> Vec<String> {
        std::fs::read_to_string(self.file()).unwrap().lines().map(str::to_owned).collect()
    }

    fn write(&self, lines: &[String]) {
        let text: String = lines.iter().map(|line| format!("{line}\n")).collect();
        std::fs::write(self.file(), text).unwrap();
    }

    fn check(&self) -> Result<Span, Break> {
        check_directory(self.home.path(), Some(&self.head()))
    }
}

fn event(text: &str) -> Event {
    let who = Who::at_socket("ada".to_owned(), Some(1000));
    Event::new(What::Hold, who, text).about(&MachineName::new("node1").unwrap())
}

fn with_lines(count: usize) -> Rig {
    let mut rig = Rig::new();
    for number in 1..=count {
        rig.commit(&[event(&format!("event {number}"))]);
    }
    rig
}

fn told(broken: Result<Span, Break>) -> String {
    broken.expect_err("the chain does not hold").to_string()
}

#[test]
fn what_was_written_follows_on_itself_and_says_who_and_why() {
    let rig = with_lines(5);
    let span = rig.check().unwrap();
    assert_eq!((span.count, span.torn), (5, false));
    let line = AuditLine::read(&rig.lines()[2]).unwrap();
    assert_eq!((line.seq, line.what.as_str(), line.by.as_str()), (3, "hold", "ada"));
    assert_eq!((line.known.as_str(), line.machine.as_deref()), ("socket uid 1000", Some("node1")));
    assert_eq!(line.reason.as_deref(), Some("event 3"));
}

#[test]
fn a_line_that_was_changed_is_found_also_with_a_hash_made_anew() {
    let rig = with_lines(5);
    let lines = rig.lines();
    let mut changed = lines.clone();
    changed[2] = changed[2].replace("event 3", "event 4");
    rig.write(&changed);
    assert!(told(rig.check()).contains("line 3: its own hash does not fit"), "{:?}", rig.check());
    // Whoever makes the hash anew has to make all later ones anew, and then the head does not fit.
    let forged = Event { reason: fleet::Reason::new("nothing"), ..event("") };
    let mut other = Rig::new();
    for number in 0..5 {
        other.commit(&[if number == 2 { forged.clone() } else { event("x") }]);
    }
    changed[2] = other.lines()[2].clone();
    rig.write(&changed);
    assert!(told(rig.check()).contains("line 3: it follows on a line with the hash"));
    rig.write(&other.lines());
    assert!(check_directory(rig.home.path(), None).is_ok());
    assert!(told(rig.check()).contains("the chain was written anew"));
}

#[test]
fn a_line_that_was_removed_or_moved_is_found_with_its_place() {
    let rig = with_lines(5);
    let lines = rig.lines();
    let mut removed = lines.clone();
    removed.remove(1);
    rig.write(&removed);
    assert!(told(rig.check()).contains("line 2: it is number 3, and 2 was to follow"));
    let mut moved = lines.clone();
    moved.swap(1, 3);
    rig.write(&moved);
    assert!(told(rig.check()).contains("line 2: it is number 4"));
    rig.write(&lines[1..]);
    assert!(told(rig.check()).contains("lines were taken away at the beginning"));
    rig.write(&lines);
    assert!(rig.check().is_ok());
}

#[test]
fn lines_that_were_cut_off_at_the_end_are_missed_by_the_head_and_by_it_alone() {
    let rig = with_lines(5);
    rig.write(&rig.lines()[..4]);
    assert!(check_directory(rig.home.path(), None).is_ok());
    assert!(
        told(rig.check())
            .contains("the last line is number 4, and the newest that was written is 5")
    );
    assert!(check_file(&rig.file(), Some(&rig.head())).is_err());
}

#[test]
fn a_crash_at_any_byte_of_the_newest_lines_is_mended_and_told() {
    let rig = with_lines(3);
    let whole = std::fs::read(rig.file()).unwrap();
    let kept: Vec<_> = rig.journal.clone().into_iter().collect();
    for length in 0..=whole.len() {
        let home = tempfile::tempdir().unwrap();
        let file = home.path().join(FILE_NAME);
        std::fs::write(&file, &whole[..length]).unwrap();
        let mut log = Log::open(home.path(), BootId::new("boot"), kept.clone()).unwrap();
        log.append(&event("after the crash")).unwrap();
        let head = log.head();
        let span =
            check_directory(home.path(), Some(&head)).unwrap_or_else(|e| panic!("{length}: {e}"));
        let damaged = std::fs::read_to_string(&file).unwrap().contains("\"damaged\"");
        assert_eq!(damaged, length != whole.len(), "{length}");
        assert_eq!(span.count, 4 + u64::from(damaged), "{length}");
    }
    // Blocks that never reached the disk read as zeros.
    let home = tempfile::tempdir().unwrap();
    let zeroed: Vec<u8> =
        whole.iter().enumerate().map(|(at, b)| if at < 99 { *b } else { 0 }).collect();
    std::fs::write(home.path().join(FILE_NAME), zeroed).unwrap();
    let mut log = Log::open(home.path(), BootId::new("boot"), kept).unwrap();
    assert_eq!(check_directory(home.path(), Some(&log.head())).unwrap().count, 4);
}

#[test]
fn what_no_crash_leaves_is_put_aside_and_stays_broken_for_whoever_looks() {
    let mut rig = with_lines(200);
    assert!(rig.journal.len() < 100, "the journal forgets what is on the disk");
    let mut lines = rig.lines();
    lines[10] = lines[10].replace("event 11", "event 12");
    rig.write(&lines);
    rig.reopen();
    rig.commit(&[event("later")]);
    let told_so = told(rig.check());
    assert!(told_so.contains("audit.log.1, line 11: its own hash"), "{told_so}");
    let newest = rig.lines();
    assert!(newest.iter().any(|line| line.contains("\"damaged\"") && line.contains("put aside")));
    let before = in_order(rig.home.path()).unwrap().len();
    rig.reopen();
    assert_eq!(in_order(rig.home.path()).unwrap().len(), before, "it is put aside once");
    rig.write(&newest[..newest.len() - 1]);
    rig.reopen();
    rig.commit(&[event("last")]);
    assert!(check_file(&rig.file(), Some(&rig.head())).is_ok(), "the newest file is whole again");
}

#[test]
fn after_a_flush_the_journal_keeps_the_newest_line_to_hold_the_file_against() {
    let mut rig = with_lines(SYNC_EVERY);
    rig.commit(&[]);
    rig.commit(&[]);
    assert_eq!(rig.journal.len(), 1);
    let written = rig.lines();
    rig.reopen();
    assert_eq!(rig.lines(), written, "nothing is told of a damage");
    rig.write(&written[..written.len() - 1]);
    rig.reopen();
    let last = rig.lines().last().cloned().unwrap();
    assert!(last.contains("1 lines were written again from the journal"), "{last}");
}

#[test]
fn an_event_that_never_reached_the_journal_is_kept_where_its_file_has_it() {
    let mut rig = with_lines(2);
    rig.log.append(&event("refused, no change of the journal")).unwrap();
    rig.reopen();
    rig.commit(&[event("later")]);
    let span = rig.check().unwrap();
    assert_eq!(span.count, 4);
    assert!(rig.lines()[2].contains("refused, no change"), "{:?}", rig.lines());
}

#[test]
fn files_are_exchanged_when_full_and_the_chain_goes_on_through_all_that_are_kept() {
    let mut rig = Rig::new();
    let full = Outcome::Refused { code: "held".to_owned(), text: "x".repeat(2048) };
    let lines = usize::try_from(FILE_BYTES_MAX).unwrap() / 2048 * (FILES_MAX + 2);
    for _ in 0..lines / 100 {
        rig.commit(&vec![event("much").with(full.clone()); 100]);
    }
    let files = in_order(rig.home.path()).unwrap();
    assert_eq!(files.len(), FILES_MAX);
    for file in &files {
        assert!(std::fs::metadata(file).unwrap().len() < FILE_BYTES_MAX + (1 << 20));
    }
    let span = rig.check().unwrap();
    let (first, last) = span.ends.unwrap();
    assert!(first.seq > 1, "the oldest went");
    assert_eq!(span.count, last.seq - first.seq + 1);
    rig.reopen();
    rig.commit(&[event("later")]);
    assert!(rig.check().is_ok());
    std::fs::remove_file(&files[0]).unwrap();
    assert!(told(rig.check()).contains("lines were taken away at the beginning"));
}

#[test]
fn lines_that_wait_for_too_long_stop_the_orders() {
    let mut rig = with_lines(1);
    rig.log.break_file();
    let mut taken = 0;
    while rig.log.append(&event("waits")).is_ok() {
        taken += 1;
        assert!(taken < 5000, "it is bounded");
    }
    assert!(rig.log.prepare(&[event("one more")]).is_err());
    std::fs::remove_dir(rig.file()).unwrap();
    rig.log.head();
    rig.commit(&[event("the disk is back")]);
    assert_eq!(check_file(&rig.file(), Some(&rig.head())).unwrap().count, taken + 1);
}
