//! The whole rack as one model: what is plugged in where, and what follows from a byte, an order or
//! the passing of time. Pure; the wiring carries out what it returns.

pub mod breaker;
mod wrong;

use std::collections::BTreeMap;

use self::breaker::Amps;
use crate::board::Board;
use crate::board::Reaction;
use crate::config::RackConfig;
use crate::edges::Cause;
use crate::machine::Effect;
use crate::machine::Machine;
use crate::machine::NotUp;
use crate::machine::Phase;
use crate::moment::Moment;
use crate::relay::Power;

/// What the wiring has to do, in this order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Action {
    /// Log an edge of a contact.
    LogEdge {
        /// The board's name.
        board: String,
        /// Counted from 1.
        channel: u8,
        /// The machine behind it.
        machine: Option<String>,
        /// Where the contact moved to.
        power: Power,
        /// Why.
        cause: Cause,
    },
    /// Send bytes out of a board's port.
    Answer {
        /// The board's name.
        board: String,
        /// What it sends.
        bytes: Vec<u8>,
    },
    /// Act on a machine's command.
    Command {
        /// The machine's name.
        machine: String,
        /// What happens to it.
        effect: Effect,
    },
}

/// A soft off that was not taken.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SoftOffRefused {
    /// Nobody is there to take it.
    #[error("machine {machine} can not take a soft off: {reason}")]
    NotUp {
        /// The machine's name.
        machine: String,
        /// Where it is instead.
        reason: NotUp,
    },
    /// The rack has no such machine.
    #[error("found no machine {machine:?}, expected one of {known}")]
    Unknown {
        /// What was asked for.
        machine: String,
        /// The rack's machines.
        known: String,
    },
}

/// What was asked of a rack and can not be; nothing has changed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// There is no such thing in it.
    #[error("found no {what} {name:?}, expected one of {known}")]
    Unknown {
        /// Machine, board, channel or feed.
        what: &'static str,
        /// What was asked for.
        name: String,
        /// What there is.
        known: String,
    },
    /// Only what is on can hang.
    #[error("machine {machine} can not hang: found it {phase}, expected it on")]
    NotOn {
        /// Its name.
        machine: String,
        /// Where it is.
        phase: Phase,
    },
    /// What was written is no place.
    #[error("{0}")]
    NoPlace(String),
}

/// A machine and the relay that it hangs on.
#[derive(Debug, Clone)]
pub struct Plugged {
    /// The board's name.
    pub board: String,
    /// Counted from 1.
    pub channel: u8,
    /// The feed behind the contact.
    pub feed: Option<String>,
    /// What it draws there, if that is counted.
    pub amps: Option<Amps>,
    /// Since when current flows.
    fed_since: Option<Moment>,
    /// Its model.
    pub machine: Machine,
}

/// All boards and machines.
#[derive(Debug, Clone)]
pub struct Rack {
    boards: BTreeMap<String, Board>,
    /// The feeds of the boards that have one.
    board_feeds: BTreeMap<String, String>,
    machines: BTreeMap<String, Plugged>,
    feeds: BTreeMap<String, Power>,
    /// At how many milliamperes a feed trips.
    breakers: BTreeMap<String, u64>,
}

impl Rack {
    /// The rack of a config, as it is found: machines that are on are up.
    #[must_use]
    pub fn assemble(config: &RackConfig) -> Self {
        let mut boards: BTreeMap<String, Board> = config
            .boards
            .iter()
            .map(|(name, b)| (name.clone(), Board::new(b.kind, b.channels, b.min_gap, b.unpowered)))
            .collect();
        let mut machines = BTreeMap::new();
        for (name, m) in &config.machines {
            if let Some(board) = boards.get_mut(&m.board) {
                board.found_in(m.channel, m.found);
            }
            let machine = match m.found {
                Power::Off => Machine::dark(m.nature),
                Power::On => Machine::up(m.nature),
            };
            let (board, feed) = (m.board.clone(), m.feed.clone());
            let fed_since = (m.found == Power::On).then_some(Moment::START);
            let amps = m.amps;
            let plugged = Plugged { board, channel: m.channel, feed, amps, fed_since, machine };
            machines.insert(name.clone(), plugged);
        }
        let board_feeds = config
            .boards
            .iter()
            .filter_map(|(name, b)| Some((name.clone(), b.feed.clone()?)))
            .collect();
        let feeds = config.feeds.iter().map(|feed| (feed.clone(), Power::On)).collect();
        let breakers = config.breakers.clone();
        Self { boards, board_feeds, machines, feeds, breakers }
    }

