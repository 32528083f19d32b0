//! What the rack file says of a GPIO device: its chip, its lines in the order of the outlets, and how they are wired.

use std::ops::Range;
use std::path::Path;
use std::time::Duration;

use super::super::Settings;
use super::kernel::KernelLines;
use super::outlets::Outlets;
use super::{Gpio, look, pins};
use crate::config::{Finding, Item, Section};
use crate::drivers::OUTLETS_MAX;

/// Lines of one request: the kernel takes no more.
pub(super) const LINES_MAX: usize = 64;
/// Ways of wiring among the lines of one device: the kernel takes nine besides the first.
const WIRINGS_MAX: usize = 10;
/// No chip has a line beyond this.
const OFFSET_MAX: u64 = 65_535;
/// Between two lines; coils that hang on one small supply need a rest, most need none.
pub(in crate::drivers) const GAP: std::ops::RangeInclusive<Duration> =
    Duration::ZERO..=Duration::from_secs(10);

const CHIP_EXAMPLE: &str = "\"pinctrl-bcm2711\"";
pub(in crate::drivers) const LINES_EXAMPLE: &str =
    r#"["GPIO17", 27, { line = "GPIO22", active_low = true }]"#;

/// A line, as the rack file names it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::drivers) enum LineName {
    /// By the name that its chip gives it.
    Name(String),
    /// By its number on the chip.
    Offset(u32),
}

impl std::fmt::Display for LineName {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Name(name) => f.write_str(name),
            Self::Offset(offset) => write!(f, "{offset}"),
        }
    }
}

/// How an output drives its line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::drivers) enum Drive {
    /// Both levels.
    PushPull,
    /// Only low; a pull or a resistor makes it high.
    OpenDrain,
    /// Only high; a pull or a resistor makes it low.
    OpenSource,
}

/// What pulls a line that nobody drives.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Bias {
    /// Up, inside the chip.
    PullUp,
    /// Down, inside the chip.
    PullDown,
    /// Nothing inside the chip.
    Disabled,
}

/// How a line is wired.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::drivers) struct Wiring {
    /// Whether a low level is on.
    pub(in crate::drivers) active_low: bool,
    pub(in crate::drivers) drive: Drive,
    /// `None`: as it is.
    pub(in crate::drivers) bias: Option<Bias>,
}

/// Where something stands in the file. All places are equal: a file in which only they differ says the same.
#[derive(Debug, Clone)]
pub(in crate::drivers) struct Place(pub(in crate::drivers) Range<usize>);

impl PartialEq for Place {
    fn eq(&self, _other: &Self) -> bool {
        true
    }
}

impl Eq for Place {}

/// One line of the device.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::drivers) struct Line {
    pub(in crate::drivers) name: LineName,
    pub(in crate::drivers) wiring: Wiring,
    pub(in crate::drivers) place: Place,
}

/// One device, as the rack file has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    /// The chip's label, its name, or the path of its node.
    pub(super) chip: String,
    pub(super) chip_place: Place,
    pub(super) lines: Vec<Line>,
    pub(super) gap_min: Duration,
}

impl Config {
    /// How many outlets: as many as lines.
    pub(super) fn outlets(&self) -> u16 {
        u16::try_from(self.lines.len()).unwrap_or(OUTLETS_MAX)
    }
}

impl Settings for Config {
    const NAME: &'static str = "gpio";
    type Driver = Gpio;

    fn read(section: &mut Section<'_>) -> Option<Self> {
        let chip = section.text("chip", CHIP_EXAMPLE);
        let common = read_wiring(section, None);
        let lines = read_lines(section, common);
        let gap_min = section.duration("min_gap", GAP, "\"50ms\"");
        for (key, example) in [("chip", CHIP_EXAMPLE), ("lines", LINES_EXAMPLE)] {
            if !section.has(key) {
                section.missing(key, example);
            }
        }
        let chip = chip?;
        Some(Self {
            chip: chip.value,
            chip_place: Place(chip.span),
            lines: lines?,
            gap_min: gap_min.unwrap_or_default(),
        })
    }

    fn outlet_count(&self) -> u16 {
        self.outlets()
    }

    fn port(&self) -> Option<&Path> {
        None
    }

    fn driver(&self) -> Gpio {
        let lines = KernelLines::new(self.clone());
        Outlets::new(lines, self.outlets(), self.gap_min, look::of_chip(self))
    }

    fn look(&self) -> Vec<Finding> {
        look::findings(self)
    }

    fn lines(&self) -> Vec<(String, Range<usize>)> {
        let lines = self.lines.iter();
        lines.map(|line| (pins::named(&self.chip, &line.name), line.place.0.clone())).collect()
    }

    fn hinders(&self, old: &Self) -> Option<String> {
        let names = |config: &Self| -> Vec<String> {
            config.lines.iter().map(|line| line.name.to_string()).collect()
        };
        (self.chip != old.chip || names(self) != names(old)).then(|| {
            "it would have to let its lines go before it takes others, and they would fall back to their pulls; \
             stop the agent, change the file, start it"
                .to_owned()
        })
    }
}

