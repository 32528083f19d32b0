//! What is found of the audit's files at a start, held against the lines that the journal holds.

use std::io;
use std::path::Path;

use super::chain::follow;
use super::files::{self, FILE_NAME};
use super::line::{AuditLine, Tip};
use super::log::Row;

/// How the audit goes on.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Found {
    /// The newest line there is, in the file or in the journal.
    pub(super) tip: Tip,
    /// The last line that the newest file has.
    pub(super) written: Tip,
    /// How much of the newest file stays, in bytes. `None`: it is put aside as it is, and another is begun.
    pub(super) stays: Option<u64>,
    /// Lines that the file has to be given again.
    pub(super) missing: Vec<Row>,
    /// What was not as it had been left, as a sentence.
    pub(super) damage: Option<String>,
}

/// The newest file as far as its lines follow on each other.
struct Whole {
    lines: Vec<AuditLine>,
    bytes: usize,
    /// What stands behind them: its length in bytes, and what is wrong with it.
    rest: Option<(usize, String)>,
}

/// Looks at the files of a directory. `kept` are the newest lines, as the journal holds them: all that the disk may not
/// have in the file, and at least the last one.
pub(super) fn look(directory: &Path, kept: &[Row]) -> io::Result<Found> {
    let path = directory.join(FILE_NAME);
    let text = match files::text(&path) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => String::new(),
        Err(error) => return Err(error),
    };
    Ok(judge(&whole(&text), last_before(directory, &path)?, kept))
}

/// The end of the file before the newest.
fn last_before(directory: &Path, newest: &Path) -> io::Result<Option<Tip>> {
    let older = files::in_order(directory)?.into_iter().rfind(|path| path != newest);
    let Some(older) = older else { return Ok(None) };
    let text = files::text(&older)?;
    Ok(text.lines().next_back().and_then(|line| AuditLine::read(line).ok()).map(|line| line.tip()))
}

/// How it follows on the file before is not looked at here: that is told by whoever asks for it.
fn whole(text: &str) -> Whole {
    let mut whole = Whole { lines: Vec::new(), bytes: 0, rest: None };
    for (number, line) in (1..).zip(text.split_inclusive('\n')) {
        let left = text.len() - whole.bytes;
        let Some(line) = line.strip_suffix('\n') else {
            whole.rest = Some((left, "its last line was not written to its end".to_owned()));
            break;
        };
        let tip = whole.lines.last().map(AuditLine::tip);
        match follow(line, tip.as_ref()) {
            Ok(read) => {
                whole.bytes += line.len() + 1;
                whole.lines.push(read);
            }
            Err(why) => {
                whole.rest = Some((left, format!("line {number} of {FILE_NAME}: {why}")));
                break;
            }
        }
    }
    whole
}

/// What a crash may leave is cut off and written again; what no crash leaves is put aside, for whoever looks into it.
fn judge(whole: &Whole, before: Option<Tip>, kept: &[Row]) -> Found {
    let written = whole.lines.last().map(AuditLine::tip).or(before).unwrap_or_else(Tip::genesis);
    let stays = Some(u64::try_from(whole.bytes).unwrap_or(u64::MAX));
    let rest = whole.rest.as_ref();
    let cut = rest.map(|(bytes, why)| format!("{why}; {bytes} bytes were cut off"));
    let (Some((first, _)), Some(last)) = (kept.first(), newest(kept)) else {
        let damage = (written.seq > 0).then(|| {
            let cut = cut.map(|cut| format!("; {cut}")).unwrap_or_default();
            format!(
                "the journal is new, so the audit goes on after line {} of the file{cut}",
                written.seq
            )
        });
        return Found { tip: written.clone(), written, stays, missing: Vec::new(), damage };
    };
    let behind = written.seq.saturating_add(1) < *first;
    let other = whole.lines.iter().any(|line| line.seq == last.seq && line.hash != last.hash);
    if behind || other {
        let why = match rest {
            Some((_, why)) => why.clone(),
            None if other => format!("line {} is not the one that was written", last.seq),
            None => format!("the file ends with line {} of {}", written.seq, last.seq),
        };
        let damage = format!("{why}; the file was put aside, and line {} begins another", *first);
        let missing = kept.to_vec();
        return Found { tip: last, written, stays: None, missing, damage: Some(damage) };
    }
    let missing: Vec<Row> = kept.iter().filter(|(seq, _)| *seq > written.seq).cloned().collect();
    let damage = (cut.is_some() || !missing.is_empty()).then(|| {
        let cut = cut.map(|cut| format!("{cut}, ")).unwrap_or_default();
        format!("{cut}{} lines were written again from the journal", missing.len())
    });
    let tip = if written.seq > last.seq { written.clone() } else { last };
    Found { tip, written, stays, missing, damage }
}

fn newest(kept: &[Row]) -> Option<Tip> {
    let (_, text) = kept.last()?;
    AuditLine::read(text).ok().map(|line| line.tip())
}
