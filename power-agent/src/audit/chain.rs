//! Whether a chain holds: line by line through all files, and against a head that was kept elsewhere.

use std::io;
use std::path::{Path, PathBuf};

use super::files;
use super::line::{AuditLine, LINE_BYTES_MAX, Tip};

/// The newest line of a chain, as it is kept apart from the files: what is cut off at their end is found by it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Head {
    /// The line's number.
    pub seq: u64,
    /// Its hash.
    pub hash: String,
}

/// A chain that holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Span {
    /// How many lines.
    pub count: u64,
    /// The first and the last.
    pub ends: Option<(AuditLine, AuditLine)>,
    /// The last line has no end: the agent was cut off while it wrote it.
    pub torn: bool,
}

/// Where a chain does not hold, or can not be read.
#[derive(Debug, thiserror::Error)]
pub enum Break {
    /// A line is not what the one before it makes it.
    #[error("{}, line {number}: {why}", file.display())]
    Line {
        /// The file.
        file: PathBuf,
        /// The line in it, from 1.
        number: u64,
        /// What is wrong.
        why: String,
    },
    /// The files do not hold all that there is.
    #[error("{0}")]
    Ends(String),
    /// A file can not be read.
    #[error("{}: can not be read", file.display())]
    Unreadable {
        /// The file.
        file: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
}

/// Looks through one file for itself.
///
/// # Errors
/// The first [`Break`].
pub fn check_file(file: &Path, head: Option<&Head>) -> Result<Span, Break> {
    let mut walk = Walk::default();
    walk.file(file, true)?;
    walk.finish(head, false)
}

/// Looks through all files of a state directory as one chain.
///
/// # Errors
/// The first [`Break`].
pub fn check_directory(directory: &Path, head: Option<&Head>) -> Result<Span, Break> {
    let unreadable = |source| Break::Unreadable { file: directory.to_owned(), source };
    let all = files::in_order(directory).map_err(unreadable)?;
    let mut walk = Walk::default();
    for (index, file) in all.iter().enumerate() {
        walk.file(file, index + 1 == all.len())?;
    }
    walk.finish(head, true)
}

/// A walk along a chain.
#[derive(Debug, Default)]
struct Walk {
    count: u64,
    first: Option<AuditLine>,
    last: Option<AuditLine>,
    torn: bool,
    /// The oldest line that was kept when files were exchanged last.
    kept_from: Option<u64>,
    hashes: Vec<String>,
}

impl Walk {
    fn file(&mut self, file: &Path, newest: bool) -> Result<(), Break> {
        let unreadable = |source| Break::Unreadable { file: file.to_owned(), source };
        let text = files::text(file).map_err(unreadable)?;
        for (number, line) in (1..).zip(text.split_inclusive('\n')) {
            let wrong = |why| Break::Line { file: file.to_owned(), number, why };
            let Some(line) = line.strip_suffix('\n') else {
                if newest {
                    self.torn = true;
                    return Ok(());
                }
                return Err(wrong("the line has no end".to_owned()));
            };
            let read = follow(line, self.last.as_ref().map(AuditLine::tip).as_ref());
            self.take(read.map_err(wrong)?);
        }
        Ok(())
    }

    fn take(&mut self, line: AuditLine) {
        self.count += 1;
        self.kept_from = line.kept_from.or(self.kept_from);
        self.hashes.push(line.hash.clone());
        self.first.get_or_insert_with(|| line.clone());
        self.last = Some(line);
    }

    fn finish(self, head: Option<&Head>, whole: bool) -> Result<Span, Break> {
        let begins = self.first.as_ref().map_or(1, |line| line.seq);
        let ends = self.last.as_ref().map_or(0, |line| line.seq);
        let expected = self.kept_from.unwrap_or(1);
        if whole && self.count > 0 && begins > expected {
            let text = format!(
                "the first line is number {begins}, and from {expected} on they were kept: lines were taken away at the beginning"
            );
            return Err(Break::Ends(text));
        }
        if let Some(head) = head {
            self.against(head, begins, ends)?;
        }
        Ok(Span { count: self.count, ends: self.first.zip(self.last), torn: self.torn })
    }

    fn against(&self, head: &Head, begins: u64, ends: u64) -> Result<(), Break> {
        if ends < head.seq {
            let text = format!(
                "the last line is number {ends}, and the newest that was written is {}: lines were cut off at the end",
                head.seq
            );
            return Err(Break::Ends(text));
        }
        // A head from before the oldest line that is kept says nothing any more.
        let place = head.seq.checked_sub(begins).and_then(|place| usize::try_from(place).ok());
        match place.and_then(|place| self.hashes.get(place)) {
            Some(hash) if *hash != head.hash => Err(Break::Ends(format!(
                "line number {} has the hash {hash}, and {} was kept: the chain was written anew",
                head.seq, head.hash
            ))),
            Some(_) | None => Ok(()),
        }
    }
}

/// The line that follows a tip; without a tip any line may be the first.
pub(super) fn follow(text: &str, tip: Option<&Tip>) -> Result<AuditLine, String> {
    if text.len() > LINE_BYTES_MAX {
        return Err(format!("it has {} bytes; at most {LINE_BYTES_MAX} are written", text.len()));
    }
    let line = AuditLine::read(text).map_err(|error| error.to_string())?;
    let genesis = Tip::genesis();
    let tip = match tip {
        None if line.seq > 1 => return Ok(line),
        tip => tip.unwrap_or(&genesis),
    };
    let next = tip.seq.saturating_add(1);
    if line.seq != next {
        return Err(format!(
            "it is number {}, and {next} was to follow: lines are missing, or not in their order",
            line.seq
        ));
    }
    if line.prev != tip.hash {
        return Err(format!(
            "it follows on a line with the hash {}, and the one before it has {}",
            line.prev, tip.hash
        ));
    }
    Ok(line)
}
