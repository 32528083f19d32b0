//! When an outlet may be driven: minimum times, spacing of starts, cycles. Pure: what is to be driven comes out of it.

use bridge_protocol::event::Cause;
use bridge_protocol::{
    DeviceTime, OUTLETS_MAX, Outcome, OutletNumber, PowerState, Refusal, SafeState,
};

use crate::Limits;

/// The longest off of a cycle: what takes longer is an off and an on.
pub const CYCLE_OFF_MS_MAX: u32 = 600_000;

/// An outlet is to be driven now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Edge {
    /// Which.
    pub outlet: OutletNumber,
    /// To what.
    pub state: PowerState,
    /// By whom.
    pub by: Cause,
}

/// An on that the device will make by itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Start {
    at: DeviceTime,
    by: Cause,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct One {
    driven: PowerState,
    /// Since when, or since the device's start.
    since: DeviceTime,
    start: Option<Start>,
}

/// All outlets of a device.
#[derive(Debug, Clone)]
pub struct Outlets {
    limits: Limits,
    ones: [One; OUTLETS_MAX],
    last_start: Option<DeviceTime>,
}

impl Outlets {
    /// All off since the start. The dwell of what was before the start is not known, so it counts from here.
    #[must_use]
    pub const fn new(limits: Limits, now: DeviceTime) -> Outlets {
        let one = One { driven: PowerState::Off, since: now, start: None };
        Outlets { limits, ones: [one; OUTLETS_MAX], last_start: None }
    }

    /// An outlet is found so at the start; nothing moves.
    pub fn adopt(&mut self, outlet: OutletNumber, driven: PowerState) {
        if let Some(one) = self.ones.get_mut(outlet.index()) {
            one.driven = driven;
        }
    }

    /// What an outlet is driven to.
    #[must_use]
    pub fn driven(&self, outlet: OutletNumber) -> PowerState {
        self.one(outlet).map_or(PowerState::Off, |one| one.driven)
    }

    /// Since when it is.
    #[must_use]
    pub fn since(&self, outlet: OutletNumber) -> DeviceTime {
        self.one(outlet).map_or(DeviceTime(0), |one| one.since)
    }

    /// In how many milliseconds it gets power by itself.
    #[must_use]
    pub fn starts_in(&self, outlet: OutletNumber, now: DeviceTime) -> Option<u32> {
        Some(self.one(outlet)?.start?.at.since(now))
    }

    /// Whether it is in the off of a cycle.
    #[must_use]
    pub fn is_in_cycle(&self, outlet: OutletNumber) -> bool {
        self.start_by(outlet) == Some(Cause::Cycle)
    }

    /// Whether nothing is on and nothing will be.
    #[must_use]
    pub fn are_dark(&self) -> bool {
        self.ones.iter().all(|one| one.driven == PowerState::Off && one.start.is_none())
    }

    /// An order of a state: what becomes of it, and what is driven at once.
    pub fn set(
        &mut self,
        outlet: OutletNumber,
        state: PowerState,
        until: DeviceTime,
        now: DeviceTime,
    ) -> (Outcome, Option<Edge>) {
        if let Some(wait) = self.cycle_left(outlet, now) {
            return (Outcome::Refused(Refusal::InCycle(wait)), None);
        }
        match (self.driven(outlet), state) {
            (PowerState::On, PowerState::On) => (Outcome::Unchanged, None),
            (PowerState::Off, PowerState::Off) => {
                self.withdraw(outlet);
                (Outcome::Unchanged, None)
            }
            (PowerState::On, PowerState::Off) => match self.dwell_left(outlet, now) {
                0 => (Outcome::Changed, Some(self.turn(outlet, state, Cause::Order, now))),
                wait => (Outcome::Refused(Refusal::Dwell(wait)), None),
            },
            (PowerState::Off, PowerState::On) => self.order_start(outlet, until, now),
        }
    }

    fn order_start(
        &mut self,
        outlet: OutletNumber,
        until: DeviceTime,
        now: DeviceTime,
    ) -> (Outcome, Option<Edge>) {
        if let Some(wait) = self.starts_in(outlet, now) {
            return (Outcome::Scheduled(wait), None);
        }
        let wait = self.dwell_left(outlet, now);
        if wait > 0 {
            return (Outcome::Refused(Refusal::Dwell(wait)), None);
        }
        let at = self.room(now);
        if at > until {
            return (Outcome::Refused(Refusal::TooLate), None);
        }
        if at == now {
            let edge = self.turn(outlet, PowerState::On, Cause::Order, now);
            return (Outcome::Changed, Some(edge));
        }
        self.plan(outlet, Start { at, by: Cause::Order });
        (Outcome::Scheduled(at.since(now)), None)
    }

    /// Whether a cycle may begin now.
    ///
    /// # Errors
    ///
    /// Why not.
    pub fn may_cycle(
        &self,
        outlet: OutletNumber,
        off_ms: u32,
        now: DeviceTime,
    ) -> Result<(), Refusal> {
        if let Some(wait) = self.cycle_left(outlet, now) {
            return Err(Refusal::InCycle(wait));
        }
        if self.driven(outlet) == PowerState::Off {
            return Err(Refusal::NotOn);
        }
        if off_ms < self.limits.min_off_ms {
            return Err(Refusal::TooShort(self.limits.min_off_ms));
        }
        if off_ms > CYCLE_OFF_MS_MAX {
            return Err(Refusal::TooLong(CYCLE_OFF_MS_MAX));
        }
        match self.dwell_left(outlet, now) {
            0 => Ok(()),
            wait => Err(Refusal::Dwell(wait)),
        }
    }

