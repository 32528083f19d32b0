//! How often somebody may: a token bucket for each name, on a clock that is passed in.

use std::collections::BTreeMap;
use std::time::Duration;

use fleet::Moment;

/// What a bucket holds when it is full: what may be done within this may also be done at once, because a whole rack
/// is ordered on in one go.
pub const WINDOW: Duration = Duration::from_secs(60);

/// How many orders a minute a name may give where the rack file says nothing: each machine of a rack of 256 twice over,
/// and far less than a loop that has run wild gives.
pub const ORDERS_PER_MINUTE_DEFAULT: u32 = 600;

/// The most that the rack file may allow: a thousand orders a second is no limit any more.
pub const ORDERS_PER_MINUTE_MAX: u32 = 60_000;

/// How many calls of all kinds a minute a name may make: a plugin makes some ten a second in a large pool, and a
/// command line one for each machine.
pub const CALLS_PER_MINUTE: u32 = 6000;

/// How many connections from the network one name may have open: each process of a plugin has one, and scripts a few.
pub const CONNECTIONS_PER_NAME_MAX: u32 = 32;

/// How many names are counted at once. Only names with a role are counted, so that strangers take no place.
const NAMES_MAX: usize = 4096;

/// One bucket for each name.
#[derive(Debug, Clone, Default)]
pub struct Quota {
    /// When each name's bucket is full again.
    full_at: BTreeMap<String, Moment>,
}

impl Quota {
    /// Takes one token of `who`, whose bucket fills at `per_minute`.
    ///
    /// # Errors
    /// How long until there is one, where the bucket is empty; asking costs nothing.
    pub fn take(&mut self, who: &str, per_minute: u32, now: Moment) -> Result<(), Duration> {
        self.take_of(who, (per_minute, WINDOW), now)
    }

    /// The same of a bucket that fills with so many in another time than a minute.
    ///
    /// # Errors
    /// As [`Quota::take`].
    pub fn take_of(
        &mut self,
        who: &str,
        (count, window): (u32, Duration),
        now: Moment,
    ) -> Result<(), Duration> {
        let cost = window / count.max(1);
        let full_at = self.full_at.get(who).copied().filter(|at| *at > now).unwrap_or(now);
        let next = full_at + cost;
        let owed = next.since(now);
        if owed > window {
            return Err(owed - window);
        }
        if !self.full_at.contains_key(who) && self.full_at.len() >= NAMES_MAX {
            // Full buckets hold nothing that is worth remembering.
            self.full_at.retain(|_, at| *at > now);
        }
        self.full_at.insert(who.to_owned(), next);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(ms: u64) -> Moment {
        Moment::from_millis(ms)
    }

    #[test]
    fn a_minutes_worth_may_come_at_once_and_then_one_by_one() {
        let mut quota = Quota::default();
        for _ in 0..60 {
            assert_eq!(quota.take("ada", 60, at(1000)), Ok(()));
        }
        assert_eq!(quota.take("ada", 60, at(1000)), Err(Duration::from_secs(1)));
        assert_eq!(quota.take("ada", 60, at(1400)), Err(Duration::from_millis(600)));
        assert_eq!(quota.take("ada", 60, at(2000)), Ok(()));
        assert_eq!(quota.take("ada", 60, at(2000)), Err(Duration::from_secs(1)));
    }

    #[test]
    fn one_name_takes_nothing_from_another() {
        let mut quota = Quota::default();
        assert_eq!(quota.take("ada", 1, at(0)), Ok(()));
        assert!(quota.take("ada", 1, at(0)).is_err());
        assert_eq!(quota.take("bob", 1, at(0)), Ok(()));
    }

    #[test]
    fn never_more_than_a_bucket_and_what_has_run_in_since() {
        let mut quota = Quota::default();
        let mut taken = 0_u64;
        for ms in 0..300_000 {
            if quota.take("ada", 600, at(ms)).is_ok() {
                taken += 1;
            }
        }
        // 600 at once, and one each 100 ms of the 299,999 ms after that.
        assert_eq!(taken, 600 + 2999);
    }

    #[test]
    fn names_that_have_their_tokens_back_make_room() {
        let mut quota = Quota::default();
        for name in 0..NAMES_MAX {
            quota.take(&name.to_string(), 60, at(0)).unwrap();
        }
        quota.take("late", 60, at(120_000)).unwrap();
        assert_eq!(quota.full_at.len(), 1);
    }
}
