//! What can be wrong in a rack, and the words for it: `PLACE FAULT [FIGURE]`, the same in the rack
//! file, in scripts, on the command line and on the control socket.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use serde::Deserialize;
use serde::Serialize;

use crate::script::duration;

/// Boots that fail by order and are counted; a machine that never boots needs no count.
const BOOTS_MAX: u32 = 1000;

/// A day of polls; more is a slip.
const BYTES_MAX: u32 = 1_000_000;

/// All of them, with what each says, for messages and `--help`.
pub const WORDS: &str = "\
MACHINE no-boot [TIMES]      its boots, or only the next TIMES, never end; a power cycle tries anew
MACHINE boots-late TIME      its boots take TIME longer
MACHINE hangs                its programs stand still until its power is cut; it draws what it drew
MACHINE ignores-soft-off     takes the order to shut down, and stays up
BOARD:CHANNEL welded-closed  the contact never opens again once it is closed
BOARD:CHANNEL welded-open    the contact carries no current any more
BOARD mute                   acts, and answers nothing
BOARD answers-late TIME      each answer comes TIME later
BOARD ignores-frames         answers, and moves nothing
BOARD acts-late TIME         obeys each frame TIME later
BOARD acts-again TIME        obeys each frame once more TIME later
BOARD echoes                 tells of each relay what it was told last, whatever the relay does
BOARD stale                  tells of its relays as they are now, for as long as it lasts
BOARD inverted-answers       tells the opposite of what is so
BOARD inverted-relays        moves to the opposite of what it is told
BOARD loses PERCENT          so many of the frames and queries are not heard
BOARD noisy PERCENT          in so many of the bytes, both ways, one bit is wrong
BOARD unplugged              its line and its links are gone; its relays stay as they are
BOARD renamed LINK           its line is gone and is back under another name beside the first
BOARD pulled-after BYTES     so many bytes later, both ways together, its line is gone
BOARD swapped OTHER          the two change places: names and sockets stay, boards and serial numbers move
BOARD renumbered OTHER       the two come back under each other's link; the names by path lead to them
BOARD misled OTHER           its name by path leads to the other, as it may for a moment
FEED no-mains                everything on the feed is without current";

/// Something that is wrong, and where.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum Fault {
    /// Of a machine.
    Machine(String, MachineFault),
    /// Of one relay: the board's name and the channel, counted from 1.
    Relay(String, u8, Weld),
    /// Of a board.
    Board(String, BoardFault),
    /// The mains of a feed are gone.
    NoMains(String),
}

/// What can be wrong with a machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MachineFault {
    /// Boots never end: so many of them, or all.
    NoBoot(Option<u32>),
    /// Boots take longer.
    BootsLate(Duration),
    /// Its programs stand still.
    Hangs,
    /// The order to shut down is taken and not followed.
    IgnoresSoftOff,
}

/// How a contact is stuck.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Weld {
    /// Once closed it never opens.
    Closed,
    /// It carries no current.
    Open,
}

/// What can be wrong with a board. A liar is made of these: one that acknowledges and does nothing
/// is `ignores-frames` and `echoes`; one that is inverted and consistent, as if its machines hung on
/// the other contact, is `inverted-relays` and `echoes`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum BoardFault {
    /// Answers nothing.
    Mute,
    /// Answers come later.
    AnswersLate(Duration),
    /// Moves nothing.
    IgnoresFrames,
    /// Obeys later.
    ActsLate(Duration),
    /// Obeys a second time, later.
    ActsAgain(Duration),
    /// Tells what it was told.
    Echoes,
    /// Tells what was so when this began.
    Stale,
    /// Tells the opposite.
    InvertedAnswers,
    /// Does the opposite.
    InvertedRelays,
    /// Does not hear some of the frames and queries, in percent.
    Loses(u8),
    /// Some of the bytes have a wrong bit, in percent.
    Noisy(u8),
    /// Is not on the bus.
    Unplugged,
    /// Is on the bus under another name.
    Renamed(String),
    /// Is gone after so many bytes more.
    PulledAfter(u32),
    /// Is where another was, and the other where this one was.
    Swapped(String),
    /// Has the link of another, and the other that of this one.
    Renumbered(String),
    /// Its name by path leads to another.
    Misled(String),
}

impl BoardFault {
    /// Whether it says where the board is on the bus. Of such faults there is one at a time.
    #[must_use]
    pub fn is_of_the_bus(&self) -> bool {
        matches!(self, BoardFault::Unplugged | BoardFault::Renamed(_)) || self.other().is_some()
    }

