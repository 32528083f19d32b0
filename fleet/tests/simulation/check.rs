//! What must hold at every step of every run.

mod locks;

use std::collections::BTreeMap;
use std::time::Duration;

use fleet::reconciler::Effect;
use fleet::sequencer::{Record, State};
use fleet::{FenceNumber, NodeStatus, OperationId, Order, Origin, Phase, PowerState, Verb};

pub(crate) use self::locks::Locks;
use crate::agent::RunningOrder;
use crate::hardware::{Board, Rack};
use crate::nomad::Nomad;
use crate::orders::LIMITS;
use crate::plugin::BEAT;
use crate::site::{BUDGETS, INRUSH, INRUSH_FOR, RUNNING, rack_of};

/// Seconds for which nobody can know what somebody else has just done to a node.
const UNKNOWN: u64 = 40;

/// Seconds between an agent's last look at its board and the end of its sequence.
const UNREAD: u64 = 3;

/// Heartbeats that a lease may miss before another may take it.
const STALE_BEATS: u64 = 3;

/// A command that reached a board.
#[derive(Clone, Copy)]
pub(crate) struct Movement<'a> {
    pub(crate) name: &'a str,
    pub(crate) state: PowerState,
    /// Whether the contact moved.
    pub(crate) moved: bool,
    /// Whether the machine worked until then.
    pub(crate) works: bool,
    pub(crate) now: u64,
}

/// The checks, and what they counted.
#[derive(Default)]
pub(crate) struct Check {
    pub(crate) orders: u64,
    pub(crate) edges: u64,
    pub(crate) cuts: u64,
    pub(crate) stale: u64,
    pub(crate) left: u64,
    pub(crate) resumed: u64,
    pub(crate) relit: u64,
    pub(crate) restored: u64,
    /// Orders that a full feed refused.
    pub(crate) full: u64,
    /// Seconds for which machines waited for the inrush of others.
    pub(crate) waits: u64,
    pub(crate) locks: Locks,
    /// The machine whose power is never taken.
    never_off: Option<&'static str>,
    pub(crate) faults: u64,
    /// What happened, for who reads a run that failed.
    pub(crate) diary: Vec<(u64, String)>,
    /// Nodes that somebody else touched, and when.
    touched: BTreeMap<String, u64>,
    /// Nodes that somebody else took out of scheduling, and when.
    pub(crate) theirs: BTreeMap<String, u64>,
    /// When each node registered for the first time.
    pub(crate) registered: BTreeMap<String, u64>,
    /// When each machine was told last that its feed has room.
    pub(crate) admitted: BTreeMap<String, u64>,
    /// When each machine was driven last, each way.
    driven: BTreeMap<(String, PowerState), u64>,
    /// How often each order moved each contact which way, since something else last moved it.
    moves: BTreeMap<(String, OperationId, PowerState), u32>,
}

impl Check {
    pub(crate) fn of(never_off: Option<&'static str>) -> Self {
        Self { never_off, ..Self::default() }
    }

    /// Somebody else did something to a node or a machine: for a while nobody can know of it.
    pub(crate) fn touched(&mut self, name: &str, now: u64) {
        self.touched.insert(name.to_owned(), now);
        self.moves.retain(|(moved, _, _), _| moved != name);
    }

    /// Somebody took a node out of scheduling, or gave it back.
    pub(crate) fn set_aside(&mut self, name: &str, aside: bool, now: u64) {
        self.theirs.remove(name);
        if aside {
            self.theirs.insert(name.to_owned(), now);
        }
    }

    pub(crate) fn is_theirs(&self, name: &str) -> bool {
        self.theirs.contains_key(name)
    }

    /// The plugin makes a node eligible: never one that is somebody else's.
    pub(crate) fn freed(&mut self, name: &str, now: u64) {
        let at = self.theirs.remove(name);
        let excused = at.is_none_or(|at| now < at + UNKNOWN);
        assert!(
            excused,
            "at {now}: {name}'s node is freed, and somebody else took it out at {at:?}"
        );
    }

