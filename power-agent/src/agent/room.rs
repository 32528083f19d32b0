//! Room on the feeds: how the rack stands, and who may close its outlets now. What that means is decided by
//! [`fleet::feeds`]; here it is asked under the book's lock, so that no two machines take the same room.

use fleet::arbiter::MachineLedger;
use fleet::feeds::{Admission, FeedSum, number};
use fleet::sequencer::{Input, ROOM_POLL, Room};
use fleet::{Moment, PowerState};

use super::Agent;
use crate::clock::Clock;
use crate::machine::Machine;

impl Agent {
    /// What decides about orders for a machine, its feeds among it. Under the book's lock.
    pub(crate) fn ledger_of(&self, machine: &Machine, now: Moment) -> MachineLedger {
        let mut ledger = machine.ledger(now);
        if !machine.config.supplies.is_empty() {
            let promise = self.rack().ledger().promise(&machine.config.name);
            ledger.feed_full = promise.err().map(|full| full.to_string());
        }
        ledger
    }

    /// How each feed is taken now, by name.
    pub(crate) fn feed_sums(&self, now: Moment) -> Vec<FeedSum> {
        self.rack().ledger().sums(now)
    }

    /// When a machine's outlets may close, as far as only the inrush of others stands in the way; `None`: at once, or
    /// nobody can tell.
    pub(crate) fn room_at(&self, machine: &Machine, now: Moment) -> Option<Moment> {
        if machine.config.supplies.is_empty() {
            return None;
        }
        self.rack().ledger().forecast(&machine.config.name, now).filter(|at| *at > now)
    }

    /// Asks the feeds for a sequence that waits for them; where there is room it takes it before another can ask.
    pub(crate) async fn ask_room(&self, machine: &Machine, to: PowerState) {
        let _book = self.book.lock().await;
        let ledger = self.rack().ledger();
        let (name, now) = (&machine.config.name, Clock.now());
        let poll = now + ROOM_POLL;
        let room = match to {
            PowerState::Off => match ledger.promise(name) {
                Ok(()) => Room::Free,
                Err(full) => Room::Full { ask_at: poll, why: full.to_string() },
            },
            PowerState::On => match ledger.admit(name, now) {
                Admission::Now => Room::Free,
                Admission::Later { ask_at, feed, current, budget } => Room::Taken {
                    ask_at: ask_at.min(poll),
                    why: format!(
                        "feed {feed} carries {} of {budget} while others start; it is lit when there is room",
                        number(current)
                    ),
                },
                Admission::Full(full) => Room::Full { ask_at: poll, why: full.to_string() },
            },
        };
        if let Some(live) = &mut machine.state().live {
            live.sequencer.handle(Input::Room(room), now);
        }
    }
}
