//! What the journal must tell: a plain model, and the changes that an agent makes, drawn by a seed.

use std::time::Duration;

use agent_api::{Plan, PlanLine};
use fleet::arbiter::{Expiry, Hold, HoldKind};
use fleet::sequencer::{Move, OnSoftOffTimeout, Paths, Record, State, Step, Task};
use fleet::{
    BOOTS_MAX, Boot, BootEnd, ClusterId, Commanded, Fence, FenceNumber, MachineName, Moment,
    OperationId, Origin, PlanId, PoolName, PowerState, Quarantine, QuarantineCause, Reason, Verb,
};

use super::Dice;
use crate::memory::{Change, Ended, KeptPlan, MachineMemory, Operation, Outcome, RunningOrder};
use crate::store::Loaded;

const MACHINES: usize = 12;

/// Fewer than an agent keeps, so that forgetting is as frequent as it is there after months.
const OPERATIONS_KEPT: usize = 200;

/// What has been committed, and the agent that goes on from there.
#[derive(Debug)]
pub(super) struct Model {
    dice: Dice,
    pub(super) state: Loaded,
    clock: u64,
    orders: u64,
    fence: u64,
}

impl Model {
    pub(super) fn new(seed: u64) -> Self {
        Self { dice: Dice(seed), state: Loaded::default(), clock: 1, orders: 0, fence: 1 }
    }

    fn now(&mut self) -> Moment {
        self.clock += 1;
        Moment::from_millis(self.clock)
    }

    /// The next change of an agent: mostly orders, their progress and their ends.
    pub(super) fn change(&mut self) -> Change {
        let which = self.dice.below(MACHINES);
        let name = MachineName::new(format!("machine{which:02}")).expect("a name");
        let memory = self.state.machines.get(&name).cloned().unwrap_or_default();
        match (memory.running.clone(), self.dice.below(12)) {
            (_, 0) => self.plan(),
            (_, 1) => self.newer_fence(),
            (None, 2) => self.hold(name, memory),
            (None, _) => self.begin(name, memory),
            (Some(running), 3..=6) => self.progress(name, memory, running),
            (Some(running), _) => self.end(name, memory, running),
        }
    }

    fn origin(&mut self) -> Origin {
        if self.dice.once_in(4) {
            Origin::Person("ada".to_owned())
        } else {
            Origin::Autoscaler(self.fenced())
        }
    }

    fn fenced(&self) -> Fence {
        Fence {
            cluster: ClusterId::new("global").expect("a name"),
            pool: PoolName::new("rack").expect("a name"),
            number: FenceNumber(self.fence),
        }
    }

    fn begin(&mut self, name: MachineName, mut memory: MachineMemory) -> Change {
        self.orders += 1;
        let now = self.now();
        let id = OperationId::new(format!("op-{}", self.orders)).expect("an id");
        let origin = self.origin();
        let verb = [Verb::On, Verb::Off, Verb::Cycle][self.dice.below(3)];
        let reason = Reason::new("a job waits");
        memory.running = Some(RunningOrder {
            id: id.clone(),
            origin: origin.clone(),
            reason: reason.clone(),
            outlets: vec!["a/1".to_owned()],
            record: record(verb, State::Looking { until: now, rest: None }, now),
        });
        let operation = Operation {
            id,
            machine: name.clone(),
            verb,
            origin: origin.clone(),
            reason,
            plan: PlanId::new(format!("plan-{}", self.orders)).ok(),
            ordered: now,
            outcome: Outcome::Runs,
        };
        let place = self.state.operations.last_key_value().map_or(0, |(place, _)| place + 1);
        let full = self.state.operations.len() >= OPERATIONS_KEPT;
        let oldest = self.state.operations.first_key_value().map(|(place, _)| *place);
        let fence = match origin {
            Origin::Autoscaler(fence) => Some(fence),
            Origin::Person(_) | Origin::Agent => None,
        };
        Change {
            machine: Some((name, memory)),
            operation: Some((place, operation)),
            forgotten: oldest.filter(|_| full),
            fence,
            ..Change::default()
        }
    }

    fn progress(
        &mut self,
        name: MachineName,
        mut memory: MachineMemory,
        mut running: RunningOrder,
    ) -> Change {
        let until = self.now();
        let look = Move { step: Step::Look, attempts: 0, until };
        running.record.state = match self.dice.below(4) {
            0 => State::Cutting(look),
            1 => State::Dwelling { until },
            2 => State::Energizing(look),
            _ => State::Draining { until, ordered: true, left: "web of job web".to_owned() },
        };
        running.record.moved = true;
        running.record.evidence.push_str("; on its way");
        memory.running = Some(running);
        Change { machine: Some((name, memory)), ..Change::default() }
    }

