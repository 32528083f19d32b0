//! What orders come to: the machines' figures, the question for their work, and a person's own words.

use std::time::Duration;

use fleet::arbiter::{Limits, Question, Wear, Work};
use fleet::sequencer::{Paths, Task};
use fleet::{
    Fence, MachineName, Moment, NodeStatus, OnSoftOffTimeout, OperationId, Order, Origin, Reason,
    Verb,
};

use crate::agent::Around;

/// How long a machine may take to go down once asked, in seconds.
const SOFT_OFF: u64 = 15;
/// How long a cycle leaves it off.
const OFF_DWELL: u64 = 5;
/// What protects the hardware.
pub(crate) const LIMITS: Limits = Limits {
    // Longer than a boot: else no machine is up, and asked to go down, before it is over.
    min_on: Duration::from_secs(40),
    min_off: Duration::from_secs(8),
    cycles_per_hour: 40,
};
/// How long the signs that it is down must hold.
const SETTLE: u64 = 3;
/// How long a person's drain may take.
const DRAIN: u64 = 120;
/// How long a drain of a node that was found empty may take: the agent's own figure.
const PROOF_PATIENCE: u64 = 30;

/// What the agent asks Nomad before a person's order.
pub(crate) fn work(asks: Question, around: &Around<'_>, name: &str) -> Work {
    let nomad = &around.nomad;
    if asks == Question::None {
        return Work::NotAsked;
    }
    if around.silent {
        return Work::NoProof("Nomad does not answer".to_owned());
    }
    let node = nomad.nodes.get(name);
    if asks == Question::TakesWork {
        let takes = node.is_some_and(|node| node.eligible && node.status != NodeStatus::Down);
        return if takes { Work::TakesWork } else { Work::NotAsked };
    }
    match (node, nomad.work_on(name)) {
        (None, _) => Work::NoProof("there is no such node".to_owned()),
        (Some(_), 0) => Work::Empty,
        (Some(_), work) => Work::Runs(format!("{work} allocations")),
    }
}

/// What an order comes to on every machine here.
pub(crate) fn task(order: &Order, work: &Work, wear: &Wear) -> Task {
    let drain = match work {
        Work::Runs(_) | Work::Empty if order.drain => Some(DRAIN),
        Work::Empty => Some(PROOF_PATIENCE),
        Work::Runs(_) | Work::NotAsked | Work::TakesWork | Work::NoProof(_) => None,
    };
    Task {
        verb: order.verb,
        on_soft_off_timeout: order.on_soft_off_timeout,
        drain: drain.map(Duration::from_secs),
        soft_off: Some(Duration::from_secs(SOFT_OFF)),
        settle: Duration::from_secs(SETTLE),
        off_dwell: Duration::from_secs(OFF_DWELL).max(LIMITS.min_off),
        may_cut_at: if order.force { Moment::ZERO } else { wear.may_cut_at(LIMITS) },
        may_wake_until: Moment::ZERO,
        may_light_at: wear.may_light_at(LIMITS),
        fed: true,
        paths: Paths::default(),
    }
}

/// An order of an autoscaler to light a machine.
pub(crate) fn by_policy(id: String, name: &str, fence: Fence) -> Order {
    let order = by_hand(id, (name, ""), Verb::On, (false, false));
    let reason = Reason::new("it was wanted long ago");
    Order { origin: Origin::Autoscaler(fence), reason, ..order }
}

/// A person's order.
pub(crate) fn by_hand(
    id: String,
    (name, by): (&str, &str),
    verb: Verb,
    (drain, force): (bool, bool),
) -> Order {
    Order {
        operation: OperationId::new(id).unwrap(),
        machine: MachineName::new(name).unwrap(),
        verb,
        reason: Reason::new("by hand"),
        origin: Origin::Person(by.to_owned()),
        valid_for: Duration::from_secs(30),
        on_soft_off_timeout: OnSoftOffTimeout::Cut,
        force,
        drain,
        plan: None,
    }
}
