//! A power agent without its IO: the shipped arbiter and sequencer, a journal that survives it, and hands that take
//! time. It dies between any two steps; what is not in its journal is gone then.

use std::collections::BTreeMap;
use std::time::Duration;

use fleet::arbiter::{
    BEFORE_BOOT, Hearing, Hold, Holds, Judgment, MachineLedger, Running, Verdict, Wear, Work,
    judge, may_resume, needs_proof,
};
use fleet::boots::{Boot, Quarantine, QuarantineCause};
use fleet::reconciler::{Done, Effect};
use fleet::sequencer::{Action, Eligible, Input, NODE_POLL, NodeSign, Record, State};
use fleet::{
    AgentFacts, Commanded, Fence, FenceNumber, Fences, LinesSeen, Moment, NodeStatus,
    OperationFacts, OperationId, Order, Origin, Phase, PoolName, Power, Progress, Reason,
    Sequencer, Verb,
};

use crate::chance::Chance;
use crate::check::{Check, Movement};
use crate::hardware::Rack;
use crate::nomad::Nomad;
use crate::orders::{LIMITS, task, work};

/// How often it is tried to take a drain back that could not be taken back, in seconds.
const DEBTS: u64 = 10;
/// Actions that one sequence may do within one second, before the simulation calls it a loop.
const ACTIONS_MAX: usize = 32;

/// What an agent knows beyond its own life.
#[derive(Default)]
struct Journal {
    machines: BTreeMap<String, Kept>,
    fences: Fences,
    answers: BTreeMap<OperationId, Done>,
}

/// One machine in the journal.
#[derive(Clone, Default)]
pub(crate) struct Kept {
    pub(crate) running: Option<RunningOrder>,
    last: Option<OperationFacts>,
    commanded: Option<Commanded>,
    pub(crate) holds: Holds,
    quarantine: Option<Quarantine>,
    wear: Wear,
    last_boot: Option<Boot>,
    /// A drain that could not be taken back yet: whose it is, and how the node was before.
    owed: Option<(String, Eligible)>,
}

/// A sequence in the journal.
#[derive(Clone)]
pub(crate) struct RunningOrder {
    pub(crate) id: OperationId,
    pub(crate) origin: Origin,
    pub(crate) forced: bool,
    pub(crate) record: Record,
}

/// A sequence in an agent that lives.
struct Live {
    order: RunningOrder,
    sequencer: Sequencer,
    call_off: bool,
    written: Option<Phase>,
    /// The action under way, and when it is done.
    hands: Option<(u64, Action)>,
}

/// What is around an agent when it does something.
pub(crate) struct Around<'a> {
    pub(crate) rack: &'a mut Rack,
    pub(crate) nomad: &'a mut Nomad,
    /// Who drained each node last, and how it was before: Nomad keeps it with the drain.
    pub(crate) drains: &'a mut BTreeMap<String, (String, Eligible)>,
    pub(crate) chance: &'a mut Chance,
    pub(crate) check: &'a mut Check,
    pub(crate) now: u64,
}

#[derive(Default)]
pub(crate) struct Agent {
    journal: Journal,
    live: BTreeMap<String, Live>,
    /// What was refused, by the order's id: the same answer again, while this process lives.
    refused: BTreeMap<OperationId, Done>,
    /// Dead until then.
    pub(crate) dead_until: u64,
    alive: bool,
    /// Nobody reaches it until then.
    pub(crate) cut_off_until: u64,
    /// When its host started, on the simulation's clock.
    host_up: u64,
}

impl Agent {
    pub(crate) fn of(names: &[&str]) -> Self {
        let machines = names.iter().map(|name| ((*name).to_owned(), Kept::default()));
        let journal = Journal { machines: machines.collect(), ..Journal::default() };
        Self { journal, ..Self::default() }
    }

    /// Its own clock: none knows how long ago an earlier boot was.
    fn at(&self, now: u64) -> Moment {
        Moment::ZERO + BEFORE_BOOT + Duration::from_secs(now.saturating_sub(self.host_up))
    }

    pub(crate) fn is_heard(&self, now: u64) -> bool {
        self.alive && self.cut_off_until <= now
    }

    pub(crate) fn is_idle(&self) -> bool {
        self.live.is_empty()
    }

    /// A lease takes the pool; an older one changes nothing.
    pub(crate) fn claim(&mut self, fence: &Fence) {
        self.journal.fences.remember(fence);
    }

