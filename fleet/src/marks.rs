//! Whose ineligibility it is: a machine is made eligible again only where the mark on its node is ours and untouched.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use crate::{MachineName, Moment, NodeId, NodeView, Touch, TouchKind};

/// How long Nomad's index may lie below a mark's before the mark is void: a view lags by seconds, and an
/// index that has gone back does so for good.
pub const MARK_BEYOND_MAX: Duration = Duration::from_secs(30);

/// How long a write to Nomad may be on its way: the ten seconds of a call, its second try, and what a process that died
/// has left to the kernel's retransmissions. An event that is not there by then will not come.
pub const INTENT_MAX: Duration = Duration::from_secs(90);

/// Our mark on a node: the event that our drain or ineligibility wrote.
///
/// The node's ModifyIndex would be none: it rises with every status change. `LastDrain.Meta` would be
/// none either: it stays ours when somebody makes the node ineligible by hand later.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mark {
    /// The node.
    pub node: NodeId,
    /// Nomad's index of our event.
    pub index: u64,
    /// The highest event index that was looked at since.
    pub seen: u64,
}

/// Whose a node's ineligibility is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ownership {
    /// Ours: nobody has touched it since.
    Ours,
    /// Somebody drained it or changed its eligibility, at this index.
    Theirs(u64),
    /// Events have rotated out unseen: it can not be told.
    Lost,
    /// Our event is not in Nomad's state any more: it was restored to one of before it.
    Void,
}

impl Mark {
    /// A mark of an event that was just written.
    #[must_use]
    pub const fn new(node: NodeId, index: u64) -> Self {
        Self { node, index, seen: index }
    }

    /// A mark that is written down before the write that it is about, so that a crash or a lost answer
    /// in between does not make our own doing look like somebody else's. `newest` is the node's newest
    /// event then; the first ineligibility or drain after it is taken for ours.
    #[must_use]
    pub fn intended(node: NodeId, newest: u64) -> Self {
        // No event has index 0, so `seen` below `index` says "not seen yet".
        Self { node, index: newest.max(1), seen: 0 }
    }

    /// Whether our write is not known to have happened.
    #[must_use]
    pub const fn is_intended(&self) -> bool {
        self.seen < self.index
    }

    /// Whose the node's ineligibility is, by its event list.
    #[must_use]
    pub fn judge(&self, node: &NodeView) -> Ownership {
        if node.id != self.node {
            return Ownership::Lost;
        }
        if !self.is_intended() && node.index >= self.index && node.newest_event < self.index {
            return Ownership::Void;
        }
        let foreign =
            node.touches.iter().find(|touch| touch.index > self.index && !self.is_ours(touch.kind));
        match (foreign, node.oldest_event) {
            (Some(touch), _) => Ownership::Theirs(touch.index),
            (None, Some(oldest)) if oldest > self.seen.max(self.index) => Ownership::Lost,
            (None, _) => Ownership::Ours,
        }
    }

    const fn is_ours(&self, kind: TouchKind) -> bool {
        match kind {
            // Nomad ends our drain by itself; that is no other's hand.
            TouchKind::DrainComplete => true,
            TouchKind::Ineligible | TouchKind::DrainSet => self.is_intended(),
            TouchKind::Eligible | TouchKind::DrainUnset => false,
        }
    }

    /// Takes the drains since our event for ours: a person's order runs at our own agent, which drains the node and leaves
    /// it as it was, hence as we have made it. An agent only drains: an eligibility that was written is somebody else's,
    /// whenever it was, and stays so.
    pub fn share(&mut self, node: &NodeView) {
        let by_hand = |touch: &Touch| {
            let written = matches!(touch.kind, TouchKind::Eligible | TouchKind::Ineligible);
            written && touch.index > self.index
        };
        let ours = !self.is_intended() && node.id == self.node;
        if ours && !node.touches.iter().any(by_hand) {
            self.index = self.index.max(node.newest_event);
            self.seen = self.seen.max(self.index);
        }
    }

    /// Ends the wait for a write without an answer: the first ineligibility or drain since was it, and where there is none,
    /// the node is as it was before, by our older event or by nobody's.
    fn settle(&mut self, node: &NodeView) {
        let written = |touch: &&Touch| {
            let out = matches!(touch.kind, TouchKind::Ineligible | TouchKind::DrainSet);
            out && touch.index > self.index
        };
        let index = node.touches.iter().find(written).map_or(self.index, |touch| touch.index);
        *self = Self::new(self.node.clone(), index);
    }

    /// Remembers how far the node's events were looked at.
    pub fn look(&mut self, node: &NodeView) {
        if self.judge(node) != Ownership::Ours {
            return;
        }
        if self.is_intended() {
            // Tries without an answer fill the list with events of ours, until the first of them rotates out.
            self.index = self.index.max(node.newest_event);
        } else {
            let newest = node.touches.last().map_or(self.seen, |touch| touch.index);
            self.seen = self.seen.max(newest).max(node.newest_event);
        }
    }
}

/// Since when writes are without an answer, by machine.
///
/// A mark that is only intended takes the next hand on the node for ours, and one in a record that was restored with a
/// snapshot is about a write that never was: it would take what somebody does weeks later.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Unanswered(BTreeMap<MachineName, Moment>);

impl Unanswered {
    /// A write is ordered, perhaps again.
    pub fn ask(&mut self, name: &MachineName, now: Moment) {
        self.0.insert(name.clone(), now);
    }

    /// Settles a machine's mark once its write can not come any more.
    pub fn settle(&mut self, name: &MachineName, mark: &mut Mark, node: &NodeView, now: Moment) {
        if !mark.is_intended() || node.id != mark.node {
            self.0.remove(name);
            return;
        }
        let since = *self.0.entry(name.clone()).or_insert(now);
        if now.since(since) >= INTENT_MAX {
            self.0.remove(name);
            mark.settle(node);
        }
    }
}

/// Marks that are void because Nomad was restored to a state of before them.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Restored {
    /// Since when Nomad's index lies below that of a machine's mark.
    beyond: BTreeMap<MachineName, Moment>,
    void: BTreeSet<MachineName>,
}

/// What a mark says of a node as Nomad shows it now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Bearing {
    /// It can be judged.
    Holds,
    /// The view is of before the mark: it may lag.
    TooEarly,
    /// It is void: to be forgotten.
    Void,
}

impl Restored {
    /// Weighs a machine's mark against its node.
    pub fn weigh(
        &mut self,
        name: &MachineName,
        mark: &Mark,
        node: &NodeView,
        now: Moment,
    ) -> Bearing {
        if node.index >= mark.index {
            self.beyond.remove(name);
        } else {
            let since = *self.beyond.entry(name.clone()).or_insert(now);
            if now.since(since) < MARK_BEYOND_MAX {
                return Bearing::TooEarly;
            }
        }
        if node.index < mark.index || mark.judge(node) == Ownership::Void {
            self.beyond.remove(name);
            self.void.insert(name.clone());
            return Bearing::Void;
        }
        self.void.remove(name);
        Bearing::Holds
    }

    /// Whether a machine's mark was void, and nobody has marked it since.
    #[must_use]
    pub fn is_void(&self, name: &MachineName) -> bool {
        self.void.contains(name)
    }
}