    /// The other board that it is about.
    #[must_use]
    pub fn other(&self) -> Option<&str> {
        match self {
            BoardFault::Swapped(other)
            | BoardFault::Renumbered(other)
            | BoardFault::Misled(other) => Some(other),
            _ => None,
        }
    }
}

impl Fault {
    /// The machine, relay, board or feed, as it is written.
    #[must_use]
    pub fn place(&self) -> String {
        match self {
            Fault::Machine(name, _) | Fault::Board(name, _) | Fault::NoMains(name) => name.clone(),
            Fault::Relay(board, channel, _) => format!("{board}:{channel}"),
        }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ", self.place())?;
        match self {
            Fault::Machine(_, fault) => fault.fmt(f),
            Fault::Relay(_, _, Weld::Closed) => f.write_str("welded-closed"),
            Fault::Relay(_, _, Weld::Open) => f.write_str("welded-open"),
            Fault::Board(_, fault) => fault.fmt(f),
            Fault::NoMains(_) => f.write_str("no-mains"),
        }
    }
}

impl fmt::Display for MachineFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            MachineFault::NoBoot(None) => f.write_str("no-boot"),
            MachineFault::NoBoot(Some(times)) => write!(f, "no-boot {times}"),
            MachineFault::BootsLate(late) => write!(f, "boots-late {}ms", late.as_millis()),
            MachineFault::Hangs => f.write_str("hangs"),
            MachineFault::IgnoresSoftOff => f.write_str("ignores-soft-off"),
        }
    }
}

impl fmt::Display for BoardFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            BoardFault::Mute => f.write_str("mute"),
            BoardFault::AnswersLate(late) => write!(f, "answers-late {}ms", late.as_millis()),
            BoardFault::IgnoresFrames => f.write_str("ignores-frames"),
            BoardFault::ActsLate(late) => write!(f, "acts-late {}ms", late.as_millis()),
            BoardFault::ActsAgain(later) => write!(f, "acts-again {}ms", later.as_millis()),
            BoardFault::Echoes => f.write_str("echoes"),
            BoardFault::Stale => f.write_str("stale"),
            BoardFault::InvertedAnswers => f.write_str("inverted-answers"),
            BoardFault::InvertedRelays => f.write_str("inverted-relays"),
            BoardFault::Loses(percent) => write!(f, "loses {percent}"),
            BoardFault::Noisy(percent) => write!(f, "noisy {percent}"),
            BoardFault::Unplugged => f.write_str("unplugged"),
            BoardFault::Renamed(link) => write!(f, "renamed {link}"),
            BoardFault::PulledAfter(bytes) => write!(f, "pulled-after {bytes}"),
            BoardFault::Swapped(other) => write!(f, "swapped {other}"),
            BoardFault::Renumbered(other) => write!(f, "renumbered {other}"),
            BoardFault::Misled(other) => write!(f, "misled {other}"),
        }
    }
}

impl From<Fault> for String {
    fn from(fault: Fault) -> Self {
        fault.to_string()
    }
}

impl TryFrom<String> for Fault {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

impl FromStr for Fault {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let words: Vec<&str> = text.split_whitespace().collect();
        let [place, fault @ ..] = words.as_slice() else { return Err(unknown(text)) };
        let place = (*place).to_owned();
        if let Some(fault) = machine_fault(fault)? {
            return Ok(Fault::Machine(place, fault));
        }
        if let Some(fault) = board_fault(fault)? {
            return Ok(Fault::Board(place, fault));
        }
        match fault {
            ["welded-closed"] => weld(&place, Weld::Closed),
            ["welded-open"] => weld(&place, Weld::Open),
            ["no-mains"] => Ok(Fault::NoMains(place)),
            _ => Err(unknown(text)),
        }
    }
}

fn unknown(text: &str) -> String {
    format!("found the fault {text:?}, expected one of:\n{WORDS}")
}

fn machine_fault(words: &[&str]) -> Result<Option<MachineFault>, String> {
    Ok(Some(match words {
        ["no-boot"] => MachineFault::NoBoot(None),
        ["no-boot", times] => MachineFault::NoBoot(Some(figure(times, "times", BOOTS_MAX)?)),
        ["boots-late", time] => MachineFault::BootsLate(duration(time)?),
        ["hangs"] => MachineFault::Hangs,
        ["ignores-soft-off"] => MachineFault::IgnoresSoftOff,
        _ => return Ok(None),
    }))
}

