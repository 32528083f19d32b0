//! People's locks as people see them: placed then, for so long, until ended. Kept by the simulation's own clock, apart
//! from what the agents keep, and asked at every order that is obeyed.

use std::collections::BTreeMap;

use fleet::arbiter::{Hold, HoldAsked, HoldKind};
use fleet::{OperationId, Order, Origin};

use crate::clock::WEEK;

/// One lock.
struct Lock {
    by: String,
    since: u64,
    /// When it ends by itself; `None`: never, or its agent's host was started anew meanwhile.
    until: Option<u64>,
    /// The order that it came with.
    with: Option<OperationId>,
}

/// All locks.
#[derive(Default)]
pub(crate) struct Locks(BTreeMap<(String, HoldKind), Lock>);

impl Locks {
    /// A person has placed one. `own`: it is theirs now, and not somebody else's that stays.
    pub(crate) fn taken(&mut self, name: &str, asked: &HoldAsked, own: bool, now: u64) {
        if own {
            let until = asked.span.map(|span| now + span.as_secs());
            let key = (name.to_owned(), asked.kind);
            let lock = Lock { by: asked.by.clone(), since: now, until, with: None };
            let before = self.0.insert(key.clone(), lock);
            let renewed = before.filter(|before| before.binds(now) && before.by == asked.by);
            if let (Some(before), Some(lock)) = (renewed, self.0.get_mut(&key)) {
                (lock.since, lock.with) = (before.since, before.with);
            }
        }
    }

    /// A person's `off` leaves one.
    pub(crate) fn comes_with(&mut self, name: &str, hold: Option<&Hold>) {
        let Some(hold) = hold else { return };
        let with = hold.operation.clone();
        let lock = Lock { by: hold.by.clone(), since: 0, until: None, with };
        self.0.insert((name.to_owned(), hold.kind), lock);
    }

    /// A person has ended one.
    pub(crate) fn ended(&mut self, name: &str, kind: HoldKind) {
        self.0.remove(&(name.to_owned(), kind));
    }

    /// An order has come to nothing: what came with it ends with it.
    pub(crate) fn untouched(&mut self, name: &str, operation: &OperationId) {
        self.0.retain(|(at, _), lock| at != name || lock.with.as_ref() != Some(operation));
    }

    /// The host of these machines' agent boots: nobody can measure how much of a span is left, so it stays.
    pub(crate) fn reboot(&mut self, names: &[&str]) {
        for lock in self.of(names) {
            lock.until = None;
        }
    }

    /// A week passes for the agent of these machines, and for their locks.
    pub(crate) fn a_week_passes(&mut self, names: &[&str]) {
        for lock in self.of(names) {
            lock.until = lock.until.map(|until| until.saturating_sub(WEEK));
        }
    }

    fn of(&mut self, names: &[&str]) -> impl Iterator<Item = &mut Lock> {
        let theirs = |(name, _): &(String, HoldKind)| names.contains(&name.as_str());
        self.0.iter_mut().filter(move |(key, _)| theirs(key)).map(|(_, lock)| lock)
    }

    /// What stands against a policy, or the agent itself, moving this machine now.
    pub(crate) fn against_policies(&self, name: &str, now: u64) -> Option<String> {
        let found = self.0.iter().find(|((at, _), lock)| at == name && lock.binds(now));
        found.map(|((_, kind), lock)| format!("{} of {}", kind.as_str(), lock.by))
    }

    /// The lock that this order may not pass.
    pub(super) fn forbids(&self, order: &Order, now: u64) -> Option<String> {
        let name = order.machine.as_str();
        let Origin::Person(by) = &order.origin else {
            return self.against_policies(name, now);
        };
        let reserved = self.0.get(&(name.to_owned(), HoldKind::Reservation));
        let theirs = reserved.filter(|lock| lock.binds(now) && lock.by != *by && !order.force);
        theirs.map(|lock| format!("reservation of {}", lock.by))
    }
}

impl Lock {
    fn binds(&self, now: u64) -> bool {
        self.until.is_none_or(|until| now < until)
    }
}