    /// What runs on the machines that are found on, to be started once.
    #[must_use]
    pub fn start(&self) -> Vec<Action> {
        self.machines
            .iter()
            .filter(|(_, plugged)| plugged.machine.phase() == Phase::Up)
            .map(|(name, _)| command(name, Effect::Start))
            .collect()
    }

    /// The boards by name; mutable, because counting gives up what was half heard.
    pub fn boards(&mut self) -> impl Iterator<Item = (&str, &mut Board)> {
        self.boards.iter_mut().map(|(name, board)| (name.as_str(), board))
    }

    /// The machines by name.
    pub fn machines(&self) -> impl Iterator<Item = (&str, &Plugged)> {
        self.machines.iter().map(|(name, plugged)| (name.as_str(), plugged))
    }

    /// A machine.
    #[must_use]
    pub fn machine(&self, name: &str) -> Option<&Machine> {
        self.machines.get(name).map(|plugged| &plugged.machine)
    }

    /// The feeds by name, and whether their mains are there.
    #[must_use]
    pub fn feeds(&self) -> &BTreeMap<String, Power> {
        &self.feeds
    }

    /// Bytes reached a board's port at `now`.
    pub fn receive(&mut self, name: &str, bytes: &[u8], now: Moment) -> Vec<Action> {
        let mut actions = self.elapse(now);
        let Some(board) = self.boards.get_mut(name) else { return actions };
        let reactions = board.receive(bytes, now);
        actions.extend(self.react(name, reactions, now));
        actions
    }

    fn react(&mut self, board: &str, reactions: Vec<Reaction>, now: Moment) -> Vec<Action> {
        let mut actions = Vec::new();
        for reaction in reactions {
            match reaction {
                Reaction::Answer(bytes) => {
                    actions.push(Action::Answer { board: board.to_owned(), bytes });
                }
                Reaction::Edge { channel, power, cause } => {
                    actions.extend(self.edge(board, channel, power, cause, now));
                }
            }
        }
        actions
    }

    /// The current follows the contact, where there are mains behind it; the command's death comes
    /// before the log's line, because a cut is instant and writing is not.
    fn edge(
        &mut self,
        board: &str,
        channel: u8,
        power: Power,
        cause: Cause,
        now: Moment,
    ) -> Vec<Action> {
        let feeds = &self.feeds;
        let plugged = self
            .machines
            .iter_mut()
            .find(|(_, plugged)| plugged.board == board && plugged.channel == channel);
        let mut actions = Vec::new();
        let mut feed = None;
        let machine = plugged.map(|(name, plugged)| {
            let current = through(power, plugged, feeds);
            plugged.takes(current, now);
            feed.clone_from(&plugged.feed);
            let effect = plugged.machine.current(current, now);
            actions.extend(effect.map(|effect| command(name, effect)));
            name.clone()
        });
        actions.push(Action::LogEdge { board: board.to_owned(), channel, machine, power, cause });
        if let Some(feed) = feed.filter(|_| power == Power::On) {
            actions.extend(self.judge_feed(&feed, now));
        }
        actions
    }

    /// A machine is asked to shut down.
    ///
    /// # Errors
    /// Where the machine is not up or not known.
    pub fn soft_off(&mut self, name: &str, now: Moment) -> Result<Vec<Action>, SoftOffRefused> {
        let mut actions = self.elapse(now);
        let Some(plugged) = self.machines.get_mut(name) else {
            return Err(SoftOffRefused::Unknown {
                machine: name.to_owned(),
                known: self.known_machines(),
            });
        };
        let effect = plugged
            .machine
            .soft_off(now)
            .map_err(|reason| SoftOffRefused::NotUp { machine: name.to_owned(), reason })?;
        actions.extend(effect.map(|effect| command(name, effect)));
        Ok(actions)
    }

    /// The machines' names, for messages.
    #[must_use]
    pub fn known_machines(&self) -> String {
        let names: Vec<&str> = self.machines.keys().map(String::as_str).collect();
        names.join(", ")
    }

    /// When something happens by itself next.
    #[must_use]
    pub fn deadline(&self) -> Option<Moment> {
        let machines = self.machines.values().filter_map(|plugged| plugged.machine.deadline());
        machines.chain(self.boards.values().filter_map(Board::deadline)).min()
    }

