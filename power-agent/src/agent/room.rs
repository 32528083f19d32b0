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

#[cfg(test)]
pub(super) mod tests {
    use std::collections::BTreeMap;
    use std::sync::Arc;
    use std::time::Duration;

    use fleet::sequencer::{Paths, State, Task};
    use fleet::{LinesSeen, OnSoftOffTimeout, OperationId, Origin, Reason, Sequencer, Verb};
    use futures_util::FutureExt;
    use tokio::task::JoinSet;

    use super::*;
    use crate::clock::BootId;
    use crate::config::Config;
    use crate::descriptors::Descriptors;
    use crate::device;
    use crate::identity::Keeper;
    use crate::machine::Live;
    use crate::node::Nodes;
    use crate::rack::{Device, Draft};
    use crate::store::Store;

    /// Two run on it, and one starts beside one that runs; two starts are too many.
    const RACK: &str = r#"
[agent]
name = "bench"
socket = "agent.sock"
state = "state"
[feeds.a]
budget = "1.2A"
[devices.a]
driver = "lcus"
port = "a.tty"
channels = 2
status = "none"
[pools.rack]
feed = "a"
running = "0.4A"
inrush = "0.7A"
inrush_for = "1m"
[machines.one]
pool = "rack"
outlets = [{ device = "a", outlet = 1 }]
[machines.two]
pool = "rack"
outlets = [{ device = "a", outlet = 2 }]
"#;

    /// An agent that has looked at nothing.
    pub(in crate::agent) fn agent(folder: &std::path::Path) -> Arc<Agent> {
        std::fs::write(folder.join("rack.toml"), RACK).unwrap();
        let (config, _warnings) = Config::load(&folder.join("rack.toml")).unwrap();
        let store = Store::open(&folder.join("state"), BootId::new("test")).unwrap();
        let mut owners = JoinSet::new();
        let mut devices = BTreeMap::new();
        for (name, settings) in &config.devices {
            let (handle, task) = device::own(name.clone(), settings, &Descriptors::default());
            owners.spawn(task);
            devices.insert(name.clone(), Device { settings: settings.clone(), handle });
        }
        let draft = Draft { config: &config, nodes: Nodes::new(None).unwrap(), devices };
        let keeper = Keeper::new(crate::roles::Access::default(), None);
        Agent::new(draft, store, keeper, Descriptors::default()).unwrap().0
    }

    /// It is dark and waits for room.
    fn waits(machine: &Machine) {
        let task = Task {
            verb: Verb::On,
            on_soft_off_timeout: OnSoftOffTimeout::Cut,
            drain: None,
            soft_off: None,
            settle: Duration::ZERO,
            off_dwell: Duration::ZERO,
            may_cut_at: Moment::ZERO,
            may_wake_until: Moment::ZERO,
            may_light_at: Moment::ZERO,
            fed: true,
            paths: Paths::default(),
        };
        let now = Clock.now();
        let mut sequencer = Sequencer::begin(task, now);
        let dark = LinesSeen::default().and(Some(PowerState::Off));
        sequencer.handle(Input::Seen(Ok(dark)), now);
        assert!(matches!(sequencer.record().state, State::AwaitingRoom { .. }));
        machine.state().live = Some(Live {
            id: OperationId::new("op").unwrap(),
            origin: Origin::Agent,
            reason: Reason::new("test"),
            sequencer,
            call_off: None,
        });
    }

    fn has_room(machine: &Machine) -> bool {
        let state = machine.state();
        let record = state.live.as_ref().map(|live| live.sequencer.record());
        record.is_some_and(|record| matches!(record.state, State::Energizing(_)))
    }

    #[tokio::test]
    async fn who_asks_for_room_waits_for_the_book_and_the_room_that_he_takes_is_not_anothers() {
        let folder = tempfile::tempdir().unwrap();
        let agent = agent(folder.path());
        let machines: Vec<Arc<Machine>> = agent.rack().machines.values().cloned().collect();
        machines.iter().for_each(|machine| waits(machine));
        let [one, two] = machines.as_slice() else { panic!("{machines:?}") };
        let book = agent.book.lock().await;
        let mut asks = Box::pin(agent.ask_room(one, PowerState::On));
        assert!((&mut asks).now_or_never().is_none(), "another may be taking the room just now");
        assert!(!has_room(one));
        drop(book);
        asks.await;
        assert!(has_room(one));
        agent.ask_room(two, PowerState::On).await;
        assert!(!has_room(two), "two starts at once are too many");
    }
}
