//! A small agent for one machine: orders with ids, soft off, boot, boards that can or can not be read.
//! Its machine may fail to boot, boot late, hang, be cut off from Nomad, or lose the mains.

use std::collections::BTreeMap;

use fleet::reconciler::Done;
use fleet::{
    AgentFacts, BOOTS_MAX, Boot, BootEnd, ClusterId, Commanded, Draw, FedView, FeedKey, FeedName,
    Fence, FenceNumber, Moment, OperationFacts, OperationId, Origin, PoolName, Power, PowerState,
    Progress, Quarantine, QuarantineCause, Reason, Verb,
};

pub(crate) const BOOT: u64 = 20;

/// How long it may take, in seconds.
pub(crate) const BOOT_DEADLINE: u64 = 2 * BOOT;
pub(crate) const SOFT_OFF: u64 = 5;
/// How long a cycle leaves it off.
const DWELL: u64 = 3;

/// What goes wrong with a boot.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) enum BootFault {
    /// Nothing.
    #[default]
    None,
    /// It never comes up.
    Never,
    /// It does not come up that often, then it does.
    Times(u32),
    /// It takes that much longer.
    Late(u64),
}

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
    pub(crate) boot_fault: BootFault,
    /// It runs, and nobody hears of it: its kernel hangs, or its network is gone.
    pub(crate) cut_off: bool,
    /// It is asked to shut down and does not, and its orders do not cut it for that.
    pub(crate) stays_up: bool,
    /// What it takes of the feed.
    pub(crate) draw: Option<Draw>,
    /// For how many seconds its feed has no room for its start.
    pub(crate) waits: u64,
    pub(crate) shut_down: bool,
    pub(crate) ons: u32,
    pub(crate) offs: u32,
    /// Ids of the orders to light that came, of those to switch off, and of those to cycle.
    pub(crate) orders_on: Vec<OperationId>,
    pub(crate) orders_off: Vec<OperationId>,
    pub(crate) cycles: Vec<OperationId>,
    pub(crate) quarantine: Option<Quarantine>,
    pub(crate) boots: Vec<Boot>,
    /// When the agent's host booted.
    pub(crate) host_booted: Option<u64>,
    commanded: Option<(PowerState, u64, Origin, OperationId)>,
    operation: Option<Operation>,
    answers: BTreeMap<OperationId, Done>,
    presses: u32,
}

#[derive(Clone)]
struct Operation {
    id: OperationId,
    verb: Verb,
    progress: Progress,
    changed: bool,
    ends: u64,
    /// A cycle that has cut and dwells.
    dwells: bool,
    by_hand: bool,
}

pub(crate) fn autoscaler() -> Origin {
    Origin::Autoscaler(Fence {
        cluster: ClusterId::new("global").unwrap(),
        pool: PoolName::new("rack").unwrap(),
        number: FenceNumber(1),
    })
}

/// The one feed, of one agent.
pub(crate) fn feed() -> FeedKey {
    FeedKey { agent: "unix:/rack".to_owned(), feed: FeedName::new("a").unwrap() }
}

impl Rig {
    pub(crate) fn dark(readable: bool) -> Self {
        Self { readable, reachable: true, ..Self::default() }
    }

    /// It is on and booted, by nobody's order that is on record.
    pub(crate) fn lit(readable: bool) -> Self {
        Self { relay: true, boots_at: Some(0), ..Self::dark(readable) }
    }

    /// Whether its node is heard of.
    pub(crate) fn is_up(&self, now: u64) -> bool {
        self.runs(now) && !self.cut_off
    }

    fn runs(&self, now: u64) -> bool {
        self.relay && !self.shut_down && self.boots_at.is_some_and(|at| at <= now)
    }

    fn running(&self) -> Option<&Operation> {
        self.operation.as_ref().filter(|operation| operation.progress == Progress::Running)
    }

    pub(crate) fn starts_or_runs(&self) -> bool {
        let running = self.running().map(|operation| operation.verb);
        (self.relay && running != Some(Verb::Off)) || running == Some(Verb::On)
    }

