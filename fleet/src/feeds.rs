//! Electricity is a budget: which machine may be lit when, so that the modelled current of each feed stays within its
//! budget at every instant. Pure; whole milliamperes.
//!
//! Two questions. [`Ledger::promise`], before an order is taken: would everything that runs, or was promised to run,
//! still fit with this machine, and with the largest inrush that is to come? That room does not come by waiting.
//! [`Ledger::admit`], before its outlets close: is there room now beside the inrush of others? That does.

mod amperes;
mod rooms;
mod stand;

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

pub use self::amperes::{AmperesError, MILLIAMPS_MAX, Milliamps, number, parse_amperes};
pub use self::rooms::{FedView, FeedKey, FeedRooms, NoRoom};
pub use self::stand::{Stand, stand};
use crate::sequencer::ROOM_POLL;
use crate::{FeedName, MachineName, Moment};

/// How many machines a refusal names of those that take the feed: enough to choose one, few enough for a line.
const NAMED_MAX: usize = 5;

/// How long after its order was sent an outlet may still close: 4.2 ms of a frame at 9600 baud, 16 ms in which a USB
/// adapter gathers bytes, and some 15 ms of a relay's operation. An inrush may begin, and so end, later by that much.
pub const CLOSES_WITHIN: Duration = Duration::from_millis(50);

/// What one outlet takes from its feed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Draw {
    /// At most, once it runs.
    pub running: Milliamps,
    /// At most, while it starts; not less than `running`.
    pub inrush: Milliamps,
    /// For how long after the outlet has closed.
    pub inrush_for: Duration,
}

impl Draw {
    /// How much its start takes beyond what it takes later.
    #[must_use]
    pub const fn extra(self) -> Milliamps {
        self.inrush.less(self.running)
    }

    /// Both at once: outlets of one machine close together.
    #[must_use]
    pub fn with(self, other: Draw) -> Draw {
        let running = self.running.plus(other.running);
        let extra = self.extra().plus(other.extra());
        let inrush_for = self.inrush_for.max(other.inrush_for);
        Draw { running, inrush: running.plus(extra), inrush_for }
    }
}

/// What a machine takes from one feed, all of its outlets there together.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Supply {
    /// The feed.
    pub feed: FeedName,
    /// What it takes there.
    pub draw: Draw,
}

/// A machine as the ledger has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Load {
    /// What it takes of which feed, each feed once; it needs room on all of them.
    pub supplies: Vec<Supply>,
    /// How it stands.
    pub stand: Stand,
}

/// How far a feed is taken, without the inrush of the moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct FeedRoom {
    /// What it may carry.
    pub budget: Milliamps,
    /// What all that is on, may be on or is promised takes once it runs.
    pub committed: Milliamps,
    /// The largest inrush beyond that which is still to come.
    pub reserve: Milliamps,
}

impl FeedRoom {
    /// Promises room for a start; `counted`: what it takes running is in the sum already. Whether there was room.
    pub fn take(&mut self, draw: Draw, counted: bool) -> bool {
        let running = if counted { Milliamps::ZERO } else { draw.running };
        let (committed, reserve) = (self.committed.plus(running), self.reserve.max(draw.extra()));
        let fits = committed.plus(reserve) <= self.budget;
        if fits {
            (self.committed, self.reserve) = (committed, reserve);
        }
        fits
    }
}

/// A feed as it is told of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FeedSum {
    /// Its name.
    pub feed: FeedName,
    /// How far it is taken.
    pub room: FeedRoom,
    /// The modelled current now, inrush included.
    pub current: Milliamps,
}

/// Why a feed has no room for a machine, however long it waits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FeedFull {
    /// The feed.
    pub feed: FeedName,
    /// The machine.
    pub machine: MachineName,
    /// How far the feed is taken without it.
    pub room: FeedRoom,
    /// What it would take.
    pub draw: Draw,
    /// Who takes the feed, the largest first.
    pub takers: Vec<(MachineName, Milliamps)>,
}

