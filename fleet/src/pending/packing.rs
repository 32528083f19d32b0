//! Where waiting instances would go: free room that costs nothing first, then as few further machines as we can find.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};

use super::kind::{Kinds, Suits, most};
use super::{Distinct, GroupKey, Host, HostState, PlacedOn, Placement, WaitingGroup, Work};
use crate::{FeedRooms, MachineName, NoRoom, Resources};

/// Groups largest first: by the share of the pool's largest machine that one instance takes; then by key.
pub(super) fn in_order<'w>(
    waiting: &'w [WaitingGroup],
    kinds: &Kinds<'_>,
) -> Vec<&'w WaitingGroup> {
    let mut groups: Vec<&WaitingGroup> = waiting.iter().filter(|group| group.count > 0).collect();
    groups.sort_by_cached_key(|group| {
        (Reverse(share(&group.ask.resources, &kinds.largest)), &group.key)
    });
    groups
}

/// The largest of the shares of a machine that an ask takes, in thousandths.
fn share(ask: &Resources, offer: &Resources) -> u64 {
    let of = |ask: u64, offer: u64| ask.saturating_mul(1000) / offer.max(1);
    of(ask.cpu_mhz, offer.cpu_mhz)
        .max(of(ask.memory_mb, offer.memory_mb))
        .max(of(ask.disk_mb, offer.disk_mb))
}

/// A machine to which work may go.
struct Slot<'a> {
    host: &'a Host,
    kind: usize,
    free: Resources,
    on: PlacedOn,
    /// It was dark when it was chosen for this work.
    was_dark: bool,
}

/// Machines that are not needed yet and alike in what they can take now.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Shelf {
    /// On or starting before dark.
    on: PlacedOn,
    /// The smallest first.
    free: [u64; 3],
    kind: usize,
}

/// The pool's machines while work is placed on them in thought.
pub(super) struct Rack<'a> {
    slots: Vec<Slot<'a>>,
    /// Machines that cost nothing: holders, and those that are needed already. By name.
    open: Vec<usize>,
    /// Machines that would each count one more, by name within a shelf.
    shelves: BTreeMap<Shelf, BTreeSet<usize>>,
    opened: BTreeMap<MachineName, PlacedOn>,
    /// For groups that keep apart: where their instances, or their job's, were placed.
    apart: BTreeMap<usize, BTreeSet<GroupKey>>,
    /// The room that is left on the feeds.
    feeds: FeedRooms,
    /// Dark machines that were wanted and have no room on a feed.
    unfed: BTreeMap<MachineName, NoRoom>,
    /// The least of each resource that any group asks: a machine with less is out of the game.
    least: Resources,
}

/// What became of one group.
pub(super) struct Placed {
    pub(super) instances: u32,
    pub(super) placements: Vec<Placement>,
    pub(super) assumed: BTreeSet<String>,
}

impl<'a> Rack<'a> {
    pub(super) fn new(
        kinds: &Kinds<'_>,
        hosts: &'a [Host],
        work: &Work,
        feeds: &FeedRooms,
        chosen: &BTreeSet<MachineName>,
    ) -> Self {
        let mut slots: Vec<Slot<'a>> = hosts
            .iter()
            .enumerate()
            .filter_map(|(at, host)| slot(host, kinds.of_host(at)?, kinds))
            .collect();
        for slot in &mut slots {
            slot.was_dark = chosen.contains(&slot.host.machine);
        }
        slots.sort_by(|a, b| a.host.machine.cmp(&b.host.machine));
        let mut rack = Self {
            slots,
            open: Vec::new(),
            shelves: BTreeMap::new(),
            opened: BTreeMap::new(),
            apart: BTreeMap::new(),
            feeds: feeds.clone(),
            unfed: BTreeMap::new(),
            least: least(&work.waiting),
        };
        for (at, slot) in rack.slots.iter().enumerate() {
            if !slot.free.holds(&rack.least) {
                continue;
            }
            match slot.shelf() {
                None => rack.open.push(at),
                Some(shelf) => {
                    rack.shelves.entry(shelf).or_default().insert(at);
                }
            }
        }
        rack
    }

    /// Machines that work needs beyond the holders.
    pub(super) fn opened(self) -> BTreeMap<MachineName, PlacedOn> {
        self.opened
    }

    /// Dark machines that were wanted and can not be fed: room on a feed only becomes less here.
    pub(super) const fn unfed(&self) -> &BTreeMap<MachineName, NoRoom> {
        &self.unfed
    }

