//! Machines that were lit: each boot is watched to its end, one that misses its deadline is cycled once,
//! then quarantined; a node that comes up after all, or a test boot by a person, ends that.
//!
//! Power is cut here only where an order of ours took the machine from dark and it has shown no life since,
//! under a node that takes no work. Everything else that does not come is left as it is.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::exits::intend;
use super::{Done, Effect, Reconciler};
use crate::marks::Mark;
use crate::scale_in::{CALL_RETRY, NODE_SILENCE_MAX, ORDER_UNSEEN_MAX, REFUSAL_REST};
use crate::{
    AgentFacts, BootEnd, MachineName, MachineView, Moment, NodeStatus, OperationId, Origin,
    PoolName, PowerState, Progress, QuarantineCause, Reason, Verb,
};

/// How often an agent may refuse to cycle a machine that did not boot before it is quarantined without: its
/// reasons (a dwell, another sequence) have passed by then, or will not.
pub const CYCLE_REFUSALS_MAX: u32 = 3;

/// How much later an agent's host may seem to have booted without having done so: it tells of an age, and
/// the way to us takes its time.
const REBOOT_SLACK: Duration = Duration::from_secs(10);

/// What this process has seen of a machine since it was last given power.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Watch {
    /// The order that gave it.
    drive: OperationId,
    /// When its agent's host booted, as far as known then.
    host_booted: Option<Moment>,
    /// Since when this process watches.
    since: Moment,
    /// Whether the order took it from off, as far as its board or this process could tell.
    from_dark: bool,
    /// Its node has been seen not to be ready: what is ready later has booted.
    down_seen: bool,
    /// Its node was ready last then.
    ready: Option<Moment>,
    /// What of this boot was told to the agent.
    told: Option<BootEnd>,
    /// It has been in quarantine.
    quarantined: bool,
    /// A person has taken it out of quarantine: what it has missed is forgiven.
    released: bool,
}

/// What is done about a machine's boot, and what stands in the way.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Care {
    pub(super) calling: bool,
    retry_at: Moment,
    /// The node's ineligibility was written without an answer: it may be our own already.
    pub(super) unsure: bool,
    /// The order to cycle it: the same when it is tried again.
    cycle: Option<OperationId>,
    /// That order may have been taken, and no inventory shows it yet; until then.
    unseen_until: Moment,
    refusals: u32,
}

/// Where a machine's boot is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum BootState {
    /// It was not lit, or that can not be told now.
    Unwatched,
    /// It has time until then.
    Booting(Moment),
    /// Its node is ready, by this boot.
    Ready,
    /// Its node was ready by this boot, and is not any more: a partition, or it hangs.
    Silent,
    /// Its time is over; whether it may be cycled.
    Missed(bool),
}

impl Watch {
    fn begun(agent: &AgentFacts, drive: &OperationId, from_dark: bool, now: Moment) -> Self {
        let shown = agent.operation.as_ref().filter(|operation| operation.id == *drive);
        let moved = shown.is_some_and(|operation| operation.changed);
        // A board that can not be read moves whatever it is told: only what was seen before tells.
        let readable = agent.power.reading.is_some();
        Self {
            drive: drive.clone(),
            host_booted: agent.host_booted,
            since: now,
            from_dark: moved && (readable || from_dark),
            down_seen: false,
            ready: None,
            told: None,
            quarantined: agent.quarantine.is_some(),
            released: agent.quarantine.is_none()
                && agent
                    .last_boot
                    .as_ref()
                    .is_some_and(|boot| boot.operation == *drive && boot.end == BootEnd::Missed),
        }
    }

    /// Whether it watches the boot that this order, or the return of the mains, has begun.
    fn is_of(&self, agent: &AgentFacts, drive: &OperationId) -> bool {
        let known = self.host_booted.unwrap_or(Moment::ZERO) + REBOOT_SLACK;
        self.drive == *drive && agent.host_booted.is_none_or(|booted| booted <= known)
    }

    fn look(&mut self, ready: bool, now: Moment) {
        self.down_seen |= !ready;
        if ready && self.down_seen {
            self.ready = Some(now);
        }
    }
}