    /// Begins a cycle: the off of it is driven now, and its on is planned.
    pub fn cycle(&mut self, outlet: OutletNumber, off_ms: u32, now: DeviceTime) -> Edge {
        let edge = self.turn(outlet, PowerState::Off, Cause::Cycle, now);
        self.end_cycle_after(outlet, off_ms, now);
        edge
    }

    /// Plans the on of a cycle whose off has been.
    pub fn end_cycle_after(&mut self, outlet: OutletNumber, off_ms: u32, now: DeviceTime) {
        let at = self.room(now.after(off_ms));
        self.plan(outlet, Start { at, by: Cause::Cycle });
    }

    /// The safe state of an outlet is taken: off at once, whatever its minimum time; on in its turn.
    pub fn make_safe(
        &mut self,
        outlet: OutletNumber,
        safe: SafeState,
        now: DeviceTime,
    ) -> Option<Edge> {
        match safe {
            SafeState::Keep => None,
            SafeState::Off => self.cut(outlet, Cause::Lease, now),
            SafeState::On => {
                let waits = self.one(outlet).is_some_and(|one| one.start.is_none());
                if self.driven(outlet) == PowerState::Off && waits {
                    let at = self.room(now.after(self.dwell_left(outlet, now)));
                    self.plan(outlet, Start { at, by: Cause::Lease });
                }
                None
            }
        }
    }

    /// Takes an outlet's power at once, whatever its minimum time, and ends what it waited for.
    pub fn cut(&mut self, outlet: OutletNumber, by: Cause, now: DeviceTime) -> Option<Edge> {
        self.withdraw(outlet);
        (self.driven(outlet) == PowerState::On).then(|| self.turn(outlet, PowerState::Off, by, now))
    }

    /// The next start whose time has come. Called until there is none; a late loop gives the spacing back, and not a crowd.
    pub fn due(&mut self, now: DeviceTime) -> Option<Edge> {
        let gap_over =
            self.last_start.is_none_or(|last| now >= last.after(self.limits.start_gap_ms));
        if !gap_over {
            return None;
        }
        let waiting = OutletNumber::all()
            .filter_map(|outlet| Some((self.one(outlet)?.start?, outlet)))
            .filter(|(start, _)| start.at <= now);
        let (start, outlet) = waiting.min_by_key(|(start, outlet)| (start.at, outlet.get()))?;
        Some(self.turn(outlet, PowerState::On, start.by, now))
    }

    /// When [`Outlets::due`] is to be asked next.
    #[must_use]
    pub fn next(&self) -> Option<DeviceTime> {
        self.ones.iter().filter_map(|one| Some(one.start?.at)).min()
    }

    /// The first moment from `from` on at which a start keeps its distance from all that are planned.
    fn room(&self, from: DeviceTime) -> DeviceTime {
        let gap = self.limits.start_gap_ms;
        let mut at = from;
        // Each planned start pushes it at most once further: they are passed in the order of time.
        for _ in 0..=OUTLETS_MAX {
            let planned = self.ones.iter().filter_map(|one| Some(one.start?.at));
            let crowded = planned
                .chain(self.last_start)
                .filter(|start| at < start.after(gap) && *start < at.after(gap))
                .max();
            match crowded {
                Some(start) => at = start.after(gap),
                None => break,
            }
        }
        at
    }

    fn turn(
        &mut self,
        outlet: OutletNumber,
        state: PowerState,
        by: Cause,
        now: DeviceTime,
    ) -> Edge {
        if let Some(one) = self.ones.get_mut(outlet.index()) {
            assert!(one.driven != state, "an edge is a change");
            *one = One { driven: state, since: now, start: None };
        }
        if state == PowerState::On {
            self.last_start = Some(now);
        }
        Edge { outlet, state, by }
    }

    fn plan(&mut self, outlet: OutletNumber, start: Start) {
        if let Some(one) = self.ones.get_mut(outlet.index()) {
            assert!(one.driven == PowerState::Off, "what starts is off");
            one.start = Some(start);
        }
    }

    fn withdraw(&mut self, outlet: OutletNumber) {
        if let Some(one) = self.ones.get_mut(outlet.index()) {
            one.start = None;
        }
    }

    fn cycle_left(&self, outlet: OutletNumber, now: DeviceTime) -> Option<u32> {
        self.is_in_cycle(outlet).then(|| self.starts_in(outlet, now)).flatten()
    }

    fn dwell_left(&self, outlet: OutletNumber, now: DeviceTime) -> u32 {
        let dwell = match self.driven(outlet) {
            PowerState::On => self.limits.min_on_ms,
            PowerState::Off => self.limits.min_off_ms,
        };
        self.since(outlet).after(dwell).since(now)
    }

    fn start_by(&self, outlet: OutletNumber) -> Option<Cause> {
        Some(self.one(outlet)?.start?.by)
    }

    fn one(&self, outlet: OutletNumber) -> Option<&One> {
        self.ones.get(outlet.index())
    }
}
