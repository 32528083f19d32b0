//! What switching costs a machine's hardware, and the limits that protect it: minimum on and off times, cycles per
//! hour, and a breaker for what flaps. Pure; all of it in moments of this boot.
//!
//! The breaker trips when policies have used up half of an hour's cycles, and no fewer than three, within ten minutes:
//! they fight, or a power supply trips and is switched on again and again. Then no policy moves the machine until a
//! person releases it or it was quiet for half an hour; neither moves anything.

use std::collections::VecDeque;
use std::time::Duration;

use super::{Expiry, Hold, HoldKind, Refusal, RefusalCode, spoken};
use crate::sequencer::Record;
use crate::{MachineName, Moment, Reason};

/// The most cycles per hour that a rack file may allow: a relay of 100 000 operations lasts a month then.
pub const CYCLES_PER_HOUR_MAX: u32 = 120;

/// The span of `cycles_per_hour`.
const HOUR: Duration = Duration::from_secs(3600);

/// The span in which policies may not use up half of an hour's cycles: a healthy policy waits for a boot, and then for
/// its own `min_on`.
const FLAP_WINDOW: Duration = Duration::from_secs(600);

/// Fewer switches than these are no flapping, however few the rack file allows.
const FLAP_CYCLES_MIN: usize = 3;

/// How long a machine must be quiet until the breaker closes by itself: long enough that somebody was told.
const FLAP_QUIET: Duration = Duration::from_secs(1800);

/// In whose name the breaker holds a machine.
const BREAKER: &str = "flap breaker";

/// What the rack file allows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Limits {
    /// How long it stays on at least before it is cut; a person may force that.
    pub min_on: Duration,
    /// How long it stays off at least before it is lit; nobody may force that.
    pub min_off: Duration,
    /// How often it may be switched on in an hour; 0: without limit.
    pub cycles_per_hour: u32,
}

/// How close a machine is to its limits, in spans from now.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Dwell {
    /// The limits.
    pub limits: Limits,
    /// Until it may be cut, where it is on; zero: it may.
    pub cut_in: Duration,
    /// Until it may be lit, where it is off; zero: it may.
    pub light_in: Duration,
    /// How often it was switched on within the last hour.
    pub cycles: u32,
    /// Until it may be switched on once more in that hour; zero: it may.
    pub cycle_in: Duration,
}

/// One time that a machine was given power.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Lighting {
    /// When.
    pub at: Moment,
    /// Whether a policy wanted it, and nobody has looked since.
    pub by_policy: bool,
}

/// How a machine was switched lately. What another boot of the agent's host did lies at the clock's origin: how long ago
/// that was can not be told, and it is taken to be long ago, because a host takes longer to boot than the usual limits are.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Wear {
    /// When it was cut last.
    pub cut: Option<Moment>,
    /// When it was lit last.
    pub lit: Option<Moment>,
    /// The times that count for the hour, oldest first; at most as many as are allowed.
    pub lightings: VecDeque<Lighting>,
}

impl Wear {
    /// Takes what a sequence has done so far: told again, it is the same.
    pub fn note(&mut self, record: &Record, by_policy: bool, limits: Limits) {
        self.cut = record.cut.or(self.cut);
        let Some(at) = record.lit else { return };
        // A sequence gives power once; when exactly, is known better later on.
        if self.lit.is_some_and(|lit| lit >= record.began)
            && self.lightings.back().is_some_and(|last| last.at >= record.began)
        {
            self.lightings.pop_back();
        }
        self.lit = Some(at);
        self.lightings.push_back(Lighting { at, by_policy });
        let kept = usize::try_from(limits.cycles_per_hour.min(CYCLES_PER_HOUR_MAX));
        while self.lightings.len() > kept.unwrap_or_default() {
            self.lightings.pop_front();
        }
    }

    /// When it may be cut at the earliest.
    #[must_use]
    pub fn may_cut_at(&self, limits: Limits) -> Moment {
        self.lit.map_or(Moment::ZERO, |lit| lit + limits.min_on)
    }

    /// When it may be lit at the earliest.
    #[must_use]
    pub fn may_light_at(&self, limits: Limits) -> Moment {
        self.cut.map_or(Moment::ZERO, |cut| cut + limits.min_off)
    }

