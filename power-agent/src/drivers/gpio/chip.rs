//! Which chip and which lines are meant: by label, name or path, by name or number; and what there is instead.

use std::path::{Path, PathBuf};

use fleet::ReadSource;
use fleet::spelling::nearest;
use gpiocdev::line::Info;

use super::super::Source;
use super::settings::{Line, LineName};

/// How many names an error lists: a Pi's header has 28, and a person reads no more.
const NAMES_SHOWN_MAX: usize = 40;

/// Where the kernel shows its chips.
const CHIPS: &str = "/sys/bus/gpio/devices";

/// What the kernel's drivers read of an output, by their names: looked up in their sources. That of an expander which does
/// not answer is one of old kernels' low levels: its bus is watched by nothing here.
const SOURCES: &[(&str, ReadSource)] = &[
    ("pinctrl-bcm2835", ReadSource::Pin),
    ("pinctrl-rp1", ReadSource::Pin),
    ("pca953x", ReadSource::Pin),
    ("mcp230xx", ReadSource::Pin),
    ("mcp23s08", ReadSource::Pin),
    ("ftdi_sio", ReadSource::Pin),
    ("74x164", ReadSource::Written),
    ("gpio-sim", ReadSource::Written),
];

/// A chip that was found.
#[derive(Debug)]
pub(in crate::drivers) struct Found {
    pub(super) chip: gpiocdev::Chip,
    pub(super) path: PathBuf,
    /// What kind of chip it is, by its driver.
    pub(super) label: String,
    count: u32,
}

/// Why a chip can not be used.
#[derive(Debug, thiserror::Error)]
pub(super) enum ChipError {
    /// It is not there now. It may come: an expander can be plugged in.
    #[error("there is no GPIO chip {wanted:?}; there {}", listed(there))]
    Absent {
        /// What the rack file names.
        wanted: String,
        /// The chips that there are.
        there: Vec<String>,
    },
    /// More than one is meant.
    #[error("several chips are labelled {wanted:?}: {}; name one by its path", there.join(", "))]
    Several {
        /// What the rack file names.
        wanted: String,
        /// The chips of that label.
        there: Vec<String>,
    },
    /// It may not be opened, or does not answer.
    #[error("{} can not be opened; this user needs the right to, as by group `gpio`", path.display())]
    Closed {
        /// The chip's node.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: Source,
    },
}

/// Why a line of the rack file is none of the chip's.
#[derive(Debug)]
pub(super) struct LineError {
    /// Which one, by its place in the list.
    pub(super) index: usize,
    /// What is wrong.
    pub(super) what: String,
    /// What there is.
    pub(super) expected: String,
    /// The name that is most like it.
    pub(super) nearest: Option<String>,
}

impl ChipError {
    fn closed(path: &Path, error: gpiocdev::Error) -> Self {
        Self::Closed { path: path.to_owned(), source: error.into() }
    }
}

/// Finds a chip by the path of its node, its name (`gpiochip0`) or its label.
pub(super) fn find(wanted: &str) -> Result<Found, ChipError> {
    if wanted.starts_with('/') {
        let path = Path::new(wanted);
        return if path.exists() { open(path) } else { Err(absent(wanted, &all().0)) };
    }
    let (mut chips, closed) = all();
    if let Some(at) = chips.iter().position(|found| found.path == Path::new("/dev").join(wanted)) {
        return Ok(chips.swap_remove(at));
    }
    let labelled: Vec<usize> = chips
        .iter()
        .enumerate()
        .filter_map(|(at, found)| (found.label == wanted).then_some(at))
        .collect();
    match (labelled.as_slice(), closed) {
        ([only], _) => Ok(chips.swap_remove(*only)),
        // It may be one of those that can not be looked at.
        ([], Some(closed)) => Err(closed),
        ([], None) => Err(absent(wanted, &chips)),
        (several, _) => {
            let there = several.iter().filter_map(|at| chips.get(*at)).map(Found::shown).collect();
            Err(ChipError::Several { wanted: wanted.to_owned(), there })
        }
    }
}

/// All chips that can be opened, and why one can not.
pub(super) fn all() -> (Vec<Found>, Option<ChipError>) {
    let mut closed = None;
    let mut chips = Vec::new();
    for path in gpiocdev::chip::chips().unwrap_or_default() {
        match open(&path) {
            Ok(found) => chips.push(found),
            Err(error) => closed = Some(error),
        }
    }
    (chips, closed)
}

/// The chip of a Pi's header, where this host has one that can be opened.
#[cfg(feature = "rppal")]
pub(in crate::drivers) fn header() -> Option<Found> {
    all().0.into_iter().find(|found| super::pins::is_header(&found.label))
}