impl Reconciler {
    /// Takes what is seen of each boot. Nomad's silence says nothing of one, and the time of it is given back.
    pub(super) fn watch_boots(&mut self, now: Moment) {
        if !self.view.nomad_answers {
            self.nomad_since = None;
            return;
        }
        self.nomad_since.get_or_insert(now);
        self.watches.retain(|name, _| self.view.machines.contains_key(name));
        self.cares.retain(|name, care| care.calling || self.view.machines.contains_key(name));
        for (name, machine) in &self.view.machines {
            let Some(agent) = &machine.agent else { continue };
            let commanded = agent.power.commanded.as_ref();
            let Some(commanded) = commanded.filter(|c| c.state == PowerState::On) else {
                self.watches.remove(name);
                continue;
            };
            let drive = &commanded.operation;
            if !self.watches.get(name).is_some_and(|watch| watch.is_of(agent, drive)) {
                let from_dark = self.dark.get(name) == Some(drive);
                let watch = Watch::begun(agent, drive, from_dark, now);
                self.watches.insert(name.clone(), watch);
                self.cares.retain(|cared, care| cared != name || care.calling);
            }
            let ready = machine.node.as_ref().is_some_and(|n| n.status == NodeStatus::Ready);
            let Some(watch) = self.watches.get_mut(name) else { continue };
            if watch.quarantined && agent.quarantine.is_none() && !ready {
                let told =
                    Watch { told: None, quarantined: false, released: true, ..watch.clone() };
                *watch = Watch { since: now, from_dark: false, ..told };
            }
            watch.quarantined = agent.quarantine.is_some();
            watch.look(ready, now);
        }
    }

    /// Where a machine's boot is now.
    pub(crate) fn boot(&self, name: &MachineName, now: Moment) -> BootState {
        let watched = || {
            let machine = self.view.machines.get(name)?;
            let (agent, watch) = (machine.agent.as_ref()?, self.watches.get(name)?);
            Some((machine, agent, watch, self.nomad_since?))
        };
        let Some((machine, agent, watch, nomad_since)) = watched() else {
            return BootState::Unwatched;
        };
        let runs = agent.operation.as_ref().is_some_and(|op| op.progress == Progress::Running);
        // What can not be read and was forgiven is lit anew, if it is wanted.
        let anew = watch.released && agent.power.reading.is_none() && watch.ready.is_none();
        let gone = anew || agent.lost_power() || machine.read() == Some(PowerState::Off);
        if runs || gone {
            return BootState::Unwatched;
        }
        let began = began(agent).unwrap_or(now);
        let ready = machine.node.as_ref().is_some_and(|node| node.status == NodeStatus::Ready);
        if ready {
            // A node may look ready from before it lost its power, until its heartbeat is missed.
            let stands = now.since(began) >= NODE_SILENCE_MAX;
            let settled = began + NODE_SILENCE_MAX;
            return if watch.ready.is_some_and(|at| at >= began) || stands {
                BootState::Ready
            } else {
                BootState::Booting(settled)
            };
        }
        let kept = agent.last_boot.as_ref().is_some_and(|boot| {
            boot.operation == watch.drive && boot.end == BootEnd::Ready && boot.at >= began
        });
        let told = watch.told == Some(BootEnd::Ready);
        if kept || told || watch.ready.is_some_and(|at| at >= began) {
            return BootState::Silent;
        }
        let deadline = began + machine.boot_deadline;
        // What nobody watched is given its whole time again.
        let seen = watch.since.max(nomad_since);
        let until = if seen > began { seen + machine.boot_deadline } else { deadline };
        if now < until {
            return BootState::Booting(until);
        }
        let watched = seen <= deadline && nomad_since <= watch.since;
        BootState::Missed(watched && may_cycle(&self.pool, machine, agent, watch))
    }

    /// Takes over into the view and the memory what decides about counting and lighting.
    pub(super) fn judge_boots(&mut self, now: Moment) {
        let names: Vec<MachineName> = self.view.machines.keys().cloned().collect();
        for name in names {
            let state = self.boot(&name, now);
            let refused =
                self.cares.get(&name).is_some_and(|care| care.refusals >= CYCLE_REFUSALS_MAX);
            let missed = matches!(state, BootState::Missed(_));
            let retried = state == BootState::Missed(true) && !refused;
            if let Some(machine) = self.view.machines.get_mut(&name) {
                let free = !machine.is_held() && !machine.own;
                machine.expected = matches!(state, BootState::Booting(_)) || (retried && free);
                let memory = self.memory.entry(name).or_default();
                memory.missed = missed && machine.quarantine().is_none();
            }
        }
    }

    /// What is to be done about boots now.
    pub(super) fn tend(&mut self, effects: &mut Vec<Effect>, now: Moment) -> Vec<Moment> {
        let mut wakes = Vec::new();
        if !self.view.nomad_answers {
            return wakes;
        }
        let names: Vec<MachineName> = self.view.machines.keys().cloned().collect();
        for name in names {
            if let BootState::Booting(until) = self.boot(&name, now) {
                wakes.push(until);
            }
            let care = self.cares.get(&name).cloned().unwrap_or_default();
            if care.calling || self.leaving.contains_key(&name) || self.lighting.contains_key(&name)
            {
                continue;
            }
            let Some(effect) = self.cared_for(&name, &care, now) else { continue };
            if care.retry_at > now {
                wakes.push(care.retry_at);
                continue;
            }
            let care = self.cares.entry(name.clone()).or_default();
            care.calling = true;
            if let Effect::Cycle { operation, .. } = &effect {
                care.cycle = Some(operation.clone());
            }
            if let Some(machine) = self.view.machines.get(&name) {
                intend(&mut self.marks, &effect, machine);
                self.unanswered.ask(&name, now);
            }
            effects.push(effect);
        }
        wakes
    }

