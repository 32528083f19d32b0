//! A relay board: bytes and the moment of their arrival in, edges of its relays and answers out.

use std::time::Duration;

use serde::Deserialize;
use serde::Serialize;

use crate::chance::Chance;
use crate::edges::Cause;
use crate::fault::BoardFault;
use crate::fault::Weld;
use crate::lcus;
use crate::lcus::Counts;
use crate::lcus::Decoder;
use crate::lcus::Heard;
use crate::moment::Moment;
use crate::relay::Power;
use crate::relay::Relay;

/// What a late board may have ahead of it: at twenty frames a second, three seconds of them. What
/// comes on top is lost, as in a real board's buffer.
const PENDING_MAX: usize = 64;

/// Which board stands in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// An LCUS board that answers `FF` with a line of text per channel.
    LcusAscii,
    /// An LCUS board that answers `FF` with a byte per channel, 0 or 1.
    LcusBytes,
    /// An LCUS board that answers nothing, ever.
    LcusSilent,
}

/// What its relays do when the board loses its power.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Unpowered {
    /// They open: the coils are without current.
    #[default]
    Drop,
    /// They stay: bistable relays. At power-up the board opens them all the same.
    Hold,
}

/// What a board does because of the bytes that it got.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reaction {
    /// The contact of a channel moved.
    Edge {
        /// Counted from 1.
        channel: u8,
        /// Where it moved to.
        power: Power,
        /// Why.
        cause: Cause,
    },
    /// The board sends bytes.
    Answer(Vec<u8>),
}

/// What a late board still has to do.
#[derive(Debug, Clone)]
enum Pending {
    Drive { channel: u8, power: Power },
    Send(Vec<u8>),
}

/// A board's model.
#[derive(Debug, Clone)]
pub struct Board {
    kind: Kind,
    unpowered: Unpowered,
    decoder: Decoder,
    relays: Vec<Relay>,
    /// What each channel was told last: a liar's answer.
    told: Vec<Power>,
    /// What was so when the fault `stale` began.
    stale: Vec<Power>,
    faults: Vec<BoardFault>,
    pending: Vec<(Moment, Pending)>,
    chance: Chance,
    mains: Power,
}

impl Board {
    /// A board with all relays at rest and with power.
    #[must_use]
    pub fn new(kind: Kind, channels: u8, gap: Duration, unpowered: Unpowered) -> Self {
        let channel_count = usize::from(channels);
        Self {
            kind,
            unpowered,
            decoder: Decoder::new(channels, gap),
            relays: vec![Relay::at_rest(Power::Off); channel_count],
            told: vec![Power::Off; channel_count],
            stale: Vec::new(),
            faults: Vec::new(),
            pending: Vec::new(),
            chance: Chance::seeded(u64::from(channels)),
            mains: Power::On,
        }
    }

    /// Puts a relay, before the start, into the state that it is found in. No edge.
    pub fn found_in(&mut self, channel: u8, power: Power) {
        if let Some(relay) = self.relay_mut(channel) {
            *relay = Relay::at_rest(power);
        }
        self.tell(channel, power);
    }

    /// The board's kind.
    #[must_use]
    pub fn kind(&self) -> Kind {
        self.kind
    }

    /// The relays, channel 1 first.
    #[must_use]
    pub fn relays(&self) -> &[Relay] {
        &self.relays
    }

    /// What the board has heard until `now`.
    pub fn counts(&mut self, now: Moment) -> Counts {
        self.decoder.expire(now);
        self.decoder.counts()
    }

    /// What is wrong with it.
    #[must_use]
    pub fn faults(&self) -> &[BoardFault] {
        &self.faults
    }

    /// From now on this is wrong with it, in place of what was of the same kind.
    pub fn fail(&mut self, fault: BoardFault) {
        self.faults.retain(|one| {
            std::mem::discriminant(one) != std::mem::discriminant(&fault)
                && !(one.is_of_the_bus() && fault.is_of_the_bus())
        });
        if fault == BoardFault::Unplugged {
            // It is pulled out already.
            self.faults.retain(|one| !matches!(one, BoardFault::PulledAfter(_)));
            self.decoder.reset(); // it lives on the bus's supply
        }
        if fault == BoardFault::Stale {
            self.stale = self.relays.iter().map(Relay::coil).collect();
        }
        self.faults.push(fault);
    }