impl fmt::Display for FeedFull {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { feed, machine, room, draw, .. } = self;
        write!(
            f,
            "feed {feed} has no room for {machine}: {} of {} are taken",
            number(room.committed),
            room.budget
        )?;
        let more = self.takers.len().saturating_sub(NAMED_MAX);
        let named = self.takers.iter().take(NAMED_MAX);
        let named: Vec<String> = named.map(|(name, takes)| format!("{name} {takes}")).collect();
        match more {
            0 if named.is_empty() => {}
            0 => write!(f, " ({})", named.join(", "))?,
            more => write!(f, " ({} and {more} more)", named.join(", "))?,
        }
        write!(f, ", and it takes {}", draw.running)?;
        if draw.extra() > Milliamps::ZERO {
            write!(f, ", {} at its start", draw.inrush)?;
        }
        if room.reserve > draw.extra() {
            write!(f, ", while {} are kept for another start", room.reserve)?;
        }
        write!(f, "; switch off a machine of this feed first: no --force passes a budget")
    }
}

/// What becomes of the wish to close a machine's outlets now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Admission {
    /// There is room: it takes it at once.
    Now,
    /// Only the inrush of others stands in the way.
    Later {
        /// To be asked again then at the latest; always later than now.
        ask_at: Moment,
        /// The feed that has no room at this moment.
        feed: FeedName,
        /// What flows there now.
        current: Milliamps,
        /// What it may carry.
        budget: Milliamps,
    },
    /// What runs fills a feed.
    Full(Box<FeedFull>),
}

/// All feeds of a rack and the machines on them, as they stand at one moment.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Ledger {
    budgets: BTreeMap<FeedName, Milliamps>,
    loads: BTreeMap<MachineName, Load>,
}

/// The modelled current of each feed at one instant.
type Currents<'a> = BTreeMap<&'a FeedName, Milliamps>;

impl Stand {
    /// Whether what it takes running is in the sum.
    #[must_use]
    pub const fn is_counted(self) -> bool {
        !matches!(self, Stand::Dark)
    }

    /// Whether its start is still to come, or in the midst.
    #[must_use]
    pub const fn starts(self) -> bool {
        matches!(self, Stand::Promised { .. } | Stand::Lighting)
    }
}

impl Load {
    /// What it takes of a feed; nothing where it does not hang on it.
    fn draw(&self, feed: &FeedName) -> Option<Draw> {
        self.supplies.iter().find(|supply| supply.feed == *feed).map(|supply| supply.draw)
    }

    /// Until when this outlet's inrush lasts, where it may last now.
    fn inrush_end(&self, draw: Draw, now: Moment) -> Option<Moment> {
        let closed = match self.stand {
            Stand::Lighting => now,
            Stand::Lit { since } | Stand::Promised { drawing: Some(since), .. } => since,
            Stand::Dark | Stand::Promised { drawing: None, .. } => return None,
        };
        if draw.extra() == Milliamps::ZERO {
            return None;
        }
        let end = closed + CLOSES_WITHIN + draw.inrush_for;
        (end > now).then_some(end)
    }

    /// What flows through an outlet now, as modelled.
    fn current(&self, draw: Draw, now: Moment) -> Milliamps {
        match self.stand {
            Stand::Dark | Stand::Promised { drawing: None, .. } => Milliamps::ZERO,
            Stand::Lighting => draw.inrush.max(draw.running),
            Stand::Lit { .. } | Stand::Promised { drawing: Some(_), .. } => {
                let inrush = self.inrush_end(draw, now).map(|_end| draw.inrush);
                inrush.unwrap_or_default().max(draw.running)
            }
        }
    }

    fn largest_extra(&self) -> Milliamps {
        self.supplies.iter().map(|supply| supply.draw.extra()).max().unwrap_or_default()
    }
}

impl Ledger {
    /// The rack as it stands. A feed that is not among the budgets limits nothing.
    #[must_use]
    pub const fn new(
        budgets: BTreeMap<FeedName, Milliamps>,
        loads: BTreeMap<MachineName, Load>,
    ) -> Self {
        Self { budgets, loads }
    }

    /// The machine stands otherwise from now on.
    pub fn put(&mut self, machine: &MachineName, stand: Stand) {
        if let Some(load) = self.loads.get_mut(machine) {
            load.stand = stand;
        }
    }

    /// How each feed is taken, by name.
    #[must_use]
    pub fn sums(&self, now: Moment) -> Vec<FeedSum> {
        let currents = self.currents(now);
        let sum = |feed: &FeedName| FeedSum {
            feed: feed.clone(),
            room: self.room(feed, None),
            current: currents.get(feed).copied().unwrap_or_default(),
        };
        self.budgets.keys().map(sum).collect()
    }

