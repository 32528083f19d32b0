//! The hardware: a relay, a board, a supply and a machine that boots, works, and does not always obey.

use std::collections::BTreeMap;

use fleet::{Fault, FaultClass, PowerState};

/// How long a machine takes to boot where nothing is wrong with it, in seconds.
pub(crate) const BOOT: u64 = 20;
/// How long it takes to shut down.
const SHUT_DOWN: u64 = 4;

/// How a machine boots.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Boots {
    Well,
    /// So many seconds later than usual.
    Late(u64),
    Never,
}

/// How a board behaves.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Board {
    Obeys,
    /// Does not answer at all.
    Silent,
    /// Takes every command, and does nothing.
    Deaf,
    /// Does what it is told, and its answer is lost.
    Mumbles,
}

pub(crate) struct Machine {
    /// What the board drives.
    relay: bool,
    /// A contact that no longer follows its relay.
    pub(crate) welded: Option<bool>,
    pub(crate) boots: Boots,
    pub(crate) hangs: bool,
    pub(crate) ignores_soft_off: bool,
    up_at: Option<u64>,
    down_at: Option<u64>,
    pub(crate) edges: u32,
}

/// One board with its machines and their supply.
pub(crate) struct Rack {
    pub(crate) board: Board,
    pub(crate) readable: bool,
    /// Whether the board hangs on the supply that it switches: it forgets its relays with it.
    pub(crate) board_on_feed: bool,
    pub(crate) mains: bool,
    pub(crate) machines: BTreeMap<String, Machine>,
}

impl Machine {
    pub(crate) fn new(on: bool) -> Self {
        Self {
            relay: on,
            welded: None,
            boots: Boots::Well,
            hangs: false,
            ignores_soft_off: false,
            up_at: on.then_some(0),
            down_at: None,
            edges: 0,
        }
    }

    pub(crate) fn contact(&self) -> bool {
        self.welded.unwrap_or(self.relay)
    }

    /// Whether its contact is closed because its relay says so.
    pub(crate) const fn closed_by_relay(&self) -> bool {
        self.relay && !matches!(self.welded, Some(false))
    }

    fn powered(&mut self, now: u64, powered: bool) {
        if !powered {
            (self.up_at, self.down_at, self.hangs) = (None, None, false);
            return;
        }
        self.up_at = match self.boots {
            Boots::Well => Some(now + BOOT),
            Boots::Late(more) => Some(now + BOOT + more),
            Boots::Never => None,
        };
    }

    fn soft_off(&mut self, now: u64) {
        if !self.ignores_soft_off && !self.hangs && self.down_at.is_none() {
            self.down_at = Some(now + SHUT_DOWN);
        }
    }
}

impl Rack {
    pub(crate) fn new(names: &[&str], on: bool) -> Self {
        let machines = names.iter().map(|name| ((*name).to_owned(), Machine::new(on)));
        Self {
            board: Board::Obeys,
            readable: true,
            board_on_feed: false,
            mains: true,
            machines: machines.collect(),
        }
    }

    pub(crate) fn has_power(&self, name: &str) -> bool {
        self.mains && self.machines[name].contact()
    }

    /// Whether its operating system runs and its node heartbeats.
    pub(crate) fn is_up(&self, name: &str, now: u64) -> bool {
        let machine = &self.machines[name];
        let booted = machine.up_at.is_some_and(|at| at <= now);
        let down = machine.down_at.is_some_and(|at| at <= now);
        self.has_power(name) && booted && !down && !machine.hangs
    }

    /// Whether it loses its work with its power.
    pub(crate) fn works(&self, name: &str, now: u64) -> bool {
        let machine = &self.machines[name];
        let down = machine.down_at.is_some_and(|at| at <= now);
        self.has_power(name) && machine.up_at.is_some_and(|at| at <= now) && !down
    }

    /// Moves one relay; tells whether its contact moved.
    fn set(&mut self, name: &str, on: bool, now: u64) -> bool {
        let mains = self.mains;
        let machine = self.machines.get_mut(name).unwrap();
        let before = machine.contact();
        machine.relay = on;
        let moved = machine.contact() != before;
        if moved {
            machine.edges += 1;
            machine.powered(now, on && mains);
        }
        moved
    }

    /// Somebody presses the button of a relay.
    pub(crate) fn press(&mut self, name: &str, now: u64) {
        let on = !self.machines[name].relay;
        self.set(name, on, now);
    }

    /// A contact welds, or comes free again.
    pub(crate) fn weld(&mut self, name: &str, welded: Option<bool>, now: u64) {
        let mains = self.mains;
        let machine = self.machines.get_mut(name).unwrap();
        let before = machine.contact();
        machine.welded = welded;
        let after = machine.contact();
        if after != before {
            machine.powered(now, after && mains);
        }
    }

    /// A command from the agent. The moved contact, and what the agent hears.
    pub(crate) fn drive(
        &mut self,
        name: &str,
        state: PowerState,
        now: u64,
    ) -> (bool, Result<(), Fault>) {
        let on = state == PowerState::On;
        let board = if self.board_on_feed && !self.mains { Board::Silent } else { self.board };
        match board {
            Board::Obeys => (self.set(name, on, now), Ok(())),
            Board::Deaf => (false, Ok(())),
            Board::Mumbles => (self.set(name, on, now), Err(indeterminate())),
            Board::Silent => (false, Err(unreachable())),
        }
    }

    /// What the board says of one relay, and of nothing behind it.
    pub(crate) fn read(&self, name: &str) -> Result<Option<PowerState>, Fault> {
        let dead = self.board_on_feed && !self.mains;
        if dead || matches!(self.board, Board::Silent) {
            return Err(unreachable());
        }
        let state = if self.machines[name].relay { PowerState::On } else { PowerState::Off };
        Ok(self.readable.then_some(state))
    }

    pub(crate) fn soft_off(&mut self, name: &str, now: u64) -> Result<(), String> {
        if !self.is_up(name, now) {
            return Err("no route to host".to_owned());
        }
        self.machines.get_mut(name).unwrap().soft_off(now);
        Ok(())
    }

    /// The supply goes or comes back. A board without power opens its relays.
    pub(crate) fn feed(&mut self, mains: bool, now: u64) {
        if self.mains == mains {
            return;
        }
        self.mains = mains;
        for machine in self.machines.values_mut() {
            if self.board_on_feed && !mains {
                machine.relay = false;
            }
            let powered = mains && machine.contact();
            machine.powered(now, powered);
        }
    }

    /// A hang ends where a person presses reset.
    pub(crate) fn reset(&mut self, name: &str, now: u64) {
        let powered = self.has_power(name);
        let machine = self.machines.get_mut(name).unwrap();
        (machine.hangs, machine.boots, machine.ignores_soft_off) = (false, Boots::Well, false);
        let halted = machine.down_at.is_some_and(|at| at <= now);
        if powered && (halted || machine.up_at.is_none()) {
            machine.down_at = None;
            machine.powered(now, true);
        }
    }
}

fn unreachable() -> Fault {
    Fault { class: FaultClass::Unreachable, text: "the board does not answer".to_owned() }
}

fn indeterminate() -> Fault {
    Fault { class: FaultClass::Indeterminate, text: "no acknowledgement".to_owned() }
}