    /// The one thing that is to be done about a machine's boot.
    fn cared_for(&mut self, name: &MachineName, care: &Care, now: Moment) -> Option<Effect> {
        let state = self.boot(name, now);
        let (machine, watch) = (self.view.machines.get(name)?, self.watches.get(name)?);
        let agent = machine.agent.as_ref()?;
        let began = began(agent)?;
        let kept = agent.last_boot.as_ref().is_some_and(|boot| boot.at >= began);
        let told = |end| {
            let known = agent.last_boot.as_ref().filter(|boot| boot.operation == watch.drive);
            watch.told == Some(end)
                || (kept && !watch.released && known.is_some_and(|boot| boot.end == end))
        };
        let record = |end, took| Effect::RecordBoot {
            machine: name.clone(),
            operation: watch.drive.clone(),
            end,
            took,
        };
        match state {
            BootState::Ready if !told(BootEnd::Ready) => {
                // A boot that began with the mains, or before anybody looked, has no beginning to count from.
                let counted = watch.from_dark && !agent.ordered_before_boot();
                let took = watch.ready.filter(|_| counted).map(|at| at.since(began));
                Some(record(BootEnd::Ready, took))
            }
            BootState::Ready => {
                let reason = lifts(agent, watch)?;
                Some(Effect::LiftQuarantine { machine: name.clone(), reason })
            }
            BootState::Missed(_) if agent.quarantine.is_some() || machine.is_held() => None,
            BootState::Missed(_) if machine.own => None,
            BootState::Missed(_) if !told(BootEnd::Missed) && !told(BootEnd::Ready) => {
                Some(record(BootEnd::Missed, Some(now.since(began))))
            }
            BootState::Missed(cycle) => {
                let cycle = cycle && care.refusals < CYCLE_REFUSALS_MAX;
                let mark = self.marks.get(name);
                let retry = cycle.then(|| retry(name, machine, mark)).flatten();
                Some(match retry {
                    Some(Retry::Seclude(effect)) => effect,
                    Some(Retry::Wait) => return None,
                    Some(Retry::Cycle) => {
                        let known = care.cycle.clone();
                        let operation = known.unwrap_or_else(|| self.operations.take());
                        let reason = Reason::new(&missed(machine, agent, ""));
                        Effect::Cycle { machine: name.clone(), operation, reason }
                    }
                    None => Effect::Quarantine {
                        machine: name.clone(),
                        cause: QuarantineCause::NoBoot,
                        reason: Reason::new(&missed(machine, agent, why_not_cycled(agent, watch))),
                    },
                })
            }
            _ => None,
        }
    }

    /// Takes what came of it.
    pub(super) fn cared(&mut self, effect: &Effect, done: &Done, now: Moment) {
        let Some(care) = self.cares.get_mut(effect.machine()) else { return };
        care.calling = false;
        let is_seclusion = matches!(effect, Effect::MakeIneligible { .. });
        care.unsure = is_seclusion && (care.unsure || matches!(done, Done::Failed(_)));
        care.retry_at = now
            + match done {
                // Until the inventory shows it.
                Done::Accepted | Done::Written { .. } | Done::Read(_) => ORDER_UNSEEN_MAX,
                Done::Refused(_) => REFUSAL_REST,
                Done::Failed(_) => CALL_RETRY,
            };
        match (effect, done) {
            (Effect::Cycle { .. }, Done::Accepted | Done::Failed(_)) => {
                care.unseen_until = now + ORDER_UNSEEN_MAX;
            }
            (Effect::Cycle { .. }, Done::Refused(_)) => {
                care.refusals += 1;
                care.cycle = None; // the same id would get the same answer
            }
            (Effect::RecordBoot { operation, end, .. }, Done::Accepted) => {
                care.retry_at = now;
                let watch = self.watches.get_mut(effect.machine());
                if let Some(watch) = watch.filter(|watch| watch.drive == *operation) {
                    watch.told = Some(*end);
                }
            }
            (Effect::MakeIneligible { .. }, Done::Written { .. }) => care.retry_at = now,
            _ => {}
        }
    }

