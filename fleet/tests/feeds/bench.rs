//! A rack in virtual time: the shipped sequencers over the shipped ledger, hands that take time, and contacts whose
//! edges are written down. What flows is added up elsewhere, from the edges alone.

use std::collections::BTreeMap;
use std::time::Duration;

use fleet::feeds::{Admission, CLOSES_WITHIN, Ledger, Load, stand};
use fleet::sequencer::{Action, Input, Paths, ROOM_POLL, Room, State, Task};
use fleet::{
    Fault, FaultClass, FeedName, LinesSeen, MachineName, Milliamps, Moment, OnSoftOffTimeout,
    PowerState, Sequencer, Supply, Verb,
};

use crate::Dice;

/// How many moments a rack may take. The largest rack of four hundred takes two thousand; one that takes fifty times that
/// stands still, and is found by its seed instead of running for ever.
const MOMENTS_MAX: usize = 100_000;

/// A contact that opened or closed, and when.
pub(crate) struct Edge {
    pub(crate) machine: usize,
    pub(crate) at: u64,
    pub(crate) state: PowerState,
}

/// One machine: its outlets move together.
pub(crate) struct Machine {
    pub(crate) name: MachineName,
    pub(crate) supplies: Vec<Supply>,
    line: PowerState,
    /// When its outlets were read last.
    read: Option<(PowerState, Moment)>,
    lit: Option<Moment>,
    live: Option<Sequencer>,
    /// What its hands are at, since when, and when they are done.
    hands: Option<(u64, u64, Action)>,
}

pub(crate) struct Rack {
    pub(crate) now: u64,
    pub(crate) machines: Vec<Machine>,
    pub(crate) edges: Vec<Edge>,
    pub(crate) refused: usize,
    pub(crate) failed: Vec<String>,
    /// How many moments it has gone through.
    pub(crate) moments: usize,
    ledger: Ledger,
    /// How long a movement and a reading take at most, in milliseconds.
    slow: u64,
}

fn at(millis: u64) -> Moment {
    Moment::from_millis(millis)
}

impl Rack {
    pub(crate) fn new(
        budgets: BTreeMap<FeedName, Milliamps>,
        machines: Vec<(MachineName, Vec<Supply>, PowerState)>,
        slow: u64,
    ) -> Self {
        const START: u64 = 1_000_000;
        let machine = |(name, supplies, line)| {
            let read = Some((line, at(START)));
            Machine { name, supplies, line, read, lit: None, live: None, hands: None }
        };
        let machines: Vec<Machine> = machines.into_iter().map(machine).collect();
        let loads = machines.iter().map(|machine| (machine.name.clone(), machine.load()));
        let ledger = Ledger::new(budgets, loads.collect());
        let (edges, failed) = (Vec::new(), Vec::new());
        Self { now: START, machines, edges, refused: 0, failed, moments: 0, ledger, slow }
    }

    pub(crate) fn is_on(&self, machine: usize) -> bool {
        self.machines[machine].line == PowerState::On
    }

    /// Orders as the agent takes them: what has no room is refused.
    pub(crate) fn order(&mut self, index: usize, verb: Verb, dwell: Duration) {
        let machine = &self.machines[index];
        if machine.live.is_some() {
            return;
        }
        let lights = verb == Verb::Cycle || (verb == Verb::On && machine.line == PowerState::Off);
        if lights && self.ledger.promise(&machine.name).is_err() {
            self.refused += 1;
            return;
        }
        let task = Task {
            verb,
            on_soft_off_timeout: OnSoftOffTimeout::Cut,
            drain: None,
            soft_off: None,
            settle: Duration::ZERO,
            off_dwell: dwell,
            may_cut_at: Moment::ZERO,
            may_wake_until: Moment::ZERO,
            may_light_at: Moment::ZERO,
            fed: true,
            paths: Paths::default(),
        };
        self.machines[index].live = Some(Sequencer::begin(task, at(self.now)));
        self.entered(index);
    }

