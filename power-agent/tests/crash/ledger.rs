//! What was ordered, and what the contacts must have done for it: each order's edges once, in order, and no other.

use std::collections::BTreeMap;
use std::time::Duration;

use agent_api::Operation;
use fleet::{MachineName, OperationId, Order, Phase, Verb};
use testkit::bench::{Bench, autoscaler, name, order};
use virtual_rack::relay::Power;

use crate::bench::{CHANNELS, Dice, log_of};

/// The order that a machine has now.
struct Current {
    order: Order,
    answered: bool,
}

/// One machine.
struct Line {
    board: String,
    channel: u8,
    /// How its contact stands when all its orders are done.
    lit: bool,
    /// What its contact must have done by then.
    expected: Vec<Power>,
    current: Option<Current>,
}

/// All machines of one rack.
pub(crate) struct Ledger {
    lines: BTreeMap<MachineName, Line>,
    dice: Dice,
    orders: u64,
    pub(crate) cycles: u64,
    pub(crate) ended: u64,
}

impl Ledger {
    pub(crate) fn new(boards: &[String], seed: u64) -> Self {
        let mut lines = BTreeMap::new();
        for board in boards {
            for channel in 1..=CHANNELS {
                let name = name(&format!("{board}m{channel}"));
                let board = board.clone();
                let line = Line { board, channel, lit: false, expected: Vec::new(), current: None };
                lines.insert(name, line);
            }
        }
        Self { lines, dice: Dice(seed), orders: 0, cycles: 0, ended: 0 }
    }

    /// Orders for machines that have none: one in so many gets one; all of them the same where they are given in bulk.
    pub(crate) fn give(&mut self, one_in: u64) {
        let bulk = (self.dice.below(4) == 0).then(|| self.verb());
        let free = self.lines.iter().filter(|(_, line)| line.current.is_none());
        let free: Vec<MachineName> = free.map(|(name, _)| name.clone()).collect();
        for name in free {
            if bulk.is_none() && self.dice.below(one_in) != 0 {
                continue;
            }
            let verb = bulk.unwrap_or_else(|| self.verb());
            self.order(&name, verb);
        }
    }

    fn verb(&mut self) -> Verb {
        [Verb::On, Verb::Off, Verb::Cycle, Verb::Cycle, Verb::Cycle]
            [usize::try_from(self.dice.below(5)).expect("small")]
    }

    pub(crate) fn order(&mut self, name: &MachineName, verb: Verb) {
        self.orders += 1;
        self.cycles += u64::from(verb == Verb::Cycle);
        let id = format!("op-{}", self.orders);
        let order = Order {
            valid_for: Duration::from_secs(3600),
            ..order(&id, name.as_str(), verb, autoscaler(1))
        };
        let line = self.lines.get_mut(name).expect("a machine");
        match (verb, line.lit) {
            (Verb::On, false) => line.expected.push(Power::On),
            (Verb::Off, true) => line.expected.push(Power::Off),
            (Verb::Cycle, true) => line.expected.extend([Power::Off, Power::On]),
            (Verb::Cycle, false) => line.expected.push(Power::On),
            (Verb::On, true) | (Verb::Off, false) => {}
        }
        line.lit = verb != Verb::Off;
        line.current = Some(Current { order, answered: false });
    }

    /// What is to be sent: orders whose answer is not known. A repeated one is answered as the first time.
    pub(crate) fn unanswered(&self) -> Vec<Order> {
        let current = self.lines.values().filter_map(|line| line.current.as_ref());
        current.filter(|current| !current.answered).map(|current| current.order.clone()).collect()
    }

    pub(crate) fn answered(&mut self, id: &OperationId) {
        for line in self.lines.values_mut() {
            if let Some(current) = line.current.as_mut().filter(|now| now.order.operation == *id) {
                current.answered = true;
            }
        }
    }

    /// What the agent tells of a machine; true if its order has ended by that.
    pub(crate) fn told(&mut self, name: &MachineName, operation: &Operation) -> bool {
        let line = self.lines.get_mut(name).expect("a machine of ours");
        let ours = |current: &Current| current.order.operation == operation.id;
        if !operation.phase.is_finished() || !line.current.as_ref().is_some_and(ours) {
            return false;
        }
        assert_eq!(operation.phase, Phase::Done, "{name}: {}", operation.evidence);
        line.current = None;
        self.ended += 1;
        true
    }

    pub(crate) fn at_rest(&self) -> bool {
        self.lines.values().all(|line| line.current.is_none())
    }

    /// Compares with what the contacts did. Everything is at rest.
    pub(crate) async fn check(&self, bench: &Bench, said: &str) {
        let edges = bench.edges().await;
        let mut moved: BTreeMap<(&str, u8), Vec<Power>> = BTreeMap::new();
        for edge in &edges {
            moved.entry((&edge.board, edge.channel)).or_default().push(edge.edge);
        }
        for (name, line) in &self.lines {
            let moved = moved.remove(&(line.board.as_str(), line.channel)).unwrap_or_default();
            let same =
                moved.iter().zip(&line.expected).take_while(|(one, other)| one == other).count();
            assert!(
                moved == line.expected,
                "{said}: {name}: the contact moved {} times and {} were ordered; they part at {same}: {:?} for {:?}\n{}",
                moved.len(),
                line.expected.len(),
                moved.get(same..),
                line.expected.get(same..),
                log_of(bench, name.as_str())
            );
        }
        assert!(moved.is_empty(), "{said}: nobody ordered {moved:?}");
    }
}