    /// The highest fence that it knows of the pool.
    pub(crate) fn highest(&self) -> FenceNumber {
        self.journal.fences.iter().map(|fence| fence.number).max().unwrap_or_default()
    }

    /// The process is killed: all that it has not written is gone.
    pub(crate) fn kill(&mut self, back_at: u64) {
        (self.alive, self.dead_until) = (false, back_at);
        self.live.clear();
        self.refused.clear();
    }

    /// Its host goes down with it: moments of that boot are older than anything from now on.
    pub(crate) fn reboot(&mut self, back_at: u64) {
        self.kill(back_at);
        self.host_up = back_at;
        for kept in self.journal.machines.values_mut() {
            kept.holds = kept
                .holds
                .iter()
                .map(|hold| Hold { since: Moment::ZERO, ..hold.clone() })
                .collect();
            for moment in [&mut kept.wear.cut, &mut kept.wear.lit] {
                *moment = moment.map(|_| Moment::ZERO);
            }
            for lighting in &mut kept.wear.lightings {
                lighting.at = Moment::ZERO;
            }
            if let Some(commanded) = &mut kept.commanded {
                commanded.at = Moment::ZERO;
            }
            if let Some(running) = &mut kept.running {
                let record = &mut running.record;
                record.began = Moment::ZERO;
                (record.task.may_cut_at, record.task.may_light_at) = (Moment::ZERO, Moment::ZERO);
                for moment in [&mut record.cut, &mut record.lit] {
                    *moment = moment.map(|_| Moment::ZERO);
                }
                record.reached = record.reached.map(|(state, _)| (state, Moment::ZERO));
            }
        }
    }

    /// Whoever was away comes back at once.
    pub(crate) fn come_back(&mut self, now: u64) {
        self.cut_off_until = self.cut_off_until.min(now);
        (self.dead_until, self.host_up) = (self.dead_until.min(now), self.host_up.min(now));
    }

    pub(crate) fn release(&mut self, name: &str) {
        if self.alive {
            let kept = self.journal.machines.get_mut(name).unwrap();
            (kept.holds, kept.quarantine) = (Holds::default(), None);
            kept.wear.calm();
        }
    }

    fn seen(&self, name: &str, rack: &Rack) -> Result<LinesSeen, fleet::Fault> {
        rack.read(name).map(|reading| LinesSeen::default().and(reading))
    }

    fn ledger(&self, name: &str, around: &Around<'_>) -> MachineLedger {
        let running = self.live.get(name).map(|live| {
            let record = live.sequencer.record();
            Running {
                operation: live.order.id.clone(),
                verb: record.task.verb,
                phase: record.phase(),
                until: record.state.until().unwrap_or(self.at(around.now)),
            }
        });
        MachineLedger {
            quarantine: self.journal.machines[name].quarantine.clone(),
            commanded: self.journal.machines[name].commanded.as_ref().map(|last| last.state),
            limits: LIMITS,
            wear: self.journal.machines[name].wear.clone(),
            pool: PoolName::new("rack").ok(),
            holds: self.journal.machines[name].holds.clone(),
            never_off: false,
            running,
            reading: self.seen(name, around.rack).ok().and_then(|seen| seen.machine()),
        }
    }

    /// An order arrives. `None`: nobody is there to hear it.
    pub(crate) fn order(&mut self, order: &Order, around: &mut Around<'_>) -> Option<Done> {
        if !self.is_heard(around.now) {
            return None;
        }
        let name = order.machine.as_str().to_owned();
        let ledger = self.ledger(&name, around);
        let work =
            if needs_proof(order, &ledger) { work(around.nomad, &name) } else { Work::NotAsked };
        let at = self.at(around.now);
        if let Some(first) = self.refused.get(&order.operation) {
            return Some(first.clone());
        }
        let known = self.journal.answers.contains_key(&order.operation);
        let hearing = Hearing { order, arrived: at, known, work: &work };
        let Judgment { verdict, newer } = judge(hearing, &ledger, &self.journal.fences, at);
        let highest = match &order.origin {
            Origin::Autoscaler(fence) => self.journal.fences.highest(&fence.cluster, &fence.pool),
            Origin::Person(_) | Origin::Agent => None,
        };
        if let Some(fence) = &newer {
            self.journal.fences.remember(fence);
        }
        let kept = self.journal.machines.get_mut(&name)?;
        let answer = match verdict {
            Verdict::Repeat => return self.journal.answers.get(&order.operation).cloned(),
            Verdict::Refuse(refusal) => {
                let refused = Done::Refused(refusal.text);
                self.refused.insert(order.operation.clone(), refused.clone());
                return Some(refused);
            }
            Verdict::CallOff => {
                let live = self.live.get_mut(&name)?;
                live.call_off = true;
                return Some(Done::Refused("the drain is being taken back".to_owned()));
            }
            Verdict::Join { hold } => {
                kept.holds.extend(hold);
                Done::Accepted
            }
            Verdict::Begin { hold } => {
                around.check.obeyed(order, highest, kept.holds.foremost(at), around.now);
                kept.holds.extend(hold);
                let sequencer = Sequencer::begin(task(order, &work, &kept.wear), at);
                let running = RunningOrder {
                    id: order.operation.clone(),
                    origin: order.origin.clone(),
                    forced: order.force,
                    record: sequencer.record().clone(),
                };
                kept.running = Some(running.clone());
                let live = Live {
                    order: running,
                    sequencer,
                    call_off: false,
                    written: Some(Phase::Accepted),
                    hands: None,
                };
                self.live.insert(name, live);
                Done::Accepted
            }
        };
        self.journal.answers.insert(order.operation.clone(), answer.clone());
        Some(answer)
    }