    /// Whether a machine could be lit and run beside all that runs or was promised to; no waiting changes that. What
    /// was promised once is in the sum until its sequence ends.
    ///
    /// # Errors
    /// The first feed that has no room, with its numbers.
    pub fn promise(&self, machine: &MachineName) -> Result<(), Box<FeedFull>> {
        let Some(load) = self.loads.get(machine) else { return Ok(()) };
        for Supply { feed, draw } in &load.supplies {
            if !self.budgets.contains_key(feed) {
                continue;
            }
            let room = self.room(feed, Some(machine));
            if !{ room }.take(*draw, false) {
                let (feed, draw) = (feed.clone(), *draw);
                return Err(Box::new(self.full(machine, feed, draw, room)));
            }
        }
        Ok(())
    }

    /// Whether a machine's outlets may close now. Of several that wait and have room, those whose power was taken for a
    /// cycle come first, then the largest start: it finds room only while little runs.
    #[must_use]
    pub fn admit(&self, machine: &MachineName, now: Moment) -> Admission {
        let Some(load) = self.loads.get(machine) else { return Admission::Now };
        let idle = self.without_inrush(machine);
        for Supply { feed, draw } in &load.supplies {
            let Some(budget) = self.budgets.get(feed) else { continue };
            let flows = idle.get(feed).copied().unwrap_or_default();
            if flows.plus(draw.inrush.max(draw.running)) > *budget {
                let room = FeedRoom { committed: flows, ..self.room(feed, Some(machine)) };
                let full = self.full(machine, feed.clone(), *draw, room);
                return Admission::Full(Box::new(full));
            }
        }
        let mut currents = self.currents(now);
        for (name, waiting) in self.queue(machine) {
            let narrow = self.narrow(waiting, &currents, now);
            match narrow {
                None if name == machine => return Admission::Now,
                None => self.light(waiting, &mut currents, now),
                Some(feed) if name == machine => return self.later(feed, &currents, now),
                Some(_) => {}
            }
        }
        Admission::Now
    }

    /// When a machine would be admitted if nothing else were ordered; `None`: what runs fills a feed. What is promised
    /// and does not wait yet is taken to come later.
    #[must_use]
    pub fn forecast(&self, machine: &MachineName, now: Moment) -> Option<Moment> {
        let mut ledger = self.clone();
        for load in ledger.loads.values_mut().filter(|load| load.stand == Stand::Lighting) {
            load.stand = Stand::Lit { since: now };
        }
        let (drawing, returns) = match self.loads.get(machine)?.stand {
            Stand::Dark => (None, false),
            Stand::Lit { since } => (Some(since), false),
            Stand::Promised { drawing, returns, .. } => (drawing, returns),
            Stand::Lighting => return Some(now),
        };
        ledger.put(machine, Stand::Promised { drawing, waits: Some(now), returns });
        let mut now = now;
        // Each round but the first is the end of an inrush, and each machine has two at most on each feed.
        let rounds_max = 1 + 2 * self.loads.len() * (1 + self.budgets.len());
        for _ in 0..rounds_max {
            for name in ledger.admitted(now) {
                if name == *machine {
                    return Some(now);
                }
                ledger.put(&name, Stand::Lit { since: now });
            }
            let ends = ledger.loads.values().flat_map(|load| {
                load.supplies.iter().filter_map(|supply| load.inrush_end(supply.draw, now))
            });
            now = ends.min()?;
        }
        None
    }

    /// All that wait and may close their outlets now, at once.
    #[must_use]
    pub fn admitted(&self, now: Moment) -> Vec<MachineName> {
        let mut currents = self.currents(now);
        let mut admitted = Vec::new();
        for (name, load) in self.waiting() {
            if self.narrow(load, &currents, now).is_none() {
                self.light(load, &mut currents, now);
                admitted.push(name.clone());
            }
        }
        admitted
    }

    /// Those that wait in the order in which they take what room there is.
    fn waiting(&self) -> Vec<(&MachineName, &Load)> {
        let mut waiting: Vec<_> = self
            .loads
            .iter()
            .filter(|(_, load)| matches!(load.stand, Stand::Promised { waits: Some(_), .. }))
            .collect();
        waiting.sort_by_cached_key(|(name, load)| {
            let (waits, returns) = match load.stand {
                Stand::Promised { waits, returns, .. } => (waits, returns),
                Stand::Dark | Stand::Lit { .. } | Stand::Lighting => (None, false),
            };
            (!returns, std::cmp::Reverse(load.largest_extra()), waits, (*name).clone())
        });
        waiting
    }

