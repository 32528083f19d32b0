//! A header of a Pi below the driver, as its registers are: a latch for each pin, which is seen only while the pin is an
//! output, and a pull, which is seen while it is not.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use fleet::{PowerState, ReadSource};

use super::super::gpio::outlets::Outlets;
use super::super::gpio::settings::Bias;
use super::super::{OutletNumber, OwnerGone, conformance};
use super::header::{Function, Header, HeaderError};
use super::pins::HeaderPins;
use super::settings::{Config, PinConfig};

/// The device's pins, in the order of its outlets.
const PINS: [u8; 4] = [17, 27, 5, 22];
const GAP: Duration = Duration::from_millis(100);

/// One pin.
#[derive(Debug, Clone)]
pub(super) struct Pin {
    pub(super) function: Function,
    latch: bool,
    pub(super) pulled_up: bool,
    pub(super) edges: usize,
    pub(super) holder: Option<String>,
}

impl Pin {
    pub(super) fn level(&self) -> bool {
        if self.function == Function::Output { self.latch } else { self.pulled_up }
    }
}

/// The header's registers; clones are the same header.
#[derive(Debug, Clone, Default)]
pub(crate) struct Board(Arc<Mutex<Inner>>);

#[derive(Debug, Default)]
struct Inner {
    pins: BTreeMap<u8, Pin>,
    gone: bool,
}

impl Board {
    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap()
    }

    pub(super) fn pin<T>(&self, number: u8, see: impl FnOnce(&mut Pin) -> T) -> T {
        let mut inner = self.inner();
        let pin = inner.pins.entry(number).or_insert(Pin {
            function: Function::Input,
            latch: false,
            pulled_up: false,
            edges: 0,
            holder: None,
        });
        let before = pin.level();
        let seen = see(pin);
        pin.edges += usize::from(pin.level() != before);
        seen
    }

    fn reached(&self, pin: u8) -> Result<(), HeaderError> {
        if self.inner().gone { Err(HeaderError::Busy { pin }) } else { Ok(()) }
    }
}

impl Header for Board {
    fn look(&mut self, pin: u8) -> Result<(Function, bool), HeaderError> {
        self.reached(pin)?;
        Ok(self.pin(pin, |pin| (pin.function, pin.level())))
    }

    fn drive(&mut self, pin: u8, high: bool) -> Result<(), HeaderError> {
        self.reached(pin)?;
        self.pin(pin, |pin| pin.latch = high);
        self.pin(pin, |pin| pin.function = Function::Output);
        Ok(())
    }

    fn pull(&mut self, pin: u8, bias: Bias) -> Result<(), HeaderError> {
        self.reached(pin)?;
        self.pin(pin, |pin| pin.pulled_up = bias == Bias::PullUp);
        Ok(())
    }

    fn holder(&self, pin: u8) -> Option<String> {
        self.pin(pin, |pin| pin.holder.clone())
    }
}

/// The driver of these pins on a board.
pub(super) fn driver(pins: &[PinConfig], board: &Board) -> Outlets<HeaderPins<Board>> {
    let config = Config { pins: pins.to_vec(), lines: Vec::new(), gap_min: GAP };
    let count = u16::try_from(pins.len()).unwrap();
    Outlets::new(
        HeaderPins::new(&config, board.clone()),
        count,
        GAP,
        (OwnerGone::Stays, ReadSource::Pin),
    )
}

/// A header with the driver of some of its pins.
pub(crate) struct Bench {
    board: Board,
    pins: Vec<PinConfig>,
    driver: Outlets<HeaderPins<Board>>,
}

impl Bench {
    fn with(active_low: bool) -> Self {
        let board = Board::default();
        let pins = PINS.map(|number| PinConfig { number, active_low, bias: None }).to_vec();
        for number in PINS {
            board.pin(number, |pin| pin.pulled_up = active_low);
            board.pin(number, |pin| pin.edges = 0);
        }
        let driver = driver(&pins, &board);
        Self { board, pins, driver }
    }
}

impl conformance::Bench for Bench {
    type Driver = Outlets<HeaderPins<Board>>;

    fn each_kind() -> Vec<Self> {
        vec![Self::with(false), Self::with(true)]
    }

    fn driver(&mut self) -> &mut Self::Driver {
        &mut self.driver
    }

    fn restart_driver(&mut self) {
        self.driver = driver(&self.pins, &self.board);
    }

    fn relays(&self) -> Vec<(OutletNumber, PowerState)> {
        let state = |pin: &PinConfig| {
            let high = self.board.pin(pin.number, |pin| pin.level());
            if high != pin.active_low { PowerState::On } else { PowerState::Off }
        };
        (1..).filter_map(OutletNumber::new).zip(self.pins.iter().map(state)).collect()
    }

    fn edges(&self) -> usize {
        PINS.iter().map(|number| self.board.pin(*number, |pin| pin.edges)).sum()
    }

    fn lost_frames(&self) -> usize {
        0
    }

    fn unplug(&mut self) {
        self.board.inner().gone = true;
    }

    fn plug_in(&mut self) {
        self.board.inner().gone = false;
    }
}
