//! What the agent keeps of all machines together: operations with their answers, fences, plans. Written before told.

use std::collections::{BTreeMap, VecDeque};

use agent_api::Plan;
use fleet::arbiter::OPERATIONS_MAX;
use fleet::{Fences, Moment, OperationId, PlanId, PoolName, Refusal};

use crate::memory::{Ended, KeptPlan, Operation, Outcome, PLANS_MAX};
use crate::store::Loaded;

/// How many refusals are remembered, in memory alone: a refusal moved nothing, and is worth no write to an SD card.
const REFUSALS_MAX: usize = 1024;

/// How many plans are remembered that are not the newest: of two or three days, as machines come and go with the hours.
const PAST_PLANS_MAX: usize = 64;

/// The book.
#[derive(Debug, Default)]
pub(crate) struct Book {
    pub(crate) fences: Fences,
    operations: BTreeMap<OperationId, (u64, Operation)>,
    places: BTreeMap<u64, OperationId>,
    refusals: VecDeque<(OperationId, Refusal)>,
    plans: Vec<KeptPlan>,
    /// Older ones by which something was ordered here, in memory alone: the audit has their ids.
    past_plans: VecDeque<KeptPlan>,
}

/// What was answered to an operation id before.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Known<'a> {
    /// It was taken.
    Taken(&'a Operation),
    /// It was refused.
    Refused(&'a Refusal),
}

impl Book {
    pub(crate) fn of(loaded: Loaded) -> Self {
        let mut book = Self { fences: loaded.fences, plans: loaded.plans, ..Self::default() };
        for (place, operation) in loaded.operations {
            book.insert(place, operation);
        }
        book
    }

    /// What was answered to this id before, an operation that joined another followed to it.
    pub(crate) fn known(&self, id: &OperationId) -> Option<Known<'_>> {
        if let Some((_, refusal)) = self.refusals.iter().find(|(refused, _)| refused == id) {
            return Some(Known::Refused(refusal));
        }
        let (_, operation) = self.operations.get(id)?;
        match &operation.outcome {
            Outcome::Joined(other) => {
                self.operations.get(other).map(|(_, operation)| Known::Taken(operation))
            }
            Outcome::Runs | Outcome::Ended(_) => Some(Known::Taken(operation)),
        }
    }

    /// The operation under exactly this id.
    pub(crate) fn operation(&self, id: &OperationId) -> Option<&Operation> {
        self.operations.get(id).map(|(_, operation)| operation)
    }

    /// The place of the next operation, and that of the one which makes room for it.
    pub(crate) fn next_place(&self) -> (u64, Option<u64>) {
        let next = self.places.last_key_value().map_or(0, |(place, _)| place.saturating_add(1));
        let full = self.places.len() >= OPERATIONS_MAX;
        (next, self.places.first_key_value().map(|(place, _)| *place).filter(|_| full))
    }

    pub(crate) fn insert(&mut self, place: u64, operation: Operation) {
        self.places.insert(place, operation.id.clone());
        self.operations.insert(operation.id.clone(), (place, operation));
    }

    pub(crate) fn forget(&mut self, place: u64) {
        if let Some(id) = self.places.remove(&place) {
            self.operations.remove(&id);
        }
    }

    /// The operation as it is when it has ended, with its place.
    pub(crate) fn ended(&self, id: &OperationId, ended: Ended) -> Option<(u64, Operation)> {
        let (place, operation) = self.operations.get(id)?;
        Some((*place, Operation { outcome: Outcome::Ended(ended), ..operation.clone() }))
    }

    pub(crate) fn remember_refusal(&mut self, id: OperationId, refusal: Refusal) {
        if self.refusals.len() >= REFUSALS_MAX {
            self.refusals.pop_front();
        }
        self.refusals.push_back((id, refusal));
    }

    /// The newest plans of a pool, by author.
    pub(crate) fn plans(&self, pool: &PoolName, now: Moment) -> Vec<Plan> {
        let of_pool = self.plans.iter().filter(|kept| kept.plan.pool == *pool);
        of_pool.map(|kept| Plan { age: now.since(kept.at), ..kept.plan.clone() }).collect()
    }

    /// A pool's plan of this id, where it is still known.
    pub(crate) fn plan(&self, pool: &PoolName, id: &PlanId, now: Moment) -> Option<Plan> {
        let mut all = self.plans.iter().chain(&self.past_plans);
        let kept = all.find(|kept| kept.plan.pool == *pool && kept.plan.id == *id)?;
        Some(Plan { age: now.since(kept.at), ..kept.plan.clone() })
    }

    /// Whether a plan says something that is not on the disk yet.
    pub(crate) fn is_news(&self, plan: &Plan) -> bool {
        let known = self.plans.iter().find(|kept| is_same(&kept.plan, plan));
        known.is_none_or(|kept| kept.plan.id != plan.id || kept.plan.lines != plan.lines)
    }

    /// The plan that makes room for another: the oldest, where there are too many.
    pub(crate) fn surplus_plan(&self, plan: &Plan) -> Option<(PoolName, String)> {
        let known = self.plans.iter().any(|kept| is_same(&kept.plan, plan));
        if known || self.plans.len() < PLANS_MAX {
            return None;
        }
        let oldest = self.plans.iter().min_by_key(|kept| kept.at)?;
        Some((oldest.plan.pool.clone(), oldest.plan.author.clone()))
    }

    fn ordered_by(&self, plan: &PlanId) -> bool {
        self.operations.values().any(|(_, operation)| operation.plan.as_ref() == Some(plan))
    }

    pub(crate) fn keep_plan(&mut self, kept: KeptPlan) {
        if let Some((pool, author)) = self.surplus_plan(&kept.plan) {
            self.plans.retain(|other| other.plan.pool != pool || other.plan.author != author);
        }
        if let Some(place) = self.plans.iter().position(|other| is_same(&other.plan, &kept.plan)) {
            let last = self.plans.remove(place);
            if last.plan.id != kept.plan.id && self.ordered_by(&last.plan.id) {
                self.past_plans.truncate(PAST_PLANS_MAX - 1);
                self.past_plans.push_front(last);
            }
        }
        self.plans.push(kept);
    }
}

fn is_same(one: &Plan, other: &Plan) -> bool {
    one.pool == other.pool && one.author == other.author
}