    /// Whether an order that lights it runs.
    pub(crate) fn is_to_start(&self) -> bool {
        self.running().is_some_and(|operation| operation.verb != Verb::Off)
    }

    pub(crate) fn fed(&self) -> FedView {
        let draws = self.draw.map(|draw| (feed(), draw)).into_iter().collect();
        FedView { draws, counted: self.relay || self.is_to_start() || !self.readable }
    }

    pub(crate) fn is_shutting_down(&self) -> bool {
        self.running().is_some_and(|operation| operation.verb == Verb::Off)
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
        if let Some(quarantine) = &self.quarantine {
            return Done::Refused(format!("in quarantine: {}", quarantine.reason));
        }
        if self.running().is_some() {
            return Done::Refused("a sequence runs".to_owned());
        }
        match verb {
            Verb::Off => self.orders_off.push(id.clone()),
            Verb::On => self.orders_on.push(id.clone()),
            Verb::Cycle => self.cycles.push(id.clone()),
        }
        self.answers.insert(id.clone(), Done::Accepted);
        let goes_down = verb != Verb::On && !self.board_gone && !self.stays_up;
        self.shut_down |= goes_down && self.relay;
        self.operation = Some(Operation {
            id: id.clone(),
            verb,
            progress: Progress::Running,
            changed: false,
            ends: now + if verb == Verb::On { 1 + self.waits } else { SOFT_OFF },
            dwells: false,
            by_hand: false,
        });
        if self.mute > 0 {
            self.mute -= 1;
            return Done::Failed("no answer".to_owned());
        }
        Done::Accepted
    }

    pub(crate) fn person(&mut self, state: PowerState, now: u64) {
        self.presses += 1;
        let id = OperationId::new(format!("ada-{}", self.presses)).unwrap();
        let verb = if state == PowerState::On { Verb::On } else { Verb::Off };
        let changed = self.drive(state, Origin::Person("ada".to_owned()), &id, now);
        self.operation = Some(Operation {
            id,
            verb,
            progress: Progress::Done,
            changed: changed || !self.readable,
            ends: now,
            dwells: false,
            by_hand: true,
        });
    }

    /// A person's cycle, which runs for a while; what the agent does to the node meanwhile, the scenario does.
    pub(crate) fn cycle_by_hand(&mut self, now: u64) {
        self.presses += 1;
        self.operation = Some(Operation {
            id: OperationId::new(format!("ada-{}", self.presses)).unwrap(),
            verb: Verb::Cycle,
            progress: Progress::Running,
            changed: false,
            ends: now + SOFT_OFF,
            dwells: false,
            by_hand: true,
        });
    }

    /// The mains are gone and come back: all relays open, and perhaps the agent's host boots anew.
    pub(crate) fn mains(&mut self, host_too: bool, now: u64) {
        self.relay = false;
        self.boots_at = None;
        self.shut_down = false;
        if host_too {
            self.host_booted = Some(now);
            // What runs is half done then, and of an earlier boot: it is reported and not finished.
            if let Some(operation) = &mut self.operation
                && operation.progress == Progress::Running
            {
                operation.progress = Progress::Failed("half done when the host went".to_owned());
            }
        }
    }

    /// Whether its boot takes longer than its deadline.
    pub(crate) fn boots_late(&self) -> bool {
        let driven = self.commanded.as_ref().map(|(_, at, _, _)| *at);
        self.boots_at.zip(driven).is_some_and(|(up, at)| up > at + BOOT_DEADLINE)
    }

    /// Tells whether it moved.
    fn drive(&mut self, state: PowerState, by: Origin, id: &OperationId, now: u64) -> bool {
        let (was, on) = (self.relay, state == PowerState::On);
        match (was, on) {
            (false, true) => (self.ons, self.boots_at) = (self.ons + 1, self.boot(now)),
            (true, false) => (self.offs, self.boots_at) = (self.offs + 1, None),
            _ => {}
        }
        self.relay = on;
        self.shut_down = false;
        self.commanded = Some((state, now, by, id.clone()));
        was != on
    }

