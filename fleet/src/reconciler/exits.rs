//! Machines on their way out: begun, led on, ended; and those that an earlier process of ours has left half way.

use std::collections::BTreeMap;
use std::time::Duration;

use super::{Effect, Reconciler};
use crate::marks::{Bearing, Mark, Ownership};
use crate::scale_in::{Ending, Keep, Next, ScaleIn, Sight};
use crate::{
    JobKind, MachineName, MachineView, Moment, NodeView, OperationFacts, PowerState, Progress, Verb,
};

impl Reconciler {
    /// Nodes that are ineligible by our own mark: on the first look the work of an earlier process of
    /// ours, to be gone on with; later machines that have come back, to be made eligible.
    pub(super) fn adopt_marks(&mut self, now: Moment) {
        if !self.view.nomad_answers {
            return;
        }
        let busy = self.under_second_try(now);
        let mut void = Vec::new();
        for (name, mark) in &mut self.marks {
            let Some(machine) = self.view.machines.get(name) else { continue };
            if let Some(node) = &machine.node {
                self.unanswered.settle(name, mark, node, now);
            }
            let Some(agent) = &machine.agent else { continue };
            if agent.quarantine.is_some() || busy.contains(name) {
                continue; // its node is left as it is
            }
            let inherited = self.inherited.remove(name);
            let ordered_off = agent.operation.as_ref().filter(|op| op.verb == Verb::Off);
            let undone = ordered_off.filter(|op| inherited && op.progress != Progress::Done);
            let lives = |node: &&NodeView| node.vouches() || undone.is_some();
            let Some(node) = machine.node.as_ref().filter(lives) else { continue };
            mark.look(node);
            if self.leaving.contains_key(name) {
                continue;
            }
            match self.restored.weigh(name, mark, node, now) {
                Bearing::Holds => {}
                Bearing::TooEarly => continue,
                Bearing::Void => {
                    void.push(name.clone());
                    continue;
                }
            }
            if node.id != mark.node || (node.eligible && !node.draining) {
                void.push(name.clone());
                continue;
            }
            if node.eligible || mark.judge(node) != Ownership::Ours {
                continue;
            }
            let (knobs, name) = (&self.knobs, name.clone());
            let running = ordered_off.filter(|op| op.progress == Progress::Running);
            let batch = node.work().any(|alloc| alloc.kind == JobKind::Batch);
            let scale_in = if let Some(running) = running.filter(|_| inherited) {
                let order = Some(running.id.clone());
                ScaleIn::leaving(name.clone(), node, order, knobs, now)
            } else if let Some(why) = failed(undone).filter(|_| node.is_idle()) {
                ScaleIn::stuck(name.clone(), node, why, knobs, now)
            } else if !node.vouches() {
                continue;
            } else if inherited && commanded(machine) == Some(PowerState::Off) {
                ScaleIn::leaving(name.clone(), node, None, knobs, now)
            } else if inherited && (node.draining || !batch || knobs.drain_batch) {
                ScaleIn::resumed(name.clone(), node, mark.index, knobs, now)
            } else if running.is_some() || machine.is_in_hand() {
                continue; // somebody has ordered it off: no work is to come there now
            } else {
                ScaleIn::back(name.clone(), node, knobs, now)
            };
            self.leaving.insert(name, scale_in);
        }
        for name in void {
            self.marks.remove(&name);
        }
    }

    /// Begins the ways out that the plan wants begun, and keeps what it wants kept.
    pub(super) fn begin(&mut self, now: Moment) {
        for name in &self.last_plan.keep {
            if let Some(scale_in) = self.leaving.get_mut(name) {
                scale_in.cancel(Keep::new("it is wanted again", Duration::ZERO));
            }
        }
        let out = self.out_of_service();
        self.leaving.retain(|name, scale_in| {
            let why = out.get(name);
            // Beyond the point of no return nothing is to be taken back; while a call is under way, not yet.
            why.is_none() || scale_in.can_be_kept() || scale_in.is_calling()
        });
        for (name, why) in out {
            if let Some(scale_in) = self.leaving.get_mut(&name) {
                scale_in.cancel(Keep::new(why, Duration::ZERO));
            }
        }
        for (name, scale_in) in &mut self.leaving {
            let Some(machine) = self.view.machines.get(name) else { continue };
            let holder = machine.agent.as_ref().and_then(|agent| agent.held_by.as_ref());
            if let Some(holder) = holder {
                scale_in.cancel(Keep::new(&format!("{holder} holds it"), Duration::ZERO));
            } else if machine.own {
                scale_in.cancel(Keep::new("the autoscaler runs on it", Duration::ZERO));
            }
        }
        for name in &self.last_plan.retire {
            let node = self.view.machines.get(name).and_then(|machine| machine.node.as_ref());
            if let Some(node) = node.filter(|_| !self.leaving.contains_key(name)) {
                let chosen = ScaleIn::chosen(name.clone(), node, &self.knobs, now);
                self.leaving.insert(name.clone(), chosen);
            }
        }
    }