fn board_fault(words: &[&str]) -> Result<Option<BoardFault>, String> {
    Ok(Some(match words {
        ["mute"] => BoardFault::Mute,
        ["answers-late", time] => BoardFault::AnswersLate(duration(time)?),
        ["ignores-frames"] => BoardFault::IgnoresFrames,
        ["acts-late", time] => BoardFault::ActsLate(duration(time)?),
        ["acts-again", time] => BoardFault::ActsAgain(duration(time)?),
        ["echoes"] => BoardFault::Echoes,
        ["stale"] => BoardFault::Stale,
        ["inverted-answers"] => BoardFault::InvertedAnswers,
        ["inverted-relays"] => BoardFault::InvertedRelays,
        ["loses", share] => BoardFault::Loses(percent(share)?),
        ["noisy", share] => BoardFault::Noisy(percent(share)?),
        ["unplugged"] => BoardFault::Unplugged,
        ["pulled-after", bytes] => BoardFault::PulledAfter(figure(bytes, "bytes", BYTES_MAX)?),
        ["swapped", other] => BoardFault::Swapped((*other).to_owned()),
        ["renumbered", other] => BoardFault::Renumbered((*other).to_owned()),
        ["misled", other] => BoardFault::Misled((*other).to_owned()),
        ["renamed", link] if !link.contains('/') => BoardFault::Renamed((*link).to_owned()),
        ["renamed", link] => {
            return Err(format!("found the link {link:?}, expected a name without directories"));
        }
        _ => return Ok(None),
    }))
}

fn figure(word: &str, of_what: &str, max: u32) -> Result<u32, String> {
    word.parse()
        .ok()
        .filter(|figure| (1..=max).contains(figure))
        .ok_or_else(|| format!("found {word:?} {of_what}, expected a whole number from 1 to {max}"))
}

fn percent(word: &str) -> Result<u8, String> {
    let percent = figure(word, "percent", 100)?;
    u8::try_from(percent).map_err(|err| err.to_string())
}

fn weld(place: &str, weld: Weld) -> Result<Fault, String> {
    let (board, channel) = relay_place(place)?;
    Ok(Fault::Relay(board, channel, weld))
}

/// Reads `BOARD:CHANNEL`.
///
/// # Errors
/// What was found and what was expected.
pub fn relay_place(place: &str) -> Result<(String, u8), String> {
    let parts = place.rsplit_once(':').and_then(|(board, channel)| {
        let channel = channel.parse().ok().filter(|channel| *channel > 0)?;
        Some((board.to_owned(), channel))
    });
    parts.ok_or_else(|| {
        format!("found the relay {place:?}, expected BOARD:CHANNEL with a channel from 1 on")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_document_has_all_of_them() {
        assert!(include_str!("../../docs/virtual-rack.md").contains(WORDS));
    }

    #[test]
    fn every_fault_is_read_as_it_is_written() {
        let mut seen = 0;
        for line in WORDS.lines() {
            let (usage, _) = line.split_once("  ").expect("a fault and what it says");
            let sample = usage
                .replace("BOARD:CHANNEL", "a:3")
                .replace("[TIMES]", "2")
                .replace("TIME", "1500ms")
                .replace("PERCENT", "20")
                .replace("LINK", "b.tty")
                .replace("BYTES", "7")
                .replace("OTHER", "b");
            let fault: Fault = sample.parse().unwrap();
            assert_eq!(fault.to_string(), sample);
            assert_eq!(sample.split(' ').next(), Some(fault.place().as_str()));
            let json = serde_json::to_string(&fault).unwrap();
            assert_eq!(serde_json::from_str::<Fault>(&json).unwrap(), fault);
            seen += 1;
        }
        assert_eq!(seen, 24);
        assert_eq!("n1 no-boot".parse::<Fault>().unwrap().to_string(), "n1 no-boot");
    }

    #[test]
    fn a_fault_that_makes_no_sense_is_refused_with_what_was_expected() {
        for (text, expected) in [
            ("n1 explodes", "found the fault \"n1 explodes\", expected one of:\nMACHINE no-boot"),
            ("", "found the fault \"\", expected one of:"),
            ("a mute 5", "found the fault \"a mute 5\""),
            ("a:0 welded-open", "found the relay \"a:0\", expected BOARD:CHANNEL"),
            ("a welded-open", "found the relay \"a\", expected BOARD:CHANNEL"),
            ("a loses 0", "found \"0\" percent, expected a whole number from 1 to 100"),
            ("a acts-late soon", "found the time \"soon\""),
            ("a renamed ../b", "found the link \"../b\", expected a name without directories"),
            ("n1 no-boot -1", "found \"-1\" times"),
        ] {
            let err = text.parse::<Fault>().unwrap_err();
            assert!(err.starts_with(expected), "{err}");
        }
    }
}