    /// Places up to `wanted` instances of a group; `suits` by kind.
    pub(super) fn place(&mut self, group: &WaitingGroup, wanted: u32, suits: &[Suits]) -> Placed {
        let mut placed = Placed { instances: 0, placements: Vec::new(), assumed: BTreeSet::new() };
        let suited = |kind: usize| matches!(suits.get(kind), Some(Suits::Yes { .. }));
        for at in self.open.clone() {
            if placed.instances == wanted {
                break;
            }
            if self.slots.get(at).is_some_and(|slot| suited(slot.kind)) {
                self.put(at, group, wanted, suits, &mut placed);
            }
        }
        self.open.retain(|at| self.slots.get(*at).is_some_and(|slot| slot.free.holds(&self.least)));
        while placed.instances < wanted {
            let left = wanted.saturating_sub(placed.instances);
            let further = self.further(group, left, &suited);
            if further.is_empty() {
                break;
            }
            // Each leaves its shelf, so this ends: opened, or for good because its feed is full.
            for (shelf, at) in further {
                if self.open_up(shelf, at) {
                    self.put(at, group, wanted, suits, &mut placed);
                }
            }
        }
        placed
    }

    /// Further machines for `left` instances: on before dark; the smallest that takes all that is left,
    /// else those that take most, up to the one that would take all that is left after them.
    fn further(
        &self,
        group: &WaitingGroup,
        left: u32,
        suited: &impl Fn(usize) -> bool,
    ) -> Vec<(Shelf, usize)> {
        for on in [PlacedOn::Idle, PlacedOn::Dark] {
            let mut by_fits: BTreeMap<Reverse<u32>, Vec<(Shelf, usize)>> = BTreeMap::new();
            let smallest = Shelf { on, free: [group.ask.resources.cpu_mhz, 0, 0], kind: 0 };
            for (shelf, members) in self.shelves.range(smallest..).take_while(|(s, _)| s.on == on) {
                let fits = fits(&resources(shelf.free), &group.ask.resources, group.ask.distinct);
                if fits == 0 || !suited(shelf.kind) {
                    continue;
                }
                let mut able = members.iter().copied().filter(|at| !self.collides(*at, group));
                if fits >= left {
                    if let Some(at) = able.next() {
                        return vec![(*shelf, at)];
                    }
                    continue;
                }
                let enough = usize::try_from(left.div_ceil(fits)).unwrap_or(usize::MAX);
                let found = able.take(enough).map(|at| (*shelf, at));
                by_fits.entry(Reverse(fits)).or_default().extend(found);
            }
            let taken = taking_most(by_fits, left);
            if !taken.is_empty() {
                return taken;
            }
        }
        Vec::new()
    }

    /// Whether it could be: a dark machine needs room on its feeds.
    fn open_up(&mut self, shelf: Shelf, at: usize) -> bool {
        if let Some(members) = self.shelves.get_mut(&shelf) {
            members.remove(&at);
            if members.is_empty() {
                self.shelves.remove(&shelf);
            }
        }
        let Some(slot) = self.slots.get(at) else { return false };
        if slot.on == PlacedOn::Dark
            && let Err(full) = self.feeds.take(&slot.host.fed)
        {
            self.unfed.insert(slot.host.machine.clone(), full);
            return false;
        }
        self.opened.insert(slot.host.machine.clone(), slot.on);
        let place = self.open.partition_point(|other| *other < at);
        self.open.insert(place, at);
        true
    }

    fn put(
        &mut self,
        at: usize,
        group: &WaitingGroup,
        wanted: u32,
        suits: &[Suits],
        placed: &mut Placed,
    ) {
        if self.collides(at, group) {
            return;
        }
        let ask = &group.ask;
        let Some(slot) = self.slots.get_mut(at) else { return };
        let left = wanted.saturating_sub(placed.instances);
        let count = fits(&slot.free, &ask.resources, ask.distinct).min(left);
        if count == 0 {
            return;
        }
        slot.free = slot.free.less(&times(&ask.resources, count));
        placed.instances = placed.instances.saturating_add(count);
        placed.placements.push(Placement {
            key: group.key.clone(),
            machine: slot.host.machine.clone(),
            instances: count,
            on: slot.on,
        });
        if let Some(Suits::Yes { assumed }) = suits.get(slot.kind) {
            placed.assumed.extend(assumed.iter().cloned());
        }
        self.apart.entry(at).or_default().insert(group.key.clone());
    }

