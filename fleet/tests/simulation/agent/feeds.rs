//! What a machine's feed has room for, by the shipped ledger over what this agent reads and remembers.

use std::collections::BTreeMap;
use std::time::Duration;

use fleet::feeds::{Admission, Draw, FeedRoom, Ledger, Load, Milliamps, Stand, Supply, stand};
use fleet::sequencer::{ROOM_POLL, Room};
use fleet::{FedView, FeedKey, FeedName, MachineName, Moment, PowerState};

use super::{Agent, Around};
use crate::hardware::Rack;
use crate::site::{BUDGETS, INRUSH, INRUSH_FOR, RUNNING, rack_of};

fn mains() -> FeedName {
    FeedName::new("mains").unwrap()
}

fn draw() -> Draw {
    Draw {
        running: Milliamps::new(RUNNING),
        inrush: Milliamps::new(INRUSH),
        inrush_for: Duration::from_secs(INRUSH_FOR),
    }
}

impl Agent {
    /// The rack's feed as this agent knows it.
    pub(super) fn feeds(&self, rack: &Rack, now: u64) -> Ledger {
        let (feed, at) = (mains(), self.at(now));
        let load = |name: &String| {
            let supplies = vec![Supply { feed: feed.clone(), draw: draw() }];
            Load { supplies, stand: self.stand(name, rack, at) }
        };
        let names = self.journal.machines.keys();
        let loads: BTreeMap<MachineName, Load> =
            names.map(|name| (Self::machine(name), load(name))).collect();
        let first = self.journal.machines.keys().next().unwrap();
        let budget = Milliamps::new(BUDGETS[rack_of(first)]);
        Ledger::new(BTreeMap::from([(feed.clone(), budget)]), loads)
    }

    fn stand(&self, name: &str, rack: &Rack, at: Moment) -> Stand {
        let off = rack.read(name).ok().flatten() == Some(PowerState::Off);
        let running = self.live.get(name).map(|live| live.sequencer.record());
        stand(off.then_some(at), self.journal.machines[name].wear.lit, running)
    }

    /// How its feed is taken, as it tells those who reach it.
    pub(crate) fn feed_rooms(&self, rack: &Rack, now: u64) -> Vec<(FeedKey, FeedRoom)> {
        let sums = self.feeds(rack, now).sums(self.at(now));
        sums.into_iter().map(|sum| (self.key(sum.feed), sum.room)).collect()
    }

    /// What a machine takes of it.
    pub(crate) fn fed(&self, name: &str, rack: &Rack, now: u64) -> FedView {
        let counted = self.stand(name, rack, self.at(now)).is_counted();
        FedView { draws: vec![(self.key(mains()), draw())], counted }
    }

    fn key(&self, feed: FeedName) -> FeedKey {
        let agent = self.journal.machines.keys().next().unwrap().clone();
        FeedKey { agent, feed }
    }

    /// Whether it may be lit now, or may go down for a cycle and is sure of its return.
    pub(super) fn room(&self, name: &str, to: PowerState, around: &mut Around<'_>) -> Room {
        let (ledger, at) = (self.feeds(around.rack, around.now), self.at(around.now));
        let (name, poll) = (Self::machine(name), at + ROOM_POLL);
        let room = match to {
            PowerState::Off => match ledger.promise(&name) {
                Ok(()) => Room::Free,
                Err(full) => Room::Full { ask_at: poll, why: full.to_string() },
            },
            PowerState::On => match ledger.admit(&name, at) {
                Admission::Now => Room::Free,
                Admission::Later { feed, .. } => {
                    Room::Taken { ask_at: poll, why: format!("others start on {feed}") }
                }
                Admission::Full(full) => Room::Full { ask_at: poll, why: full.to_string() },
            },
        };
        if room == Room::Free {
            around.check.admitted.insert(name.to_string(), around.now);
        }
        around.check.waits += u64::from(room != Room::Free);
        room
    }
}
