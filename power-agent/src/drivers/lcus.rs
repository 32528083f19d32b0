//! LC Technology's serial relay boards, LCUS-1 to LCUS-8: CH340, 9600 8N1, frames of four bytes with a sum.
//!
//! A set is never acknowledged. Some boards answer a status query, many are silent; which one it
//! is, the rack file says. Nothing is ever written to find out what is on the line.

use std::path::{Path, PathBuf};
use std::time::Duration;

use fleet::PowerState;

use super::line::{Port, SerialLine, TtyPort};
use super::{Capabilities, Driver, DriverError, OutletNumber, OwnerGone, Readings, Settings};
use crate::config::Section;

/// The largest board of the family.
const CHANNELS_MAX: u64 = 8;

/// Boards lose frames that follow each other faster than 50 ms; many need 100 ms.
const GAP_DEFAULT: Duration = Duration::from_millis(100);
const GAP_MIN: Duration = Duration::from_millis(50);
/// A board that needs more than ten seconds between frames is broken.
const GAP_MAX: Duration = Duration::from_secs(10);

const BAUD: u32 = 9600;
const FRAME_START: u8 = 0xA0;
const STATUS_QUERY: u8 = 0xFF;

/// A whole reply of eight channels is some 80 bytes, 83 ms on the wire; the rest is for a busy USB hub.
const STATUS_DEADLINE: Duration = Duration::from_millis(1500);
/// A reply of eight channels is some 80 bytes; what is more than six times that is no reply.
const STATUS_BYTES_MAX: usize = 512;

/// What the board answers to the status query.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Status {
    /// Lines like `CH1: OFF`.
    Ascii,
    /// Nothing: it can not be read.
    None,
}

/// One board, as the rack file has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    port: PathBuf,
    channels: u16,
    status: Status,
    gap_min: Duration,
}

impl Settings for Config {
    const NAME: &'static str = "lcus";
    type Driver = Lcus<TtyPort>;

    fn read(section: &mut Section<'_>) -> Option<Self> {
        let port = section.path("port", "\"/dev/serial/by-path/…\"");
        let channels = section.integer("channels", 1..=CHANNELS_MAX, "4");
        let status = section.choice("status", &[("ascii", Status::Ascii), ("none", Status::None)]);
        let gap_min = section.duration("min_gap", GAP_MIN..=GAP_MAX, "\"100ms\"");
        let required =
            [("port", "\"/dev/serial/by-path/…\""), ("channels", "4"), ("status", "\"ascii\"")];
        for (key, example) in required {
            if !section.has(key) {
                section.missing(key, example);
            }
        }
        Some(Self {
            port: port?.value,
            channels: u16::try_from(channels?.value).ok()?,
            status: status?.value,
            gap_min: gap_min.unwrap_or(GAP_DEFAULT),
        })
    }

    fn outlet_count(&self) -> u16 {
        self.channels
    }

    fn port(&self) -> Option<&Path> {
        Some(&self.port)
    }

    fn driver(&self) -> Lcus<TtyPort> {
        Lcus::new(self.clone(), TtyPort::new(self.port.clone(), BAUD))
    }
}

/// The driver: owns the line to one board.
pub(crate) struct Lcus<P: Port> {
    config: Config,
    line: SerialLine<P>,
}

impl<P: Port> Lcus<P> {
    pub(crate) fn new(config: Config, port: P) -> Self {
        let line = SerialLine::new(port, config.gap_min);
        Self { config, line }
    }

    fn outlets(&self) -> impl Iterator<Item = OutletNumber> {
        (1..=self.config.channels).filter_map(OutletNumber::new)
    }
}

/// The frame that sets a channel; `None`: the number is no channel of any board.
fn set_frame(outlet: OutletNumber, state: PowerState) -> Option<[u8; 4]> {
    let channel = u8::try_from(outlet.get()).ok()?;
    let operation = match state {
        PowerState::Off => 0,
        PowerState::On => 1,
    };
    let sum = FRAME_START.wrapping_add(channel).wrapping_add(operation);
    Some([FRAME_START, channel, operation, sum])
}

