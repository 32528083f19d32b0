//! What the rack answers: its state in the control socket's words.

use std::collections::BTreeMap;

use super::Wiring;
use crate::control::BoardState;
use crate::control::EDGES_KEPT_MAX;
use crate::control::MachineState;
use crate::control::RackState;
use crate::control::Reply;
use crate::moment::Moment;
use crate::rack::Plugged;
use crate::relay::Relay;

impl Wiring {
    pub(super) fn edges_reply(&mut self) -> Reply {
        if self.edges_forgotten {
            return Reply::Error(format!(
                "more than {EDGES_KEPT_MAX} edges have been; all are in {}",
                self.config.edge_log.display()
            ));
        }
        Reply::Edges(self.edges.iter().cloned().collect())
    }

    pub(super) fn machine_reply(&mut self, name: &str) -> Reply {
        let found = self.rack.machines().find(|(machine, _)| *machine == name);
        match found {
            Some((_, plugged)) => Reply::Machine(self.machine_state(name, plugged)),
            None => Reply::Error(format!(
                "found no machine {name:?}, expected one of {}",
                self.rack.known_machines()
            )),
        }
    }

    fn machine_state(&self, name: &str, plugged: &Plugged) -> MachineState {
        MachineState {
            board: plugged.board.clone(),
            channel: plugged.channel,
            state: plugged.machine.phase(),
            since_us: plugged.machine.since(),
            watts: plugged.machine.watts(),
            hangs: plugged.machine.hangs(),
            command: self.programs.state(name),
        }
    }

    pub(super) fn state(&mut self, now: Moment) -> RackState {
        let mut boards = BTreeMap::new();
        for (name, board) in self.rack.boards() {
            let Some(settings) = self.config.boards.get(name) else { continue };
            let state = BoardState {
                kind: board.kind(),
                link: self.lines.link(name).unwrap_or(&settings.link).to_owned(),
                port: self.lines.port(name).map(ToOwned::to_owned),
                mains: board.mains(),
                relays: board.relays().iter().map(Relay::contact).collect(),
                frames: board.counts(now),
                answers_dropped: self.answers_dropped.get(name).copied().unwrap_or_default(),
            };
            boards.insert(name.to_owned(), state);
        }
        let machines: BTreeMap<String, MachineState> = self
            .rack
            .machines()
            .map(|(name, plugged)| (name.to_owned(), self.machine_state(name, plugged)))
            .collect();
        let watts = machines.values().map(|machine| machine.watts).sum();
        let feeds = self.rack.feeds().clone();
        RackState { at_us: now, watts, boards, machines, feeds, faults: self.rack.faults() }
    }

    /// All that is wrong, or why a board could not be put where a fault wants it.
    pub(super) fn faults_reply(&self, bus: Result<(), String>) -> Reply {
        match bus {
            Ok(()) => Reply::Faults(self.rack.faults()),
            Err(trouble) => Reply::Error(trouble),
        }
    }
}
