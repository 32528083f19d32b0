//! Lines of a real kernel for the conformance tests: each test has a kernel of its own with gpio-sim.

use std::time::Duration;

use anyhow::Result;
use fleet::{DeviceName, PowerState};
use testkit::gpio_sim::{Chip, Level, Plan, Trace};
use testkit::uml::in_own_kernel;

use super::super::{Driver, OutletNumber, Settings};
use super::Gpio;
use super::settings::{Config, Drive, Line, LineName, Place, Wiring};
use crate::descriptors::Descriptors;
use crate::drivers::conformance;

/// The device's lines on the chip, in the order of its outlets: neither in order nor from the first.
const OFFSETS: [u32; 4] = [5, 1, 7, 2];
const GAP: Duration = Duration::from_millis(100);

/// A chip with the driver of some of its lines.
pub(crate) struct Bench {
    driver: Gpio,
    config: Config,
    descriptors: Descriptors,
    chip: Chip,
    trace: Trace,
    /// The levels when the trace began.
    before: Vec<Level>,
    /// Edges of before the trace began.
    edges: usize,
}

impl Bench {
    fn with(label: &str, off: Level, name: fn(u32) -> LineName) -> Result<Self> {
        let mut plan = Plan::new(label, 8);
        for offset in OFFSETS {
            plan = plan.named(offset, &format!("RELAY{offset}"));
        }
        let chip = plan.make(label)?;
        for offset in OFFSETS {
            chip.pull(offset, off)?;
        }
        let active_low = off == Level::High;
        let wiring = Wiring { active_low, drive: Drive::PushPull, bias: None };
        let line = |offset| Line { name: name(offset), wiring, place: Place(0..0) };
        let config = Config {
            chip: label.to_owned(),
            chip_place: Place(0..0),
            lines: OFFSETS.into_iter().map(line).collect(),
            gap_min: GAP,
        };
        let descriptors = Descriptors::default();
        let driver = driver(&config, &descriptors);
        let before = vec![off; OFFSETS.len()];
        Ok(Self { driver, config, descriptors, chip, trace: Trace::begin()?, before, edges: 0 })
    }

    fn levels(&self) -> Vec<Level> {
        OFFSETS.iter().map(|offset| self.chip.level(*offset).unwrap()).collect()
    }

    fn moved(&self) -> usize {
        let lines = OFFSETS.iter().zip(&self.before);
        lines.map(|(offset, before)| self.trace.edges(&self.chip, *offset, *before).unwrap()).sum()
    }
}

fn driver(config: &Config, descriptors: &Descriptors) -> Gpio {
    let mut driver = config.driver();
    driver.introduce(&DeviceName::new("header").unwrap(), descriptors);
    driver
}

impl conformance::Bench for Bench {
    type Driver = Gpio;

    fn each_kind() -> Vec<Self> {
        vec![
            Self::with("relays", Level::Low, |offset| LineName::Name(format!("RELAY{offset}")))
                .unwrap(),
            Self::with("lowered", Level::High, LineName::Offset).unwrap(),
        ]
    }

    fn on_its_host<F: FnOnce() -> Result<()>>(body: F) -> Result<()> {
        in_own_kernel(body)
    }

    fn driver(&mut self) -> &mut Gpio {
        &mut self.driver
    }

    fn restart_driver(&mut self) {
        // As systemd does it: what was stored is given to the next one.
        self.driver = driver(&self.config, &self.descriptors);
    }

    fn relays(&self) -> Vec<(OutletNumber, PowerState)> {
        let numbers = (1..).filter_map(OutletNumber::new);
        let active_low = self.config.lines[0].wiring.active_low;
        let state = |level| match (level == Level::High) != active_low {
            true => PowerState::On,
            false => PowerState::Off,
        };
        numbers.zip(self.levels().into_iter().map(state)).collect()
    }

    fn edges(&self) -> usize {
        self.edges + self.moved()
    }

    fn lost_frames(&self) -> usize {
        0
    }

    fn unplug(&mut self) {
        self.edges += self.moved();
        self.before = self.levels();
        self.chip.unplug().unwrap();
    }

    fn plug_in(&mut self) {
        self.chip.plug().unwrap();
        // An expander with a supply of its own keeps its outputs.
        for (offset, level) in OFFSETS.iter().zip(&self.before) {
            self.chip.pull(*offset, *level).unwrap();
        }
        self.trace = Trace::begin().unwrap();
    }
}
