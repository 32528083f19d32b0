//! A firmware bridge without a microcontroller: the device's own lines (`bridge-device`) on a board that is modelled.
//!
//! Bytes and time in, bytes and edges out; whoever runs it brings the line and the clock.

mod board;
mod image;

use bridge_device::{Device, Facts, choose};
use bridge_protocol::greeting::ResetCause;
use bridge_protocol::{Capability, DeviceTime, Identity, PowerState, Versions};

pub use bridge_device::{Limits, Quantity};

pub use board::{Board, Contact, Edge};
pub use image::Image;

/// What kind of board it is: images are made for one.
pub const BOARD: u16 = 0x5157;

/// The firmware that a new board has.
pub const FIRMWARE: u32 = 1;

/// Frames that are fetched at once: an answer, the log, and all measurements of a full board.
const FRAMES_AT_ONCE_MAX: usize = 32;

/// A simulated device, with or without its supply.
#[derive(Debug)]
pub struct Simulated {
    facts: Facts,
    /// As it was when its supply went, where it has none.
    device: Device<Board>,
    supply: PowerState,
    /// On the caller's clock.
    started_ms: u64,
}

impl Simulated {
    /// A board with so many outlets, all off, that starts now. `limits` are what its relays bear.
    #[must_use]
    pub fn new(identity: Identity, outlets: u8, limits: Limits, now_ms: u64) -> Simulated {
        let bare =
            [Capability::Contacts, Capability::HoldsOverReset, Capability::Updates].into_iter();
        let facts = Facts {
            identity,
            board: BOARD,
            firmware: FIRMWARE,
            versions: Versions::ALL,
            outlets,
            capabilities: bare.chain(Quantity::ALL.map(Quantity::capability)).collect(),
            limits,
        };
        Simulated::on(Board::new(outlets), facts, now_ms)
    }

    /// A board that is what `facts` say, and whose supply comes now.
    #[must_use]
    pub fn on(board: Board, facts: Facts, now_ms: u64) -> Simulated {
        let device = start(board, &facts, ResetCause::PowerUp);
        Simulated { facts, device, supply: PowerState::On, started_ms: now_ms }
    }

    /// Bytes came over the line. Without its supply nobody hears them.
    pub fn received(&mut self, bytes: &[u8], now_ms: u64) {
        if self.supply == PowerState::On {
            let now = self.time(now_ms);
            self.device.received(bytes, now);
        }
    }

    /// What is due is done: called at least every few milliseconds. Returns what it says.
    pub fn run(&mut self, now_ms: u64) -> Vec<u8> {
        if self.supply == PowerState::Off {
            return Vec::new();
        }
        let now = self.time(now_ms);
        self.device.received(&[], now);
        self.device.run(now);
        let frames = std::iter::from_fn(|| self.device.frame(now)).take(FRAMES_AT_ONCE_MAX);
        let said = frames.flatten().collect();
        if self.board().takes_restart() {
            self.reset(ResetCause::Software, now_ms);
        }
        said
    }

    /// The edges of its contacts since they were asked for last, in their order.
    pub fn edges(&mut self) -> Vec<Edge> {
        self.board().take_edges()
    }

    /// Its board: contacts, readings, flash.
    pub const fn board(&mut self) -> &mut Board {
        self.device.hardware()
    }

    /// Whether it has its supply.
    #[must_use]
    pub const fn supplied(&self) -> PowerState {
        self.supply
    }

    /// Its supply comes or goes; with it go its relays, which are not latching.
    pub fn supply(&mut self, supply: PowerState, now_ms: u64) {
        match (self.supply, supply) {
            (PowerState::Off, PowerState::On) => {
                self.supply = supply;
                self.reset(ResetCause::PowerUp, now_ms);
            }
            (PowerState::On, PowerState::Off) => {
                self.supply = supply;
                self.board().drop_relays();
            }
            (PowerState::On, PowerState::On) | (PowerState::Off, PowerState::Off) => {}
        }
    }

    /// It starts anew, if it has its supply. Its relays stay where the board holds them over a reset, unless the supply sagged.
    pub fn reset(&mut self, cause: ResetCause, now_ms: u64) {
        if self.supply == PowerState::Off {
            return;
        }
        let mut board = std::mem::replace(self.board(), Board::new(0));
        if cause.lost_power() || !self.facts.has(Capability::HoldsOverReset) {
            board.drop_relays();
        }
        self.device = start(board, &self.facts, cause);
        self.started_ms = now_ms;
    }

    /// On the device's clock.
    fn time(&self, now_ms: u64) -> DeviceTime {
        DeviceTime(now_ms.saturating_sub(self.started_ms))
    }
}

/// Starts a board with the firmware that its loader chooses.
fn start(mut board: Board, facts: &Facts, cause: ResetCause) -> Device<Board> {
    let slot = choose(&mut board);
    let mut facts = facts.clone();
    if let Some(image) = board.image(slot) {
        facts.firmware = image.firmware;
        facts.versions = image.versions;
    }
    Device::start(board, facts, cause, DeviceTime(0))
}