    /// As [`Self::waiting`], and the machine itself where it does not wait yet.
    fn queue<'a>(&'a self, machine: &'a MachineName) -> Vec<(&'a MachineName, &'a Load)> {
        let mut queue = self.waiting();
        if !queue.iter().any(|(name, _)| *name == machine) {
            queue.extend(self.loads.get(machine).map(|load| (machine, load)));
        }
        queue
    }

    /// The first feed that has no room now for a machine's start.
    fn narrow<'a>(
        &self,
        load: &'a Load,
        currents: &Currents<'_>,
        now: Moment,
    ) -> Option<&'a FeedName> {
        let is_narrow = |supply: &&Supply| {
            let Some(budget) = self.budgets.get(&supply.feed) else { return false };
            let flows = currents.get(&supply.feed).copied().unwrap_or_default();
            let others = flows.less(load.current(supply.draw, now));
            others.plus(supply.draw.inrush.max(supply.draw.running)) > *budget
        };
        load.supplies.iter().find(is_narrow).map(|supply| &supply.feed)
    }

    fn light<'a>(&'a self, load: &'a Load, currents: &mut Currents<'a>, now: Moment) {
        for Supply { feed, draw } in &load.supplies {
            let flows = currents.entry(feed).or_default();
            *flows = flows.less(load.current(*draw, now)).plus(draw.inrush.max(draw.running));
        }
    }

    /// When the next inrush on this feed ends.
    fn later(&self, feed: &FeedName, currents: &Currents<'_>, now: Moment) -> Admission {
        let ends = self.loads.values().filter_map(|load| {
            let draw = load.draw(feed)?;
            match load.stand {
                // It may take the room that there is at this moment.
                Stand::Promised { waits: Some(_), .. } => {
                    Some(now + CLOSES_WITHIN + draw.inrush_for)
                }
                _ => load.inrush_end(draw, now),
            }
        });
        Admission::Later {
            ask_at: ends.min().unwrap_or(now + ROOM_POLL),
            feed: feed.clone(),
            current: currents.get(feed).copied().unwrap_or_default(),
            budget: self.budgets.get(feed).copied().unwrap_or_default(),
        }
    }

    fn currents(&self, now: Moment) -> Currents<'_> {
        let mut currents = Currents::new();
        for load in self.loads.values() {
            for Supply { feed, draw } in &load.supplies {
                let flows = currents.entry(feed).or_default();
                *flows = flows.plus(load.current(*draw, now));
            }
        }
        currents
    }

    /// What flows once every inrush is over, without the machine.
    fn without_inrush(&self, machine: &MachineName) -> Currents<'_> {
        let mut currents = Currents::new();
        for (_, load) in self.loads.iter().filter(|(name, _)| *name != machine) {
            if matches!(load.stand, Stand::Dark | Stand::Promised { drawing: None, .. }) {
                continue;
            }
            for Supply { feed, draw } in &load.supplies {
                let flows = currents.entry(feed).or_default();
                *flows = flows.plus(draw.running);
            }
        }
        currents
    }

    /// How a feed is taken, by all or by all but one.
    fn room(&self, feed: &FeedName, without: Option<&MachineName>) -> FeedRoom {
        let mut room = FeedRoom {
            budget: self.budgets.get(feed).copied().unwrap_or_default(),
            ..FeedRoom::default()
        };
        for (name, load) in &self.loads {
            let Some(draw) = load.draw(feed).filter(|_| Some(name) != without) else { continue };
            if load.stand.is_counted() {
                room.committed = room.committed.plus(draw.running);
            }
            if load.stand.starts() {
                room.reserve = room.reserve.max(draw.extra());
            }
        }
        room
    }

    fn full(&self, machine: &MachineName, feed: FeedName, draw: Draw, room: FeedRoom) -> FeedFull {
        let mut takers: Vec<(MachineName, Milliamps)> = self
            .loads
            .iter()
            .filter(|(name, load)| *name != machine && load.stand.is_counted())
            .filter_map(|(name, load)| Some((name.clone(), load.draw(&feed)?.running)))
            .collect();
        takers.sort_by_key(|(name, takes)| (std::cmp::Reverse(*takes), name.clone()));
        FeedFull { feed, machine: machine.clone(), room, draw, takers }
    }
}
