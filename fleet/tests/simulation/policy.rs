//! The policies of one pool, each with a voice of its own: what it asks for, and whether it calls at all.

use crate::chance::Chance;
use crate::plugin::TICK;

/// What a policy asks for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Policy {
    /// What waiting work needs.
    Pending,
    /// Always this many.
    Fixed(u32),
    /// Content: it calls Status, and asks for nothing.
    Silent,
    /// It was deleted: it does not call any more.
    Gone,
}

/// What comes of a tick.
pub(crate) enum Call {
    /// Status only.
    Status,
    /// And a Scale to this many.
    Asks(u32),
}

/// The policies of one pool.
pub(crate) struct Policies {
    pub(crate) voices: Vec<(&'static str, Policy)>,
    /// One in so many ticks is lost, or only its Scale; 0: none.
    pub(crate) loses: u64,
}

impl Policies {
    pub(crate) fn of(voices: &[&'static str]) -> Self {
        let asks = |(place, voice): (usize, &&'static str)| {
            (*voice, if place == 0 { Policy::Pending } else { Policy::Fixed(1) })
        };
        Self { voices: voices.iter().enumerate().map(asks).collect(), loses: 0 }
    }

    /// The calls of this second. The policies of a pool do not tick together.
    pub(crate) fn calls(
        &self,
        now: u64,
        pending: Option<u32>,
        chance: &mut Chance,
    ) -> Vec<(&'static str, Call)> {
        let mut calls = Vec::new();
        for (place, (voice, policy)) in self.voices.iter().enumerate() {
            let turn = u64::try_from(place).unwrap() * 3;
            if now % TICK != turn % TICK {
                continue;
            }
            let asks = match policy {
                Policy::Gone => continue,
                Policy::Silent => None,
                Policy::Fixed(count) => Some(*count),
                Policy::Pending => pending,
            };
            let lost = self.loses > 0 && chance.once_in(self.loses);
            match asks {
                _ if lost && chance.once_in(2) => {}
                Some(count) if !lost => calls.push((*voice, Call::Asks(count))),
                _ => calls.push((*voice, Call::Status)),
            }
        }
        calls
    }
}
