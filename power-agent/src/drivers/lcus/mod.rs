//! LC Technology's serial relay boards, LCUS-1 to LCUS-8: CH340, 9600 8N1, frames of four bytes with a sum.
//!
//! A set is never acknowledged. Some boards answer a status query, many are silent; which one it
//! is, the rack file says. Nothing is ever written to find out what is on the line.

#[cfg(test)]
pub(super) mod bench;

use std::path::Path;
use std::time::Duration;

use fleet::{PowerState, ReadSource};
use serial_port::{Port, PortSettings, TtyPort};

use super::line::SerialLine;
use super::tty::{self, PORT_EXAMPLE};
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
/// Bytes of one reply follow each other on the wire; an adapter hands them on every 16 ms at worst.
const STATUS_QUIET: Duration = Duration::from_millis(50);

/// What the board answers to the status query.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Status {
    /// Lines like `CH1: OFF`.
    Ascii,
    /// One byte for each channel, 0 or 1.
    Bytes,
    /// Nothing: it can not be read.
    None,
}

/// One board, as the rack file has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    port: PortSettings,
    channels: u16,
    status: Status,
    gap_min: Duration,
}

impl Settings for Config {
    const NAME: &'static str = "lcus";
    type Driver = Lcus<TtyPort>;

    fn read(section: &mut Section<'_>) -> Option<Self> {
        let port = tty::read(section);
        let channels = section.integer("channels", 1..=CHANNELS_MAX, "4");
        let known = [("ascii", Status::Ascii), ("bytes", Status::Bytes), ("none", Status::None)];
        let status = section.choice("status", &known);
        let gap_min = section.duration("min_gap", GAP_MIN..=GAP_MAX, "\"100ms\"");
        let required = [("port", PORT_EXAMPLE), ("channels", "4"), ("status", "\"ascii\"")];
        for (key, example) in required {
            if !section.has(key) {
                section.missing(key, example);
            }
        }
        Some(Self {
            port: port?,
            channels: u16::try_from(channels?.value).ok()?,
            status: status?.value,
            gap_min: gap_min.unwrap_or(GAP_DEFAULT),
        })
    }

    fn outlet_count(&self) -> u16 {
        self.channels
    }

    fn port(&self) -> Option<&Path> {
        Some(&self.port.path)
    }

