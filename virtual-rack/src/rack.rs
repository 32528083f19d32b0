//! The whole rack as one model: what is plugged in where, and what follows from a byte, an order or
//! the passing of time. Pure; the wiring carries out what it returns.

use std::collections::BTreeMap;

use crate::board::Board;
use crate::board::Reaction;
use crate::config::RackConfig;
use crate::machine::Effect;
use crate::machine::Machine;
use crate::machine::NotUp;
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

/// A machine and the relay that it hangs on.
#[derive(Debug, Clone)]
pub struct Plugged {
    /// The board's name.
    pub board: String,
    /// Counted from 1.
    pub channel: u8,
    /// Its model.
    pub machine: Machine,
}

/// All boards and machines.
#[derive(Debug, Clone)]
pub struct Rack {
    boards: BTreeMap<String, Board>,
    machines: BTreeMap<String, Plugged>,
}

impl Rack {
    /// The rack of a config, with the actions of its start: machines found on are up.
    #[must_use]
    pub fn assemble(config: &RackConfig) -> (Self, Vec<Action>) {
        let mut boards: BTreeMap<String, Board> = config
            .boards
            .iter()
            .map(|(name, b)| (name.clone(), Board::new(b.kind, b.channels, b.min_gap)))
            .collect();
        let mut machines = BTreeMap::new();
        let mut actions = Vec::new();
        for (name, m) in &config.machines {
            if let Some(board) = boards.get_mut(&m.board) {
                board.found_in(m.channel, m.found);
            }
            let machine = match m.found {
                Power::Off => Machine::dark(m.nature),
                Power::On => {
                    actions.push(command(name, Effect::Start));
                    Machine::up(m.nature)
                }
            };
            let plugged = Plugged { board: m.board.clone(), channel: m.channel, machine };
            machines.insert(name.clone(), plugged);
        }
        (Self { boards, machines }, actions)
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

    /// Bytes reached a board's port at `now`.
    pub fn receive(&mut self, name: &str, bytes: &[u8], now: Moment) -> Vec<Action> {
        let mut actions = self.elapse(now);
        let Some(board) = self.boards.get_mut(name) else { return actions };
        for reaction in board.receive(bytes, now) {
            match reaction {
                Reaction::Answer(bytes) => {
                    actions.push(Action::Answer { board: name.to_owned(), bytes });
                }
                Reaction::Edge { channel, power } => {
                    actions.extend(self.edge(name, channel, power, now));
                }
            }
        }
        actions
    }

    /// The current follows the contact; the command's death comes before the log's line, because a
    /// cut is instant and writing is not.
    fn edge(&mut self, board: &str, channel: u8, power: Power, now: Moment) -> Vec<Action> {
        let plugged = self
            .machines
            .iter_mut()
            .find(|(_, plugged)| plugged.board == board && plugged.channel == channel);
        let mut actions = Vec::new();
        let machine = plugged.map(|(name, plugged)| {
            let effect = plugged.machine.current(power, now);
            actions.extend(effect.map(|effect| command(name, effect)));
            name.clone()
        });
        actions.push(Action::LogEdge { board: board.to_owned(), channel, machine, power });
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
        actions.push(command(name, effect));
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
        self.machines.values().filter_map(|plugged| plugged.machine.deadline()).min()
    }

    /// Time passed.
    pub fn elapse(&mut self, now: Moment) -> Vec<Action> {
        self.machines
            .iter_mut()
            .filter_map(|(name, plugged)| Some(command(name, plugged.machine.elapse(now)?)))
            .collect()
    }
}

fn command(machine: &str, effect: Effect) -> Action {
    Action::Command { machine: machine.to_owned(), effect }
}
