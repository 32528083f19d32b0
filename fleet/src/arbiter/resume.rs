//! What was half done when the agent was gone: whether it is finished.

use super::{Fences, Holds};
use crate::sequencer::Record;
use crate::{Moment, Origin, Phase, PowerState, Quarantine, Verb};

/// Whether a half-done sequence may be finished after the agent was gone. A cycle that has begun to take the power is
/// always finished, because it is never left between off and on.
///
/// # Errors
/// What stands against it, as a sentence.
pub fn may_resume(
    origin: &Origin,
    (verb, phase): (Verb, Phase),
    (holds, quarantine): (&Holds, Option<&Quarantine>),
    fences: &Fences,
    now: Moment,
) -> Result<(), String> {
    if matches!(origin, Origin::Person(_)) {
        return Ok(());
    }
    if verb == Verb::Cycle && !is_before_power(phase) {
        return Ok(());
    }
    // Nobody lights it but a person; a cut that was begun is still good.
    if let (Some(quarantine), PowerState::On) = (quarantine, verb.leaves()) {
        return Err(format!("it is in quarantine ({})", quarantine.reason));
    }
    if let Some(hold) = holds.foremost(now) {
        return Err(format!("{} holds the machine ({})", hold.by, hold.reason));
    }
    let Origin::Autoscaler(fence) = origin else { return Ok(()) };
    match fences.highest(&fence.cluster, &fence.pool) {
        Some(highest) if highest > fence.number => Err(format!(
            "a lease with number {} has ordered since, and this order carries {}",
            highest.0, fence.number.0
        )),
        Some(_) | None => Ok(()),
    }
}

/// Whether a half-done sequence may only go on where Nomad says now that the node takes no work: what takes power by a
/// policy's word rests on a proof of before the agent was gone. Soft off is the point of no return: a cut that has begun
/// after it goes on as long as it would have anyway; later, somebody may have lit the machine by its button and given it
/// work. A machine that nobody asks to shut down is up until the cut, and may have got work; but a cycle that may have
/// cut it is never left there.
#[must_use]
pub fn must_be_proven_anew(origin: &Origin, record: &Record, now: Moment) -> bool {
    let cuts = matches!(
        record.phase(),
        Phase::Cutting | Phase::Dwelling | Phase::Energizing | Phase::Waking
    );
    let by_policy = matches!(origin, Origin::Autoscaler(_));
    by_policy
        && match record.task.verb {
            Verb::On => false,
            Verb::Off => {
                let goes_on = record.cut_until().is_some_and(|until| now <= until);
                !(goes_on && record.task.soft_off.is_some())
            }
            Verb::Cycle => !cuts,
        }
}

/// Whether nothing was done to the machine's power yet.
const fn is_before_power(phase: Phase) -> bool {
    matches!(phase, Phase::Accepted | Phase::Draining | Phase::Waiting)
}
