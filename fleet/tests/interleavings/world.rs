//! One machine as an agent keeps it, in virtual time: the shipped arbiter and sequencer, a modelled outlet, a journal
//! that holds what was written before each phase, and clients that know nothing of each other.

use std::collections::BTreeMap;
use std::time::Duration;

use fleet::arbiter::{
    Hearing, HoldAsked, HoldKind, Holds, Limits, MachineLedger, Question, Running, Verdict, Wear,
    Work, judge, may_resume, question,
};
use fleet::sequencer::{Action, Eligible, Input, NodeSign, Paths, Record, Room, State, Task};
use fleet::{
    Fault, FaultClass, Fences, LinesSeen, MachineName, Moment, OperationId, Order, Origin, Phase,
    PoolName, PowerState, Reason, RefusalCode, Sequencer, Verb,
};

use crate::check::{Answer, Checker};
use crate::{Dice, name, pool};

/// What the rack file says of the machine.
pub(crate) const DWELL: Duration = Duration::from_secs(4);

/// How often an order may call off what runs, as in the agent.
const CALL_OFFS_MAX: u32 = 2;

/// More actions than a drain takes to be taken back.
const TAKEN_BACK_MAX: u32 = 8;

struct Live {
    id: OperationId,
    origin: Origin,
    sequencer: Sequencer,
    /// What the journal holds of it.
    written: Record,
}

pub(crate) struct World {
    pub(crate) now: Moment,
    pub(crate) limits: Limits,
    pub(crate) check: Checker,
    dice: Dice,
    machine: MachineName,
    pool: PoolName,
    line: PowerState,
    readable: bool,
    soft_off: Option<Duration>,
    faults: bool,
    /// Whether it hangs on a feed that others fill at times.
    fed: bool,
    live: Option<Live>,
    holds: Holds,
    wear: Wear,
    fences: Fences,
    answers: BTreeMap<OperationId, Answer>,
    given: Vec<Order>,
}

impl World {
    /// Each seed is another machine: with limits or without, readable or not, asked to shut down or not.
    pub(crate) fn new(seed: u64) -> Self {
        let mut dice = Dice(seed);
        let limits = Limits {
            min_on: Duration::from_secs(5),
            min_off: Duration::from_secs(3),
            cycles_per_hour: if dice.once_in(2) { 4 } else { 0 },
        };
        let line = if dice.once_in(2) { PowerState::On } else { PowerState::Off };
        Self {
            now: Moment::from_millis(1_000_000),
            limits,
            check: Checker::new(limits),
            machine: name("node3"),
            pool: pool(),
            line,
            readable: !dice.once_in(4),
            soft_off: dice.once_in(2).then(|| Duration::from_secs(10)),
            faults: dice.once_in(2),
            fed: dice.once_in(2),
            dice,
            live: None,
            holds: Holds::default(),
            wear: Wear::default(),
            fences: Fences::default(),
            answers: BTreeMap::new(),
            given: Vec::new(),
        }
    }

    /// Anything that can happen next.
    pub(crate) fn step(&mut self, order: impl FnOnce(&mut Dice, usize) -> Order) {
        match self.dice.below(20) {
            0..=5 => {
                let again = self.dice.once_in(5) && !self.given.is_empty();
                let order = if again {
                    let which = self.dice.below(self.given.len());
                    self.given[which].clone()
                } else {
                    order(&mut self.dice, self.given.len())
                };
                self.hear(&order);
            }
            6..=14 => self.act(),
            15 => self.hold(),
            16 => self.release(),
            17 => self.crash(),
            // An agent whose sequence runs does not sleep for so long.
            18 if self.live.is_none() && self.dice.once_in(4) => {
                self.pass(Duration::from_secs(1200))
            }
            _ => {
                let millis = u64::try_from(self.dice.below(2000)).unwrap_or_default();
                self.pass(Duration::from_millis(millis));
            }
        }
    }

    fn pass(&mut self, span: Duration) {
        self.now = self.now + span;
    }

    fn ledger(&self) -> MachineLedger {
        let running = self.live.as_ref().map(|live| {
            let record = live.sequencer.record();
            Running {
                operation: live.id.clone(),
                verb: record.task.verb,
                phase: record.phase(),
                until: record.state.until().unwrap_or(self.now),
            }
        });
        MachineLedger {
            pool: Some(self.pool.clone()),
            holds: self.holds.clone(),
            never_off: false,
            on_only: false,
            wear: self.wear.clone(),
            limits: self.limits,
            quarantine: None,
            running,
            reading: self.readable.then_some(self.line),
            commanded: None,
            feed_full: None,
        }
    }