    fn serial_port(&self) -> Option<&PortSettings> {
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
            let told = parse_status(&reply).map_err(|channel| {
                self.unread(format!("the status reply says both on and off of channel {channel}"))
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

    /// Nothing in such a reply says which channel a byte is of but its place: with a byte too many, nobody knows.
    async fn query_bytes(&mut self) -> Result<Readings, DriverError> {
        let deadline = self.line.deadline(STATUS_DEADLINE);
        self.line.send_fresh(&[STATUS_QUERY]).await?;
        let mut reply = Vec::new();
        let channels = usize::from(self.config.channels);
        while reply.len() < channels {
            let room = channels.saturating_sub(reply.len());
            if !self.line.receive(&mut reply, room, deadline).await? {
                return Err(self.incomplete(&reply, reply.len()));
            }
        }
        let quiet = self.line.deadline(STATUS_QUIET);
        if self.line.receive(&mut reply, 1, quiet).await? {
            let what = format!("the status reply has more bytes than the {channels} channels");
            return Err(self.unread(what));
        }
        self.outlets()
            .zip(&reply)
            .map(|(outlet, byte)| match byte {
                0 => Ok((outlet, PowerState::Off)),
                1 => Ok((outlet, PowerState::On)),
                other => Err(self.unread(format!(
                    "the status reply says {other:#04x} of channel {outlet}, which is neither 0 nor 1"
                ))),
            })
            .collect()
    }

    fn incomplete(&self, reply: &[u8], told: usize) -> DriverError {
        let channels = self.config.channels;
        if reply.is_empty() {
            return self.unread(format!(
                "no answer to the status query within {STATUS_DEADLINE:?}; if this board never answers, \
                 its rack file section wants status = \"none\""
            ));
        }
        let start: String = String::from_utf8_lossy(reply).chars().take(40).collect();
        self.unread(format!(
            "the status reply tells of {told} of {channels} channels ({} bytes, beginning {start:?})",
            reply.len()
        ))
    }

    /// No answer that can be read; the next one may be. A byte is lost on the line, or the answer to an earlier query comes
    /// late and runs into this one: that is the line's, and no word of the board's.
    fn unread(&self, what: String) -> DriverError {
        DriverError::Unreachable { what, who: self.line.place(), source: None }
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
        let readings = match self.config.status {
            Status::Ascii => self.query().await,
            Status::Bytes => self.query_bytes().await,
            Status::None => self.line.check().map(|()| Readings::default()),
        }?;
        self.line.told();
        Ok(readings)
    }

    async fn stirs(&mut self) {
        self.line.stirs().await;
    }

    fn capabilities(&self, _outlet: OutletNumber) -> Capabilities {
        Capabilities {
            can_cut: true,
            reads: (self.config.status != Status::None).then_some(ReadSource::Device),
            gap_min: self.config.gap_min,
            owner_gone: OwnerGone::Stays,
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::conformance::Bench as _;
    use super::bench::Bench;
    use super::*;

    fn outlet(number: u16) -> OutletNumber {
        OutletNumber::new(number).unwrap()
    }

    #[test]
    fn frames_are_those_of_the_vendors_table() {
        let frame = |number, state| set_frame(outlet(number), state).unwrap();
        assert_eq!(frame(1, PowerState::On), [0xA0, 0x01, 0x01, 0xA2]);
        assert_eq!(frame(1, PowerState::Off), [0xA0, 0x01, 0x00, 0xA1]);
        assert_eq!(frame(2, PowerState::On), [0xA0, 0x02, 0x01, 0xA3]);
        assert_eq!(frame(2, PowerState::Off), [0xA0, 0x02, 0x00, 0xA2]);
        assert_eq!(frame(8, PowerState::On), [0xA0, 0x08, 0x01, 0xA9]);
        assert_eq!(frame(8, PowerState::Off), [0xA0, 0x08, 0x00, 0xA8]);
    }

    #[test]
    fn a_status_line_counts_only_whole() {
        assert_eq!(parse_status(b"CH1: OFF\r\nCH2: ON \r\n").unwrap().len(), 2);
        assert_eq!(parse_status(b"CH1:OFF\rCH2:    ON\n"), parse_status(b"CH1: OFF CH2: ON "));
        assert_eq!(parse_status(b"CH1: OF"), Ok(vec![]));
        assert_eq!(parse_status(b"CH1: ONE\r\nCH0: ON\r\nCH9: ON\r\nCH12: ON\r\n"), Ok(vec![]));
        assert_eq!(parse_status(b"CH3: ON \r\nCH3: OFF\r\n"), Err(3));
    }

    #[tokio::test(start_paused = true)]
    async fn a_board_that_falls_silent_is_unreachable_and_the_remedy_is_named() {
        let mut bench = Bench::each_kind().swap_remove(0);
        bench.driver().read_all().await.unwrap();
        bench.fall_silent();
        let error = bench.driver().read_all().await.unwrap_err();
        assert!(matches!(error, DriverError::Unreachable { .. }), "{error}");
        assert!(error.to_string().contains("status = \"none\""), "{error}");
    }

    #[tokio::test(start_paused = true)]
    async fn an_answer_that_an_older_one_runs_into_is_asked_for_again() {
        let mut bench = Bench::each_kind().swap_remove(0);
        bench.hear_before_answers(b"CH1: ON \r\n");
        let error = bench.driver().read_all().await.unwrap_err();
        assert!(error.to_string().contains("both on and off of channel 1"), "{error}");
        assert!(crate::agent::fault(&error).may_pass(), "{error}");
        bench.hear_before_answers(b"");
        bench.driver().read_all().await.unwrap();
    }

    #[tokio::test(start_paused = true)]
    async fn bytes_that_are_too_many_or_no_states_are_no_reading() {
        let mut bench = Bench::each_kind().swap_remove(2);
        for (noise, told) in
            [(&b"\x01"[..], "more bytes"), (b"\x01\x07\x00\x01", "0x07 of channel 2")]
        {
            bench.hear_before_answers(noise);
            bench.answer_after(noise.len() < 4);
            let error = bench.driver().read_all().await.unwrap_err();
            assert!(error.to_string().contains(told), "{error}");
            assert!(crate::agent::fault(&error).may_pass(), "{error}");
        }
        bench.hear_before_answers(b"");
        bench.answer_after(true);
        bench.driver().read_all().await.unwrap();
    }

    async fn stirs_within(millis: u64, bench: &mut Bench) -> bool {
        let limit = Duration::from_millis(millis);
        tokio::time::timeout(limit, bench.driver().stirs()).await.is_ok()
    }

    #[tokio::test(start_paused = true)]
    async fn a_loss_is_told_at_once_and_the_return_within_two_seconds() {
        for mut bench in Bench::each_kind() {
            for _ in 0..5 {
                bench.driver().read_all().await.unwrap();
                bench.unplug();
                assert!(stirs_within(100, &mut bench).await);
                let unread = bench.driver().read_all().await;
                assert!(matches!(unread, Err(DriverError::Unreachable { .. })), "{unread:?}");
                assert!(!stirs_within(60_000, &mut bench).await, "it is still away");
                bench.plug_in();
                assert!(stirs_within(2000, &mut bench).await);
                bench.driver().read_all().await.unwrap();
                assert!(!stirs_within(60_000, &mut bench).await, "nothing happens any more");
            }
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_silent_board_is_never_asked() {
        let mut bench = Bench::each_kind().pop().unwrap();
        assert_eq!(bench.driver().capabilities(outlet(1)).reads, None);
        bench.driver().set(&[(outlet(1), PowerState::On)]).await.unwrap();
        bench.driver().read_all().await.unwrap();
        tokio::time::sleep(Duration::from_secs(1)).await;
        assert_eq!(bench.heard(), [[0xA0, 0x01, 0x01, 0xA2]]);
    }

    proptest! {
        #[test]
        fn no_reply_makes_the_parser_panic_or_invent_a_channel(
            reply in proptest::collection::vec(any::<u8>(), 0..200)
        ) {
            if let Ok(told) = parse_status(&reply) {
                prop_assert!(told.iter().all(|(channel, _)| (1..=8).contains(channel)));
            }
        }

        #[test]
        fn a_reply_that_is_cut_anywhere_never_tells_more_than_the_whole(
            states in proptest::collection::vec(any::<bool>(), 1..=8), cut in 0_usize..100
        ) {
            let mut reply = Vec::new();
            for (on, channel) in states.iter().zip(1..) {
                let word = if *on { "ON " } else { "OFF" };
                reply.extend(format!("CH{channel}: {word}\r\n").bytes());
            }
            let whole = parse_status(&reply).unwrap();
            prop_assert_eq!(whole.len(), states.len());
            let part = parse_status(&reply[..cut.min(reply.len())]).unwrap();
            prop_assert!(part.iter().all(|told| whole.contains(told)));
        }
    }
}