fn open(path: &Path) -> Result<Found, ChipError> {
    let chip = gpiocdev::Chip::from_path(path).map_err(|error| ChipError::closed(path, error))?;
    let info = chip.info().map_err(|error| ChipError::closed(path, error))?;
    Ok(Found { path: chip.path().to_owned(), chip, label: info.label, count: info.num_lines })
}

fn absent(wanted: &str, chips: &[Found]) -> ChipError {
    let there = chips.iter().map(Found::shown).collect();
    ChipError::Absent { wanted: wanted.to_owned(), there }
}

fn listed(there: &[String]) -> String {
    match there {
        [] => "is none at all".to_owned(),
        [only] => format!("is only {only}"),
        many => format!("are {}", many.join(", ")),
    }
}

impl Found {
    /// `gpiochip0 (pinctrl-rp1, 54 lines)`.
    pub(super) fn shown(&self) -> String {
        format!("{} ({}, {} lines)", self.chip.name(), self.label, self.count)
    }

    /// What is read of an output: the pin's level, or what was written.
    pub(super) fn source(&self) -> ReadSource {
        let chip = std::fs::canonicalize(Path::new(CHIPS).join(self.chip.name())).ok();
        let driver = chip.as_deref().and_then(Path::parent).map(|device| device.join("driver"));
        let driver = driver.and_then(|link| std::fs::read_link(link).ok());
        let name = driver.as_deref().and_then(Path::file_name);
        let known = SOURCES.iter().find(|(known, _)| name.is_some_and(|name| name == *known));
        known.map_or(ReadSource::Unsaid, |(_, source)| *source)
    }

    /// What the kernel tells of a line; it never tells its level.
    pub(super) fn info(&self, offset: u32) -> Result<Info, ChipError> {
        self.chip.line_info(offset).map_err(|error| ChipError::closed(&self.path, error))
    }

    /// Who holds a line, as the kernel knows it; `None`: it is free, or can not be looked at.
    pub(in crate::drivers) fn holder(&self, offset: u32) -> Option<String> {
        let info = self.info(offset).ok().filter(|info| info.used)?;
        Some(if info.consumer.is_empty() { "the kernel".to_owned() } else { info.consumer })
    }

    /// All lines.
    pub(super) fn infos(&self) -> Vec<Info> {
        (0..self.count).filter_map(|offset| self.chip.line_info(offset).ok()).collect()
    }

    /// The lines' numbers on the chip, in their order.
    pub(super) fn offsets(&self, lines: &[Line]) -> Result<Vec<u32>, LineError> {
        let infos = self.infos();
        let mut offsets: Vec<u32> = Vec::new();
        for (index, line) in lines.iter().enumerate() {
            let offset = self.offset(&infos, index, &line.name)?;
            if let Some(first) = offsets.iter().position(|known| *known == offset) {
                let first = lines.get(first).map(|line| line.name.to_string()).unwrap_or_default();
                return Err(LineError {
                    index,
                    what: format!("line {} is the same as {first}", line.name),
                    expected: "one line for each outlet: cutting one must not cut the other".into(),
                    nearest: None,
                });
            }
            offsets.push(offset);
        }
        Ok(offsets)
    }

    fn offset(&self, infos: &[Info], index: usize, name: &LineName) -> Result<u32, LineError> {
        let wrong = |what, expected, nearest| LineError { index, what, expected, nearest };
        let name = match name {
            LineName::Offset(offset) if *offset < self.count => return Ok(*offset),
            LineName::Offset(offset) => {
                let what = format!("{} has no line {offset}", self.chip.name());
                let last = self.count.saturating_sub(1);
                return Err(wrong(what, format!("a number from 0 to {last}"), None));
            }
            LineName::Name(name) => name,
        };
        let same: Vec<u32> =
            infos.iter().filter(|info| info.name == *name).map(|info| info.offset).collect();
        let names: Vec<&str> =
            infos.iter().map(|info| info.name.as_str()).filter(|name| !name.is_empty()).collect();
        let there = match names.as_slice() {
            [] => "its lines have no names: write the number".to_owned(),
            names => {
                let shown: Vec<&str> = names.iter().copied().take(NAMES_SHOWN_MAX).collect();
                let more = names.len().saturating_sub(shown.len());
                let more = if more > 0 { format!(" and {more} more") } else { String::new() };
                format!("one of {}{more}", shown.join(", "))
            }
        };
        match same.as_slice() {
            [only] => Ok(*only),
            [] => {
                let what = format!("{} has no line {name:?}", self.chip.name());
                let nearest = nearest(name, names.iter().copied()).map(str::to_owned);
                Err(wrong(what, there, nearest))
            }
            several => {
                let what = format!("{} has {} lines {name:?}", self.chip.name(), several.len());
                Err(wrong(what, format!("one of the numbers {several:?}"), None))
            }
        }
    }
}
