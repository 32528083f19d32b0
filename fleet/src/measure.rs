//! A pool in numbers, for those who draw and alert: each with names out of a short list, so that a series
//! never grows with what people or machines are called.

use std::collections::BTreeMap;

use crate::demand::Demand;
use crate::planner::Blocked;
use crate::reconciler::Reconciler;
use crate::{MachineName, MachineView, Moment, NodeCount};

/// The states of a machine, each machine in one: the first that fits.
pub const MACHINE_STATES: [&str; 10] = [
    "held",
    "quarantined",
    "unreachable",
    "leaving",
    "starting",
    "aside",
    "silent",
    "on",
    "off",
    "unknown",
];

/// Why a machine is not lit or not retired, each without its details.
pub const BLOCKED_REASONS: [&str; 11] = [
    "held",
    "no_agent",
    "nomad_silent",
    "in_motion",
    "too_soon",
    "feed_full",
    "node_silent",
    "work",
    "policy",
    "rests",
    "failed",
];

/// A pool in numbers.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Measures {
    /// What is desired; `None` before birth.
    pub desired: Option<NodeCount>,
    /// What Status counts.
    pub counted: NodeCount,
    /// The level of each voice of the demand.
    pub asked: Vec<(String, NodeCount)>,
    /// Machines by [`MACHINE_STATES`]; all of them are there.
    pub machines: BTreeMap<&'static str, u32>,
    /// Machines that could have been taken and were not, by [`BLOCKED_REASONS`]; all of them are there.
    pub blocked: BTreeMap<&'static str, u32>,
    /// How many are wanted that nothing can supply.
    pub short: u32,
    /// How many are too many that nothing may take.
    pub surplus: u32,
}

impl Reconciler {
    /// The pool in numbers.
    #[must_use]
    pub fn measures(&self, now: Moment) -> Measures {
        let status = self.status(now);
        let mut machines: BTreeMap<_, _> = MACHINE_STATES.iter().map(|state| (*state, 0)).collect();
        for (name, machine) in &self.view.machines {
            *machines.entry(self.state_of(name, machine, now)).or_default() += 1;
        }
        let mut blocked: BTreeMap<_, _> = BLOCKED_REASONS.iter().map(|why| (*why, 0)).collect();
        for (_, why) in &self.last_plan.blocked {
            *blocked.entry(reason(why)).or_default() += 1;
        }
        let levels = self.demand.iter().flat_map(Demand::levels);
        Measures {
            desired: status.desired,
            counted: status.count,
            asked: levels.map(|(voice, level)| (voice.to_owned(), level)).collect(),
            machines,
            blocked,
            short: self.last_plan.short,
            surplus: self.last_plan.surplus,
        }
    }

    fn state_of(&self, name: &MachineName, machine: &MachineView, now: Moment) -> &'static str {
        if machine.is_held() {
            "held"
        } else if machine.quarantine().is_some() {
            "quarantined"
        } else if machine.is_unreachable() {
            "unreachable"
        } else if self.leaving.contains_key(name) {
            "leaving"
        } else if machine.is_starting(now) {
            "starting"
        } else if machine.set_aside {
            "aside"
        } else if machine.is_silent(now) {
            "silent"
        } else if machine.is_on(now) {
            "on"
        } else if machine.is_off() {
            "off"
        } else {
            "unknown"
        }
    }
}

const fn reason(why: &Blocked) -> &'static str {
    match why {
        Blocked::Held(_) | Blocked::NeverOff => "held",
        Blocked::NoAgent => "no_agent",
        Blocked::NomadSilent | Blocked::NothingTells => "nomad_silent",
        Blocked::Leaving | Blocked::Booting => "in_motion",
        Blocked::MinOff(_)
        | Blocked::MinOn(_)
        | Blocked::NotIdle(_)
        | Blocked::IdleFirst(_)
        | Blocked::Staggered(_) => "too_soon",
        Blocked::FeedFull(..) => "feed_full",
        Blocked::NodeSilent => "node_silent",
        Blocked::Batch(_) | Blocked::NotEmpty => "work",
        Blocked::OwnNode | Blocked::NotSelected | Blocked::Ineligible => "policy",
        Blocked::Rests(..) => "rests",
        Blocked::Quarantined(_) | Blocked::NoBoot => "failed",
    }
}
