//! The audit's files in the state directory: the newest has the plain name, older ones a number that grows with age.

use std::io;
use std::path::{Path, PathBuf};

use super::line::{AuditLine, LineError};

/// The newest file.
pub const FILE_NAME: &str = "audit.log";

/// A file that has grown beyond this is closed and another begun, in bytes: some 6 000 lines, read in a moment.
pub const FILE_BYTES_MAX: u64 = 4 << 20;

/// How many files are kept: 32 MiB, or a year of a small rack's orders. What is to be kept for longer is copied away.
pub const FILES_MAX: usize = 8;

/// The most that is read of one file: one that is full, with the line that filled it and those of a busy moment.
pub(super) const READ_BYTES_MAX: u64 = 2 * FILE_BYTES_MAX;

/// The files of a directory, oldest first; each but the newest with its number.
pub(super) fn in_order(directory: &Path) -> io::Result<Vec<PathBuf>> {
    let mut numbered = Vec::new();
    let mut newest = None;
    for entry in std::fs::read_dir(directory)? {
        let path = entry?.path();
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        let Some(rest) = name.strip_prefix(FILE_NAME) else { continue };
        match rest.strip_prefix('.').map(str::parse::<usize>) {
            Some(Ok(number)) => numbered.push((number, path)),
            None if rest.is_empty() => newest = Some(path),
            Some(Err(_)) | None => {}
        }
    }
    numbered.sort_unstable_by_key(|(number, _)| std::cmp::Reverse(*number));
    Ok(numbered.into_iter().map(|(_, path)| path).chain(newest).collect())
}

/// The path of a file that has been closed.
fn older(directory: &Path, number: usize) -> PathBuf {
    directory.join(format!("{FILE_NAME}.{number}"))
}

/// Makes room for a new file: each becomes one older, and the oldest goes. A crash in between leaves a number free, and
/// no line is lost.
pub(super) fn shift(directory: &Path) -> io::Result<()> {
    for number in (0..FILES_MAX).rev() {
        let from = if number == 0 { directory.join(FILE_NAME) } else { older(directory, number) };
        let moved = if number + 1 == FILES_MAX {
            std::fs::remove_file(&from)
        } else {
            std::fs::rename(&from, older(directory, number + 1))
        };
        match moved {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
    }
    std::fs::File::open(directory)?.sync_all()
}

/// The text of a file; bytes that are no text are left for the lines to be wrong about.
pub(super) fn text(path: &Path) -> io::Result<String> {
    let bytes = std::fs::metadata(path)?.len();
    if bytes > READ_BYTES_MAX {
        let text = format!("it has {bytes} bytes, and an agent writes at most {READ_BYTES_MAX}");
        return Err(io::Error::new(io::ErrorKind::InvalidData, text));
    }
    Ok(String::from_utf8_lossy(&std::fs::read(path)?).into_owned())
}

/// Every line of a directory's files, oldest first; also those that are none.
///
/// # Errors
/// What the system says of a file.
pub fn each_line(
    directory: &Path,
    mut take: impl FnMut(&str, Result<AuditLine, LineError>),
) -> io::Result<()> {
    for file in in_order(directory)? {
        for line in text(&file)?.lines() {
            take(line, AuditLine::read(line));
        }
    }
    Ok(())
}
