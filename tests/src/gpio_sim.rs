//! GPIO chips of the kernel's own simulator, made to order: for tests in a kernel of their own ([`crate::uml`]).
//!
//! What a contact would see is [`Chip::level`]; every value that was driven is in [`Trace`]. A line that nobody
//! holds shows its pull.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail, ensure};

/// Where the simulator's chips are made.
const CONFIG: &str = "/sys/kernel/config/gpio-sim";

/// Where the kernel's trace is.
const TRACING: &str = "/sys/kernel/tracing";

/// A level of a line, as a volt meter sees it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Level {
    /// No voltage.
    Low,
    /// Voltage.
    High,
}

impl Level {
    fn of(digit: &str) -> Result<Self> {
        match digit.trim() {
            "0" => Ok(Self::Low),
            "1" => Ok(Self::High),
            other => bail!("the kernel says {other:?} where 0 or 1 was expected"),
        }
    }
}

/// What a chip is to be.
#[derive(Debug, Clone)]
pub struct Plan {
    label: String,
    lines: u32,
    names: Vec<(u32, String)>,
    hogs: Vec<(u32, String, &'static str)>,
}

impl Plan {
    /// A chip with a label and so many lines, all of them nameless, free and pulled low.
    #[must_use]
    pub fn new(label: &str, lines: u32) -> Self {
        Self { label: label.to_owned(), lines, names: Vec::new(), hogs: Vec::new() }
    }

    /// Gives a line a name.
    #[must_use]
    pub fn named(mut self, offset: u32, name: &str) -> Self {
        self.names.push((offset, name.to_owned()));
        self
    }

    /// Lets the kernel itself hold a line, as a board's description may: an output at this level.
    #[must_use]
    pub fn hogged(mut self, offset: u32, consumer: &str, level: Level) -> Self {
        let direction = match level {
            Level::Low => "output-low",
            Level::High => "output-high",
        };
        self.hogs.push((offset, consumer.to_owned(), direction));
        self
    }

    /// Makes the chip; it is called `name` in the simulator.
    ///
    /// # Errors
    /// Where the kernel has no simulator, or will not have this chip.
    pub fn make(&self, name: &str) -> Result<Chip> {
        let config = Path::new(CONFIG).join(name);
        let bank = config.join("bank");
        make(&bank)?;
        write(&bank.join("num_lines"), &self.lines.to_string())?;
        write(&bank.join("label"), &self.label)?;
        for (offset, name) in &self.names {
            let line = bank.join(format!("line{offset}"));
            make(&line)?;
            write(&line.join("name"), name)?;
        }
        for (offset, consumer, direction) in &self.hogs {
            let hog = bank.join(format!("line{offset}/hog"));
            make(&hog)?;
            write(&hog.join("name"), consumer)?;
            write(&hog.join("direction"), direction)?;
        }
        let chip = Chip { config };
        chip.plug()?;
        Ok(chip)
    }
}

/// A chip of the simulator. It stays until its kernel ends.
#[derive(Debug)]
pub struct Chip {
    config: PathBuf,
}

impl Chip {
    /// Its device node: another one after it was unplugged and plugged again, as with real chips.
    ///
    /// # Errors
    /// Where it is unplugged.
    pub fn node(&self) -> Result<PathBuf> {
        Ok(Path::new("/dev").join(read(&self.config.join("bank/chip_name"))?))
    }

    /// Takes it away, also from who holds lines of it.
    ///
    /// # Errors
    /// Where the kernel will not.
    pub fn unplug(&self) -> Result<()> {
        write(&self.config.join("live"), "0")
    }

    /// Brings it, or brings it back.
    ///
    /// # Errors
    /// Where the kernel will not.
    pub fn plug(&self) -> Result<()> {
        write(&self.config.join("live"), "1")
    }

    /// The level of a line now, whoever drives it.
    ///
    /// # Errors
    /// Where there is no such line.
    pub fn level(&self, offset: u32) -> Result<Level> {
        Level::of(&read(&self.line(offset)?.join("value"))?)
    }

    /// Pulls a line up or down, as a resistor or the world outside would.
    ///
    /// # Errors
    /// Where there is no such line.
    pub fn pull(&self, offset: u32, level: Level) -> Result<()> {
        let pull = match level {
            Level::Low => "pull-down",
            Level::High => "pull-up",
        };
        write(&self.line(offset)?.join("pull"), pull)
    }

    fn device(&self) -> Result<PathBuf> {
        let device = read(&self.config.join("dev_name"))?;
        Ok(Path::new("/sys/devices/platform").join(device))
    }

    fn line(&self, offset: u32) -> Result<PathBuf> {
        let chip = read(&self.config.join("bank/chip_name"))?;
        Ok(self.device()?.join(chip).join(format!("sim_gpio{offset}")))
    }

