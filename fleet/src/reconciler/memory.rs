//! What this process saw of a machine over time.

use std::time::Duration;

use crate::planner::Memory;
use crate::{AllocId, MachineView, Moment, OperationFacts, Progress, Verb};

/// How long a machine that could not be lit is left alone: a board that does not answer is worth one
/// try a minute, and others may take its place meanwhile.
pub const LIGHT_REST: Duration = Duration::from_secs(60);

/// What this process saw of a machine over time.
pub(super) fn remember(memory: &mut Memory, machine: &MachineView, birth: bool, now: Moment) {
    let counts = machine.counts(now);
    // A machine that is off or boots is not idle yet: what a person cycled has its idle time anew.
    let idle = machine.node.as_ref().is_some_and(|node| node.vouches() && node.is_idle());
    memory.on_since = counts.then(|| memory.on_since.unwrap_or(now));
    memory.idle_since = (counts && idle).then(|| memory.idle_since.unwrap_or(now));
    memory.adopted = counts && (memory.adopted || birth);
    if birth {
        memory.on_since = counts.then_some(now);
        memory.idle_since = (counts && idle).then_some(now);
    }
    if let Some(node) = &machine.node {
        let lives = |id: &AllocId| node.work().any(|alloc| alloc.id == *id);
        if !memory.held_up_by.iter().all(lives) {
            memory.held_up_by.clear();
            memory.rests = None;
        }
    }
    let operation = machine.agent.as_ref().and_then(|agent| agent.operation.as_ref());
    if let Some(OperationFacts { id, verb: Verb::On | Verb::Cycle, progress, .. }) = operation
        && let Progress::Failed(why) = progress
        && memory.failed.as_ref() != Some(id)
    {
        memory.failed = Some(id.clone());
        memory.rests = Some((now + LIGHT_REST, why.clone()));
    }
}
