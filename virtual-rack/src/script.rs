//! Scripts: the control socket's verbs from a file, one a line, each at once or `at` a time.

use std::path::Path;
use std::path::PathBuf;
use std::time::Duration;

use crate::control::Request;
use crate::control::WAIT_MAX;
use crate::fault::relay_place;
use crate::moment::Moment;
use crate::storm::Storm;

/// A script is a page that a person writes.
const SCRIPT_BYTES_MAX: u64 = 256 * 1024;

/// A checked script.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Script {
    /// The file, for messages.
    pub path: PathBuf,
    /// Its steps in order.
    pub steps: Vec<Step>,
}

/// One line of a script.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Step {
    /// The line, counted from 1.
    pub line: usize,
    /// Not before this moment.
    pub at: Moment,
    /// What is done.
    pub act: Act,
}

/// What a step does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Act {
    /// Asks the rack.
    Ask(Request),
    /// Plays faults by chance to their end.
    Storm(Storm),
}

/// A mistake in a script.
#[derive(Debug, thiserror::Error)]
pub enum ScriptError {
    /// The file can not be read.
    #[error("script {}", .path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: std::io::Error,
    },
    /// A line is wrong.
    #[error("{}:{line}: {what}", .path.display())]
    Wrong {
        /// The file.
        path: PathBuf,
        /// Counted from 1.
        line: usize,
        /// What was found and what was expected.
        what: String,
    },
}

/// Reads and checks a script.
///
/// # Errors
/// The first mistake, with its line.
pub fn read(path: &Path) -> Result<Script, ScriptError> {
    let unreadable = |source| ScriptError::Unreadable { path: path.to_owned(), source };
    let bytes = std::fs::metadata(path).map_err(unreadable)?.len();
    if bytes > SCRIPT_BYTES_MAX {
        return Err(unreadable(std::io::Error::other(format!(
            "found {bytes} bytes, expected at most {SCRIPT_BYTES_MAX}"
        ))));
    }
    parse(&std::fs::read_to_string(path).map_err(unreadable)?, path)
}

/// Checks the text of a script that lies at `path`.
///
/// # Errors
/// The first mistake, with its line.
pub fn parse(text: &str, path: &Path) -> Result<Script, ScriptError> {
    let mut steps = Vec::new();
    for (line, content) in (1..).zip(text.lines()) {
        let words = content.split_once('#').map_or(content, |(before, _)| before);
        let words: Vec<&str> = words.split_whitespace().collect();
        if words.is_empty() {
            continue;
        }
        let (at, act) = step(&words).map_err(|what| ScriptError::Wrong {
            path: path.to_owned(),
            line,
            what,
        })?;
        steps.push(Step { line, at, act });
    }
    Ok(Script { path: path.to_owned(), steps })
}

fn step(words: &[&str]) -> Result<(Moment, Act), String> {
    match words {
        ["at", time, verb @ ..] => Ok((Moment::START + duration(time)?, act(verb)?)),
        verb => Ok((Moment::START, act(verb)?)),
    }
}

fn act(words: &[&str]) -> Result<Act, String> {
    match words {
        ["storm", seed, length] => Storm::read(seed, length, None).map(Act::Storm),
        ["storm", seed, length, every] => Storm::read(seed, length, Some(every)).map(Act::Storm),
        words => request(words).map(Act::Ask),
    }
}