    /// As the agent hears: judge, write, begin.
    pub(crate) fn hear(&mut self, order: &Order) {
        let arrived = self.now;
        let answer = self.answer(order, arrived);
        self.check.answered(order, self.answers.get(&order.operation), &answer);
        self.answers.entry(order.operation.clone()).or_insert(answer);
        self.given.push(order.clone());
    }

    fn answer(&mut self, order: &Order, arrived: Moment) -> Answer {
        for _ in 0..=CALL_OFFS_MAX {
            let work = match (question(order, &self.ledger()), self.dice.once_in(4)) {
                (Question::IsEmpty, true) => Work::Runs("web[0] of job web".to_owned()),
                (Question::IsEmpty, false) => Work::Empty,
                (Question::None | Question::TakesWork, _) => Work::NotAsked,
            };
            let known = self.answers.contains_key(&order.operation);
            let hearing = Hearing { order, arrived, known, work: &work };
            let judgment = judge(hearing, &self.ledger(), &self.fences, self.now);
            if let Verdict::Begin { .. } | Verdict::Join { .. } = &judgment.verdict {
                self.check.obeyed(order, &self.fences, &self.holds, self.now);
            }
            if let Some(fence) = &judgment.newer {
                self.fences.remember(fence);
            }
            match judgment.verdict {
                Verdict::Repeat => return self.answers[&order.operation].clone(),
                Verdict::Begin { hold } => {
                    self.holds.extend(hold);
                    self.begin(order, &work);
                    return Answer::Taken(order.operation.clone());
                }
                Verdict::Join { hold } => {
                    self.holds.extend(hold);
                    let running = self.live.as_ref().map(|live| live.id.clone());
                    return Answer::Taken(running.expect("what is joined runs"));
                }
                Verdict::Refuse(refusal) => return Answer::Refused(refusal.code, refusal.text),
                Verdict::CallOff => self.call_off(),
            }
        }
        Answer::Refused(RefusalCode::Busy, "the drain is still being taken back".to_owned())
    }

    fn begin(&mut self, order: &Order, work: &Work) {
        let forced = order.force && matches!(order.origin, Origin::Person(_));
        let may_cut_at = self.wear.may_cut_at(self.limits);
        let task = Task {
            verb: order.verb,
            on_soft_off_timeout: order.on_soft_off_timeout,
            drain: (*work != Work::NotAsked).then(|| Duration::from_secs(30)),
            soft_off: self.soft_off,
            settle: Duration::from_secs(1),
            off_dwell: DWELL.max(self.limits.min_off),
            may_cut_at: if forced { Moment::ZERO } else { may_cut_at },
            may_wake_until: Moment::ZERO,
            may_light_at: self.wear.may_light_at(self.limits),
            fed: self.fed,
            paths: Paths::default(),
        };
        let sequencer = Sequencer::begin(task, self.now);
        self.check.begun(order);
        let written = sequencer.record().clone();
        let (id, origin) = (order.operation.clone(), order.origin.clone());
        self.live = Some(Live { id, origin, sequencer, written });
    }

    fn call_off(&mut self) {
        if let Some(live) = &mut self.live {
            live.sequencer.handle(Input::CalledOff("called off".to_owned()), self.now);
        }
        for _ in 0..TAKEN_BACK_MAX {
            self.act();
        }
    }

    /// One action of the sequence, if one runs.
    fn act(&mut self) {
        let Some(mut live) = self.live.take() else { return };
        let action = live.sequencer.poll(self.now);
        if action == Action::Finished {
            self.end(&live);
            return;
        }
        if live.sequencer.record().phase() != live.written.phase() {
            live.written = live.sequencer.record().clone();
        }
        let input = self.does(&live.id, action);
        if let Some(input) = input {
            live.sequencer.handle(input, self.now);
        }
        self.live = Some(live);
    }