    /// The machines whose power may be about to be cut for a second try, as far as anybody can know.
    pub(super) fn under_second_try(&self, now: Moment) -> BTreeSet<MachineName> {
        let is = |(name, machine): &(&MachineName, &MachineView)| {
            let shown = machine.agent.as_ref().and_then(|agent| agent.operation.as_ref());
            let runs = shown.is_some_and(|operation| {
                operation.verb == Verb::Cycle && operation.progress == Progress::Running
            });
            let unseen = self.cares.get(*name).is_some_and(|care| {
                let known = shown.map(|operation| &operation.id);
                care.calling || (care.unseen_until > now && care.cycle.as_ref() != known)
            });
            runs || unseen
        };
        self.view.machines.iter().filter(is).map(|(name, _)| name.clone()).collect()
    }

    /// Whether a call about its boot is under way.
    pub(super) fn is_tended(&self, name: &MachineName) -> bool {
        self.cares.get(name).is_some_and(|care| care.calling)
    }
}

/// When the boot began: with the order, or with the mains where they came back after it.
fn began(agent: &AgentFacts) -> Option<Moment> {
    let commanded = agent.power.commanded.as_ref()?;
    let up = agent.host_booted.unwrap_or(commanded.at);
    Some(commanded.at.max(up))
}

/// Whether its power may be cut for a second try: an order of an autoscaler of this pool took it from dark,
/// and it was no second try itself.
fn may_cycle(pool: &PoolName, machine: &MachineView, agent: &AgentFacts, watch: &Watch) -> bool {
    let cycled = agent.operation.as_ref().is_some_and(|op| op.verb == Verb::Cycle);
    let lit = machine.lit_by_autoscaler(pool) && !agent.never_off;
    lit && watch.from_dark && !agent.ordered_before_boot() && !cycled
}

/// A step towards a second try.
enum Retry {
    /// Its node is to take no work first, so that nothing is placed there just before the cut.
    Seclude(Effect),
    /// That is done, and not seen yet.
    Wait,
    /// It may be cut.
    Cycle,
}

/// What comes before a second try; `None` where work is said to live there.
fn retry(name: &MachineName, machine: &MachineView, mark: Option<&Mark>) -> Option<Retry> {
    let Some(node) = &machine.node else { return Some(Retry::Cycle) };
    if !node.is_idle() {
        return None;
    }
    let mark = mark.filter(|mark| mark.node == node.id && !mark.is_intended());
    if mark.is_some_and(|mark| node.index < mark.index) {
        return Some(Retry::Wait); // what was read before our write shows nothing of it
    }
    Some(if node.eligible {
        let (machine, node) = (name.clone(), node.id.clone());
        Retry::Seclude(Effect::MakeIneligible { machine, node })
    } else {
        Retry::Cycle
    })
}

/// Why a ready node ends a quarantine, where it does.
fn lifts(agent: &AgentFacts, watch: &Watch) -> Option<Reason> {
    let quarantine = agent.quarantine.as_ref()?;
    let commanded = agent.power.commanded.as_ref()?;
    let tested = commanded.at > quarantine.since && watch.down_seen;
    match (&commanded.origin, quarantine.cause) {
        (Origin::Person(name), QuarantineCause::NoBoot) if tested => {
            Some(Reason::new(&format!("its node is ready after a test boot by {name}")))
        }
        (Origin::Person(name), QuarantineCause::NoShutdown) if tested && watch.from_dark => {
            Some(Reason::new(&format!("its node is ready after a test boot by {name}")))
        }
        (_, QuarantineCause::NoBoot) => Some(Reason::new(
            "its node is ready after all: it boots, only later than its boot deadline",
        )),
        (_, QuarantineCause::NoShutdown) => None,
    }
}

fn missed(machine: &MachineView, agent: &AgentFacts, then: &str) -> String {
    let deadline = machine.boot_deadline.as_secs();
    let after = if agent.ordered_before_boot() { " after the mains came back" } else { "" };
    format!("its node was not ready within {deadline} s{after}{then}")
}

fn why_not_cycled(agent: &AgentFacts, watch: &Watch) -> &'static str {
    let person = agent.power.commanded.as_ref().map(|commanded| &commanded.origin);
    let last = agent.operation.as_ref().filter(|operation| operation.verb == Verb::Cycle);
    match last.map(|operation| &operation.progress) {
        Some(Progress::Failed(_)) => ", and it could not be power cycled",
        Some(_) => ", and not after a power cycle either",
        None if matches!(person, Some(Origin::Person(_))) => {
            "; it was not cycled, because a person lit it"
        }
        None if agent.never_off => "; it was not cycled, because its power is never taken",
        None if !watch.from_dark => "; it was not cycled, because nothing proves that it was off",
        None => "; it was not cycled, because its boot was not watched to its end",
    }
}

/// The orders of ours that found a machine dark.
pub(super) type FromDark = BTreeMap<MachineName, OperationId>;