    /// Nothing is wrong with it any more, but for its relays; what it was to do late it still does.
    pub fn heal(&mut self) {
        self.faults.clear();
    }

    /// Makes a relay's contact stick, or heals it. `None`: there is no such channel.
    pub fn stick(&mut self, channel: u8, weld: Option<Weld>) -> Option<Vec<Reaction>> {
        let moved = self.relay_mut(channel)?.stick(weld);
        Some(edges(channel, moved, Cause::Fault))
    }

    /// Somebody presses the board's own button, or sends it a frame from elsewhere. `None`: there is
    /// no such channel. Without power nothing moves.
    pub fn by_hand(&mut self, channel: u8, power: Power) -> Option<Vec<Reaction>> {
        let mains = self.mains;
        let relay = self.relay_mut(channel)?;
        let moved = (mains == Power::On).then(|| relay.drive(power)).flatten();
        Some(edges(channel, moved, Cause::Hand))
    }

    /// Whether the board has power.
    #[must_use]
    pub fn mains(&self) -> Power {
        self.mains
    }

    /// Power came or went. What it was about to do is forgotten; with power all its relays open.
    pub fn power(&mut self, mains: Power) -> Vec<Reaction> {
        if self.mains == mains {
            return Vec::new();
        }
        self.mains = mains;
        self.decoder.reset();
        self.pending.clear();
        if (mains, self.unpowered) == (Power::Off, Unpowered::Hold) {
            return Vec::new();
        }
        self.told.fill(Power::Off);
        let mut reactions = Vec::new();
        for (channel, relay) in (1..).zip(&mut self.relays) {
            reactions.extend(edges(channel, relay.drive(Power::Off), Cause::Mains));
        }
        reactions
    }

    /// Bytes that arrived at `now`, in any portions. Without power, or unplugged, nobody hears them.
    pub fn receive(&mut self, bytes: &[u8], now: Moment) -> Vec<Reaction> {
        let mut reactions = Vec::new();
        if self.mains == Power::Off {
            return reactions;
        }
        for &byte in bytes {
            if self.faults.contains(&BoardFault::Unplugged) {
                break;
            }
            self.let_through(1);
            let byte = self.noise(byte);
            let Some(heard) = self.decoder.hear(byte, now) else { continue };
            let loses = |fault: &BoardFault| match fault {
                BoardFault::Loses(percent) => Some(*percent),
                _ => None,
            };
            if self.faults.iter().find_map(loses).is_some_and(|share| self.chance.hits(share)) {
                self.decoder.lose(heard);
                continue;
            }
            match heard {
                Heard::Set { channel, power } => {
                    reactions.extend(self.obey(channel, power, now));
                }
                Heard::Query => reactions.extend(self.answer(now)),
            }
        }
        reactions
    }

    /// When a late board does something next.
    #[must_use]
    pub fn deadline(&self) -> Option<Moment> {
        self.pending.iter().map(|(due, _)| *due).min()
    }

    /// Time passed: what was late is done, in its order.
    pub fn elapse(&mut self, now: Moment) -> Vec<Reaction> {
        let mut reactions = Vec::new();
        while let Some(due) = self.deadline().filter(|due| *due <= now) {
            let Some(at) = self.pending.iter().position(|(moment, _)| *moment == due) else {
                break;
            };
            match self.pending.remove(at).1 {
                Pending::Drive { channel, power } => {
                    reactions.extend(self.drive(channel, power, Cause::Late));
                }
                Pending::Send(mut bytes) => {
                    bytes.truncate(self.let_through(bytes.len()));
                    reactions.push(Reaction::Answer(bytes));
                }
            }
        }
        reactions
    }

