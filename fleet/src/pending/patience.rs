//! What Nomad knows and we do not: work that waits beside a machine with room for it is given up for a while.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::{Distinct, GroupKey, Host, HostState, Pending, PlacedOn, WaitingGroup, Work, pending};
use crate::{FeedRooms, MachineName, Moment};

/// How long work may wait although a ready machine has room for it. Nomad places within a second;
/// a driver that is found late (docker after a cold boot) takes tens of seconds.
pub const PLACEMENT_GRACE: Duration = Duration::from_secs(60);

/// How long such work is not counted: as `drain_retry`, long enough that a machine that can not help
/// is not lit again and again, short enough that a healed cause is found.
pub const DOUBT_TIME: Duration = Duration::from_secs(60 * 60);

/// How many pairs of group and machine are watched: one for each machine of the largest pool that is
/// planned for. Beyond it a pair waits for its turn.
pub const WATCHED_MAX: usize = 10_000;

/// Why a group is not counted although it would fit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Doubt {
    /// The machine that had room for it.
    pub machine: MachineName,
    /// Until when it is not counted.
    pub until: Moment,
    version: u64,
    waiting: u32,
}

#[derive(Debug, Clone)]
struct Watched {
    version: u64,
    waiting: u32,
    /// Since when the machine is ready with room; `None`: not now.
    since: Option<Moment>,
}

/// What earlier answers left behind.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Learnt {
    /// Groups that are not counted: Nomad knows something of them that we do not.
    pub doubts: BTreeMap<GroupKey, Doubt>,
    /// Machines that were dark when they were chosen for work that waits still. They go on being
    /// chosen as dark ones while they boot: packed in another order, the same work might need one more.
    pub chosen: BTreeSet<MachineName>,
}

/// Remembers, over the queries of one pool, which work was placed in thought and not by Nomad.
///
/// A machine is watched for a group from when the group was first placed on it in thought, starting
/// or ready. When it has then been ready, with room for one instance, for [`PLACEMENT_GRACE`], and
/// not one instance of the group was placed meanwhile anywhere, Nomad knows something that we do not
/// model. The doubt ends with [`DOUBT_TIME`], a new version of the job, or any instance placed.
#[derive(Debug, Clone, Default)]
pub struct Patience {
    watched: BTreeMap<(GroupKey, MachineName), Watched>,
    learnt: Learnt,
}

impl Patience {
    /// Nothing is known yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Answers for one pool at `now`, and learns from what is seen.
    #[must_use]
    pub fn assess(
        &mut self,
        work: &Work,
        hosts: &[Host],
        feeds: &FeedRooms,
        now: Moment,
    ) -> Pending {
        let groups: BTreeMap<&GroupKey, &WaitingGroup> =
            work.waiting.iter().filter(|g| g.count > 0).map(|g| (&g.key, g)).collect();
        self.learnt.doubts.retain(|key, doubt| {
            now < doubt.until
                && groups.get(key).is_some_and(|group| {
                    group.version == doubt.version && group.count >= doubt.waiting
                })
        });
        self.look(&groups, hosts, now);
        let answer = pending(work, hosts, feeds, &self.learnt);
        let chosen = &mut self.learnt.chosen;
        chosen.retain(|machine| answer.needed.contains_key(machine));
        let dark = answer.needed.iter().filter(|(_, on)| **on == PlacedOn::Dark);
        chosen.extend(dark.map(|(machine, _)| machine.clone()));
        self.watch(&groups, &answer, now);
        answer
    }

    /// The groups that are not counted now.
    #[must_use]
    pub fn doubts(&self) -> &BTreeMap<GroupKey, Doubt> {
        &self.learnt.doubts
    }

    fn look(&mut self, groups: &BTreeMap<&GroupKey, &WaitingGroup>, hosts: &[Host], now: Moment) {
        let hosts: BTreeMap<&MachineName, &Host> =
            hosts.iter().map(|host| (&host.machine, host)).collect();
        let doubts = &mut self.learnt.doubts;
        self.watched.retain(|(key, machine), watched| {
            let (Some(group), Some(host)) = (groups.get(key), hosts.get(machine)) else {
                return false;
            };
            let is_up = matches!(host.state, HostState::Ready | HostState::Starting);
            if group.version != watched.version || !is_up || doubts.contains_key(key) {
                return false;
            }
            let was_placed = group.count < watched.waiting;
            watched.waiting = group.count;
            watched.since = match watched.since {
                _ if !has_room(host, group) => None,
                Some(since) if !was_placed => Some(since),
                Some(_) | None => Some(now),
            };
            if watched.since.is_some_and(|since| now.since(since) >= PLACEMENT_GRACE) {
                let doubt = Doubt {
                    machine: machine.clone(),
                    until: now + DOUBT_TIME,
                    version: group.version,
                    waiting: group.count,
                };
                doubts.insert(key.clone(), doubt);
                return false;
            }
            true
        });
    }

    fn watch(
        &mut self,
        groups: &BTreeMap<&GroupKey, &WaitingGroup>,
        answer: &Pending,
        now: Moment,
    ) {
        for placement in &answer.placements {
            let Some(group) = groups.get(&placement.key) else { continue };
            let pair = (placement.key.clone(), placement.machine.clone());
            let since = match placement.on {
                PlacedOn::Dark => continue,
                PlacedOn::Starting => None,
                PlacedOn::Idle | PlacedOn::Holder => Some(now),
            };
            if self.watched.len() < WATCHED_MAX || self.watched.contains_key(&pair) {
                let fresh = Watched { version: group.version, waiting: group.count, since };
                self.watched.entry(pair).or_insert(fresh);
            }
        }
    }
}

/// Whether one instance fits by its resources alone: a class that Nomad refuses is no excuse.
fn has_room(host: &Host, group: &WaitingGroup) -> bool {
    let free = host.shape.as_ref().map(|(shape, _)| shape.resources.less(&host.used));
    host.state == HostState::Ready
        && (group.ask.distinct == Distinct::No
            || !host.runs.iter().any(|key| key.job == group.key.job))
        && free.is_some_and(|free| free.holds(&group.ask.resources))
}