    /// The number by which the trace calls the chip's first line.
    fn base(&self) -> Result<u32> {
        let folder = self.device()?.join("gpio");
        let entry = fs::read_dir(&folder)
            .with_context(|| format!("can not read {}", folder.display()))?
            .next()
            .with_context(|| format!("{} is empty", folder.display()))??;
        Ok(read(&entry.path().join("base"))?.parse()?)
    }
}

/// What was done to a line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Act {
    /// It was driven to a level, or told which to drive, whether or not it had it already.
    Driven(Level),
    /// It was made an output.
    Output,
    /// It was made an input.
    Input,
}

/// The kernel's own record of what was done to lines by their owners, without a loss. It is no sampling: a
/// level that was driven for a microsecond is in it. What a line does when its owner lets it go is not: that is
/// read by [`Chip::level`].
#[derive(Debug)]
pub struct Trace(());

impl Trace {
    /// Begins to record all chips.
    ///
    /// # Errors
    /// Where the kernel can not.
    pub fn begin() -> Result<Self> {
        let tracing = Path::new(TRACING);
        write(&tracing.join("trace"), "")?;
        write(&tracing.join("events/gpio/enable"), "1")?;
        Ok(Self(()))
    }

    /// What was done to a line since the beginning, in order.
    ///
    /// # Errors
    /// Where the trace can not be read, or is not whole.
    pub fn of(&self, chip: &Chip, offset: u32) -> Result<Vec<Act>> {
        let text = read(&Path::new(TRACING).join("trace"))?;
        acts(&text, chip.base()? + offset)
    }

    /// How often a contact on the line has moved: how often a driven level was another than the one before.
    ///
    /// # Errors
    /// Where the trace can not be read, or is not whole.
    pub fn edges(&self, chip: &Chip, offset: u32, before: Level) -> Result<usize> {
        let acts = self.of(chip, offset)?;
        let driven = acts.iter().filter_map(|act| match act {
            Act::Driven(level) => Some(*level),
            Act::Output | Act::Input => None,
        });
        let levels: Vec<Level> = std::iter::once(before).chain(driven).collect();
        Ok(levels.windows(2).filter(|pair| pair.first() != pair.last()).count())
    }
}

/// The lines of a trace that speak of one line of a chip:
/// `# entries-in-buffer/entries-written: 2/2` and `agent-21 [000] ..... 0.34: gpio_value: 504 set 1`.
fn acts(trace: &str, number: u32) -> Result<Vec<Act>> {
    let mut acts = Vec::new();
    for line in trace.lines() {
        if let Some((_, counts)) = line.split_once("entries-in-buffer/entries-written: ") {
            let (kept, rest) = counts.split_once('/').context("the trace's counts")?;
            let written = rest.split_whitespace().next().unwrap_or_default();
            ensure!(kept == written, "the trace has lost entries: {line}");
        }
        let (event, words) = match line.split_once(": gpio_") {
            Some((_, rest)) => rest.split_once(": ").with_context(|| format!("in {line}"))?,
            None => continue,
        };
        let words: Vec<&str> = words.split_whitespace().collect();
        let [line_number, done, result] = words.as_slice() else {
            bail!("a line of the trace has three words, not {words:?}");
        };
        if *line_number != number.to_string() {
            continue;
        }
        match (event, *done) {
            ("value", "set") => acts.push(Act::Driven(Level::of(result)?)),
            ("value", "get") => {}
            // The number in brackets is an error, which left it as it was.
            ("direction", _) if *result != "(0)" => {}
            ("direction", "in") => acts.push(Act::Input),
            ("direction", "out") => acts.push(Act::Output),
            other => bail!("the trace knows {other:?}, and nobody else does"),
        }
    }
    Ok(acts)
}

fn make(folder: &Path) -> Result<()> {
    fs::create_dir_all(folder).with_context(|| format!("can not make {}", folder.display()))
}

fn write(file: &Path, text: &str) -> Result<()> {
    fs::write(file, text).with_context(|| format!("can not write {text:?} to {}", file.display()))
}

fn read(file: &Path) -> Result<String> {
    let text =
        fs::read_to_string(file).with_context(|| format!("can not read {}", file.display()))?;
    Ok(text.trim().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    const TRACE: &str = "# entries-in-buffer/entries-written: 4/4   #P:1\n\
        gpio-21 [000] .....     0.340000: gpio_value: 504 set 1\n\
        gpio-21 [000] .....     0.340001: gpio_direction: 504 out (0)\n\
        gpio-21 [000] .....     0.350000: gpio_value: 505 set 0\n\
        gpio-21 [000] .....     0.360000: gpio_direction: 504  in (-16)\n";

    #[test]
    fn a_trace_is_read_for_one_line() {
        assert_eq!(acts(TRACE, 504).unwrap(), [Act::Driven(Level::High), Act::Output]);
        assert_eq!(acts(TRACE, 505).unwrap(), [Act::Driven(Level::Low)]);
    }

    #[test]
    fn a_trace_that_has_lost_entries_is_no_evidence() {
        let lossy = TRACE.replace("4/4", "4/9");
        assert!(acts(&lossy, 504).unwrap_err().to_string().contains("lost entries"));
    }
}
