//! The pool in numbers after each turn, and its calls counted.

use fleet::reconciler::{Done, Effect};

use super::super::office::Turn;
use super::super::watchers::News;
use super::Pool;
use crate::metrics::{Labels, Name};

impl Pool {
    /// Shows the pool as it is now.
    pub(super) fn measure(&mut self) {
        let now = self.now();
        let ready = self.reconciler.is_some() && self.not_ready.is_none();
        let fence = self.office.fence();
        let mut numbers = vec![
            plain(Name::LeaseHeld, u32::from(fence.is_some())),
            plain(Name::NomadUp, u32::from(self.nomad.answers)),
            plain(Name::Ready, u32::from(ready)),
            plain(
                Name::SharedDemands,
                u32::try_from(self.namesakes.shared(now).len()).unwrap_or(u32::MAX),
            ),
        ];
        if let Some(fence) = fence {
            numbers.push((Name::Fence, Vec::new(), i64::try_from(fence.0).unwrap_or(i64::MAX)));
        }
        for (address, heard) in &self.heard {
            let answers = heard.as_ref().is_some_and(|heard| heard.answers);
            numbers.push(labelled(Name::AgentUp, "agent", &address.to_string(), answers.into()));
        }
        if let Some(reconciler) = &self.reconciler {
            let of = reconciler.measures(now);
            numbers.extend(of.desired.map(|desired| plain(Name::Desired, desired.0)));
            numbers.push(plain(Name::Counted, of.counted.0));
            numbers.push(plain(Name::Short, of.short));
            numbers.push(plain(Name::Surplus, of.surplus));
            for (voice, level) in &of.asked {
                numbers.push(labelled(Name::Asked, "demand", voice, level.0));
            }
            for (state, count) in &of.machines {
                numbers.push(labelled(Name::Machines, "state", state, *count));
            }
            for (reason, count) in &of.blocked {
                numbers.push(labelled(Name::Blocked, "reason", reason, *count));
            }
        }
        self.meter.show(numbers);
    }

    pub(super) fn count_news(&self, news: &News) {
        match news {
            News::Nomad(_) => self.meter.called("nomad", "done"),
            News::NomadSilent(_) => self.meter.called("nomad", "failed"),
            // An agent tells by itself.
            News::Agent(..) => {}
            News::AgentSilent(..) => self.meter.called("agent", "failed"),
        }
    }

    pub(super) fn count_effect(&self, effect: &Effect, done: &Done) {
        let to = match effect {
            Effect::Light { .. }
            | Effect::PowerOff { .. }
            | Effect::Cycle { .. }
            | Effect::Quarantine { .. }
            | Effect::LiftQuarantine { .. }
            | Effect::RecordBoot { .. } => "agent",
            Effect::MakeIneligible { .. }
            | Effect::MakeEligible { .. }
            | Effect::ReadNode { .. }
            | Effect::Drain { .. }
            | Effect::Purge { .. } => "nomad",
        };
        let end = match done {
            Done::Failed(_) => "failed",
            Done::Refused(_) => "refused",
            _ => "done",
        };
        self.meter.called(to, end);
    }

    pub(super) fn count_record(&self, turn: &Turn) {
        let end = match turn {
            Turn::Lost => "refused",
            _ if self.office.problem.is_some() => "failed",
            _ => "done",
        };
        self.meter.called("record", end);
    }
}

fn plain(name: Name, number: u32) -> (Name, Labels, i64) {
    (name, Vec::new(), number.into())
}

fn labelled(name: Name, key: &'static str, value: &str, number: u32) -> (Name, Labels, i64) {
    (name, vec![(key, value.to_owned())], number.into())
}