    fn end(
        &mut self,
        name: MachineName,
        mut memory: MachineMemory,
        running: RunningOrder,
    ) -> Change {
        let now = self.now();
        let state =
            if running.record.task.verb == Verb::Off { PowerState::Off } else { PowerState::On };
        memory.running = None;
        memory.commanded = Some(Commanded {
            state,
            at: now,
            origin: running.origin.clone(),
            operation: running.id.clone(),
        });
        let known = self.state.operations.iter().find(|(_, operation)| operation.id == running.id);
        let ended = known.map(|(place, operation)| {
            let ended = Ended {
                well: true,
                changed: true,
                evidence: format!("read back {state}"),
                at: now,
            };
            (*place, Operation { outcome: Outcome::Ended(ended), ..operation.clone() })
        });
        memory.last = ended.as_ref().map(|(_, operation)| operation.clone()).or(memory.last);
        Change { machine: Some((name, memory)), operation: ended, ..Change::default() }
    }

    fn hold(&mut self, name: MachineName, mut memory: MachineMemory) -> Change {
        let since = self.now();
        let operation = OperationId::new(format!("hold-{}", self.clock)).expect("an id");
        let hold = Hold {
            kind: HoldKind::Reservation,
            by: "ada".to_owned(),
            reason: Reason::new("repair"),
            since,
            expiry: Expiry::At(since + Duration::from_secs(60)),
            operation: Some(operation),
        };
        let held = memory.holds.of(hold.kind).is_some();
        memory.holds = Some(hold).filter(|_| !held).into_iter().collect();
        let quarantine = Quarantine {
            cause: QuarantineCause::NoBoot,
            reason: Reason::new("did not boot"),
            since,
            by: self.origin(),
        };
        memory.quarantine = held.then_some(quarantine);
        memory.boots.push(Boot {
            operation: OperationId::new(format!("op-{}", self.orders)).expect("an id"),
            end: BootEnd::Missed,
            took: Some(Duration::from_secs(60)),
            at: since,
        });
        memory.boots.drain(..memory.boots.len().saturating_sub(BOOTS_MAX));
        Change { machine: Some((name, memory)), ..Change::default() }
    }

    fn newer_fence(&mut self) -> Change {
        self.fence += 1;
        Change { fence: Some(self.fenced()), ..Change::default() }
    }

    fn plan(&mut self) -> Change {
        let at = self.now();
        let line = |number: usize| PlanLine {
            machine: None,
            text: format!("line {number} of {}", self.clock),
            verb: number.is_multiple_of(3).then_some(Verb::On),
        };
        let lines: Vec<PlanLine> = (0..self.dice.clone().below(40)).map(line).collect();
        let pool = PoolName::new(format!("pool{}", self.dice.below(6))).expect("a name");
        let plan = Plan {
            id: PlanId::new(format!("plan-{}", self.clock)).expect("an id"),
            pool,
            author: "target".to_owned(),
            inputs: lines
                .iter()
                .take(2)
                .cloned()
                .map(|line| PlanLine { verb: None, ..line })
                .collect(),
            lines,
            age: Duration::ZERO,
            on_soft_off_timeout: OnSoftOffTimeout::Quarantine,
        };
        let other =
            self.state.plans.first().map(|kept| (kept.plan.pool.clone(), kept.plan.author.clone()));
        let forgotten_plan = other.filter(|(pool, _)| *pool != plan.pool && self.dice.once_in(3));
        Change { plan: Some(KeptPlan { plan, at }), forgotten_plan, ..Change::default() }
    }

    /// The change is durable.
    pub(super) fn apply(&mut self, change: &Change) {
        self.state = after(&self.state, change);
    }
}

/// The state that follows.
pub(super) fn after(state: &Loaded, change: &Change) -> Loaded {
    let mut state = Loaded {
        machines: state.machines.clone(),
        operations: state.operations.clone(),
        fences: state.fences.clone(),
        plans: state.plans.clone(),
    };
    if let Some((name, memory)) = &change.machine {
        state.machines.insert(name.clone(), memory.clone());
    }
    if let Some((place, operation)) = &change.operation {
        state.operations.insert(*place, operation.clone());
    }
    if let Some(place) = &change.forgotten {
        state.operations.remove(place);
    }
    if let Some(fence) = &change.fence {
        state.fences.remember(fence);
    }
    if let Some((pool, author)) = &change.forgotten_plan {
        state.plans.retain(|kept| kept.plan.pool != *pool || kept.plan.author != *author);
    }
    if let Some(new) = &change.plan {
        state
            .plans
            .retain(|kept| kept.plan.pool != new.plan.pool || kept.plan.author != new.plan.author);
        state.plans.push(new.clone());
        // As the file orders them.
        state.plans.sort_by(|one, other| {
            (&one.plan.pool, &one.plan.author).cmp(&(&other.plan.pool, &other.plan.author))
        });
    }
    state
}

fn record(verb: Verb, state: State, began: Moment) -> Record {
    Record {
        task: Task {
            verb,
            on_soft_off_timeout: OnSoftOffTimeout::Cut,
            drain: None,
            soft_off: Some(Duration::from_secs(60)),
            settle: Duration::from_secs(5),
            off_dwell: Duration::from_secs(10),
            may_cut_at: began,
            may_wake_until: Moment::ZERO,
            may_light_at: began,
            fed: true,
            paths: Paths::default(),
        },
        state,
        began,
        moved: false,
        cut: None,
        lit: None,
        drained_from: None,
        reached: None,
        evidence: String::new(),
        stays_up: false,
        trouble: String::new(),
    }
}
