//! RACK.toml: what stands in the rack. Parsed once, checked whole, with the place of every mistake.

use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::path::Path;
use std::path::PathBuf;
use std::time::Duration;

use serde::Deserialize;
use toml::Spanned;

use crate::board::Kind;
use crate::board::Unpowered;
use crate::fault::Fault;
use crate::machine::Nature;
use crate::rack::breaker::Amps;
use crate::relay::Power;
use crate::sys::Usb;

/// LCUS boards come with 1, 2, 4 or 8 relays.
pub const CHANNELS_MAX: u8 = 8;
/// A host name has at most 63; the bound of a reply counts on it.
const NAME_BYTES_MAX: usize = 64;
/// One gap, boot or shutdown: longer ones are a slip of the unit.
const WAIT_MS_MAX: u64 = 3_600_000;
/// A machine that draws more than a household's fuse carries is a slip of the point.
const WATTS_MAX: f64 = 4000.0;

/// A checked rack.
#[derive(Debug, Clone, PartialEq)]
pub struct RackConfig {
    /// The control socket.
    pub socket: PathBuf,
    /// Where edges are appended.
    pub edge_log: PathBuf,
    /// The boards by name.
    pub boards: BTreeMap<String, BoardConfig>,
    /// The machines by name.
    pub machines: BTreeMap<String, MachineConfig>,
    /// The feeds' names.
    pub feeds: BTreeSet<String>,
    /// At how many milliamperes the breaker of a feed trips, where it has one.
    pub breakers: BTreeMap<String, u64>,
    /// What is wrong from the start.
    pub faults: Vec<Fault>,
    /// The folder that tells of the boards' adapters as `/sys` does, where there is one.
    pub sys: Option<PathBuf>,
}

/// A checked board.
#[derive(Debug, Clone, PartialEq)]
pub struct BoardConfig {
    /// Which board stands in.
    pub kind: Kind,
    /// How many relays it has.
    pub channels: u8,
    /// The link to its port's far end: the name that changes when the bus is found in another order.
    pub link: PathBuf,
    /// A link to that link, which stays where it is, as `/dev/serial/by-path` has them.
    pub by_path: Option<PathBuf>,
    /// How long it is deaf after a frame.
    pub min_gap: Duration,
    /// The feed that it has its power from; `None`: its power never fails.
    pub feed: Option<String>,
    /// What its relays do when that fails.
    pub unpowered: Unpowered,
    /// Its adapter, and where that is plugged in.
    pub usb: Option<Usb>,
}

/// A checked machine.
#[derive(Debug, Clone, PartialEq)]
pub struct MachineConfig {
    /// The board that it hangs on.
    pub board: String,
    /// The channel, counted from 1.
    pub channel: u8,
    /// The feed behind the relay; `None`: it never fails.
    pub feed: Option<String>,
    /// What it draws there, if that is counted.
    pub amps: Option<Amps>,
    /// The relay's state at the start. A machine that is found on is up.
    pub found: Power,
    /// Its times and watts.
    pub nature: Nature,
    /// What runs while it is up; empty for nothing.
    pub command: Vec<String>,
    /// Where that writes to.
    pub command_log: Option<PathBuf>,
}

/// A mistake in a rack file, with its place.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file can not be read.
    #[error("rack file {}", .path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: std::io::Error,
    },
    /// Something in it is wrong.
    #[error("{}:{line}:{column}: {what}", .path.display())]
    Wrong {
        /// The file.
        path: PathBuf,
        /// Counted from 1.
        line: usize,
        /// Counted from 1, in characters.
        column: usize,
        /// What was found and what was expected.
        what: String,
    },
}

/// Reads and checks a rack file. Relative paths in it start at the file's directory.
///
/// # Errors
/// The first mistake, with line and column.
pub fn read(path: &Path) -> Result<RackConfig, ConfigError> {
    let text = std::fs::read_to_string(path)
        .map_err(|source| ConfigError::Unreadable { path: path.to_owned(), source })?;
    parse(&text, path)
}