    /// Time passed: everything that was due until `now` happens, in its order.
    pub fn elapse(&mut self, now: Moment) -> Vec<Action> {
        let mut actions = Vec::new();
        // Each round ends at least one phase or one pending act, and none makes another that is due
        // at the same moment.
        while let Some(due) = self.deadline().filter(|due| *due <= now) {
            let machines = self
                .machines
                .iter_mut()
                .filter_map(|(name, plugged)| Some(command(name, plugged.machine.elapse(due)?)));
            actions.extend(machines);
            let boards: Vec<String> = self.boards.keys().cloned().collect();
            for board in boards {
                let reactions =
                    self.boards.get_mut(&board).map(|b| b.elapse(due)).unwrap_or_default();
                actions.extend(self.react(&board, reactions, due));
            }
        }
        actions
    }
}

/// The current that a contact lets through to a machine.
fn through(contact: Power, plugged: &Plugged, feeds: &BTreeMap<String, Power>) -> Power {
    let mains = plugged.feed.as_ref().and_then(|feed| feeds.get(feed));
    if mains == Some(&Power::Off) { Power::Off } else { contact }
}

fn command(machine: &str, effect: Effect) -> Action {
    Action::Command { machine: machine.to_owned(), effect }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    fn rack() -> Rack {
        let text = r#"
            socket = "s"
            edge_log = "e"
            [boards.a]
            kind = "lcus-ascii"
            channels = 4
            link = "l"
            min_gap_ms = 50
            [machines.node1]
            board = "a"
            channel = 1
            boot_ms = 1000
            shutdown_ms = 500
            watts = 6.5
            [machines.node2]
            board = "a"
            channel = 2
            on = true
            boot_ms = 1000
            shutdown_ms = 500
            watts = 6.5
        "#;
        Rack::assemble(&crate::config::parse(text, Path::new("RACK.toml")).unwrap())
    }

    fn at(millis: u64) -> Moment {
        Moment::from_millis(millis)
    }

    fn edge(channel: u8, machine: Option<&str>, power: Power) -> Action {
        let machine = machine.map(str::to_owned);
        let cause = Cause::Frame;
        Action::LogEdge { board: "a".to_owned(), channel, machine, power, cause }
    }

    #[test]
    fn a_machine_that_is_found_on_is_up_without_an_edge() {
        let mut rack = rack();
        assert_eq!(rack.start(), [command("node2", Effect::Start)]);
        let on_again = rack.receive("a", &[0xA0, 2, 1, 0xA3], at(0));
        assert_eq!(on_again, [], "a frame that changes nothing is no edge");
    }

    #[test]
    fn a_cut_kills_before_it_is_logged() {
        let actions = rack().receive("a", &[0xA0, 2, 0, 0xA2], at(0));
        assert_eq!(actions, [command("node2", Effect::Kill), edge(2, Some("node2"), Power::Off)]);
    }

    #[test]
    fn a_machine_whose_boot_ended_before_a_late_cut_had_its_command_started() {
        let mut rack = rack();
        let on = rack.receive("a", &[0xA0, 1, 1, 0xA2], at(0));
        assert_eq!(on, [edge(1, Some("node1"), Power::On)]);
        assert_eq!(rack.deadline(), Some(at(1000)));
        assert_eq!(
            rack.receive("a", &[0xA0, 1, 0, 0xA1], at(1500)),
            [
                command("node1", Effect::Start),
                command("node1", Effect::Kill),
                edge(1, Some("node1"), Power::Off)
            ]
        );
    }

    #[test]
    fn a_relay_without_a_machine_has_edges_too() {
        let actions = rack().receive("a", &[0xA0, 4, 1, 0xA5], at(0));
        assert_eq!(actions, [edge(4, None, Power::On)]);
    }

    #[test]
    fn a_status_query_is_answered_for_every_channel() {
        let bytes = b"CH1: OFF\r\nCH2: ON \r\nCH3: OFF\r\nCH4: OFF\r\n".to_vec();
        let answer = Action::Answer { board: "a".to_owned(), bytes };
        assert_eq!(rack().receive("a", &[0xFF], at(0)), [answer]);
    }

    #[test]
    fn a_soft_off_that_can_not_be_taken_says_why() {
        let refused = |name| rack().soft_off(name, at(0)).unwrap_err().to_string();
        assert_eq!(
            refused("node1"),
            "machine node1 can not take a soft off: found it dark, expected it up"
        );
        assert_eq!(refused("node3"), "found no machine \"node3\", expected one of node1, node2");
    }
}
