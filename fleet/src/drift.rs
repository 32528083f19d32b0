//! What is done about a machine that reads otherwise than it was last ordered: readings and time in, a word out. Pure.
//!
//! Only what has been seen to change is acted on: a machine that reads otherwise since the agent has begun to look may
//! have been so for a week, and whoever needs it orders it anew. Nothing is ever cut: a machine that is on and should be
//! off may have been switched on by somebody who stands in front of it, and may have work.

use std::time::Duration;

use crate::lines::Agreement;
use crate::{LinesSeen, Moment, OperationId, PowerState};

/// How many readings must agree that the machine is not as ordered: one may be a board that was waking up.
pub const READINGS_MIN: u32 = 2;

/// How often a machine is lit again until somebody has to look: a contact that opened three times by itself opens a
/// fourth time.
pub const TRIES_MAX: u32 = 3;

/// The pause between two tries: a machine that is lit again has drawn its inrush, and its board has been read, by then.
pub const REST: Duration = Duration::from_secs(60);

/// The pause between two machines that one agent lights again: mains that return bring back many at once, and their
/// inrush must not come at once too.
pub const STAGGER: Duration = Duration::from_secs(5);

/// What the rack file wants done.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub enum DriftPolicy {
    /// It is told.
    #[default]
    Report,
    /// It is told, and a machine that should be on is lit again.
    Enforce,
}

impl DriftPolicy {
    /// `"report"` or `"enforce"`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            DriftPolicy::Report => "report",
            DriftPolicy::Enforce => "enforce",
        }
    }
}

/// One reading of a machine, and what decides what may be done about it.
#[derive(Debug, Clone, Copy)]
pub struct Seen<'a> {
    /// What was last ordered and driven, and by which order; `None`: nothing is wanted.
    pub wanted: Option<(PowerState, &'a OperationId)>,
    /// What its outlets say now.
    pub lines: LinesSeen,
    /// Whether a sequence runs on it: then its outlets are on their way.
    pub busy: bool,
    /// Whether nobody but a person moves it: it is held, reserved, or in quarantine.
    pub barred: bool,
    /// What the rack file wants done.
    pub policy: DriftPolicy,
    /// When this agent last lit a machine again, whichever.
    pub last_try: Option<Moment>,
}

/// What is to be done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// Nothing that is new.
    Nothing,
    /// It has begun: a person is told.
    Report,
    /// It is lit again, by an order like any other; answer with [`DriftWatch::tried`]. It is reported too if it is new.
    Enforce {
        /// Whether nobody has been told yet.
        is_new: bool,
    },
    /// All tries are used up: a person must look.
    GiveUp,
    /// It reads as ordered again.
    Over,
}

/// A machine that is not as ordered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Drift {
    /// When it was read so first.
    pub since: Moment,
    /// What was ordered.
    pub wanted: PowerState,
    /// What at least one of its outlets reads.
    pub read: PowerState,
    /// How often it was lit again.
    pub tries: u32,
    /// Whether all tries are used up.
    pub gave_up: bool,
}

/// What is remembered of one machine between two readings. It does not outlive the agent.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct DriftWatch {
    /// The order that is wanted: another one begins anew.
    order: Option<OperationId>,
    /// Whether the machine has been read as this order wants it.
    was_so: bool,
    /// Readings in a row against it.
    against: u32,
    drift: Option<Drift>,
    rest_until: Option<Moment>,
}

impl DriftWatch {
    /// What a person may be told: nothing before [`READINGS_MIN`] readings agree.
    #[must_use]
    pub fn drift(&self) -> Option<Drift> {
        self.drift.filter(|_| self.against >= READINGS_MIN)
    }

    /// When it is lit again at the earliest, if nothing changes. `None`: it is not, or is as it was ordered.
    #[must_use]
    pub fn relit_at(&self, seen: Seen<'_>, now: Moment) -> Option<Moment> {
        let (wanted, order) = seen.wanted?;
        let drift = self.drift()?;
        let ours = self.order.as_ref() == Some(order) && !seen.busy;
        if !ours || !self.may_relight(&drift, &seen, wanted) || drift.tries >= TRIES_MAX {
            return None;
        }
        let others = seen.last_try.map_or(now, |last| last + STAGGER);
        Some(now.max(others).max(self.rest_until.unwrap_or(now)))
    }

    fn may_relight(&self, drift: &Drift, seen: &Seen<'_>, wanted: PowerState) -> bool {
        wanted == PowerState::On
            && seen.policy == DriftPolicy::Enforce
            && self.was_so
            && !seen.barred
            && !drift.gave_up
    }

    /// Takes a reading.
    pub fn see(&mut self, seen: Seen<'_>, now: Moment) -> Verdict {
        let Some((wanted, order)) = seen.wanted else {
            *self = Self::default();
            return Verdict::Nothing;
        };
        if self.order.as_ref() != Some(order) {
            *self = Self { order: Some(order.clone()), ..Self::default() };
        }
        if seen.busy {
            // What is on its way is neither so nor otherwise; what was told stays told until it has arrived.
            return Verdict::Nothing;
        }
        match seen.lines.agreement(wanted) {
            Agreement::Confirmed => {
                let was_told = self.drift().is_some();
                *self = Self { order: self.order.take(), was_so: true, ..Self::default() };
                if was_told { Verdict::Over } else { Verdict::Nothing }
            }
            // A reading that says nothing is no witness for either.
            Agreement::CanNotTell => Verdict::Nothing,
            Agreement::Contradicted => self.contradicted(seen, wanted, now),
        }
    }

    /// The order of an [`Verdict::Enforce`] was taken; a refused one moved nothing and counts for nothing.
    pub fn tried(&mut self) {
        if let Some(drift) = &mut self.drift {
            drift.tries = drift.tries.saturating_add(1);
        }
    }

    fn contradicted(&mut self, seen: Seen<'_>, wanted: PowerState, now: Moment) -> Verdict {
        let read = match wanted {
            PowerState::On => PowerState::Off,
            PowerState::Off => PowerState::On,
        };
        let drift =
            *self.drift.get_or_insert(Drift { since: now, wanted, read, tries: 0, gave_up: false });
        self.against = self.against.saturating_add(1);
        if self.against < READINGS_MIN {
            return Verdict::Nothing;
        }
        let is_new = self.against == READINGS_MIN;
        let told = if is_new { Verdict::Report } else { Verdict::Nothing };
        let may = self.may_relight(&drift, &seen, wanted);
        let rests = self.rest_until.is_some_and(|until| now < until);
        let others = seen.last_try.is_some_and(|last| now.since(last) < STAGGER);
        if !may || rests || others {
            return told;
        }
        if drift.tries >= TRIES_MAX {
            self.drift = Some(Drift { gave_up: true, ..drift });
            return Verdict::GiveUp;
        }
        self.rest_until = Some(now + REST);
        Verdict::Enforce { is_new }
    }
}