    /// What is told of a machine beside orders. `None`: nobody is there to hear it.
    pub(crate) fn take_note(&mut self, effect: &Effect, fence: &Fence, now: u64) -> Option<Done> {
        if !self.is_heard(now) {
            return None;
        }
        if self.highest() > fence.number {
            return Some(Done::Refused("another lease has ordered already".to_owned()));
        }
        let at = self.at(now);
        let kept = self.journal.machines.get_mut(effect.machine().as_str())?;
        match effect {
            Effect::Quarantine { cause, reason, .. } => {
                kept.quarantine.get_or_insert_with(|| Quarantine {
                    cause: *cause,
                    reason: reason.clone(),
                    since: at,
                    by: Origin::Autoscaler(fence.clone()),
                });
            }
            Effect::LiftQuarantine { .. } => kept.quarantine = None,
            Effect::RecordBoot { operation, end, took, .. } => {
                let (operation, end, took) = (operation.clone(), *end, *took);
                kept.last_boot = Some(Boot { operation, end, took, at });
            }
            _ => {}
        }
        Some(Done::Accepted)
    }

    pub(crate) fn step(&mut self, around: &mut Around<'_>) {
        if !self.alive {
            if self.dead_until > around.now {
                return;
            }
            self.start(around);
        }
        let names: Vec<String> = self.live.keys().cloned().collect();
        for name in names {
            self.go_on(&name, around);
        }
        if around.now.is_multiple_of(DEBTS) && !around.nomad.silent {
            self.pay(around);
        }
    }

    /// Drains that could not be taken back are taken back.
    fn pay(&mut self, around: &mut Around<'_>) {
        for (name, kept) in &mut self.journal.machines {
            if self.live.contains_key(name) {
                continue;
            }
            if let Some((by, _)) = kept.owed.take() {
                take_back(around, name, &by);
            }
        }
    }

    fn start(&mut self, around: &mut Around<'_>) {
        self.alive = true;
        let at = self.at(around.now);
        let names: Vec<String> = self.journal.machines.keys().cloned().collect();
        for name in names {
            let kept = self.journal.machines.get_mut(&name).unwrap();
            let Some(order) = kept.running.clone() else { continue };
            let doing = (order.record.task.verb, order.record.phase());
            let fences = &self.journal.fences;
            let may = may_resume(&order.origin, doing, &kept.holds, fences, at);
            let by_policy = matches!(order.origin, Origin::Autoscaler(_));
            let node = around.nomad.nodes.get(&name);
            let takes = node.is_some_and(|n| n.eligible && n.status == NodeStatus::Ready);
            let moved = matches!(doing.1, Phase::Cutting | Phase::Dwelling | Phase::Energizing);
            let takes_power = by_policy && doing.0 != Verb::On && !moved;
            let unsure = takes_power && (around.nomad.silent || takes);
            let may = if unsure { Err("its node takes work again".to_owned()) } else { may };
            let resumed = may.and_then(|()| {
                let resumed = Sequencer::resume(order.record.clone(), at);
                resumed.ok_or_else(|| "its deadline has passed".to_owned())
            });
            let sequencer = match resumed {
                Ok(sequencer) => sequencer,
                Err(why) => Sequencer::abandoned(order.record.clone(), &why, at),
            };
            around.check.taken_up += 1;
            let live = Live { order, sequencer, call_off: false, written: None, hands: None };
            self.live.insert(name, live);
        }
    }

