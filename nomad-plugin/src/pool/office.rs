//! Who acts for the pool: the lease, and the record that it stands in. It says what is to be read or
//! written; the loop has it done and tells what came of it.

use std::time::Duration;

use fleet::lease::{Lease, Step};
use fleet::reconciler::Standing;
use fleet::{FenceNumber, HolderId, Moment};

use super::executor::chain;
use super::record::{Keeper, Members, Record, RecordError, Saved, Targets};

/// How long a record that could not be read or written rests.
const RECORD_RETRY: Duration = Duration::from_secs(2);

/// The pool's record and the lease in it.
#[derive(Debug)]
pub(super) struct Office {
    keeper: Keeper,
    lease: Lease,
    heartbeat: Duration,
    record: Record,
    /// The highest fence of all records that this process has read or written: one that is restored from
    /// a snapshot carries a lower one.
    highest: FenceNumber,
    busy: bool,
    retry_at: Moment,
    watch_at: Moment,
    /// What went wrong last, until something goes right.
    pub(super) problem: Option<String>,
}

/// What the office must know of the pool to say what is next.
#[derive(Debug)]
pub(super) struct Circumstances<'a> {
    /// What must be on disk; `None` while nobody acts.
    pub(super) standing: Option<Standing>,
    /// Whether enough is known to take the lease.
    pub(super) may_take: bool,
    /// The highest fence that any reachable agent knows of this pool.
    pub(super) highest: FenceNumber,
    /// The target blocks, for who takes over and for people who read the record.
    pub(super) targets: &'a Targets,
    /// The machines of the agents that have been heard.
    pub(super) members: Members,
}

/// What is to be done to the record.
#[derive(Debug)]
pub(super) enum Errand {
    /// Read it.
    Read(Keeper),
    /// Write it where its index is still this.
    Write(Keeper, Box<Record>, u64),
}

/// What came of an errand.
#[derive(Debug)]
pub(super) enum Returned {
    /// It was read, or not.
    Read(Result<(Record, u64), RecordError>),
    /// It was written, or not.
    Wrote(Box<Record>, Result<Saved, RecordError>),
}

/// What that means for the pool.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Turn {
    /// The lease is ours, or still ours.
    InOffice,
    /// Somebody else has written the record: we must not act any more.
    Lost,
    /// Nothing has changed for the pool.
    Same,
}

impl Errand {
    /// Does it.
    pub(super) async fn run(self) -> Returned {
        match self {
            Errand::Read(keeper) => Returned::Read(keeper.read().await),
            Errand::Write(keeper, record, index) => {
                let saved = keeper.write(&record, index).await;
                Returned::Wrote(record, saved)
            }
        }
    }
}

impl Office {
    pub(super) fn new(keeper: Keeper, me: HolderId, heartbeat: Duration) -> Self {
        Self {
            keeper,
            lease: Lease::new(me, heartbeat),
            heartbeat,
            record: Record::default(),
            highest: FenceNumber::default(),
            busy: false,
            retry_at: Moment::ZERO,
            watch_at: Moment::ZERO,
            problem: None,
        }
    }

    /// Our fence, while we hold the lease.
    pub(super) fn fence(&self) -> Option<FenceNumber> {
        self.lease.fence()
    }

    /// Whether our last heartbeat is so old that others may have taken the lease.
    pub(super) fn is_overdue(&self, now: Moment) -> bool {
        self.lease.is_overdue(now)
    }

    /// Who else holds it, as far as is known.
    pub(super) fn other(&self) -> Option<&HolderId> {
        self.lease.other()
    }

    /// What the record said, or says by our own write.
    pub(super) fn standing(&self) -> &Standing {
        &self.record.standing
    }

    /// The target blocks of the record.
    pub(super) fn targets(&self) -> &Targets {
        &self.record.targets
    }

    /// The machines of each agent by the record.
    pub(super) fn members(&self) -> &Members {
        &self.record.members
    }

