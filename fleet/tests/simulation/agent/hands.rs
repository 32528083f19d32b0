//! How a sequence is carried out: one action after the other, each takes its time, and what is done is journaled first.

use fleet::boots::{Quarantine, QuarantineCause};
use fleet::sequencer::{Action, Eligible, Input, NODE_POLL, NodeSign, State};
use fleet::{Commanded, Moment, NodeStatus, OperationFacts, Origin, Progress, Reason};

use super::{Agent, Around};
use crate::chance::Chance;
use crate::check::Movement;
use crate::orders::LIMITS;

/// Actions that one sequence may do within one second, before the simulation calls it a loop.
const ACTIONS_MAX: usize = 32;

impl Agent {
    /// Drains that could not be taken back are taken back.
    pub(super) fn pay(&mut self, around: &mut Around<'_>) {
        for (name, kept) in &mut self.journal.machines {
            if self.live.contains_key(name) {
                continue;
            }
            if let Some((by, _)) = kept.owed.take() {
                take_back(around, name, &by);
            }
        }
    }

    pub(super) fn go_on(&mut self, name: &str, around: &mut Around<'_>) {
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
        let silent = around.silent;
        let mine = self.live[name].order.id.to_string();
        match action {
            Action::ReadBack { .. } => Some(Input::Seen(self.seen(name, around.rack))),
            Action::Drive { state, .. } => {
                let Around { rack, nomad, check, now, .. } = around;
                let works = rack.works(name, *now);
                let (moved, answer) = rack.drive(name, state, *now);
                let intent = self.journal.machines[name].running.as_ref();
                let movement = Movement { name, state, moved, works, now: *now };
                check.driven(movement, intent, nomad, rack);
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
            Action::WatchNode { .. } => Some(Input::NodeSeen(sign(node.map(|node| node.status)))),
            Action::AskRoom { to, .. } => Some(Input::Room(self.room(name, to, around))),
            Action::Wake { .. }
            | Action::LookForLife { .. }
            | Action::WatchLife { .. }
            | Action::Wait { .. }
            | Action::Finished => None,
        }
    }

    fn finish(&mut self, name: &str, around: &mut Around<'_>) {
        let at_end = self.at(around.now);
        let live = self.live.remove(name).unwrap();
        let record = live.sequencer.record();
        let kept = self.journal.machines.get_mut(name).unwrap();
        kept.running = None;
        // The agent's own order says a former one again: whose wish it is stays.
        if let (Some((state, at)), false) = (record.reached, live.order.origin == Origin::Agent) {
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
                since: at_end,
                by: live.order.origin.clone(),
            });
        }
        if record.left_untouched() {
            around.check.locks.untouched(name, &live.order.id);
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
}

/// How long an action takes, in seconds; `None`: nothing is to be done now.
fn duration(action: Action, at: Moment, chance: &mut Chance) -> Option<u64> {
    match action {
        Action::AskRoom { ask_at, .. } => {
            u64::try_from(ask_at.since(at).as_millis().div_ceil(1000)).ok()
        }
        Action::Wait { until } => {
            let left = until.since(at);
            Some(left.as_secs() + u64::from(left.subsec_millis() > 0)).filter(|left| *left > 0)
        }
        Action::WatchDrain { .. } | Action::WatchNode { .. } => Some(NODE_POLL.as_secs()),
        Action::ReadBack { .. } | Action::Drive { .. } => Some(chance.between(0, 1)),
        Action::OrderDrain { .. } | Action::CancelDrain { .. } | Action::SoftOff { .. } => {
            Some(chance.between(0, 2))
        }
        Action::Wake { .. }
        | Action::LookForLife { .. }
        | Action::WatchLife { .. }
        | Action::Finished => None,
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

/// What Nomad's word on a node says of its machine.
fn sign(status: Option<NodeStatus>) -> NodeSign {
    match status {
        None => NodeSign::NotKnown,
        Some(NodeStatus::Down | NodeStatus::Disconnected) => NodeSign::Down,
        Some(NodeStatus::Ready | NodeStatus::Initializing) => NodeSign::Up,
    }
}