    fn go_on(&mut self, name: &str, around: &mut Around<'_>) {
        for _ in 0..ACTIONS_MAX {
            let at = self.at(around.now);
            let live = self.live.get_mut(name).unwrap();
            if let Some((due, action)) = live.hands {
                if due > around.now {
                    return;
                }
                live.hands = None;
                let input = self.done(name, action, around);
                let live = self.live.get_mut(name).unwrap();
                if let Some(input) = input {
                    live.sequencer.handle(input, at);
                }
                continue;
            }
            if std::mem::take(&mut live.call_off) {
                live.sequencer.handle(Input::CalledOff("somebody wants it otherwise".into()), at);
            }
            let action = live.sequencer.poll(at);
            let phase = live.sequencer.record().phase();
            if action == Action::Finished {
                return self.finish(name, around);
            }
            if live.written != Some(phase) {
                live.written = Some(phase);
                live.order.record = live.sequencer.record().clone();
                let kept = self.journal.machines.get_mut(name).unwrap();
                let by_policy = matches!(live.order.origin, Origin::Autoscaler(_));
                kept.wear.note(&live.order.record, by_policy, LIMITS);
                kept.running = Some(live.order.clone());
            }
            let Some(takes) = duration(action, at, around.chance) else { return };
            live.hands = Some((around.now + takes, action));
        }
        panic!("the sequence of {name} goes round and round");
    }

    /// What came of an action.
    fn done(&mut self, name: &str, action: Action, around: &mut Around<'_>) -> Option<Input> {
        let node = around.nomad.nodes.get(name);
        let silent = around.nomad.silent;
        let mine = self.live[name].order.id.to_string();
        match action {
            Action::ReadBack { .. } => Some(Input::Seen(self.seen(name, around.rack))),
            Action::Drive { state, .. } => {
                let Around { rack, nomad, check, now, .. } = around;
                let works = rack.works(name, *now);
                let (moved, answer) = rack.drive(name, state, *now);
                let intent = self.journal.machines[name].running.as_ref();
                let movement = Movement { name, state, moved, works, now: *now };
                check.driven(movement, intent, nomad);
                Some(Input::Driven(answer))
            }
            Action::OrderDrain { .. } if silent => {
                Some(Input::DrainOrdered(Err("no cluster leader".to_owned())))
            }
            Action::OrderDrain { .. } => {
                let eligible = node.is_some_and(|node| node.eligible);
                let owed = self.journal.machines.get_mut(name)?.owed.take();
                let known = around.drains.get(name).filter(|(by, _)| *by == mine);
                let known = known.map(|(_, before)| *before).or(owed.map(|(_, before)| before));
                let found = if eligible { Eligible::Yes } else { Eligible::No };
                let before = known.unwrap_or(found);
                if node.is_some() {
                    around.nomad.drain(name, None, true);
                    around.drains.insert(name.to_owned(), (mine, before));
                }
                if around.chance.once_in(8) {
                    return None; // its answer is lost
                }
                Some(Input::DrainOrdered(Ok(before)))
            }
            Action::WatchDrain { .. } if silent => None,
            Action::WatchDrain { .. } => {
                let work = around.nomad.work_on(name);
                let alive = node.filter(|node| node.status != NodeStatus::Down);
                let takes = alive.is_some_and(|node| node.eligible);
                let left = (work > 0 || takes).then(|| format!("{work}, takes work: {takes}"));
                Some(Input::DrainSeen(left))
            }
            Action::CancelDrain { .. } if silent => {
                Some(Input::Undrained(Err("no cluster leader".to_owned())))
            }
            Action::CancelDrain { .. } => {
                take_back(around, name, &mine);
                Some(Input::Undrained(Ok(())))
            }
            Action::SoftOff { .. } => {
                let asked = around.rack.soft_off(name, around.now);
                if asked.is_ok() {
                    let intent = self.journal.machines[name].running.as_ref();
                    around.check.shut_down(name, intent, around.nomad, around.now);
                }
                Some(Input::SoftOffEnded(asked))
            }
            Action::WatchNode { .. } if silent => Some(Input::NodeSeen(NodeSign::Silent)),
            Action::WatchNode { .. } => Some(Input::NodeSeen(match node.map(|node| node.status) {
                None => NodeSign::NotKnown,
                Some(NodeStatus::Down | NodeStatus::Disconnected) => NodeSign::Down,
                Some(NodeStatus::Ready | NodeStatus::Initializing) => NodeSign::Up,
            })),
            Action::Wait { .. } | Action::Finished => None,
        }
    }

