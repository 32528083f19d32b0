//! What must hold of every history, whoever decided: it knows answers, edges and ends, and nothing of how they came.

use std::collections::BTreeMap;

use fleet::arbiter::{HoldKind, Holds, Limits};
use fleet::{Fences, Moment, OperationId, Order, Origin, PowerState, RefusalCode, Verb};

use crate::world::DWELL;

/// What a client is told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Answer {
    /// Taken: this operation does it.
    Taken(OperationId),
    /// Refused.
    Refused(RefusalCode, String),
}

/// What has been counted, to be printed.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Counts {
    pub(crate) taken: u64,
    pub(crate) joined: u64,
    pub(crate) refused: u64,
    pub(crate) repeated: u64,
    pub(crate) edges: u64,
    pub(crate) cycles: u64,
    pub(crate) stale_given: u64,
    pub(crate) stale_obeyed: u64,
    pub(crate) held: u64,
    pub(crate) too_many: u64,
}

/// The operation that runs.
struct Running {
    order: Order,
    edges: Vec<PowerState>,
}

pub(crate) struct Checker {
    pub(crate) counts: Counts,
    limits: Limits,
    running: Option<Running>,
    cut: Option<Moment>,
    lit: Option<Moment>,
    /// When power was given within the last hour.
    lightings: Vec<Moment>,
    /// Those that have ended: their effect lies before this.
    ended: BTreeMap<OperationId, bool>,
}

impl Checker {
    pub(crate) fn new(limits: Limits) -> Self {
        Self {
            counts: Counts::default(),
            limits,
            running: None,
            cut: None,
            lit: None,
            lightings: Vec::new(),
            ended: BTreeMap::new(),
        }
    }

    /// A repeated id gets the first answer, and an order that carries an old fence is refused for that.
    pub(crate) fn answered(&mut self, order: &Order, first: Option<&Answer>, answer: &Answer) {
        if let Some(first) = first {
            assert_eq!(first, answer, "{}: a repeated id gets its first answer", order.operation);
            self.counts.repeated += 1;
            return;
        }
        match answer {
            Answer::Taken(id) if *id == order.operation => self.counts.taken += 1,
            Answer::Taken(id) => {
                self.counts.joined += 1;
                let running = self.running.as_ref().map(|running| &running.order);
                let ended = self.ended.contains_key(id);
                assert!(
                    ended || running.is_some_and(|running| running.verb == order.verb),
                    "{} has joined what is not the same: {running:?}",
                    order.operation
                );
            }
            Answer::Refused(code, _) => {
                self.counts.refused += 1;
                self.counts.stale_given += u64::from(*code == RefusalCode::StaleFence);
                self.counts.held +=
                    u64::from(matches!(code, RefusalCode::Held | RefusalCode::Reserved));
                self.counts.too_many +=
                    u64::from(matches!(code, RefusalCode::TooManyCycles | RefusalCode::Flapping));
            }
        }
    }

    /// An order is about to be obeyed, with what is known before it.
    pub(crate) fn obeyed(&mut self, order: &Order, fences: &Fences, holds: &Holds, now: Moment) {
        match &order.origin {
            Origin::Autoscaler(fence) => {
                let highest = fences.highest(&fence.cluster, &fence.pool);
                let stale = highest.is_some_and(|highest| fence.number < highest);
                self.counts.stale_obeyed += u64::from(stale);
                assert!(!stale, "{} is stale and obeyed", order.operation);
                let against = holds.iter().find(|hold| hold.binds(now));
                assert_eq!(against, None, "{} is obeyed against a lock", order.operation);
            }
            Origin::Person(by) => {
                let reserved = holds.of(HoldKind::Reservation);
                let theirs = reserved.is_some_and(|hold| hold.binds(now) && hold.by != *by);
                assert!(order.force || !theirs, "{} passes a reservation", order.operation);
            }
            Origin::Agent => unreachable!("no client orders in the agent's own name"),
        }
    }

    pub(crate) fn begun(&mut self, order: &Order) {
        let running = self.running.replace(Running { order: order.clone(), edges: Vec::new() });
        assert!(running.is_none(), "two operations run at once");
        assert!(!self.ended.contains_key(&order.operation), "an id is run twice");
    }

    /// A contact has moved.
    pub(crate) fn edge(&mut self, id: &OperationId, state: PowerState, now: Moment) {
        self.counts.edges += 1;
        let running = self.running.as_mut().expect("an edge belongs to an operation that runs");
        assert_eq!(running.order.operation, *id, "an edge of an operation that does not run");
        running.edges.push(state);
        let (order, edges) = (&running.order, &running.edges[..]);
        let allowed: &[&[PowerState]] = match order.verb {
            Verb::On => &[&[PowerState::On]],
            Verb::Off => &[&[PowerState::Off]],
            Verb::Cycle => {
                &[&[PowerState::Off], &[PowerState::Off, PowerState::On], &[PowerState::On]]
            }
        };
        assert!(allowed.contains(&edges), "{} moves {edges:?}", order.verb.as_str());
        let forced = order.force && matches!(order.origin, Origin::Person(_));
        match state {
            PowerState::Off => {
                let early = self.lit.is_some_and(|lit| now.since(lit) < self.limits.min_on);
                assert!(forced || !early, "{id} cuts it before min_on is over");
                self.cut = Some(now);
            }
            PowerState::On => {
                let off_for = self.cut.map(|cut| now.since(cut));
                let rest = if edges.len() == 2 { DWELL } else { self.limits.min_off };
                assert!(off_for.is_none_or(|off| off >= rest), "{id} lights it after {off_for:?}");
                self.counts.cycles += u64::from(edges.len() == 2);
                self.lightings.retain(|at| now.since(*at).as_secs() < 3600);
                let allowed = usize::try_from(self.limits.cycles_per_hour).unwrap_or_default();
                let full = allowed > 0 && self.lightings.len() >= allowed;
                assert!(forced || !full, "{id} lights it too often within an hour");
                self.lightings.push(now);
                self.lit = Some(now);
            }
        }
    }

    /// The operation has ended; what it says of the machine is true at that moment.
    pub(crate) fn ended(&mut self, id: &OperationId, well: bool, line: PowerState) {
        let running = self.running.take().expect("what ends has run");
        assert_eq!(running.order.operation, *id);
        let leaves = running.order.verb.leaves();
        assert!(!well || line == leaves, "{id} ended well, and the machine is {line}");
        self.ended.insert(id.clone(), well);
    }
}
