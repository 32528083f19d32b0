//! What the rack file says of pins that are moved by registers: the keys of driver `gpio`, but for the chip.

use std::ops::Range;
use std::path::Path;
use std::time::Duration;

use fleet::ReadSource;

use super::super::gpio::outlets::Outlets;
use super::super::gpio::pins::header_pin;
use super::super::gpio::settings::{
    Bias, Drive, GAP, LINES_EXAMPLE, Line, LineName, Place, read_lines, read_wiring, twice,
};
use super::super::{OwnerGone, Settings};
use super::header::{PIN_LAST, Registers};
use super::pins::HeaderPins;
use super::{Rppal, look};
use crate::config::{Finding, Section};
use crate::drivers::OUTLETS_MAX;

/// One pin of the device.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct PinConfig {
    /// Its number on the chip: 17 for GPIO17.
    pub(super) number: u8,
    /// Whether a low level is on.
    pub(super) active_low: bool,
    /// `None`: as it is.
    pub(super) bias: Option<Bias>,
}

/// One device, as the rack file has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    pub(super) pins: Vec<PinConfig>,
    /// The same as the file names them, for findings.
    pub(super) lines: Vec<Line>,
    pub(super) gap_min: Duration,
}

impl Settings for Config {
    const NAME: &'static str = "rppal";
    type Driver = Rppal;

    fn read(section: &mut Section<'_>) -> Option<Self> {
        let common = read_wiring(section, None);
        let lines = read_lines(section, common);
        let gap_min = section.duration("min_gap", GAP, "\"50ms\"");
        if !section.has("lines") {
            section.missing("lines", LINES_EXAMPLE);
        }
        let lines = lines?;
        let mut pins: Vec<PinConfig> = Vec::new();
        let mut whole = true;
        for line in &lines {
            match pin(line) {
                Ok(pin) => {
                    let first = pins.iter().position(|known| known.number == pin.number);
                    if let Some(first) = first.and_then(|first| lines.get(first)) {
                        section.tell(twice(&line.name.to_string(), &line.place, &first.place));
                        whole = false;
                    }
                    pins.push(pin);
                }
                Err(finding) => {
                    section.tell(*finding);
                    whole = false;
                }
            }
        }
        whole.then(|| Self { pins, lines, gap_min: gap_min.unwrap_or_default() })
    }

    fn outlet_count(&self) -> u16 {
        u16::try_from(self.pins.len()).unwrap_or(OUTLETS_MAX)
    }

    fn port(&self) -> Option<&Path> {
        None
    }

    fn driver(&self) -> Rppal {
        let pins = HeaderPins::new(self, Registers::default());
        Outlets::new(pins, self.outlet_count(), self.gap_min, (OwnerGone::Stays, ReadSource::Pin))
    }

    fn look(&self) -> Vec<Finding> {
        look::findings(self)
    }

    fn lines(&self) -> Vec<(String, Range<usize>)> {
        let lines = self.pins.iter().zip(&self.lines);
        lines.map(|(pin, line)| (header_pin(u32::from(pin.number)), line.place.0.clone())).collect()
    }
}

/// The pin that is meant, or why there is none.
fn pin(line: &Line) -> Result<PinConfig, Box<Finding>> {
    let number = match &line.name {
        LineName::Offset(number) => u8::try_from(*number).ok(),
        LineName::Name(name) => name.strip_prefix("GPIO").and_then(|number| number.parse().ok()),
    };
    let Some(number) = number.filter(|number| *number <= PIN_LAST) else {
        let title = format!("{} is no pin of the header", line.name);
        return Err(Box::new(
            wrong(&line.place, title)
                .expected(
                    "GPIO0 to GPIO27, or 0 to 27: the number of its chip, not of the header's row",
                )
                .remedy("look with `pinctrl` or `pinout` which pin has which number"),
        ));
    };
    if line.wiring.drive != Drive::PushPull {
        let title = format!("{} can not be driven so by rppal", line.name);
        return Err(Box::new(
            wrong(&line.place, title)
                .expected("drive = \"push-pull\": registers drive both levels")
                .remedy("take `driver = \"gpio\"` for lines that are driven one way only"),
        ));
    }
    Ok(PinConfig { number, active_low: line.wiring.active_low, bias: line.wiring.bias })
}

fn wrong(place: &Place, title: String) -> Finding {
    Finding::error(title, place.0.clone()).found("can not be taken")
}