    /// How close it is to its limits.
    #[must_use]
    pub fn dwell(&self, limits: Limits, now: Moment) -> Dwell {
        let (cycles, free_at) = self.rate(limits, now);
        Dwell {
            limits,
            cut_in: self.may_cut_at(limits).since(now),
            light_in: self.may_light_at(limits).since(now),
            cycles: u32::try_from(cycles).unwrap_or(u32::MAX),
            cycle_in: free_at.map_or(Duration::ZERO, |at| at.since(now)),
        }
    }

    /// How often it was switched on within the last hour; and, where that is as often as it may be, when it may be again.
    fn rate(&self, limits: Limits, now: Moment) -> (usize, Option<Moment>) {
        let recent = |lighting: &&Lighting| now.since(lighting.at) < HOUR;
        let used = self.lightings.iter().filter(recent).count();
        let allowed = usize::try_from(limits.cycles_per_hour).unwrap_or(usize::MAX);
        let is_full = allowed > 0 && used >= allowed;
        let first = self.lightings.iter().find(recent).filter(|_| is_full);
        (used, first.map(|first| first.at + HOUR))
    }

    /// Whether it may be lit once more within this hour.
    pub(super) fn check_rate(
        &self,
        machine: &MachineName,
        limits: Limits,
        now: Moment,
    ) -> Result<(), Refusal> {
        let (used, Some(free_at)) = self.rate(limits, now) else { return Ok(()) };
        let text = format!(
            "{machine} was switched on {used} times within the last hour, and its rack file allows {} \
             (cycles_per_hour); try again in {}, a person may say --force",
            limits.cycles_per_hour,
            spoken(free_at.since(now))
        );
        Err(Refusal { code: RefusalCode::TooManyCycles, text })
    }

    /// The breaker's lock, where it has tripped.
    #[must_use]
    pub fn breaker(&self, limits: Limits, now: Moment) -> Option<Hold> {
        if limits.cycles_per_hour == 0 {
            return None;
        }
        let half = usize::try_from(limits.cycles_per_hour / 2).unwrap_or(usize::MAX);
        let trips_at = half.max(FLAP_CYCLES_MIN);
        let mut ours = self.lightings.iter().rev().filter(|lighting| lighting.by_policy);
        let last = ours.next()?;
        let first = ours.nth(trips_at.saturating_sub(2))?;
        let end = last.at + FLAP_QUIET;
        if last.at.since(first.at) > FLAP_WINDOW || end <= now {
            return None;
        }
        let within = spoken(last.at.since(first.at));
        let reason = format!("policies switched it on {trips_at} times within {within}");
        Some(Hold {
            kind: HoldKind::Flapping,
            by: BREAKER.to_owned(),
            reason: Reason::new(&reason),
            since: last.at,
            expiry: Expiry::At(end),
            operation: None,
        })
    }

    /// A person has looked: the breaker closes.
    pub fn calm(&mut self) {
        for lighting in &mut self.lightings {
            lighting.by_policy = false;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn how_close_a_machine_is_to_its_limits_is_told_from_what_it_has_done() {
        let at = |seconds: u64| Moment::from_millis(seconds * 1000);
        let limits = Limits {
            min_on: Duration::from_secs(10),
            min_off: Duration::from_secs(8),
            cycles_per_hour: 2,
        };
        let lit = [10, 95].map(|seconds| Lighting { at: at(seconds), by_policy: true });
        let wear = Wear { cut: Some(at(100)), lit: Some(at(95)), lightings: lit.into() };
        let near = wear.dwell(limits, at(101));
        assert_eq!((near.cut_in, near.light_in), (Duration::from_secs(4), Duration::from_secs(7)));
        assert_eq!((near.cycles, near.cycle_in), (2, Duration::from_secs(3600 - 91)));
        let later = wear.dwell(limits, at(3610));
        assert_eq!((later.cycles, later.cycle_in), (1, Duration::ZERO));
        assert_eq!((later.cut_in, later.light_in), (Duration::ZERO, Duration::ZERO));
        let unlimited = Limits { cycles_per_hour: 0, ..limits };
        assert_eq!(wear.dwell(unlimited, at(101)).cycle_in, Duration::ZERO);
    }
}
