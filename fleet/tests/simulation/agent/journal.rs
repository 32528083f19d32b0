//! What an agent knows beyond its own life, and how it reads what another boot of its host has written.

use std::collections::BTreeMap;

use fleet::arbiter::{Expiry, Hold, Holds, Wear};
use fleet::boots::{Boot, Quarantine};
use fleet::reconciler::Done;
use fleet::sequencer::{Eligible, Record};
use fleet::{Commanded, Fences, Moment, OperationFacts, OperationId, Origin};

use crate::clock::Stamp;

/// All of it.
#[derive(Default)]
pub(super) struct Journal {
    pub(super) stamp: Stamp,
    pub(super) machines: BTreeMap<String, Kept>,
    pub(super) fences: Fences,
    pub(super) answers: BTreeMap<OperationId, Done>,
}

/// One machine in the journal.
#[derive(Clone, Default)]
pub(crate) struct Kept {
    pub(crate) running: Option<RunningOrder>,
    pub(super) last: Option<OperationFacts>,
    pub(super) commanded: Option<Commanded>,
    pub(crate) holds: Holds,
    pub(super) quarantine: Option<Quarantine>,
    pub(super) wear: Wear,
    pub(super) last_boot: Option<Boot>,
    /// A drain that could not be taken back yet: whose it is, and how the node was before.
    pub(super) owed: Option<(String, Eligible)>,
}

/// A sequence in the journal.
#[derive(Clone)]
pub(crate) struct RunningOrder {
    pub(crate) id: OperationId,
    pub(crate) origin: Origin,
    pub(crate) forced: bool,
    pub(crate) record: Record,
}

impl Journal {
    /// Opened at this stamp. Moments of another boot are older than anything from now on, whatever the wall clocks say.
    pub(super) fn open(&mut self, stamp: Stamp) {
        if self.stamp.boot != stamp.boot {
            self.machines.values_mut().for_each(Kept::is_of_another_boot);
        }
        self.stamp = stamp;
    }
}

impl Kept {
    fn is_of_another_boot(&mut self) {
        let lost = |expiry| if expiry == Expiry::Never { expiry } else { Expiry::Lost };
        let aged =
            |hold: &Hold| Hold { since: Moment::ZERO, expiry: lost(hold.expiry), ..hold.clone() };
        self.holds = self.holds.iter().map(aged).collect();
        for moment in [&mut self.wear.cut, &mut self.wear.lit] {
            *moment = moment.map(|_| Moment::ZERO);
        }
        for lighting in &mut self.wear.lightings {
            lighting.at = Moment::ZERO;
        }
        let commanded = self.commanded.iter_mut().map(|commanded| &mut commanded.at);
        let quarantine = self.quarantine.iter_mut().map(|quarantine| &mut quarantine.since);
        let boot = self.last_boot.iter_mut().map(|boot| &mut boot.at);
        commanded.chain(quarantine).chain(boot).for_each(|moment| *moment = Moment::ZERO);
        let Some(RunningOrder { record, .. }) = &mut self.running else { return };
        record.began = Moment::ZERO;
        (record.task.may_cut_at, record.task.may_light_at) = (Moment::ZERO, Moment::ZERO);
        for moment in [&mut record.cut, &mut record.lit] {
            *moment = moment.map(|_| Moment::ZERO);
        }
        record.reached = record.reached.map(|(state, _)| (state, Moment::ZERO));
    }
}
