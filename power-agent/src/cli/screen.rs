//! Where a command writes: answers to stdout, progress and complaints to stderr.

use std::io::{self, BufRead, IsTerminal, Read, Write};
use std::os::fd::AsFd;

use super::words::shortened;

/// The longest answer that is read, in bytes: a reason is a sentence.
const ANSWER_BYTES_MAX: u64 = 4096;

/// The two outputs, and what they are.
pub(crate) struct Screen {
    /// Answers are for a program.
    pub(crate) json: bool,
    /// Progress is repainted in place.
    live: bool,
    painted_lines: usize,
    /// How many characters a line of the answer may have; `None`: it goes to no terminal.
    pub(crate) width: Option<u16>,
}

impl Screen {
    pub(crate) fn new(json: bool) -> Self {
        let plain = std::env::var_os("TERM").is_none_or(|term| term == "dumb");
        Self {
            json,
            live: io::stderr().is_terminal() && !plain && !json,
            painted_lines: 0,
            width: columns(io::stdout()),
        }
    }

    /// Whether progress is repainted in place.
    pub(crate) fn is_live(&self) -> bool {
        self.live
    }

    /// Asks the person at the terminal; `None` where there is none, or nothing is answered.
    pub(crate) fn ask(&mut self, question: &str) -> io::Result<Option<String>> {
        if self.json || !io::stdin().is_terminal() || !io::stderr().is_terminal() {
            return Ok(None);
        }
        let mut err = io::stderr().lock();
        err.write_all(question.as_bytes())?;
        err.flush()?;
        let mut line = String::new();
        io::stdin().lock().take(ANSWER_BYTES_MAX).read_line(&mut line)?;
        let line = line.trim();
        Ok((!line.is_empty()).then(|| line.to_owned()))
    }

    /// A line of the answer.
    pub(crate) fn answer(&mut self, text: &str) -> io::Result<()> {
        let mut out = io::stdout().lock();
        writeln!(out, "{text}")?;
        out.flush()
    }

    /// A line of the answer as JSON.
    pub(crate) fn answer_json(&mut self, value: &impl serde::Serialize) -> io::Result<()> {
        self.answer(&serde_json::to_string(value)?)
    }

    /// A line of progress or complaint that stays.
    pub(crate) fn tell(&mut self, text: &str) -> io::Result<()> {
        self.paint(&[])?;
        writeln!(io::stderr().lock(), "{text}")
    }

    /// Replaces what was painted before; nothing where progress is not repainted.
    pub(crate) fn paint(&mut self, lines: &[String]) -> io::Result<()> {
        if !self.live {
            return Ok(());
        }
        let mut text = String::new();
        if self.painted_lines > 0 {
            text.push_str(&format!("\x1b[{}A\x1b[J", self.painted_lines));
        }
        // A line that the terminal breaks in two would not be painted over whole.
        let fits = columns(io::stderr()).map_or(usize::MAX, usize::from);
        for line in lines {
            text.push_str(&shortened(line, fits));
            text.push('\n');
        }
        self.painted_lines = lines.len();
        let mut err = io::stderr().lock();
        err.write_all(text.as_bytes())?;
        err.flush()
    }
}

/// The width of a terminal; `None` where there is none, or it does not say.
fn columns(output: impl AsFd) -> Option<u16> {
    let size = rustix::termios::tcgetwinsize(output).ok()?;
    (size.ws_col > 0).then_some(size.ws_col)
}