    fn finish(&mut self, name: &str, around: &mut Around<'_>) {
        let live = self.live.remove(name).unwrap();
        let record = live.sequencer.record();
        let kept = self.journal.machines.get_mut(name).unwrap();
        kept.running = None;
        if let Some((state, at)) = record.reached {
            let (origin, operation) = (live.order.origin.clone(), live.order.id.clone());
            kept.commanded = Some(Commanded { state, at, origin, operation });
        }
        if let Some(before) = record.drained_from {
            kept.owed = Some((live.order.id.to_string(), before));
        }
        let by_policy = matches!(live.order.origin, Origin::Autoscaler(_));
        kept.wear.note(record, by_policy, LIMITS);
        if record.stays_up {
            kept.quarantine.get_or_insert_with(|| Quarantine {
                cause: QuarantineCause::NoShutdown,
                reason: Reason::new(&record.evidence),
                since: Moment::ZERO,
                by: live.order.origin.clone(),
            });
        }
        if record.left_untouched() {
            kept.holds.drop_with(&live.order.id);
        }
        let progress = match &record.state {
            State::Done => Progress::Done,
            _ => Progress::Failed(record.evidence.clone()),
        };
        let (id, verb, changed) = (live.order.id.clone(), record.task.verb, record.moved);
        around.check.ended(name, (&live.order, record), around.rack, around.now);
        let by_hand = matches!(live.order.origin, Origin::Person(_));
        kept.last = Some(OperationFacts { id, verb, progress, by_hand, changed });
    }

    /// What it says of a machine to those who reach it, on their clock.
    pub(crate) fn facts(&self, name: &str, rack: &Rack, now: u64) -> Option<AgentFacts> {
        if !self.is_heard(now) {
            return None;
        }
        let theirs = |at: Moment| Moment::from_millis(now * 1000).ago(self.at(now).since(at));
        let kept = &self.journal.machines[name];
        let reading = rack.read(name).ok().flatten();
        let commanded = kept.commanded.as_ref();
        let commanded =
            commanded.map(|commanded| Commanded { at: theirs(commanded.at), ..commanded.clone() });
        let running = self.live.get(name).map(|live| OperationFacts {
            id: live.order.id.clone(),
            verb: live.sequencer.record().task.verb,
            progress: Progress::Running,
            by_hand: matches!(live.order.origin, Origin::Person(_)),
            changed: false,
        });
        Some(AgentFacts {
            power: Power {
                reading: reading.map(|state| (state, Moment::from_millis(now * 1000))),
                commanded,
            },
            held_by: kept.holds.foremost(self.at(now)).map(|hold| hold.by.clone()),
            never_off: false,
            quarantine: kept.quarantine.clone(),
            last_boot: kept.last_boot.clone(),
            host_booted: Some(theirs(Moment::ZERO + BEFORE_BOOT)),
            operation: running.or_else(|| kept.last.clone()),
        })
    }
}

/// How long an action takes, in seconds; `None`: nothing is to be done now.
fn duration(action: Action, at: Moment, chance: &mut Chance) -> Option<u64> {
    match action {
        Action::Wait { until } => {
            let left = until.since(at);
            Some(left.as_secs() + u64::from(left.subsec_millis() > 0)).filter(|left| *left > 0)
        }
        Action::WatchDrain { .. } | Action::WatchNode { .. } => Some(NODE_POLL.as_secs()),
        Action::ReadBack { .. } | Action::Drive { .. } => Some(chance.between(0, 1)),
        Action::OrderDrain { .. } | Action::CancelDrain { .. } | Action::SoftOff { .. } => {
            Some(chance.between(0, 2))
        }
        Action::Finished => None,
    }
}

/// Ends a drain of this order's, where nobody has drained the node since.
fn take_back(around: &mut Around<'_>, name: &str, by: &str) {
    let Some((_, before)) = around.drains.get(name).filter(|(last, _)| last == by) else { return };
    let eligible = *before == Eligible::Yes;
    if around.nomad.nodes.get(name).is_some_and(|node| !node.eligible) {
        around.nomad.end_drain(name);
        around.nomad.nodes.get_mut(name).unwrap().eligible = eligible;
    }
}
