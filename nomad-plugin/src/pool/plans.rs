//! The pool's plan in sentences, told to the agents when it changes.

use std::collections::BTreeMap;
use std::time::Duration;

use agent_api::{AgentAddress, Plan, PlanLine};
use fleet::explain::Line;
use fleet::{HolderId, Moment, OnSoftOffTimeout, PlanId, PoolName};

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
    /// The plan that was told last: what is ordered now is part of it.
    id: Option<PlanId>,
}

/// A plan as it is told.
#[derive(Debug, Clone, Copy)]
pub(super) struct Telling<'a> {
    /// What is said.
    pub(super) lines: &'a [Line],
    /// What it was made from.
    pub(super) inputs: &'a [Line],
    /// Whether something is ordered by it now: then what is new is told at once.
    pub(super) orders: bool,
    /// What its orders to power off say of a machine that does not shut down in time.
    pub(super) on_soft_off_timeout: OnSoftOffTimeout,
}

impl Teller {
    /// `run`: which of the pools that this process has started this is.
    pub(super) fn new(me: &HolderId, run: u64) -> Self {
        Self { prefix: format!("{me}-{run}"), told: None, number: 0, id: None }
    }

    /// The plan of each agent that answers, where there is something new to tell: the lines of the pool
    /// and of its own machines.
    pub(super) fn tell(
        &mut self,
        pool: &PoolName,
        telling: Telling<'_>,
        agents: &BTreeMap<AgentAddress, Option<Heard>>,
        now: Moment,
    ) -> Vec<(AgentAddress, Plan)> {
        let gist = gist(telling.lines);
        let is_news = self.told.as_ref().is_none_or(|(told, _)| *told != gist);
        let due = self.told.as_ref().is_none_or(|(_, at)| {
            let gap = if is_news { TELL_GAP } else { RETELL };
            (is_news && telling.orders) || now.since(*at) >= gap
        });
        if !due {
            return Vec::new();
        }
        // What only counts down is the same plan.
        if is_news {
            self.number += 1;
            self.id = PlanId::new(format!("{}-{}", self.prefix, self.number)).ok();
        }
        let Some(id) = self.id.clone() else { return Vec::new() };
        self.told = Some((gist, now));
        let mut plans = Vec::new();
        for (address, heard) in agents {
            let Some(heard) = heard.as_ref().filter(|heard| heard.answers) else { continue };
            let own = |line: &&Line| {
                line.machine.as_ref().is_none_or(|name| heard.machines.contains_key(name))
            };
            let of_agent = |lines: &[Line]| {
                let own = lines.iter().filter(own);
                own.map(|line| PlanLine {
                    machine: line.machine.clone(),
                    text: line.text.clone(),
                    verb: line.verb,
                })
                .collect()
            };
            let plan = Plan {
                id: id.clone(),
                pool: pool.clone(),
                author: "target".to_owned(),
                lines: of_agent(telling.lines),
                age: Duration::ZERO,
                inputs: of_agent(telling.inputs),
                on_soft_off_timeout: telling.on_soft_off_timeout,
            };
            plans.push((address.clone(), plan));
        }
        plans
    }

    /// The plan that was told last.
    #[must_use]
    pub(super) fn id(&self) -> Option<PlanId> {
        self.id.clone()
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

#[cfg(test)]
mod tests {
    use fleet::{MachineName, Verb};

    use super::*;

    #[test]
    fn a_plan_has_its_id_as_long_as_it_says_the_same_and_what_orders_is_told_at_once() {
        let mut teller = Teller::new(&HolderId::new("me").expect("a name"), 1);
        let pool = PoolName::new("rack").expect("a name");
        let address = AgentAddress::socket("/run/a.sock");
        let heard = Heard { answers: true, ..Heard::default() };
        let agents = BTreeMap::from([(address, Some(heard))]);
        let mut told = |text: &str, orders: bool, millis: u64| {
            let line = Line::pool(text.to_owned());
            let on_soft_off_timeout = OnSoftOffTimeout::Quarantine;
            let telling = Telling { lines: &[line], inputs: &[], orders, on_soft_off_timeout };
            let plans = teller.tell(&pool, telling, &agents, Moment::from_millis(millis));
            plans.first().map(|(_, plan)| plan.id.to_string())
        };
        assert_eq!(told("lapses in 90 s", false, 0).as_deref(), Some("me-1-1"));
        assert_eq!(
            told("lapses in 30 s", false, 60_000).as_deref(),
            Some("me-1-1"),
            "it counts down"
        );
        assert_eq!(told("lights two", false, 60_100), None, "too soon");
        assert_eq!(
            told("lights two", true, 60_200).as_deref(),
            Some("me-1-2"),
            "it is ordered now"
        );
        assert_eq!(told("lights two", true, 60_300), None, "it has been told");
        assert_eq!(teller.id().map(|id| id.to_string()).as_deref(), Some("me-1-2"));
    }

    #[test]
    fn a_line_that_orders_says_so() {
        let name = MachineName::new("node1").expect("a name");
        let line = Line::orders(&name, Verb::On, "is being lit".to_owned());
        assert_eq!((line.machine, line.verb), (Some(name), Some(Verb::On)));
    }
}