/// How lines are wired: what stands there, and else what holds for the whole device.
pub(in crate::drivers) fn read_wiring(section: &mut Section<'_>, common: Option<Wiring>) -> Wiring {
    let drives = [
        ("push-pull", Drive::PushPull),
        ("open-drain", Drive::OpenDrain),
        ("open-source", Drive::OpenSource),
    ];
    let biases = [
        ("pull-up", Some(Bias::PullUp)),
        ("pull-down", Some(Bias::PullDown)),
        ("disabled", Some(Bias::Disabled)),
        ("as-is", None),
    ];
    let active_low = section.truth("active_low");
    let drive = section.choice("drive", &drives).map(|at| at.value);
    let bias = section.choice("bias", &biases).map(|at| at.value);
    let common = common.unwrap_or(Wiring { active_low: false, drive: Drive::PushPull, bias: None });
    Wiring {
        active_low: active_low.unwrap_or(common.active_low),
        drive: drive.unwrap_or(common.drive),
        bias: bias.unwrap_or(common.bias),
    }
}

pub(in crate::drivers) fn read_lines(
    section: &mut Section<'_>,
    common: Wiring,
) -> Option<Vec<Line>> {
    let items = section.items("lines", LINES_EXAMPLE)?;
    let mut lines: Vec<Line> = Vec::new();
    let mut whole = true;
    for item in items.value {
        let place = Place(item.span());
        let line = match item {
            Item::Text(name) => Some((LineName::Name(name.value), common)),
            Item::Integer(offset) => {
                let line = offset_of(section, offset.value, &place);
                line.map(|offset| (LineName::Offset(offset), common))
            }
            Item::Table(table) => read_table(table, common),
        };
        let Some((name, wiring)) = line else {
            whole = false;
            continue;
        };
        if let Some(first) = lines.iter().find(|line| line.name == name) {
            section.tell(twice(&name.to_string(), &place, &first.place));
            whole = false;
        }
        lines.push(Line { name, wiring, place });
    }
    let mut wirings: Vec<Wiring> = Vec::new();
    for line in &lines {
        if !wirings.contains(&line.wiring) {
            wirings.push(line.wiring);
        }
    }
    let counts = [
        (lines.is_empty(), "no line".to_owned(), format!("1 to {LINES_MAX} lines")),
        (
            lines.len() > LINES_MAX,
            format!("{} lines", lines.len()),
            format!("at most {LINES_MAX}: the kernel takes no more in one request"),
        ),
        (
            wirings.len() > WIRINGS_MAX,
            format!("{} different wirings", wirings.len()),
            format!("at most {WIRINGS_MAX}: the kernel takes no more in one request"),
        ),
    ];
    for (wrong, found, expected) in counts {
        if wrong && whole {
            let title = format!("`lines` in {} can not be taken", section.name());
            section.tell(
                Finding::error(title, items.span.clone()).found(found).expected(expected).remedy(
                    format!(
                        "write it like `lines = {LINES_EXAMPLE}`; more lines are another device"
                    ),
                ),
            );
            whole = false;
        }
    }
    whole.then_some(lines)
}

/// Two outlets on one line.
pub(in crate::drivers) fn twice(name: &str, second: &Place, first: &Place) -> Finding {
    Finding::error(format!("line {name} is there twice"), second.0.clone())
        .found("the second outlet on this line")
        .also(first.0.clone(), "the first")
        .expected("one line for each outlet: cutting one must not cut the other")
        .remedy("correct the line in one of the two places")
}

fn read_table(mut table: Section<'_>, common: Wiring) -> Option<(LineName, Wiring)> {
    let line = table.item("line", "\"GPIO22\"");
    if !table.has("line") {
        table.missing("line", "\"GPIO22\"");
    }
    let wiring = read_wiring(&mut table, Some(common));
    let name = match line {
        Some(Item::Text(name)) => Some(LineName::Name(name.value)),
        Some(Item::Integer(offset)) => {
            let place = Place(offset.span);
            offset_of(&table, offset.value, &place).map(LineName::Offset)
        }
        Some(Item::Table(_)) | None => None,
    };
    table.finish();
    name.map(|name| (name, wiring))
}

fn offset_of(section: &Section<'_>, offset: u64, place: &Place) -> Option<u32> {
    let small = u32::try_from(offset).ok().filter(|offset| u64::from(*offset) <= OFFSET_MAX);
    if small.is_none() {
        section.tell(
            Finding::error(format!("{offset} is no line of any chip"), place.0.clone())
                .found(format!("found {offset}"))
                .expected("the number of the line on its chip: on a Pi's header 17 for GPIO17")
                .remedy("look with `gpioinfo`; numbers of /sys/class/gpio are others"),
        );
    }
    small
}
