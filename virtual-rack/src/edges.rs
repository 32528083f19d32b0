//! The edge log: one JSON line per movement of a relay's contact, written by the rack alone and
//! read by stories, demos and benchmarks. It is the evidence, so it is exact or the rack ends.

use std::fs::File;
use std::io::BufRead;
use std::io::BufReader;
use std::io::Write;
use std::path::Path;
use std::path::PathBuf;

use serde::Deserialize;
use serde::Serialize;

use crate::moment::Moment;
use crate::relay::Power;

/// A longer log is refused: at the board's own pace of twenty frames a second and 160 bytes a line
/// this is half a day of a relay that never rests, and a reader still holds it in memory.
pub const EDGE_LOG_BYTES_MAX: u64 = 128 * 1024 * 1024;

/// Why a contact moved.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Cause {
    /// The board obeyed a frame on its serial line.
    Frame,
    /// The board obeyed a frame late, or once more: a fault.
    Late,
    /// A contact stuck, or was healed.
    Fault,
    /// The board lost its power, or got it back.
    Mains,
    /// Somebody moved it past the agent.
    Hand,
}

/// One movement of one contact.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct EdgeRecord {
    /// When, on the rack's monotonic clock, in microseconds since its start.
    pub at_us: Moment,
    /// When, on the wall's clock, in microseconds since 1970.
    pub wall_us: u64,
    /// The board's name.
    pub board: String,
    /// The board's channel, counted from 1.
    pub channel: u8,
    /// The machine behind it; none where nothing is plugged in.
    pub machine: Option<String>,
    /// Where the contact moved to.
    pub edge: Power,
    /// Why.
    pub cause: Cause,
}

/// What can go wrong with an edge log.
#[derive(Debug, thiserror::Error)]
pub enum EdgeLogError {
    /// The file can not be opened, read or written.
    #[error("edge log {}", .path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: std::io::Error,
    },
    /// A line is no record.
    #[error("edge log {}:{line}: found no edge record", .path.display())]
    Line {
        /// The file.
        path: PathBuf,
        /// Counted from 1.
        line: usize,
        /// What was wrong with it.
        #[source]
        source: serde_json::Error,
    },
    /// The file is longer than [`EDGE_LOG_BYTES_MAX`].
    #[error("edge log {}: found {bytes} bytes, expected at most {EDGE_LOG_BYTES_MAX}; move it away", .path.display())]
    TooLong {
        /// The file.
        path: PathBuf,
        /// Its length.
        bytes: u64,
    },
}

/// Reads a whole log, in the order of the edges. A last line without its end is one that the rack is
/// writing now, and is left out.
///
/// # Errors
/// Where the file can not be read, is too long, or holds a line that is no record.
pub fn read(path: &Path) -> Result<Vec<EdgeRecord>, EdgeLogError> {
    let io = |source| EdgeLogError::Io { path: path.to_owned(), source };
    let file = File::open(path).map_err(io)?;
    within_bounds(path, file.metadata().map_err(io)?.len())?;
    let mut reader = BufReader::new(file);
    let mut records = Vec::new();
    let mut text = String::new();
    while reader.read_line(&mut text).map_err(io)? > 0 && text.ends_with('\n') {
        let line = records.len() + 1;
        records.push(serde_json::from_str(&text).map_err(|source| EdgeLogError::Line {
            path: path.to_owned(),
            line,
            source,
        })?);
        text.clear();
    }
    Ok(records)
}

/// The rack's end of the log.
#[derive(Debug)]
pub(crate) struct EdgeLog {
    path: PathBuf,
    file: File,
    bytes: u64,
}

impl EdgeLog {
    /// Opens the log for appending, and makes it where it is not there.
    pub(crate) fn open(path: &Path) -> Result<Self, EdgeLogError> {
        let io = |source| EdgeLogError::Io { path: path.to_owned(), source };
        let file = File::options().create(true).append(true).open(path).map_err(io)?;
        let bytes = file.metadata().map_err(io)?.len();
        within_bounds(path, bytes)?;
        Ok(Self { path: path.to_owned(), file, bytes })
    }

    /// Appends one record in one write.
    pub(crate) fn append(&mut self, record: &EdgeRecord) -> Result<(), EdgeLogError> {
        let io = |source| EdgeLogError::Io { path: self.path.clone(), source };
        let mut line = serde_json::to_vec(record).map_err(|err| io(err.into()))?;
        line.push(b'\n');
        self.bytes += u64::try_from(line.len()).unwrap_or(u64::MAX);
        within_bounds(&self.path, self.bytes)?;
        self.file.write_all(&line).map_err(io)
    }
}

fn within_bounds(path: &Path, bytes: u64) -> Result<(), EdgeLogError> {
    if bytes > EDGE_LOG_BYTES_MAX {
        return Err(EdgeLogError::TooLong { path: path.to_owned(), bytes });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_come_back_as_they_were_written_and_a_half_written_one_is_left_out() {
        let home = tempfile::tempdir().unwrap();
        let path = home.path().join("edges.jsonl");
        let record = |edge| EdgeRecord {
            at_us: Moment::from_micros(1500),
            wall_us: 1_795_372_202_974_127,
            board: "a".to_owned(),
            channel: 1,
            machine: Some("node1".to_owned()),
            edge,
            cause: Cause::Frame,
        };
        let mut log = EdgeLog::open(&path).unwrap();
        log.append(&record(Power::On)).unwrap();
        log.append(&record(Power::Off)).unwrap();
        let mut file = File::options().append(true).open(&path).unwrap();
        file.write_all(b"{\"at_us\":17").unwrap();
        assert_eq!(read(&path).unwrap(), [record(Power::On), record(Power::Off)]);
        let first = std::fs::read_to_string(&path).unwrap();
        assert_eq!(
            first.lines().next().unwrap(),
            "{\"at_us\":1500,\"wall_us\":1795372202974127,\"board\":\"a\",\"channel\":1,\
             \"machine\":\"node1\",\"edge\":\"on\",\"cause\":\"frame\"}"
        );
        file.write_all(b"\n").unwrap();
        let err = read(&path).unwrap_err().to_string();
        assert_eq!(err, format!("edge log {}:3: found no edge record", path.display()));
    }
}
