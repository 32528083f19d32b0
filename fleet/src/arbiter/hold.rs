//! Locks of people on a machine: which there are, whom they stand against, how they are taken and how they end. Pure.
//!
//! A machine has at most one lock of each kind. No end of a lock moves anything: afterwards the machine is the
//! policies' again, and a later plan may move it.

use std::collections::BTreeMap;
use std::time::Duration;

use super::{Refusal, RefusalCode, spoken};
use crate::{MachineName, Moment, OperationId, Reason};

/// What kind of lock it is. Where a machine has several, the first of them in this order is told first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum HoldKind {
    /// It is being worked on: no policy moves it, and what its hardware does is nobody's business meanwhile.
    Maintenance,
    /// It is somebody's: no policy moves it, and no other person without saying so.
    Reservation,
    /// A person switched it off.
    Off,
    /// It stays as it is: no policy moves it.
    Hold,
    /// Policies have switched it too often: no person's lock, but ended like one. See [`super::wear`].
    Flapping,
}

impl HoldKind {
    /// Those of people, in the order in which they are told.
    pub const ALL: [HoldKind; 4] =
        [HoldKind::Maintenance, HoldKind::Reservation, HoldKind::Off, HoldKind::Hold];

    /// The kind as a word for a person.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            HoldKind::Maintenance => "maintenance",
            HoldKind::Reservation => "reserved",
            HoldKind::Off => "off",
            HoldKind::Hold => "hold",
            HoldKind::Flapping => "flapping",
        }
    }
}

/// When a lock ends by itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Expiry {
    /// Never.
    Never,
    /// Then.
    At(Moment),
    /// It had a span, and the host was started anew since: how much of it is left nobody can measure, so that it
    /// stays until it is released.
    Lost,
}

/// A person's lock on a machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hold {
    /// What kind of lock it is.
    pub kind: HoldKind,
    /// Whose it is.
    pub by: String,
    /// Why.
    pub reason: Reason,
    /// Since when.
    pub since: Moment,
    /// When it ends by itself.
    pub expiry: Expiry,
    /// The order that made it, if one did.
    pub operation: Option<OperationId>,
}

impl Hold {
    /// Whether it still stands against anybody. One that has expired is only told.
    #[must_use]
    pub fn binds(&self, now: Moment) -> bool {
        match self.expiry {
            Expiry::Never | Expiry::Lost => true,
            Expiry::At(end) => now < end,
        }
    }

    /// The refusal of an order that it stands against.
    pub(super) fn refusal(&self, machine: &MachineName, now: Moment) -> Refusal {
        let (by, why) = (&self.by, &self.reason);
        let since = spoken(now.since(self.since));
        let (is, ends) = match self.kind {
            HoldKind::Off => {
                ("is held off by", format!("`power-agent release {machine}` ends the hold"))
            }
            HoldKind::Hold => {
                ("is held by", format!("`power-agent release {machine}` ends the hold"))
            }
            HoldKind::Flapping => (
                "flaps, says the",
                format!(
                    "no policy moves it {}; look why, then `power-agent release {machine}`",
                    self.left(now)
                ),
            ),
            HoldKind::Maintenance => (
                "is in maintenance by",
                format!("`power-agent maintenance off {machine}` ends the maintenance"),
            ),
            HoldKind::Reservation => (
                "is reserved by",
                format!(
                    "{}; ask {by}, who ends it with `power-agent release {machine}`, or say --force",
                    self.left(now)
                ),
            ),
        };
        let code = match self.kind {
            HoldKind::Reservation => RefusalCode::Reserved,
            HoldKind::Flapping => RefusalCode::Flapping,
            HoldKind::Off | HoldKind::Hold | HoldKind::Maintenance => RefusalCode::Held,
        };
        Refusal { code, text: format!("{machine} {is} {by} since {since} ({why}); {ends}") }
    }

    fn left(&self, now: Moment) -> String {
        match self.expiry {
            Expiry::Never => "until it is released".to_owned(),
            Expiry::At(end) => format!("for another {}", spoken(end.since(now))),
            Expiry::Lost => {
                "until it is released, because its span could not be measured over a reboot"
                    .to_owned()
            }
        }
    }
}