    /// A plugin process acts for its pool: never once another may have taken its lease.
    pub(crate) fn acts(&self, who: &str, effect: &Effect, beaten: u64, now: u64) {
        let overdue = beaten + BEAT * STALE_BEATS <= now;
        assert!(!overdue, "at {now}: {who}, whose record was written at {beaten}, does {effect:?}");
    }

    pub(crate) fn tell(&mut self, now: u64, what: String) {
        self.diary.push((now, what));
    }

    fn excused(&self, name: &str, now: u64) -> bool {
        self.touched.get(name).is_some_and(|at| now < at + UNKNOWN)
    }

    /// An order begins.
    pub(crate) fn obeyed(
        &mut self,
        order: &Order,
        highest: Option<FenceNumber>,
        quarantined: bool,
        now: u64,
    ) {
        self.orders += 1;
        let (id, name) = (&order.operation, &order.machine);
        self.tell(now, format!("order {id} {:?} {name} begins", order.verb));
        let lock = self.locks.forbids(order, now);
        assert_eq!(lock, None, "at {now}: {name} is locked and obeys {id}");
        if matches!(order.origin, Origin::Person(_)) {
            return;
        }
        assert!(!quarantined, "at {now}: {name} is in quarantine and obeys {id}");
        let Origin::Autoscaler(fence) = &order.origin else {
            return assert_eq!(order.verb, Verb::On, "at {now}: {id} of the agent's own");
        };
        assert!(
            highest.is_none_or(|highest| fence.number >= highest),
            "at {now}: {id} is obeyed with fence {:?}, and {highest:?} is known",
            fence.number
        );
    }

    /// An agent that is back goes on with what was half done, or only reports it.
    pub(crate) fn taken_up(&mut self, name: &str, order: &RunningOrder, goes_on: bool, now: u64) {
        self.resumed += 1;
        self.tell(now, format!("{} of {name} is taken up: {goes_on}", order.id));
        let (verb, phase) = (order.record.task.verb, order.record.phase());
        let begun = matches!(phase, Phase::Cutting | Phase::Dwelling | Phase::Energizing);
        if !goes_on || matches!(order.origin, Origin::Person(_)) {
            return;
        }
        if verb == Verb::Cycle && (begun || matches!(phase, Phase::SoftOff | Phase::Settling)) {
            return; // it is never left between off and on
        }
        let lock = self.locks.against_policies(name, now);
        assert_eq!(lock, None, "at {now}: {name} is locked and {} goes on", order.id);
    }

    /// A machine is asked to shut down: the point of no return.
    pub(crate) fn shut_down(
        &self,
        name: &str,
        intent: Option<&RunningOrder>,
        nomad: &Nomad,
        now: u64,
    ) {
        let intent =
            intent.unwrap_or_else(|| panic!("at {now}: {name} is shut down without intent"));
        assert_ne!(intent.record.task.verb, Verb::On, "at {now}: {name}");
        self.not_under_work(name, intent, nomad, now);
    }

    /// A board was told something.
    pub(crate) fn driven(
        &mut self,
        movement: Movement<'_>,
        intent: Option<&RunningOrder>,
        nomad: &Nomad,
        rack: &Rack,
    ) {
        let Movement { name, state, moved, works, now } = movement;
        let intent =
            intent.unwrap_or_else(|| panic!("at {now}: {name} is driven without an intent"));
        let (phase, verb) = (intent.record.phase(), intent.record.task.verb);
        let right = match state {
            PowerState::Off => phase == Phase::Cutting && verb != Verb::On,
            PowerState::On => phase == Phase::Energizing && verb != Verb::Off,
        };
        assert!(right, "at {now}: {name} is driven {state}, and its intent is {verb:?}, {phase}");
        if !moved {
            return;
        }
        self.edges += 1;
        self.tell(now, format!("{name} goes {state} by {}", intent.id));
        let key = (name.to_owned(), intent.id.clone(), state);
        let times = self.moves.entry(key).or_insert(0);
        *times += 1;
        assert_eq!(*times, 1, "at {now}: {name} is driven {state} twice by {}", intent.id);
        self.dwells(name, state, intent, now);
        if state == PowerState::On {
            self.within_budget(name, intent, rack, now);
        }
        let never = state == PowerState::Off && self.never_off == Some(name);
        assert!(!never || intent.forced, "at {now}: {name}, which is never off, by {}", intent.id);
        if state == PowerState::Off {
            self.cuts += 1;
            if works {
                self.not_under_work(name, intent, nomad, now);
            }
        }
    }

