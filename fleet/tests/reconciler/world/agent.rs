//! A small agent for one machine: orders with ids, soft off, boot, boards that can or can not be read.

use std::collections::BTreeMap;

use fleet::reconciler::Done;
use fleet::{
    AgentFacts, ClusterId, Commanded, Fence, FenceNumber, Moment, OperationFacts, OperationId,
    Origin, PoolName, Power, PowerState, Progress, Verb,
};

pub(crate) const BOOT: u64 = 20;
pub(crate) const SOFT_OFF: u64 = 5;

#[derive(Default)]
pub(crate) struct Rig {
    pub(crate) readable: bool,
    pub(crate) reachable: bool,
    pub(crate) board_gone: bool,
    pub(crate) held_by: Option<String>,
    pub(crate) never_off: bool,
    /// Answers are lost for that many orders, though they are taken.
    pub(crate) mute: u32,
    pub(crate) relay: bool,
    pub(crate) boots_at: Option<u64>,
    pub(crate) shut_down: bool,
    pub(crate) ons: u32,
    pub(crate) offs: u32,
    /// Ids of the orders to light that came, and of those to switch off.
    pub(crate) orders_on: Vec<OperationId>,
    pub(crate) orders_off: Vec<OperationId>,
    commanded: Option<(PowerState, u64, Origin)>,
    operation: Option<(OperationId, Verb, Progress, u64)>,
    answers: BTreeMap<OperationId, Done>,
}

pub(crate) fn autoscaler() -> Origin {
    Origin::Autoscaler(Fence {
        cluster: ClusterId::new("global").unwrap(),
        pool: PoolName::new("rack").unwrap(),
        number: FenceNumber(1),
    })
}

impl Rig {
    pub(crate) fn dark(readable: bool) -> Self {
        Self { readable, reachable: true, ..Self::default() }
    }

    /// It is on and booted, by nobody's order that is on record.
    pub(crate) fn lit(readable: bool) -> Self {
        Self { relay: true, boots_at: Some(0), ..Self::dark(readable) }
    }

    pub(crate) fn is_up(&self, now: u64) -> bool {
        self.relay && !self.shut_down && self.boots_at.is_some_and(|at| at <= now)
    }

    pub(crate) fn starts_or_runs(&self) -> bool {
        let off = matches!(&self.operation, Some((_, Verb::Off, Progress::Running, _)));
        let on = matches!(&self.operation, Some((_, Verb::On, Progress::Running, _)));
        (self.relay && !off) || on
    }

    pub(crate) fn is_shutting_down(&self) -> bool {
        matches!(&self.operation, Some((_, Verb::Off, Progress::Running, _)))
    }

    pub(crate) fn order(&mut self, id: &OperationId, verb: Verb, now: u64) -> Done {
        if !self.reachable {
            return Done::Failed("connect: timed out".to_owned());
        }
        if let Some(first) = self.answers.get(id) {
            return first.clone();
        }
        if let Some(by) = &self.held_by {
            return Done::Refused(format!("held by {by}"));
        }
        if matches!(&self.operation, Some((_, _, Progress::Running, _))) {
            return Done::Refused("a sequence runs".to_owned());
        }
        match verb {
            Verb::Off => self.orders_off.push(id.clone()),
            Verb::On | Verb::Cycle => self.orders_on.push(id.clone()),
        }
        self.answers.insert(id.clone(), Done::Accepted);
        let wait = if verb == Verb::Off { SOFT_OFF } else { 1 };
        self.shut_down |= verb == Verb::Off && !self.board_gone;
        self.operation = Some((id.clone(), verb, Progress::Running, now + wait));
        if self.mute > 0 {
            self.mute -= 1;
            return Done::Failed("no answer".to_owned());
        }
        Done::Accepted
    }

    pub(crate) fn person(&mut self, state: PowerState, now: u64) {
        self.operation = None;
        self.drive(state, Origin::Person("ada".to_owned()), now);
    }

    fn drive(&mut self, state: PowerState, by: Origin, now: u64) {
        let on = state == PowerState::On;
        match (self.relay, on) {
            (false, true) => (self.ons, self.boots_at) = (self.ons + 1, Some(now + BOOT)),
            (true, false) => (self.offs, self.boots_at) = (self.offs + 1, None),
            _ => {}
        }
        self.relay = on;
        self.shut_down = false;
        self.commanded = Some((state, now, by));
    }

    pub(crate) fn step(&mut self, now: u64) {
        let Some((_, verb, progress @ Progress::Running, ends)) = &mut self.operation else {
            return;
        };
        if *ends > now {
            return;
        }
        if self.board_gone {
            *progress = Progress::Failed("the board does not answer".to_owned());
            return;
        }
        *progress = Progress::Done;
        let state = verb.leaves();
        self.drive(state, autoscaler(), now);
    }

    /// What it says at `now`, with `ago` for the moment of an event.
    pub(crate) fn facts(&self, now: Moment) -> Option<AgentFacts> {
        if !self.reachable {
            return None;
        }
        let state = if self.relay { PowerState::On } else { PowerState::Off };
        let operation = self.operation.as_ref().map(|(id, verb, progress, _)| OperationFacts {
            id: id.clone(),
            verb: *verb,
            progress: progress.clone(),
            by_hand: false,
        });
        let commanded = self.commanded.as_ref().map(|(state, at, origin)| Commanded {
            state: *state,
            at: Moment::from_millis(at * 1000),
            origin: origin.clone(),
            operation: OperationId::new("last").unwrap(),
        });
        let reading = (self.readable && !self.board_gone).then_some((state, now));
        let power = Power { reading, commanded };
        let held_by = self.held_by.clone();
        Some(AgentFacts { power, held_by, never_off: self.never_off, operation })
    }
}