/// What a person asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HoldAsked {
    /// What kind of lock.
    pub kind: HoldKind,
    /// Who asks.
    pub by: String,
    /// Why.
    pub reason: Reason,
    /// How long; `None`: until it is released.
    pub span: Option<Duration>,
    /// Whether it may take the place of another person's reservation.
    pub force: bool,
}

/// What became of the wish to end locks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Released {
    /// What is left.
    pub left: Holds,
    /// What has ended, in the order in which locks are told.
    pub ended: Vec<Hold>,
    /// Why something was not ended: it is another person's reservation.
    pub refused: Option<Refusal>,
}

/// The locks on one machine.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Holds(BTreeMap<HoldKind, Hold>);

impl Holds {
    /// All of them, also those that have expired, in the order in which they are told.
    pub fn iter(&self) -> impl Iterator<Item = &Hold> {
        self.0.values()
    }

    /// The lock of a kind, also one that has expired.
    #[must_use]
    pub fn of(&self, kind: HoldKind) -> Option<&Hold> {
        self.0.get(&kind)
    }

    /// Puts a lock in the place of the one of its kind.
    pub fn put(&mut self, hold: Hold) {
        self.0.insert(hold.kind, hold);
    }

    /// The foremost lock that stands against policies now.
    #[must_use]
    pub fn foremost(&self, now: Moment) -> Option<&Hold> {
        self.iter().find(|hold| hold.binds(now))
    }

    /// The reservation that stands against this person now.
    #[must_use]
    pub fn against(&self, person: &str, now: Moment) -> Option<&Hold> {
        self.of(HoldKind::Reservation).filter(|hold| hold.binds(now) && hold.by != person)
    }

    /// The lock that a person gets who asks for one: a new one, their own with another reason and span, or, where
    /// the machine is held by another person in the same way, that one as it is.
    ///
    /// # Errors
    /// Where it is reserved by another person, and that was not said to be known.
    pub fn take(
        &self,
        asked: HoldAsked,
        machine: &MachineName,
        now: Moment,
    ) -> Result<Hold, Refusal> {
        let there = self.of(asked.kind).filter(|hold| hold.binds(now));
        let wanted = Hold {
            kind: asked.kind,
            by: asked.by,
            reason: asked.reason,
            since: now,
            expiry: asked.span.map_or(Expiry::Never, |span| Expiry::At(now + span)),
            operation: None,
        };
        match there {
            None => Ok(wanted),
            Some(own) if own.by == wanted.by => {
                Ok(Hold { since: own.since, operation: own.operation.clone(), ..wanted })
            }
            Some(other) if other.kind != HoldKind::Reservation => Ok(other.clone()),
            Some(_) if asked.force => Ok(wanted),
            Some(other) => Err(other.refusal(machine, now)),
        }
    }

    /// Ends the locks of a kind, or all; another person's reservation only where that is forced.
    #[must_use]
    pub fn release(
        &self,
        kind: Option<HoldKind>,
        (by, force): (&str, bool),
        machine: &MachineName,
        now: Moment,
    ) -> Released {
        let mut left = self.clone();
        let theirs = self.against(by, now).filter(|_| !force);
        let ends = |hold: &Hold| {
            kind.is_none_or(|kind| kind == hold.kind)
                && theirs.is_none_or(|theirs| theirs.kind != hold.kind)
        };
        let ended: Vec<Hold> = self.iter().filter(|hold| ends(hold)).cloned().collect();
        left.0.retain(|_, hold| !ends(hold));
        let stays = theirs.filter(|theirs| kind.is_none_or(|kind| kind == theirs.kind));
        Released { left, ended, refused: stays.map(|theirs| theirs.refusal(machine, now)) }
    }

    /// Forgets the lock of a kind.
    pub fn remove(&mut self, kind: HoldKind) {
        self.0.remove(&kind);
    }

    /// Ends the lock that came with an order.
    pub fn drop_with(&mut self, operation: &OperationId) {
        self.0.retain(|_, hold| hold.operation.as_ref() != Some(operation));
    }
}

impl Extend<Hold> for Holds {
    fn extend<T: IntoIterator<Item = Hold>>(&mut self, holds: T) {
        self.0.extend(holds.into_iter().map(|hold| (hold.kind, hold)));
    }
}

impl FromIterator<Hold> for Holds {
    fn from_iter<T: IntoIterator<Item = Hold>>(holds: T) -> Self {
        let mut all = Self::default();
        all.extend(holds);
        all
    }
}
