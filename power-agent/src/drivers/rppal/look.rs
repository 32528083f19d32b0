//! What a look at this host says of pins that are moved by registers. Changes none.

use fleet::ReadSource;

use super::super::OwnerGone;
use super::super::gpio::look::{Looked, Standing, on_by_default, taken, used};
use super::super::gpio::settings::Line;
use super::super::gpio::{chip, chip::Found};
use super::header::{reachable, remedy};
use super::settings::{Config, PinConfig};
use crate::config::Finding;

/// The label of a header, where this host has none: what is known of its pins is the same on each Pi.
const ANY_HEADER: &str = "pinctrl-bcm2711";

/// What is wrong with a device on this host, with the places in the file.
pub(super) fn findings(config: &Config) -> Vec<Finding> {
    let mut told = Vec::new();
    let first = config.lines.first().map_or(0..0, |line| line.place.0.clone());
    if let Err(error) = reachable() {
        told.push(
            Finding::error(format!("rppal does not reach the pins: {error}"), first)
                .into_warning()
                .found("pins of the header of a Raspberry Pi")
                .expected(
                    "registers that this user may write; until then the device is unreachable",
                )
                .remedy(remedy(&error)),
        );
    }
    let header = chip::header();
    for (pin, line) in each(config) {
        told.extend(header.as_ref().and_then(|found| taken(found, line, u32::from(pin.number))));
        told.extend(used(ANY_HEADER, line, u32::from(pin.number)));
    }
    told
}

/// What a person should know of a device.
#[must_use]
pub fn look_at(config: &Config) -> Looked {
    let header = chip::header();
    let mut lines = Vec::new();
    if let Err(error) = reachable() {
        lines.push((Standing::Unusable, format!("{error}; {}", remedy(&error))));
    }
    lines.extend(each(config).map(|(pin, line)| stand(header.as_ref(), pin, line)));
    Looked {
        lines,
        gone: OwnerGone::Stays,
        because: "registers keep what was written; but they have no owner, and any program that asks the kernel for a pin \
                  and lets it go makes it an input"
            .to_owned(),
        reads: ReadSource::Pin,
        on_by_default: each(config)
            .filter_map(|(pin, line)| on_by_default(ANY_HEADER, line, u32::from(pin.number)))
            .collect(),
    }
}

fn stand(header: Option<&Found>, pin: &PinConfig, line: &Line) -> (Standing, String) {
    let offset = u32::from(pin.number);
    match (header.and_then(|found| taken(found, line, offset)), used(ANY_HEADER, line, offset)) {
        (Some(taken), _) => (Standing::Unusable, taken.title),
        (None, Some(used)) => (Standing::Doubtful, format!("{}: {}", used.title, used.found)),
        (None, None) => (Standing::Free, format!("pin {} of the header", pin.number)),
    }
}

fn each(config: &Config) -> impl Iterator<Item = (&PinConfig, &Line)> {
    config.pins.iter().zip(&config.lines)
}