    /// A set frame was heard.
    fn obey(&mut self, channel: u8, told: Power, now: Moment) -> Vec<Reaction> {
        self.tell(channel, told);
        let has = |fault| self.faults.contains(&fault);
        if has(BoardFault::IgnoresFrames) {
            return Vec::new();
        }
        let power = if has(BoardFault::InvertedRelays) { !told } else { told };
        let late = self.faults.iter().find_map(|fault| match fault {
            BoardFault::ActsLate(late) => Some(*late),
            _ => None,
        });
        let again = self.faults.iter().find_map(|fault| match fault {
            BoardFault::ActsAgain(later) => Some(*later),
            _ => None,
        });
        if let Some(late) = late {
            self.later(now + late, Pending::Drive { channel, power });
        }
        if let Some(again) = again {
            let due = now + late.unwrap_or_default() + again;
            self.later(due, Pending::Drive { channel, power });
        }
        match late {
            None => self.drive(channel, power, Cause::Frame),
            Some(_) => Vec::new(),
        }
    }

    fn drive(&mut self, channel: u8, power: Power, cause: Cause) -> Vec<Reaction> {
        let moved = self.relay_mut(channel).and_then(|relay| relay.drive(power));
        edges(channel, moved, cause)
    }

    /// The answer to a status query.
    fn answer(&mut self, now: Moment) -> Option<Reaction> {
        if self.kind == Kind::LcusSilent || self.faults.contains(&BoardFault::Mute) {
            return None;
        }
        let claims = self.claims().into_iter();
        let answer = match self.kind {
            Kind::LcusBytes => claims.map(|claim| u8::from(claim == Power::On)).collect(),
            Kind::LcusAscii | Kind::LcusSilent => lcus::status_lines(claims),
        };
        let mut answer: Vec<u8> = answer.into_iter().map(|byte| self.noise(byte)).collect();
        let late = self.faults.iter().find_map(|fault| match fault {
            BoardFault::AnswersLate(late) => Some(*late),
            _ => None,
        });
        match late {
            None => {
                answer.truncate(self.let_through(answer.len()));
                Some(Reaction::Answer(answer))
            }
            Some(late) => {
                self.later(now + late, Pending::Send(answer));
                None
            }
        }
    }

    /// What it tells of its relays.
    fn claims(&self) -> Vec<Power> {
        let has = |fault| self.faults.contains(&fault);
        let mut claims: Vec<Power> = if has(BoardFault::Stale) {
            self.stale.clone()
        } else if has(BoardFault::Echoes) {
            self.told.clone()
        } else {
            self.relays.iter().map(Relay::coil).collect()
        };
        if has(BoardFault::InvertedAnswers) {
            claims.iter_mut().for_each(|claim| *claim = !*claim);
        }
        claims
    }

    /// How many of so many bytes still cross the line; with the last one that does, the board is gone.
    fn let_through(&mut self, bytes: usize) -> usize {
        if self.faults.contains(&BoardFault::Unplugged) {
            return 0;
        }
        let left = self.faults.iter_mut().find_map(|fault| match fault {
            BoardFault::PulledAfter(left) => Some(left),
            _ => None,
        });
        let Some(left) = left else { return bytes };
        let crossed = u32::try_from(bytes).unwrap_or(u32::MAX).min(*left);
        *left -= crossed;
        if *left == 0 {
            self.fail(BoardFault::Unplugged);
        }
        usize::try_from(crossed).unwrap_or(bytes)
    }

    fn later(&mut self, due: Moment, pending: Pending) {
        if self.pending.len() < PENDING_MAX {
            self.pending.push((due, pending));
        }
    }

    fn noise(&mut self, byte: u8) -> u8 {
        let noisy = self.faults.iter().find_map(|fault| match fault {
            BoardFault::Noisy(percent) => Some(*percent),
            _ => None,
        });
        match noisy {
            Some(percent) if self.chance.hits(percent) => byte ^ (1_u8 << (self.chance.draw() & 7)),
            Some(_) | None => byte,
        }
    }

    fn tell(&mut self, channel: u8, power: Power) {
        let index = usize::from(channel).checked_sub(1);
        if let Some(told) = index.and_then(|index| self.told.get_mut(index)) {
            *told = power;
        }
    }

    fn relay_mut(&mut self, channel: u8) -> Option<&mut Relay> {
        usize::from(channel).checked_sub(1).and_then(|index| self.relays.get_mut(index))
    }
}

fn edges(channel: u8, moved: Option<Power>, cause: Cause) -> Vec<Reaction> {
    moved.map(|power| Reaction::Edge { channel, power, cause }).into_iter().collect()
}
