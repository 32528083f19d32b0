//! The pool's plan in sentences, told to the agents when it changes.

use std::collections::BTreeMap;
use std::time::Duration;

use agent_api::{AgentAddress, Plan, PlanLine};
use fleet::explain::Line;
use fleet::{HolderId, Moment, PlanId, PoolName};

use super::assemble::Heard;

/// How often a plan whose sentences differ in nothing but numbers is told again: agents keep it on cards
/// that wear.
const RETELL: Duration = Duration::from_secs(60);

/// How often a plan is told at most: a change is rarely alone.
const TELL_GAP: Duration = Duration::from_secs(1);

/// What was told last, and when.
#[derive(Debug)]
pub(super) struct Teller {
    /// Of this process and this run of the pool: readers merge plans of one id, so no two may share one.
    prefix: String,
    told: Option<(String, Moment)>,
    number: u64,
}

impl Teller {
    /// `run`: which of the pools that this process has started this is.
    pub(super) fn new(me: &HolderId, run: u64) -> Self {
        Self { prefix: format!("{me}-{run}"), told: None, number: 0 }
    }

    /// The plan of each agent that answers, where there is something new to tell: the lines of the pool
    /// and of its own machines.
    pub(super) fn tell(
        &mut self,
        pool: &PoolName,
        lines: &[Line],
        agents: &BTreeMap<AgentAddress, Option<Heard>>,
        now: Moment,
    ) -> Vec<(AgentAddress, Plan)> {
        let gist = gist(lines);
        let due = self.told.as_ref().is_none_or(|(told, at)| {
            let gap = if *told == gist { RETELL } else { TELL_GAP };
            now.since(*at) >= gap
        });
        if !due {
            return Vec::new();
        }
        self.number += 1;
        let Ok(id) = PlanId::new(format!("{}-{}", self.prefix, self.number)) else {
            return Vec::new();
        };
        self.told = Some((gist, now));
        let mut plans = Vec::new();
        for (address, heard) in agents {
            let Some(heard) = heard.as_ref().filter(|heard| heard.answers) else { continue };
            let own = |line: &&Line| {
                line.machine.as_ref().is_none_or(|name| heard.machines.contains_key(name))
            };
            let lines = lines
                .iter()
                .filter(own)
                .map(|line| PlanLine { machine: line.machine.clone(), text: line.text.clone() });
            let plan = Plan {
                id: id.clone(),
                pool: pool.clone(),
                author: "target".to_owned(),
                lines: lines.collect(),
                age: Duration::ZERO,
            };
            plans.push((address.clone(), plan));
        }
        plans
    }

    /// When to look again, so that the last change is told too.
    #[must_use]
    pub(super) fn due(&self) -> Option<Moment> {
        self.told.as_ref().map(|(_, at)| *at + TELL_GAP)
    }

    /// Whether these lines say something else than what was told, numbers aside.
    #[must_use]
    pub(super) fn is_news(&self, lines: &[Line]) -> bool {
        self.told.as_ref().is_none_or(|(told, _)| *told != gist(lines))
    }
}

/// The lines without their numbers, which count down; names keep theirs.
fn gist(lines: &[Line]) -> String {
    let mut text = String::new();
    for line in lines {
        if let Some(machine) = &line.machine {
            text.push_str(machine.as_str());
        }
        text.push(':');
        text.extend(line.text.chars().filter(|character| !character.is_ascii_digit()));
        text.push('\n');
    }
    text
}