    /// Whether `distinct_hosts` forbids the machine to a group.
    fn collides(&self, at: usize, group: &WaitingGroup) -> bool {
        let key = &group.key;
        let taken = |found: &GroupKey| match group.ask.distinct {
            Distinct::No => false,
            Distinct::Group => found == key,
            Distinct::Job => found.namespace == key.namespace && found.job == key.job,
        };
        if group.ask.distinct == Distinct::No {
            return false;
        }
        self.slots.get(at).is_some_and(|slot| slot.host.runs.iter().any(taken))
            || self.apart.get(&at).is_some_and(|placed| placed.iter().any(taken))
    }
}

impl Slot<'_> {
    fn shelf(&self) -> Option<Shelf> {
        let free = [self.free.cpu_mhz, self.free.memory_mb, self.free.disk_mb];
        // Idle and starting machines are alike: both have been paid for.
        let on = match self.on {
            PlacedOn::Holder => return None,
            PlacedOn::Idle | PlacedOn::Starting if !self.was_dark => PlacedOn::Idle,
            PlacedOn::Idle | PlacedOn::Starting | PlacedOn::Dark => PlacedOn::Dark,
        };
        Some(Shelf { on, free, kind: self.kind })
    }
}

/// Machines by how many they take, most first, until the next one would take all that is left.
fn taking_most(
    by_fits: BTreeMap<Reverse<u32>, Vec<(Shelf, usize)>>,
    left: u32,
) -> Vec<(Shelf, usize)> {
    let mut left = left;
    let mut taken = Vec::new();
    for (Reverse(fits), machines) in by_fits {
        for machine in machines {
            if left <= fits {
                return taken;
            }
            left = left.saturating_sub(fits);
            taken.push(machine);
        }
    }
    taken
}

fn slot<'a>(host: &'a Host, kind: usize, kinds: &Kinds<'_>) -> Option<Slot<'a>> {
    let on = match (&host.state, host.holds_work) {
        // Dark under work: Nomad has not found out yet, and no room of it can be had.
        (HostState::NotUsable(_), _) | (HostState::Dark, true) => return None,
        (HostState::Ready | HostState::Starting, true) => PlacedOn::Holder,
        (HostState::Ready, false) => PlacedOn::Idle,
        (HostState::Starting, false) => PlacedOn::Starting,
        (HostState::Dark, false) => PlacedOn::Dark,
    };
    let kind_of = kinds.all().get(kind)?;
    // System jobs come to a machine when it is up; where it is up, what they take is counted.
    let used = match host.state {
        HostState::Ready | HostState::NotUsable(_) => host.used,
        HostState::Starting | HostState::Dark => most(&host.used, &kind_of.system),
    };
    // More used than offered (a shape that shrank): Nomad then takes not even work that asks for nothing.
    let total = host.shape.as_ref()?.0.resources;
    total.holds(&used).then(|| Slot { host, kind, free: total.less(&used), on, was_dark: false })
}

fn least(waiting: &[WaitingGroup]) -> Resources {
    let asks = waiting.iter().map(|group| group.ask.resources);
    asks.reduce(|a, b| Resources {
        cpu_mhz: a.cpu_mhz.min(b.cpu_mhz),
        memory_mb: a.memory_mb.min(b.memory_mb),
        disk_mb: a.disk_mb.min(b.disk_mb),
    })
    .unwrap_or_default()
}

fn resources([cpu_mhz, memory_mb, disk_mb]: [u64; 3]) -> Resources {
    Resources { cpu_mhz, memory_mb, disk_mb }
}

/// How many instances fit into some room.
fn fits(free: &Resources, ask: &Resources, distinct: Distinct) -> u32 {
    if !free.holds(ask) {
        return 0;
    }
    if distinct != Distinct::No {
        return 1;
    }
    let of = |free: u64, ask: u64| free.checked_div(ask).unwrap_or(u64::MAX);
    let count = of(free.cpu_mhz, ask.cpu_mhz)
        .min(of(free.memory_mb, ask.memory_mb))
        .min(of(free.disk_mb, ask.disk_mb));
    u32::try_from(count).unwrap_or(u32::MAX)
}

fn times(ask: &Resources, count: u32) -> Resources {
    let count = u64::from(count);
    Resources {
        cpu_mhz: ask.cpu_mhz.saturating_mul(count),
        memory_mb: ask.memory_mb.saturating_mul(count),
        disk_mb: ask.disk_mb.saturating_mul(count),
    }
}