    /// Machines on their way out that nothing more is to be done to, and why.
    fn out_of_service(&self) -> BTreeMap<MachineName, &'static str> {
        let mut out: BTreeMap<MachineName, &'static str> = BTreeMap::new();
        for name in self.leaving.keys() {
            let machine = self.view.machines.get(name);
            if self.removed.contains(name) {
                out.insert(name.clone(), "no agent names it any more");
            } else if machine.is_some_and(|machine| machine.quarantine().is_some()) {
                out.insert(name.clone(), "it is in quarantine");
            }
        }
        out
    }

    /// Takes each scale-in one step on: when each wants to be looked at again, and whether the plan must be made anew at
    /// once, because one ended or can be kept again.
    pub(super) fn advance(
        &mut self,
        effects: &mut Vec<Effect>,
        now: Moment,
    ) -> (Vec<Moment>, bool) {
        let (mut wakes, mut over) = (Vec::new(), Vec::new());
        let mut can_return = false;
        for (name, scale_in) in &mut self.leaving {
            let Some(machine) = self.view.machines.get(name) else { continue };
            if self.cares.get(name).is_some_and(|care| care.calling) {
                continue;
            }
            let mark = self.marks.get(name).filter(|mark| mark.node == scale_in.node);
            let sight = Sight { machine, mark, nomad_answers: self.view.nomad_answers };
            let kept = scale_in.can_be_kept();
            scale_in.observe(sight, &self.knobs, now);
            can_return |= !kept && scale_in.can_be_kept();
            match scale_in.next(sight, &self.knobs, now) {
                Next::Do(effect) => {
                    scale_in.begun(now);
                    intend(&mut self.marks, &effect, machine);
                    self.unanswered.ask(name, now);
                    effects.push(effect);
                }
                Next::Wait(at) => wakes.extend(at),
                Next::Over(ending) => over.push((name.clone(), ending)),
            }
        }
        let ended = !over.is_empty();
        for (name, ending) in over {
            self.end(&name, ending, now);
        }
        (wakes, ended || can_return)
    }

    fn end(&mut self, name: &MachineName, ending: Ending, now: Moment) {
        self.leaving.remove(name);
        let Ending::Kept(keep) = ending else { return };
        let node = self.view.machines.get(name).and_then(|machine| machine.node.as_ref());
        if keep.rest > Duration::ZERO {
            let memory = self.memory.entry(name.clone()).or_default();
            let work = node.into_iter().flat_map(NodeView::work);
            memory.held_up_by = work.map(|alloc| alloc.id.clone()).collect();
            memory.rests = Some((now + keep.rest, keep.why));
        }
        let mark = self.marks.get(name);
        if mark.zip(node).is_some_and(|(mark, node)| mark.judge(node) != Ownership::Ours) {
            self.marks.remove(name);
        }
    }
}

fn failed(operation: Option<&OperationFacts>) -> Option<&String> {
    match &operation?.progress {
        Progress::Failed(why) => Some(why),
        Progress::Running | Progress::Done => None,
    }
}

fn commanded(machine: &MachineView) -> Option<PowerState> {
    let agent = machine.agent.as_ref()?;
    agent.power.commanded.as_ref().map(|commanded| commanded.state)
}

/// Writes the mark down before the write that it is about.
pub(super) fn intend(
    marks: &mut BTreeMap<MachineName, Mark>,
    effect: &Effect,
    machine: &MachineView,
) {
    let newest = match effect {
        Effect::MakeIneligible { machine, node } | Effect::Drain { machine, node, .. } => {
            let mark = marks.get(machine).filter(|mark| mark.node == *node);
            if mark.is_some_and(Mark::is_intended) {
                return;
            }
            mark.map(|mark| mark.seen)
        }
        _ => return,
    };
    if let Some(node) = &machine.node {
        let newest = match effect {
            Effect::Drain { .. } => newest.unwrap_or(node.newest_event),
            _ => node.newest_event,
        };
        marks.insert(effect.machine().clone(), Mark::intended(node.id.clone(), newest));
    }
}