fn request(words: &[&str]) -> Result<Request, String> {
    match words {
        ["state"] => Ok(Request::State),
        ["edges"] => Ok(Request::Edges),
        ["quit"] => Ok(Request::Quit),
        ["soft-off", machine] => Ok(Request::SoftOff { machine: (*machine).to_owned() }),
        ["wait", machine, state, timeout] => Ok(Request::Wait {
            machine: (*machine).to_owned(),
            state: state.parse()?,
            timeout_ms: u64::try_from(duration(timeout)?.as_millis()).unwrap_or(u64::MAX),
        }),
        ["fault", fault @ ..] => Ok(Request::Fault { fault: fault.join(" ").parse()? }),
        ["heal", place] => Ok(Request::Heal { place: (*place).to_owned() }),
        ["by-hand", relay, power] => {
            relay_place(relay)?;
            Ok(Request::ByHand { relay: (*relay).to_owned(), power: power.parse()? })
        }
        _ => Err(format!(
            "found {:?}, expected [at TIME] and one of: state, edges, quit, soft-off MACHINE, \
             wait MACHINE STATE TIMEOUT, fault PLACE FAULT, heal PLACE, by-hand BOARD:CHANNEL \
             on|off, storm SEED TIME [EVERY]",
            words.join(" ")
        )),
    }
}

/// A time as people write it: `500ms`, `1.5s`, `2m`.
///
/// # Errors
/// What was found and what was expected.
pub fn duration(word: &str) -> Result<Duration, String> {
    let wrong =
        || format!("found the time {word:?}, expected one like 500ms, 1.5s or 2m, at most 60m");
    let (number, scale) = if let Some(number) = word.strip_suffix("ms") {
        (number, 0.001)
    } else if let Some(number) = word.strip_suffix('s') {
        (number, 1.0)
    } else if let Some(number) = word.strip_suffix('m') {
        (number, 60.0)
    } else {
        return Err(wrong());
    };
    if !number.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.') {
        return Err(wrong());
    }
    let seconds: f64 = number.parse().map_err(|_| wrong())?;
    Duration::try_from_secs_f64(seconds * scale)
        .ok()
        .filter(|duration| *duration <= WAIT_MAX)
        .ok_or_else(wrong)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_script_is_verbs_with_times_and_comments() {
        let text = "# a morning\nwait node1 up 10s\n\nat 1.5s soft-off node1 # good night\nquit\n";
        let script = parse(text, Path::new("day.txt")).unwrap();
        let wait = Request::Wait {
            machine: "node1".into(),
            state: "up".parse().unwrap(),
            timeout_ms: 10_000,
        };
        let soft_off = Request::SoftOff { machine: "node1".into() };
        let late = Moment::from_millis(1500);
        assert_eq!(
            script.steps,
            [
                Step { line: 2, at: Moment::START, act: Act::Ask(wait) },
                Step { line: 4, at: late, act: Act::Ask(soft_off) },
                Step { line: 5, at: Moment::START, act: Act::Ask(Request::Quit) },
            ]
        );
    }

    #[test]
    fn a_mistake_in_a_script_has_its_line_and_what_was_expected() {
        for (text, expected) in [
            (
                "state\npress node1",
                "day.txt:2: found \"press node1\", expected [at TIME] and one of: state, edges, \
                 quit, soft-off MACHINE, wait MACHINE STATE TIMEOUT, fault PLACE FAULT, heal PLACE, \
                 by-hand BOARD:CHANNEL on|off, storm SEED TIME [EVERY]",
            ),
            (
                "at 1s fault a:x welded-open",
                "day.txt:1: found the relay \"a:x\", expected BOARD:CHANNEL with a channel from 1 on",
            ),
            ("storm x 1s", "day.txt:1: found the seed \"x\", expected a whole number"),
            (
                "at soon state",
                "day.txt:1: found the time \"soon\", expected one like 500ms, 1.5s or 2m, at most 60m",
            ),
            (
                "wait node1 on 1s",
                "day.txt:1: found the state \"on\", expected one of dark, booting, up, \
                 shutting-down, halted",
            ),
        ] {
            assert_eq!(parse(text, Path::new("day.txt")).unwrap_err().to_string(), expected);
        }
    }

    #[test]
    fn times_have_a_unit_and_a_bound() {
        assert_eq!(duration("250ms"), Ok(Duration::from_millis(250)));
        assert_eq!(duration("2m"), Ok(Duration::from_secs(120)));
        for word in ["5", "-1s", "61m", "NaNs", "1e3s", "s", "1.2.3s"] {
            assert!(duration(word).is_err(), "{word}");
        }
    }
}