    /// What is to be done to the record now, if something is, and when to ask again.
    pub(super) fn poll(
        &mut self,
        around: Circumstances<'_>,
        now: Moment,
        later: Moment,
    ) -> (Option<Errand>, Moment) {
        if self.busy {
            return (None, later);
        }
        if self.retry_at > now {
            return (None, self.retry_at);
        }
        let unsaved = around.standing.as_ref().is_some_and(|s| *s != self.record.standing);
        let step = match self.lease.poll(now) {
            Step::Wait(_) if unsaved && self.lease.fence().is_some() => {
                Step::Beat { index: self.lease.index() }
            }
            step => step,
        };
        match step {
            Step::Read => (Some(self.read(now)), later),
            // While another holds the lease, its heartbeat is looked at.
            Step::Wait(_) if self.lease.is_watching() && self.watch_at <= now => {
                (Some(self.read(now)), later)
            }
            Step::Wait(until) if self.lease.is_watching() => (None, until.min(self.watch_at)),
            Step::Wait(until) => (None, until),
            Step::Take { .. } if !around.may_take => (None, later),
            Step::Take { index } => {
                let known = self.record.fence.max(around.highest).max(self.highest);
                let fence = FenceNumber(known.0.saturating_add(1));
                (Some(self.write(around, Some(fence), index)), later)
            }
            Step::Beat { index } => {
                let ours = self.lease.fence().unwrap_or_default();
                // An agent that was silent when we took the lease may know a higher number.
                let higher = around.highest > ours;
                let next = FenceNumber(around.highest.0.saturating_add(1));
                let fence = if higher { next } else { ours };
                (Some(self.write(around, Some(fence), index)), later)
            }
        }
    }

    fn read(&mut self, now: Moment) -> Errand {
        self.busy = true;
        self.watch_at = now + self.heartbeat;
        Errand::Read(self.keeper.clone())
    }

    /// `fence`: by which we hold the lease; `None` gives it back.
    fn write(
        &mut self,
        around: Circumstances<'_>,
        fence: Option<FenceNumber>,
        index: u64,
    ) -> Errand {
        self.busy = true;
        let standing = around.standing.unwrap_or_else(|| self.record.standing.clone());
        // Policies that have not called here yet keep their blocks as long as their demands live.
        let mut targets = self.record.targets.clone();
        targets.retain(|voice, _| standing.levels.contains_key(voice));
        targets.extend(around.targets.clone());
        let record = Record {
            standing,
            holder: fence.map(|_| self.lease.me().clone()),
            fence: fence.unwrap_or(self.record.fence),
            beat: self.record.beat + 1,
            targets,
            // Of an agent that has not been heard yet the record knows more.
            members: self.record.members.clone().into_iter().chain(around.members).collect(),
        };
        Errand::Write(self.keeper.clone(), Box::new(record), index)
    }

    /// Takes what came of an errand.
    pub(super) fn returned(&mut self, returned: Returned, now: Moment) -> Turn {
        self.busy = false;
        match returned {
            Returned::Read(Ok((record, index))) => {
                self.problem = None;
                self.lease.read(&record.lease(index), now);
                self.highest = self.highest.max(record.fence);
                self.record = record;
                Turn::Same
            }
            Returned::Wrote(record, Ok(Saved::At(index))) => {
                self.problem = None;
                self.lease.written(index, record.fence, now);
                self.highest = self.highest.max(record.fence);
                self.record = *record;
                Turn::InOffice
            }
            Returned::Wrote(_, Ok(Saved::Conflict)) => {
                self.lease.lost();
                Turn::Lost
            }
            Returned::Read(Err(error)) | Returned::Wrote(_, Err(error)) => {
                self.retry_at = now + RECORD_RETRY;
                let why = chain(&error);
                // Said once, and again when the reason is another.
                if self.problem.as_ref() != Some(&why) {
                    tracing::warn!(err = %why, "the pool's record was not kept");
                }
                self.problem = Some(why);
                Turn::Same
            }
        }
    }

    /// Gives the lease back, so that a successor need not wait for it to grow stale.
    pub(super) fn release(&mut self, around: Circumstances<'_>) -> Option<Errand> {
        if self.busy || self.lease.fence().is_none() {
            return None;
        }
        let index = self.lease.index();
        Some(self.write(around, None, index))
    }
}
