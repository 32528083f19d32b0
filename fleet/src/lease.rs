//! Who may act for a pool: a lease in the pool's record, with a fence that only grows.
//!
//! Timestamps are never compared: a heartbeat is stale when the record has not changed for
//! [`STALE_BEATS`] periods on the observer's own monotonic clock.

use std::time::Duration;

use crate::{FenceNumber, HolderId, Moment};

/// Heartbeats that may be missed: one may be late and one lost; three in a row are a dead holder.
pub const STALE_BEATS: u32 = 3;

/// The lease as one process sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lease {
    me: HolderId,
    period: Duration,
    state: State,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum State {
    /// The record has not been read yet, or has to be read again.
    Unread,
    /// Somebody else may hold it: this is how the record was found, and since when it has been so.
    Watching { index: u64, holder: Option<HolderId>, since: Moment },
    /// Ours, by the write at this index.
    Held { index: u64, fence: FenceNumber, beaten: Moment },
}

/// What the record says of the lease.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct LeaseRecord {
    /// The record's index: the compare in compare-and-set. 0: there is no record.
    pub index: u64,
    /// Who holds it. `None`: released.
    pub holder: Option<HolderId>,
    /// The highest fence ever taken.
    pub fence: FenceNumber,
}

/// What the lease needs now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// Read the record.
    Read,
    /// Write the record with us as holder and a number above every one known, where its index is this.
    Take {
        /// The index to compare with.
        index: u64,
    },
    /// Write the record again, where its index is this: the heartbeat.
    Beat {
        /// The index to compare with.
        index: u64,
    },
    /// Nothing until then.
    Wait(Moment),
}

impl Lease {
    /// A lease that has not been looked at yet.
    #[must_use]
    pub const fn new(me: HolderId, period: Duration) -> Self {
        Self { me, period, state: State::Unread }
    }

    /// This process's name as holder.
    #[must_use]
    pub const fn me(&self) -> &HolderId {
        &self.me
    }

    /// Our fence, while the lease is ours.
    #[must_use]
    pub const fn fence(&self) -> Option<FenceNumber> {
        match self.state {
            State::Held { fence, .. } => Some(fence),
            State::Unread | State::Watching { .. } => None,
        }
    }

    /// Whether we hold it by a heartbeat so old that others may have taken it: until one is written, or
    /// another holder is read, nothing may be done by it.
    #[must_use]
    pub fn is_overdue(&self, now: Moment) -> bool {
        match self.state {
            State::Held { beaten, .. } => now.since(beaten) >= self.period * STALE_BEATS,
            State::Unread | State::Watching { .. } => false,
        }
    }

    /// Who else holds it, as far as is known.
    #[must_use]
    pub const fn other(&self) -> Option<&HolderId> {
        match &self.state {
            State::Watching { holder, .. } => holder.as_ref(),
            State::Unread | State::Held { .. } => None,
        }
    }

    /// The index of the record as last seen; the compare of the next write.
    #[must_use]
    pub const fn index(&self) -> u64 {
        match self.state {
            State::Held { index, .. } | State::Watching { index, .. } => index,
            State::Unread => 0,
        }
    }

    /// Takes the record as read.
    pub fn read(&mut self, record: &LeaseRecord, now: Moment) {
        let same = matches!(&self.state, State::Watching { index, .. } if *index == record.index);
        if !same {
            let (index, holder) = (record.index, record.holder.clone());
            self.state = State::Watching { index, holder, since: now };
        }
    }

    /// A write of ours was done at this index, with this fence.
    pub fn written(&mut self, index: u64, fence: FenceNumber, now: Moment) {
        self.state = State::Held { index, fence, beaten: now };
    }

    /// A write of ours lost its compare-and-set: somebody else wrote. We step down.
    pub fn lost(&mut self) {
        self.state = State::Unread;
    }

    /// What is needed now.
    #[must_use]
    pub fn poll(&self, now: Moment) -> Step {
        match &self.state {
            State::Unread => Step::Read,
            State::Watching { index, holder: None, .. } => Step::Take { index: *index },
            State::Watching { index, holder: Some(holder), since } => {
                let stale = *since + self.period * STALE_BEATS;
                if *holder == self.me || now >= stale {
                    Step::Take { index: *index }
                } else {
                    Step::Wait(stale.min(now + self.period))
                }
            }
            State::Held { index, beaten, .. } if now.since(*beaten) >= self.period => {
                Step::Beat { index: *index }
            }
            State::Held { beaten, .. } => Step::Wait(*beaten + self.period),
        }
    }

    /// Whether a lease that is not ours should be read again now: each period while watching.
    #[must_use]
    pub const fn is_watching(&self) -> bool {
        matches!(self.state, State::Watching { .. })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PERIOD: Duration = Duration::from_secs(10);

    fn at(seconds: u64) -> Moment {
        Moment::from_millis(seconds * 1000)
    }

    fn lease() -> Lease {
        Lease::new(HolderId::new("me").unwrap(), PERIOD)
    }

    fn held_by_other(index: u64) -> LeaseRecord {
        let holder = Some(HolderId::new("other").unwrap());
        LeaseRecord { index, holder, fence: FenceNumber(7) }
    }

    #[test]
    fn no_record_is_taken_at_once_and_then_beaten() {
        let mut lease = lease();
        assert_eq!(lease.poll(at(0)), Step::Read);
        lease.read(&LeaseRecord::default(), at(0));
        assert_eq!(lease.poll(at(0)), Step::Take { index: 0 });
        lease.written(5, FenceNumber(1), at(1));
        assert_eq!(lease.fence(), Some(FenceNumber(1)));
        assert_eq!(lease.poll(at(2)), Step::Wait(at(11)));
        assert_eq!(lease.poll(at(11)), Step::Beat { index: 5 });
    }

    #[test]
    fn a_holder_that_beats_keeps_its_lease_and_one_that_does_not_loses_it() {
        let mut lease = lease();
        for beat in 0..10 {
            lease.read(&held_by_other(beat + 1), at(beat * 10));
            assert!(matches!(lease.poll(at(beat * 10 + 9)), Step::Wait(_)));
        }
        for second in 90..120 {
            lease.read(&held_by_other(10), at(second));
            assert!(matches!(lease.poll(at(second)), Step::Wait(_)), "{second}");
        }
        lease.read(&held_by_other(10), at(120));
        assert_eq!(lease.poll(at(120)), Step::Take { index: 10 });
    }

    #[test]
    fn a_lease_whose_heartbeat_can_not_be_written_is_overdue_when_others_may_take_it() {
        let mut lease = lease();
        assert!(!lease.is_overdue(at(100)), "it is not ours");
        lease.written(5, FenceNumber(1), at(0));
        assert!(!lease.is_overdue(at(29)));
        assert!(lease.is_overdue(at(30)));
        lease.written(6, FenceNumber(1), at(31));
        assert!(!lease.is_overdue(at(32)));
    }

    #[test]
    fn who_loses_a_compare_and_set_steps_down() {
        let mut lease = lease();
        lease.read(&LeaseRecord::default(), at(0));
        lease.written(5, FenceNumber(1), at(1));
        lease.lost();
        assert_eq!((lease.fence(), lease.poll(at(2))), (None, Step::Read));
        lease.read(&held_by_other(6), at(2));
        assert!(matches!(lease.poll(at(20)), Step::Wait(_)));
    }
}