    /// The hardware has its rest, whoever orders; only where the agent's host booted meanwhile, nobody can tell.
    fn dwells(&mut self, name: &str, state: PowerState, intent: &RunningOrder, now: u64) {
        self.driven.insert((name.to_owned(), state), now);
        let other = if state == PowerState::On { PowerState::Off } else { PowerState::On };
        let Some(at) = self.driven.get(&(name.to_owned(), other)) else { return };
        let least = match state {
            PowerState::On => LIMITS.min_off,
            PowerState::Off if intent.forced => Duration::ZERO,
            PowerState::Off => LIMITS.min_on,
        };
        let rested = now - at + 1; // a step is a second
        assert!(rested >= least.as_secs(), "at {now}: {name} goes {state} after {rested} s");
    }

    /// The modelled current of the feed at this instant, which is the highest until another contact closes: what runs, and
    /// the inrush of what was lit by order. The inrush after mains that return and what a weld draws nobody has ordered.
    fn within_budget(&self, name: &str, intent: &RunningOrder, rack: &Rack, now: u64) {
        if !rack.mains {
            return;
        }
        let mut sum = 0;
        for (other, machine) in &rack.machines {
            // What somebody's finger has closed since there was room, the agent can not know of.
            let admitted = self.admitted.get(name);
            let pressed = admitted.is_some_and(|at| self.touched.get(other) >= Some(at));
            if !machine.closed_by_relay() || pressed {
                continue;
            }
            let lit = self.driven.get(&(other.clone(), PowerState::On));
            let starts = lit.is_some_and(|at| now < at + INRUSH_FOR);
            sum += if starts { INRUSH } else { RUNNING };
        }
        let budget = BUDGETS[rack_of(name)];
        assert!(
            sum <= budget,
            "at {now}: {sum} of {budget} mA flow when {name} is lit by {}",
            intent.id
        );
    }

    /// The host of these machines' agent boots: how long ago they were switched can not be told.
    pub(crate) fn forget_dwell(&mut self, names: &[&str]) {
        self.driven.retain(|(name, _), _| !names.contains(&name.as_str()));
    }

    /// Whether the machine was ordered on since then.
    pub(crate) fn was_lit_since(&self, name: &str, then: u64) -> bool {
        let lit = self.driven.get(&(name.to_owned(), PowerState::On));
        lit.is_some_and(|at| *at >= then)
    }

    fn not_under_work(&self, name: &str, intent: &RunningOrder, nomad: &Nomad, now: u64) {
        if intent.forced || self.excused(name, now) {
            return;
        }
        // A node that Nomad had never heard of can not be kept from work: it may register in the midst of its cycle.
        let cycle = intent.record.task.verb == Verb::Cycle;
        if cycle && self.registered.get(name).is_some_and(|at| now < at + UNKNOWN) {
            return;
        }
        let ready = nomad.nodes.get(name).is_some_and(|node| node.status == NodeStatus::Ready);
        let against = nomad.speaks_against(name).filter(|_| ready);
        assert_eq!(against, None, "at {now}: {name} is cut by {} though", intent.id);
    }

    /// A sequence has ended, and this is what it says of itself.
    pub(crate) fn ended(
        &mut self,
        name: &str,
        (order, record): (&RunningOrder, &Record),
        rack: &Rack,
        now: u64,
    ) {
        self.tell(
            now,
            format!("{} of {name} ends {:?}: {}", order.id, record.state, record.evidence),
        );
        let honest = rack.readable && rack.board == Board::Obeys;
        let machine = &rack.machines[name];
        if record.state != State::Done || !honest || !rack.mains || machine.welded.is_some() {
            return;
        }
        if self.touched.get(name).is_some_and(|at| now < at + UNREAD) {
            return; // a finger was quicker than the answer
        }
        let on = record.task.verb.leaves() == PowerState::On;
        assert_eq!(machine.contact(), on, "{} of {name} says that it is done", order.id);
    }
}