    /// Lets everything go on until all sequences have ended or this moment has come, or nothing seems to end.
    pub(crate) fn run(&mut self, until: u64, dice: &mut Dice) {
        loop {
            while self.act(dice) {}
            let busy = self.machines.iter().filter_map(|machine| machine.hands.as_ref());
            let Some(next) = busy.map(|(_, due, _)| *due).min() else { return };
            if next > until {
                self.now = until;
                return;
            }
            self.moments += 1;
            if self.moments > MOMENTS_MAX {
                self.failed.push(format!("no end after {MOMENTS_MAX} moments, at {}", self.now));
                return;
            }
            self.now = next;
            for index in 0..self.machines.len() {
                let Some((since, due, action)) = self.machines[index].hands else { continue };
                if due <= self.now {
                    self.machines[index].hands = None;
                    self.done(index, since, action, dice);
                }
            }
        }
    }

    /// Takes up what idle hands have to do; whether anything began.
    fn act(&mut self, dice: &mut Dice) -> bool {
        let mut any = false;
        for index in 0..self.machines.len() {
            let now = self.now;
            let machine = &mut self.machines[index];
            let Some(live) = machine.live.as_mut().filter(|_| machine.hands.is_none()) else {
                continue;
            };
            let action = live.poll(at(now));
            any = true;
            machine.hands = match action {
                Action::Finished => {
                    let record = live.record();
                    if record.state != State::Done {
                        self.failed.push(format!("{}: {}", machine.name, record.evidence));
                    }
                    machine.lit = record.lit.or(machine.lit);
                    machine.live = None;
                    None
                }
                Action::AskRoom { ask_at: until, .. } | Action::Wait { until } => {
                    Some((now, until.as_millis().min(now + 1000).max(now), action))
                }
                _ => Some((now, now + dice.upto(self.slow), action)),
            };
            self.entered(index);
        }
        any
    }

    fn done(&mut self, index: usize, since: u64, action: Action, dice: &mut Dice) {
        let now = at(self.now);
        let input = match action {
            Action::ReadBack { .. } => {
                let machine = &mut self.machines[index];
                machine.read = Some((machine.line, now));
                Input::Seen(Ok(LinesSeen::default().and(Some(machine.line))))
            }
            Action::Drive { state, .. } => {
                let lost = self.slow > 0 && dice.once_in(16);
                let machine = &mut self.machines[index];
                if machine.line != state && !(lost && dice.once_in(2)) {
                    machine.line = state;
                    let before = self.edges.iter().rev().find(|edge| edge.machine == index);
                    let lag = u64::try_from(CLOSES_WITHIN.as_millis()).unwrap();
                    let moved = match state {
                        // The contact moved while the hands were at it; they know it only now.
                        PowerState::Off => since + dice.upto(self.now - since),
                        // Or later: the frame is still on its way when the port has taken it.
                        PowerState::On => since + dice.upto(self.now - since + lag),
                    };
                    let moved = moved.max(before.map_or(0, |edge| edge.at));
                    self.edges.push(Edge { machine: index, at: moved, state });
                }
                let class = FaultClass::Indeterminate;
                let fault = Fault { class, text: "no answer".to_owned() };
                Input::Driven(if lost { Err(fault) } else { Ok(()) })
            }
            Action::AskRoom { ask_at, .. } if ask_at > now => return,
            Action::AskRoom { to, .. } => Input::Room(self.room(index, to)),
            _ => return,
        };
        if let Some(live) = &mut self.machines[index].live {
            live.handle(input, now);
        }
        self.entered(index);
    }

    fn room(&self, index: usize, to: PowerState) -> Room {
        let name = &self.machines[index].name;
        let now = at(self.now);
        if to == PowerState::Off {
            return match self.ledger.promise(name) {
                Ok(()) => Room::Free,
                Err(full) => Room::Full { ask_at: now + ROOM_POLL, why: full.to_string() },
            };
        }
        match self.ledger.admit(name, now) {
            Admission::Now => Room::Free,
            Admission::Later { ask_at, .. } => Room::Taken { ask_at, why: String::new() },
            Admission::Full(full) => Room::Full { ask_at: now + ROOM_POLL, why: full.to_string() },
        }
    }

    fn entered(&mut self, index: usize) {
        let machine = &self.machines[index];
        self.ledger.put(&machine.name, machine.load().stand);
    }
}

impl Machine {
    fn load(&self) -> Load {
        let off_read = self.read.filter(|(state, _)| *state == PowerState::Off).map(|(_, at)| at);
        let record = self.live.as_ref().map(Sequencer::record);
        let stand = stand(off_read, self.lit, record);
        Load { supplies: self.supplies.clone(), stand }
    }
}
