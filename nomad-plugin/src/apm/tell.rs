//! Telling the agents what was found, so that `lamplighter why POOL` shows it: when it changes, not at every query.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use agent_api::{AgentAddress, Client, Plan, PlanLine};
use fleet::pending::Line;
use fleet::{HolderId, Moment, OnSoftOffTimeout, PlanId, PoolName};
use futures_util::future::join_all;

/// How often a pool's lines are told at most, changed or not: agents keep them on cards that wear.
const TELL_GAP: Duration = Duration::from_secs(10);

/// How often unchanged lines are told again: an agent that lost them gets them back.
const RETELL: Duration = Duration::from_secs(10 * 60);

/// How long telling may hold up an answer: agents write one small file.
const TELL_WAIT_MAX: Duration = Duration::from_secs(1);

/// What was told last, of each pool.
#[derive(Debug)]
pub(super) struct Teller {
    /// Of this process and this configuration of it: readers merge plans of one id.
    prefix: String,
    told: BTreeMap<PoolName, Told>,
    number: u64,
}

#[derive(Debug)]
struct Told {
    lines: Vec<String>,
    to: BTreeSet<AgentAddress>,
    at: Moment,
}

impl Teller {
    /// `run`: the how manieth configuration of this process this is.
    pub(super) fn new(me: &HolderId, run: u64) -> Self {
        Self { prefix: format!("{me}-apm-{run}"), told: BTreeMap::new(), number: 0 }
    }

    /// The plan to tell now to the agents that answer; `None` where there is no news or it is too soon.
    pub(super) fn news(
        &mut self,
        pool: &PoolName,
        lines: &[Line],
        to: &BTreeSet<AgentAddress>,
        now: Moment,
    ) -> Option<Plan> {
        let texts: Vec<String> = lines.iter().map(|line| line.text.clone()).collect();
        let is_due = self.told.get(pool).is_none_or(|told| {
            let is_news = told.lines != texts || !to.is_subset(&told.to);
            now.since(told.at) >= if is_news { TELL_GAP } else { RETELL }
        });
        if !is_due || to.is_empty() {
            return None;
        }
        self.number = self.number.saturating_add(1);
        let id = PlanId::new(format!("{}-{}", self.prefix, self.number)).ok()?;
        self.told.insert(pool.clone(), Told { lines: texts, to: to.clone(), at: now });
        let line = |line: &Line| PlanLine {
            machine: line.machine.clone(),
            text: line.text.clone(),
            verb: None,
        };
        Some(Plan {
            id,
            pool: pool.clone(),
            author: "apm".to_owned(),
            lines: lines.iter().map(line).collect(),
            age: Duration::ZERO,
            inputs: Vec::new(),
            on_soft_off_timeout: OnSoftOffTimeout::Cut,
        })
    }

    /// An agent that could not be told is told next time.
    pub(super) fn failed(&mut self, pool: &PoolName, agent: &AgentAddress) {
        if let Some(told) = self.told.get_mut(pool) {
            told.to.remove(agent);
        }
    }
}

/// Tells all of them at once; returns who could not be told.
pub(super) async fn tell(
    plan: &Plan,
    to: &BTreeSet<AgentAddress>,
    clients: &BTreeMap<AgentAddress, Client>,
) -> Vec<AgentAddress> {
    let told = clients.iter().filter(|(address, _)| to.contains(address)).map(
        |(address, client)| async move {
            let done = tokio::time::timeout(TELL_WAIT_MAX, client.record_plan(plan)).await;
            match done {
                Ok(Ok(())) => None,
                Ok(Err(error)) => {
                    tracing::warn!(agent = %address, err = %error, "plan not kept by an agent");
                    Some(address.clone())
                }
                Err(_elapsed) => Some(address.clone()),
            }
        },
    );
    join_all(told).await.into_iter().flatten().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_told_when_they_change_and_not_more_often_than_the_gap() {
        let mut teller = Teller::new(&HolderId::new("me").expect("a name"), 1);
        let pool = PoolName::new("rack").expect("a name");
        let to: BTreeSet<AgentAddress> = [AgentAddress::socket("/run/a.sock")].into();
        let mut told = |text: &str, to: &BTreeSet<AgentAddress>, seconds: u64| {
            let line = Line { machine: None, text: text.into() };
            let now = Moment::from_millis(seconds * 1000);
            teller.news(&pool, &[line], to, now).is_some()
        };
        assert!(told("one", &to, 0));
        assert!(!told("two", &to, 5), "too soon");
        assert!(told("two", &to, 10));
        assert!(!told("two", &to, 100), "no news");
        let both: BTreeSet<AgentAddress> =
            [AgentAddress::socket("/run/a.sock"), AgentAddress::socket("/run/b.sock")].into();
        assert!(told("two", &both, 110), "an agent that has not heard it");
        assert!(told("two", &both, 110 + 600), "again after a while");
        assert!(!told("three", &BTreeSet::new(), 10_000), "nobody to tell");
    }
}
