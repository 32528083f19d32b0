//! What a machine's feed has room for, by the shipped ledger over what this agent reads and remembers.

use std::collections::BTreeMap;
use std::time::Duration;

use fleet::feeds::{Admission, Draw, Ledger, Load, Milliamps, Supply, stand};
use fleet::sequencer::{ROOM_POLL, Room};
use fleet::{FeedName, MachineName, PowerState};

use super::{Agent, Around};
use crate::site::{BUDGETS, INRUSH, INRUSH_FOR, RUNNING, rack_of};

impl Agent {
    /// The rack's feed as this agent knows it.
    pub(super) fn feeds(&self, around: &Around<'_>) -> Ledger {
        let feed = FeedName::new("mains").unwrap();
        let draw = Draw {
            running: Milliamps::new(RUNNING),
            inrush: Milliamps::new(INRUSH),
            inrush_for: Duration::from_secs(INRUSH_FOR),
        };
        let at = self.at(around.now);
        let load = |name: &String| {
            let off = around.rack.read(name).ok().flatten() == Some(PowerState::Off);
            let running = self.live.get(name).map(|live| live.sequencer.record());
            let stand = stand(off.then_some(at), self.journal.machines[name].wear.lit, running);
            Load { supplies: vec![Supply { feed: feed.clone(), draw }], stand }
        };
        let names = self.journal.machines.keys();
        let loads: BTreeMap<MachineName, Load> =
            names.map(|name| (Self::machine(name), load(name))).collect();
        let first = self.journal.machines.keys().next().unwrap();
        let budget = Milliamps::new(BUDGETS[rack_of(first)]);
        Ledger::new(BTreeMap::from([(feed.clone(), budget)]), loads)
    }

    /// Whether it may be lit now, or may go down for a cycle and is sure of its return.
    pub(super) fn room(&self, name: &str, to: PowerState, around: &mut Around<'_>) -> Room {
        let (ledger, at) = (self.feeds(around), self.at(around.now));
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
