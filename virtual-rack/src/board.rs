//! A relay board: bytes and the moment of their arrival in, edges of its relays and answers out.

use std::time::Duration;

use serde::Deserialize;
use serde::Serialize;

use crate::lcus;
use crate::lcus::Counts;
use crate::lcus::Decoder;
use crate::lcus::Heard;
use crate::moment::Moment;
use crate::relay::Power;
use crate::relay::Relay;

/// Which board stands in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// An LCUS board that answers `FF` with a line of text per channel.
    LcusAscii,
    /// An LCUS board that answers nothing, ever.
    LcusSilent,
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
    },
    /// The board sends bytes.
    Answer(Vec<u8>),
}

/// A board's model.
#[derive(Debug, Clone)]
pub struct Board {
    kind: Kind,
    decoder: Decoder,
    relays: Vec<Relay>,
}

impl Board {
    /// A board with all relays at rest.
    #[must_use]
    pub fn new(kind: Kind, channels: u8, gap: Duration) -> Self {
        Self {
            kind,
            decoder: Decoder::new(channels, gap),
            relays: vec![Relay::at_rest(Power::Off); usize::from(channels)],
        }
    }

    /// Puts a relay, before the start, into the state that it is found in. No edge.
    pub fn found_in(&mut self, channel: u8, power: Power) {
        if let Some(relay) = self.relay_mut(channel) {
            *relay = Relay::at_rest(power);
        }
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

    /// Bytes that arrived at `now`, in any portions.
    pub fn receive(&mut self, bytes: &[u8], now: Moment) -> Vec<Reaction> {
        let mut reactions = Vec::new();
        for &byte in bytes {
            match self.decoder.hear(byte, now) {
                Some(Heard::Set { channel, power }) => {
                    let edge = self.relay_mut(channel).and_then(|relay| relay.drive(power));
                    reactions.extend(edge.map(|power| Reaction::Edge { channel, power }));
                }
                Some(Heard::Query) => reactions.extend(self.answer()),
                None => {}
            }
        }
        reactions
    }

    /// The answer to a status query.
    ///
    /// The place of the faults "does not answer" and "lies": here the reply is left out or told of
    /// other coils. "Answers late" delays the `Reaction::Answer` on its way out, in the wiring;
    /// "disappears and returns under another name" is the port's, not the board's.
    fn answer(&self) -> Option<Reaction> {
        match self.kind {
            Kind::LcusAscii => {
                Some(Reaction::Answer(lcus::status_lines(self.relays.iter().map(Relay::coil))))
            }
            Kind::LcusSilent => None,
        }
    }

    fn relay_mut(&mut self, channel: u8) -> Option<&mut Relay> {
        usize::from(channel).checked_sub(1).and_then(|index| self.relays.get_mut(index))
    }
}