    fn boot(&mut self, now: u64) -> Option<u64> {
        match &mut self.boot_fault {
            BootFault::None | BootFault::Times(0) => Some(now + BOOT),
            BootFault::Times(more) => {
                *more -= 1;
                None
            }
            BootFault::Late(more) => Some(now + BOOT + *more),
            BootFault::Never => None,
        }
    }

    /// What was wrong with it is repaired, as by a person who stands before it.
    pub(crate) fn repair(&mut self, now: u64) {
        (self.boot_fault, self.cut_off, self.stays_up) = (BootFault::None, false, false);
        self.quarantine = None;
        let halted = self.shut_down && self.running().is_none();
        if self.relay && (self.boots_at.is_none() || halted) {
            (self.boots_at, self.shut_down) = (Some(now + BOOT), false);
        }
    }

    pub(crate) fn step(&mut self, now: u64) {
        let Some(mut operation) = self.running().cloned() else { return };
        if operation.ends > now {
            return;
        }
        let by = match operation.by_hand {
            true => Origin::Person("ada".to_owned()),
            false => autoscaler(),
        };
        if self.board_gone {
            operation.progress = Progress::Failed("the board does not answer".to_owned());
        } else if operation.verb == Verb::Off && self.stays_up && self.runs(now) {
            operation.progress = Progress::Failed("it did not go down".to_owned());
            self.out_of_service(QuarantineCause::NoShutdown, "it did not go down", now);
        } else if operation.verb == Verb::Cycle && !operation.dwells {
            operation.changed |= self.drive(PowerState::Off, by, &operation.id, now);
            (operation.dwells, operation.ends) = (true, now + DWELL);
        } else {
            operation.progress = Progress::Done;
            let state = operation.verb.leaves();
            let moved = self.drive(state, by, &operation.id, now);
            operation.changed |= moved || !self.readable;
        }
        self.operation = Some(operation);
    }

    pub(crate) fn out_of_service(&mut self, cause: QuarantineCause, reason: &str, now: u64) {
        self.quarantine.get_or_insert_with(|| Quarantine {
            cause,
            reason: Reason::new(reason),
            since: Moment::from_millis(now * 1000),
            by: autoscaler(),
        });
    }

    pub(crate) fn record(&mut self, boot: Boot) {
        let same = |last: &Boot| last.operation == boot.operation && last.end == boot.end;
        if self.boots.last().is_some_and(same) && boot.end == BootEnd::Missed {
            return;
        }
        self.boots.push(boot);
        self.boots.drain(..self.boots.len().saturating_sub(BOOTS_MAX));
    }

    /// What it says at `now`, with `ago` for the moment of an event.
    pub(crate) fn facts(&self, now: Moment) -> Option<AgentFacts> {
        if !self.reachable {
            return None;
        }
        let at = |second: u64| Moment::from_millis(second * 1000);
        let state = if self.relay { PowerState::On } else { PowerState::Off };
        let operation = self.operation.as_ref().map(|operation| OperationFacts {
            id: operation.id.clone(),
            verb: operation.verb,
            progress: operation.progress.clone(),
            changed: operation.changed,
            by_hand: operation.by_hand,
        });
        let commanded = self.commanded.as_ref().map(|(state, driven, origin, id)| Commanded {
            state: *state,
            at: at(*driven),
            origin: origin.clone(),
            operation: id.clone(),
        });
        let reading = (self.readable && !self.board_gone).then_some((state, now));
        Some(AgentFacts {
            power: Power { reading, commanded },
            held_by: self.held_by.clone(),
            never_off: self.never_off,
            operation,
            quarantine: self.quarantine.clone(),
            last_boot: self.boots.last().cloned(),
            host_booted: self.host_booted.map(at),
        })
    }
}