    fn does(&mut self, id: &OperationId, action: Action) -> Option<Input> {
        let slow = u64::try_from(self.dice.below(50)).unwrap_or_default();
        self.pass(Duration::from_millis(slow));
        let fault = self.faults && self.dice.once_in(8);
        match action {
            Action::ReadBack { .. } if fault => Some(Input::Seen(Err(self.fault()))),
            Action::ReadBack { .. } => {
                let line = self.readable.then_some(self.line);
                Some(Input::Seen(Ok(LinesSeen::default().and(line))))
            }
            Action::Drive { state, .. } => {
                let fault = fault.then(|| self.fault());
                let lost = fault.as_ref().is_some_and(|fault| {
                    fault.class == FaultClass::Unreachable || self.dice.once_in(2)
                });
                if !lost && self.line != state {
                    self.line = state;
                    self.check.edge(id, state, self.now);
                }
                Some(Input::Driven(fault.map_or(Ok(()), Err)))
            }
            Action::OrderDrain { .. } => Some(Input::DrainOrdered(Ok(Eligible::Yes))),
            Action::WatchDrain { .. } => {
                self.pass(Duration::from_secs(1));
                let left = self.dice.once_in(2).then(|| "web[0] of job web".to_owned());
                Some(Input::DrainSeen(left))
            }
            Action::CancelDrain { .. } => Some(Input::Undrained(Ok(()))),
            Action::SoftOff { .. } => Some(Input::SoftOffEnded(Ok(()))),
            Action::WatchNode { .. } => {
                self.pass(Duration::from_millis(500));
                Some(Input::NodeSeen(if fault { NodeSign::Silent } else { NodeSign::Down }))
            }
            Action::Wait { until } => {
                if self.dice.once_in(2) {
                    self.now = self.now.max(until);
                }
                None
            }
            Action::AskRoom { ask_at, .. } => {
                self.now = self.now.max(ask_at);
                Some(Input::Room(if self.dice.once_in(3) {
                    let ask_at = self.now + Duration::from_millis(500);
                    Room::Taken { ask_at, why: "the inrush of others".to_owned() }
                } else {
                    Room::Free
                }))
            }
            // The rack has outlets alone: tests/waking.rs has the others.
            Action::Wake { .. }
            | Action::LookForLife { .. }
            | Action::WatchLife { .. }
            | Action::Finished => None,
        }
    }

    fn fault(&mut self) -> Fault {
        let class =
            if self.dice.once_in(2) { FaultClass::Unreachable } else { FaultClass::Indeterminate };
        Fault { class, text: "no answer".to_owned() }
    }

    fn end(&mut self, live: &Live) {
        let record = live.sequencer.record();
        let by_policy = matches!(live.origin, Origin::Autoscaler(_));
        self.wear.note(record, by_policy, self.limits);
        if record.left_untouched() {
            self.holds.drop_with(&live.id);
        }
        self.check.ended(&live.id, record.state == State::Done, self.line);
    }

    /// The agent dies, and another one goes on from what was written, at once or within a minute.
    fn crash(&mut self) {
        let Some(live) = self.live.take() else { return };
        let gap = u64::try_from(self.dice.below(60)).unwrap_or_default();
        self.pass(Duration::from_secs(gap));
        let record = live.written;
        let place = (record.task.verb, record.phase());
        let may = may_resume(&live.origin, place, (&self.holds, None), &self.fences, self.now);
        let resumed = may.and_then(|()| {
            Sequencer::resume(record.clone(), self.now).ok_or_else(|| "too late".to_owned())
        });
        let sequencer = match resumed {
            Ok(sequencer) => sequencer,
            Err(why) => {
                let begun = place.0 == Verb::Cycle && place.1 == Phase::Dwelling;
                assert!(!begun, "a cycle is left between off and on: {why}");
                Sequencer::abandoned(record, &why, self.now)
            }
        };
        let written = sequencer.record().clone();
        self.live = Some(Live { sequencer, written, ..live });
    }

    fn hold(&mut self) {
        let kinds = [HoldKind::Hold, HoldKind::Reservation, HoldKind::Maintenance];
        let kind = kinds[self.dice.below(kinds.len())];
        let asked = HoldAsked {
            kind,
            by: format!("person{}", self.dice.below(3)),
            reason: Reason::new("test"),
            span: self.dice.once_in(2).then(|| Duration::from_secs(30)),
            force: self.dice.once_in(4),
        };
        if let Ok(hold) = self.holds.take(asked, &self.machine, self.now) {
            self.holds.put(hold);
        }
    }

    fn release(&mut self) {
        let person = format!("person{}", self.dice.below(3));
        let by = (person.as_str(), self.dice.once_in(4));
        self.holds = self.holds.release(None, by, &self.machine, self.now).left;
        if self.dice.once_in(4) {
            self.wear.calm();
        }
    }
}