/// Checks the text of a rack file that lies at `path`.
///
/// # Errors
/// The first mistake, with line and column.
pub fn parse(text: &str, path: &Path) -> Result<RackConfig, ConfigError> {
    let absolute = std::path::absolute(path)
        .map_err(|source| ConfigError::Unreadable { path: path.to_owned(), source })?;
    check(text, absolute.parent().unwrap_or(Path::new("/"))).map_err(|mistake| {
        let (line, column) = place(text, mistake.at);
        ConfigError::Wrong { path: path.to_owned(), line, column, what: mistake.what }
    })
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RackFile {
    sys: Option<PathBuf>,
    socket: PathBuf,
    edge_log: PathBuf,
    boards: BTreeMap<Spanned<String>, BoardFile>,
    #[serde(default)]
    machines: BTreeMap<Spanned<String>, MachineFile>,
    #[serde(default)]
    feeds: BTreeMap<Spanned<String>, FeedFile>,
    #[serde(default)]
    faults: Vec<Spanned<String>>,
}

/// A feed may have a breaker.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct FeedFile {
    trip_ma: Option<u64>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct BoardFile {
    kind: Kind,
    channels: Spanned<u8>,
    link: Spanned<PathBuf>,
    by_path: Option<Spanned<PathBuf>>,
    #[serde(default = "default_gap")]
    min_gap_ms: Spanned<u64>,
    feed: Option<Spanned<String>>,
    #[serde(default)]
    unpowered: Unpowered,
    usb: Option<Spanned<Usb>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct MachineFile {
    board: Spanned<String>,
    channel: Spanned<u8>,
    feed: Option<Spanned<String>>,
    running_ma: Option<Spanned<u64>>,
    #[serde(default)]
    inrush_ma: u64,
    #[serde(default)]
    inrush_ms: u64,
    #[serde(default)]
    on: bool,
    boot_ms: Spanned<u64>,
    shutdown_ms: Spanned<u64>,
    watts: Spanned<f64>,
    boot_watts: Option<Spanned<f64>>,
    halted_watts: Option<Spanned<f64>>,
    command: Option<Spanned<Vec<String>>>,
    command_log: Option<Spanned<PathBuf>>,
}

/// The pause that the CH340 of a real board needs between frames.
fn default_gap() -> Spanned<u64> {
    Spanned::new(0..0, 50)
}

struct Mistake {
    at: usize,
    what: String,
}

fn mistake<T>(at: &Spanned<T>, what: String) -> Mistake {
    Mistake { at: at.span().start, what }
}

fn check(text: &str, home: &Path) -> Result<RackConfig, Mistake> {
    let file: RackFile = toml::from_str(text).map_err(|err| Mistake {
        at: err.span().map_or(0, |span| span.start),
        what: err.message().to_owned(),
    })?;
    let (mut feeds, mut breakers) = (BTreeSet::new(), BTreeMap::new());
    for (name, FeedFile { trip_ma }) in file.feeds {
        named(&name)?;
        let name = name.into_inner();
        breakers.extend(trip_ma.map(|trip_ma| (name.clone(), trip_ma)));
        feeds.insert(name);
    }
    let told = file.boards.values().find_map(|board| board.usb.as_ref());
    if let (Some(usb), None) = (told, &file.sys) {
        let what = "found an adapter, and no folder `sys` in which it is told of".to_owned();
        return Err(mistake(usb, what));
    }
    let boards = check_boards(file.boards, &feeds, home)?;
    let sys = file.sys.map(|sys| home.join(sys));
    let mut machines = BTreeMap::new();
    let mut outlets: BTreeMap<(String, u8), String> = BTreeMap::new();
    for (name, machine) in file.machines {
        named(&name)?;
        let checked = check_machine(&machine, &boards, &feeds, home)?;
        let outlet = (checked.board.clone(), checked.channel);
        if let Some(other) = outlets.insert(outlet, name.get_ref().clone()) {
            return Err(mistake(
                &machine.channel,
                format!(
                    "found channel {} of board {:?}, on which machine {other:?} hangs already, \
                     expected a free one",
                    checked.channel, checked.board
                ),
            ));
        }
        machines.insert(name.into_inner(), checked);
    }
    let faults = file
        .faults
        .iter()
        .map(|fault| fault.get_ref().parse().map_err(|what| mistake(fault, what)));
    Ok(RackConfig {
        socket: home.join(file.socket),
        edge_log: home.join(file.edge_log),
        faults: faults.collect::<Result<_, _>>()?,
        boards,
        machines,
        feeds,
        breakers,
        sys,
    })
}

fn check_boards(
    file: BTreeMap<Spanned<String>, BoardFile>,
    feeds: &BTreeSet<String>,
    home: &Path,
) -> Result<BTreeMap<String, BoardConfig>, Mistake> {
    let mut boards = BTreeMap::new();
    let mut links: BTreeMap<PathBuf, String> = BTreeMap::new();
    for (name, board) in file {
        named(&name)?;
        let checked = check_board(&board, feeds, home)?;
        let by_path = board.by_path.as_ref().zip(checked.by_path.as_ref());
        for (place, link) in by_path.into_iter().chain([(&board.link, &checked.link)]) {
            if let Some(other) = links.insert(link.clone(), name.get_ref().clone()) {
                return Err(mistake(
                    place,
                    format!("found the link of board {other:?}, expected one of its own"),
                ));
            }
        }
        boards.insert(name.into_inner(), checked);
    }
    Ok(boards)
}

/// A feed that the file declares.
fn fed(
    feed: Option<&Spanned<String>>,
    feeds: &BTreeSet<String>,
) -> Result<Option<String>, Mistake> {
    let Some(feed) = feed else { return Ok(None) };
    if !feeds.contains(feed.get_ref()) {
        let known: Vec<&str> = feeds.iter().map(String::as_str).collect();
        let what = format!(
            "found the feed {:?}, expected one that has its own table [feeds.NAME]; there is {}",
            feed.get_ref(),
            if known.is_empty() { "none".to_owned() } else { known.join(", ") }
        );
        return Err(mistake(feed, what));
    }
    Ok(Some(feed.get_ref().clone()))
}

fn named(name: &Spanned<String>) -> Result<(), Mistake> {
    let len = name.get_ref().len();
    if len == 0 || len > NAME_BYTES_MAX || name.get_ref().contains(char::is_whitespace) {
        let what = format!(
            "found the name {:?}, expected 1 to {NAME_BYTES_MAX} bytes without blanks",
            name.get_ref()
        );
        return Err(mistake(name, what));
    }
    Ok(())
}

fn check_board(
    board: &BoardFile,
    feeds: &BTreeSet<String>,
    home: &Path,
) -> Result<BoardConfig, Mistake> {
    let channels = *board.channels.get_ref();
    if channels == 0 || channels > CHANNELS_MAX {
        return Err(mistake(
            &board.channels,
            format!("found {channels} channels, expected 1 to {CHANNELS_MAX}"),
        ));
    }
    Ok(BoardConfig {
        kind: board.kind,
        channels,
        link: home.join(board.link.get_ref()),
        by_path: board.by_path.as_ref().map(|link| home.join(link.get_ref())),
        min_gap: wait(&board.min_gap_ms)?,
        feed: fed(board.feed.as_ref(), feeds)?,
        unpowered: board.unpowered,
        usb: board.usb.as_ref().map(|usb| usb.get_ref().clone()),
    })
}

fn check_machine(
    machine: &MachineFile,
    boards: &BTreeMap<String, BoardConfig>,
    feeds: &BTreeSet<String>,
    home: &Path,
) -> Result<MachineConfig, Mistake> {
    let board = machine.board.get_ref();
    let Some(outlets) = boards.get(board) else {
        let known: Vec<&str> = boards.keys().map(String::as_str).collect();
        let what = format!("found the board {board:?}, expected one of {}", known.join(", "));
        return Err(mistake(&machine.board, what));
    };
    let channel = *machine.channel.get_ref();
    if channel == 0 || channel > outlets.channels {
        return Err(mistake(
            &machine.channel,
            format!(
                "found channel {channel}, expected 1 to {}: board {board:?} has no other",
                outlets.channels
            ),
        ));
    }
    if let (None, Some(log)) = (&machine.command, &machine.command_log) {
        return Err(mistake(log, "found a command_log without a command".to_owned()));
    }
    let command = match &machine.command {
        Some(command) if command.get_ref().is_empty() => {
            return Err(mistake(
                command,
                "found an empty command, expected a program and its arguments".to_owned(),
            ));
        }
        Some(command) => command.get_ref().clone(),
        None => Vec::new(),
    };
    Ok(MachineConfig {
        board: board.clone(),
        channel,
        feed: fed(machine.feed.as_ref(), feeds)?,
        amps: amps(machine)?,
        found: if machine.on { Power::On } else { Power::Off },
        nature: nature(machine)?,
        command,
        command_log: machine.command_log.as_ref().map(|log| home.join(log.get_ref())),
    })
}

/// What a machine draws, where that is counted.
fn amps(machine: &MachineFile) -> Result<Option<Amps>, Mistake> {
    let Some(running) = &machine.running_ma else { return Ok(None) };
    if machine.feed.is_none() {
        return Err(mistake(running, "found running_ma without a feed that carries it".to_owned()));
    }
    let running_ma = *running.get_ref();
    let inrush_ma = machine.inrush_ma.max(running_ma);
    let inrush_for = Duration::from_millis(machine.inrush_ms);
    Ok(Some(Amps { running_ma, inrush_ma, inrush_for }))
}

fn nature(machine: &MachineFile) -> Result<Nature, Mistake> {
    let running = watts(&machine.watts)?;
    Ok(Nature {
        boot: wait(&machine.boot_ms)?,
        shutdown: wait(&machine.shutdown_ms)?,
        watts: running,
        boot_watts: machine.boot_watts.as_ref().map_or(Ok(running), watts)?,
        halted_watts: machine.halted_watts.as_ref().map_or(Ok(0.0), watts)?,
    })
}

fn watts(figure: &Spanned<f64>) -> Result<f64, Mistake> {
    let watts = *figure.get_ref();
    if !(0.0..=WATTS_MAX).contains(&watts) {
        return Err(mistake(figure, format!("found {watts} W, expected 0 to {WATTS_MAX} W")));
    }
    Ok(watts)
}

fn wait(millis: &Spanned<u64>) -> Result<Duration, Mistake> {
    let found = *millis.get_ref();
    if found > WAIT_MS_MAX {
        return Err(mistake(
            millis,
            format!("found {found} ms, expected at most {WAIT_MS_MAX} ms"),
        ));
    }
    Ok(Duration::from_millis(found))
}

/// Line and column, both counted from 1, of a byte of the text.
fn place(text: &str, at: usize) -> (usize, usize) {
    let before = text.get(..at).unwrap_or(text);
    let line_start = before.rfind('\n').map_or(0, |newline| newline + 1);
    let column = before.get(line_start..).map_or(0, |line| line.chars().count());
    (before.matches('\n').count() + 1, column + 1)
}