/// The channels that a reply tells of, as far as it has come. `Err`: it contradicts itself.
fn parse_status(reply: &[u8]) -> Result<Vec<(u16, PowerState)>, u16> {
    let mut told: Vec<(u16, PowerState)> = Vec::new();
    for at in 0..reply.len() {
        let Some((channel, state)) = reply.get(at..).and_then(parse_channel) else { continue };
        match told.iter().find(|(known, _)| *known == channel) {
            Some((_, known)) if *known != state => return Err(channel),
            Some(_) => {}
            None => told.push((channel, state)),
        }
    }
    Ok(told)
}

/// One `CH1: ON` at the very beginning of the text.
fn parse_channel(text: &[u8]) -> Option<(u16, PowerState)> {
    let [number, rest @ ..] = text.strip_prefix(b"CH")? else { return None };
    let channel = u16::from(number.checked_sub(b'0')?);
    if channel == 0 || u64::from(channel) > CHANNELS_MAX {
        return None;
    }
    let rest = rest.strip_prefix(b":")?.trim_ascii_start();
    let word: &[u8] = rest.split(|byte| !byte.is_ascii_alphabetic()).next()?;
    match word {
        b"ON" => Some((channel, PowerState::On)),
        b"OFF" => Some((channel, PowerState::Off)),
        _ => None,
    }
}

impl<P: Port> Lcus<P> {
    async fn query(&mut self) -> Result<Readings, DriverError> {
        let deadline = self.line.deadline(STATUS_DEADLINE);
        self.line.send_fresh(&[STATUS_QUERY]).await?;
        let mut reply = Vec::new();
        loop {
            let told = parse_status(&reply).map_err(|channel| DriverError::Rejected {
                what: format!("the status reply says both on and off of channel {channel}"),
                who: self.line.place(),
                source: None,
            })?;
            let complete: Option<Readings> = self
                .outlets()
                .map(|outlet| {
                    let state = told.iter().find(|(channel, _)| *channel == outlet.get());
                    state.map(|(_, state)| (outlet, *state))
                })
                .collect();
            if let Some(readings) = complete {
                return Ok(readings);
            }
            let room = STATUS_BYTES_MAX.saturating_sub(reply.len());
            if room == 0 || !self.line.receive(&mut reply, room, deadline).await? {
                return Err(self.incomplete(&reply, told.len()));
            }
        }
    }

    fn incomplete(&self, reply: &[u8], told: usize) -> DriverError {
        let channels = self.config.channels;
        let who = self.line.place();
        if reply.is_empty() {
            let what = format!(
                "no answer to the status query within {STATUS_DEADLINE:?}; if this board never answers, \
                 its rack file section wants status = \"none\""
            );
            return DriverError::Unreachable { what, who, source: None };
        }
        let start: String = String::from_utf8_lossy(reply).chars().take(40).collect();
        let what = format!(
            "the status reply tells of {told} of {channels} channels ({} bytes, beginning {start:?})",
            reply.len()
        );
        DriverError::Rejected { what, who, source: None }
    }
}

impl<P: Port> Driver for Lcus<P> {
    async fn set(&mut self, wanted: &[(OutletNumber, PowerState)]) -> Result<(), DriverError> {
        for (outlet, state) in wanted {
            let known = outlet.get() <= self.config.channels;
            let Some(frame) = set_frame(*outlet, *state).filter(|_| known) else {
                let what = format!("outlet {outlet} of a board with {} ", self.config.channels);
                return Err(DriverError::Misconfigured {
                    what,
                    who: self.line.place(),
                    source: None,
                });
            };
            self.line.send(&frame).await?;
        }
        Ok(())
    }

    async fn read_all(&mut self) -> Result<Readings, DriverError> {
        match self.config.status {
            Status::Ascii => self.query().await,
            Status::None => self.line.check().map(|()| Readings::default()),
        }
    }

    fn capabilities(&self, _outlet: OutletNumber) -> Capabilities {
        Capabilities {
            can_cut: true,
            can_read_back: self.config.status == Status::Ascii,
            gap_min: self.config.gap_min,
            owner_gone: OwnerGone::Stays,
        }
    }
}
