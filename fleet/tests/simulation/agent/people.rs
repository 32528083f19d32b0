//! What is told of a machine beside orders: people's locks, the plugin's word on its boots, a fence that is reset.

use fleet::arbiter::{HoldAsked, HoldKind, check_word};
use fleet::boots::{Boot, Quarantine};
use fleet::reconciler::{Done, Effect};
use fleet::{Fence, Origin, Phase, PoolName, PowerState};

use super::{Agent, Around};

impl Agent {
    /// What the plugin says of a machine. `None`: nobody is there to hear it.
    pub(crate) fn take_note(
        &mut self,
        effect: &Effect,
        fence: &Fence,
        around: &Around<'_>,
    ) -> Option<Done> {
        if !self.is_heard(around.now) {
            return None;
        }
        let (name, at) = (effect.machine(), self.at(around.now));
        let ledger = self.ledger(name.as_str(), around);
        if let Err(refusal) = check_word(fence, name, &ledger, &self.journal.fences) {
            return Some(Done::Refused(refusal.text));
        }
        let kept = self.journal.machines.get_mut(name.as_str())?;
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

    /// A person locks a machine; what has begun goes on, what only waits does not.
    pub(crate) fn hold(&mut self, name: &str, asked: HoldAsked, around: &mut Around<'_>) {
        if !self.is_heard(around.now) {
            return;
        }
        let at = self.at(around.now);
        let kept = self.journal.machines.get_mut(name).unwrap();
        let Ok(hold) = kept.holds.take(asked.clone(), &Self::machine(name), at) else { return };
        around.check.locks.taken(name, &asked, hold.by == asked.by, around.now);
        kept.holds.put(hold);
        let live = self.live.get_mut(name);
        if let Some(live) = live.filter(|l| matches!(l.order.origin, Origin::Autoscaler(_))) {
            live.call_off = true;
        }
    }

    /// A person ends locks of a kind, or all and the quarantine with them.
    pub(crate) fn release(
        &mut self,
        name: &str,
        kind: Option<HoldKind>,
        by: (&str, bool),
        around: &mut Around<'_>,
    ) {
        if !self.is_heard(around.now) {
            return;
        }
        let at = self.at(around.now);
        let kept = self.journal.machines.get_mut(name).unwrap();
        let released = kept.holds.release(kind, by, &Self::machine(name), at);
        for ended in &released.ended {
            around.check.locks.ended(name, ended.kind);
        }
        kept.holds = released.left;
        if kind.is_none() {
            kept.quarantine = None;
            kept.wear.calm();
        }
    }

    /// A person resets the fence of a pool: the next lease may have any number.
    pub(crate) fn reset_fence(&mut self, pool: &PoolName, now: u64) {
        let known = self.journal.fences.iter().find(|fence| fence.pool == *pool);
        if let Some(fence) = known.filter(|_| self.is_heard(now)) {
            self.journal.fences.forget(&fence.cluster, &fence.pool);
        }
    }

    /// Whether it was last ordered on.
    pub(crate) fn wants_on(&self, name: &str) -> bool {
        let commanded = self.journal.machines[name].commanded.as_ref();
        commanded.is_some_and(|commanded| commanded.state == PowerState::On)
    }

    /// Whether it was asked to go by a policy, and is not cut yet.
    pub(crate) fn goes_by_policy(&self, name: &str) -> bool {
        self.live.get(name).is_some_and(|live| {
            let phase = live.sequencer.record().phase();
            let asked = matches!(phase, Phase::SoftOff | Phase::Settling);
            asked && matches!(live.order.origin, Origin::Autoscaler(_))
        })
    }

    /// Whether a person's order is under way on the machine.
    pub(crate) fn obeys_a_person(&self, name: &str) -> bool {
        let live = self.live.get(name);
        live.is_some_and(|live| matches!(live.order.origin, Origin::Person(_)))
    }

    pub(crate) fn is_quarantined(&self, name: &str) -> bool {
        self.journal.machines[name].quarantine.is_some()
    }
}
