//! From what policies ask to what is desired: the largest voice wins, and a lower count waits out its window.
//!
//! Damping is ours because the host's cooldown runs from the request and the host is silent when a
//! policy is content; so silence is an ask for the count that was told.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use crate::{Moment, NodeCount, WhileStarting};

/// Asks that are remembered of one voice. They are kept as falling maxima, so more would need a
/// policy that asks for that many different counts within one window.
pub const ASKS_MAX: usize = 64;

/// How long no policy of a pool may call before it is the host that is silent and not a policy. A host
/// calls every few seconds but for cooldowns, of which 5 minutes is its default.
pub const HOST_SILENCE: Duration = Duration::from_secs(10 * 60);

/// How slowly a pool forgets what was asked of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Damping {
    /// A lower count takes effect only when every ask of this span was lower.
    pub window: Duration,
    /// A voice whose policy has not called Status for this long lapses.
    pub ttl: Duration,
}

/// Which way a policy's action points.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Direction {
    /// More; never lowers.
    Up,
    /// Fewer; never raises.
    Down,
    /// Exactly.
    None,
}

/// A policy as it calls.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Caller<'a> {
    /// The name of its demand.
    pub voice: &'a str,
    /// Its evaluation interval.
    pub tick: Duration,
    /// What it wants to be told while machines start.
    pub while_starting: WhileStarting,
}

/// What the policies of one pool want.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Demand {
    voices: BTreeMap<String, Voice>,
    /// When any policy called last.
    heard: Option<Moment>,
    /// Voices that have lapsed and that nobody has asked about yet; at most one entry each.
    lapsed: Vec<String>,
}

/// One policy, by the `demand` of its target block.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Voice {
    level: NodeCount,
    /// When its policy called last; `None`: not since this process has known of it.
    heard: Option<Moment>,
    /// Asks below the level since the last that was not: when the run began, then falling maxima.
    lower_since: Option<Moment>,
    lower: VecDeque<(Moment, NodeCount)>,
    told: Option<Told>,
    /// The last tick was silent about a count above the level, and was not believed: see [`Demand::told`].
    doubted: bool,
}

/// What is told to a policy.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Answer {
    /// The count.
    pub count: NodeCount,
    /// Whether a machine that counts is on its way out.
    pub falls: bool,
}

/// A Status that was answered ready and not asked about since.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Told {
    at: Moment,
    /// What silence asks for; none while the count is in motion.
    count: Option<NodeCount>,
    /// Whether a machine was on its way out then.
    fell: bool,
}

impl Demand {
    /// A demand whose voices stand at these levels: from a record, or from the count adopted at birth.
    #[must_use]
    pub fn standing(levels: impl IntoIterator<Item = (String, NodeCount)>) -> Self {
        let voices = levels.into_iter().map(|(name, level)| (name, Voice::at(level))).collect();
        Self { voices, heard: None, lapsed: Vec::new() }
    }

    /// The level of each voice: what a record keeps.
    pub fn levels(&self) -> impl Iterator<Item = (&str, NodeCount)> {
        self.voices.iter().map(|(name, voice)| (name.as_str(), voice.level))
    }

    /// What is desired now: the largest level.
    #[must_use]
    pub fn desired(&self) -> NodeCount {
        self.voices.values().map(|voice| voice.level).max().unwrap_or_default()
    }

    /// A policy asked. A higher count holds at once; a lower one after `window` of lower asks.
    pub fn ask(
        &mut self,
        voice: &str,
        count: NodeCount,
        direction: Direction,
        damping: Damping,
        now: Moment,
    ) {
        self.call(voice, now);
        let desired = self.desired();
        let voice = self.voice(voice);
        voice.told = None;
        voice.doubted = false;
        let count = match direction {
            Direction::Up => count.max(voice.level),
            // Of the pool's desired, and not of its own level: who asks for 3 where others want 5 wants
            // 3, also when it has never asked for more.
            Direction::Down => count.min(desired),
            Direction::None => count,
        };
        voice.hear(count, now);
        self.settle(damping, now);
    }

    /// Status was answered ready. A full tick after the last answer without an ask in between is an ask for
    /// what was told then. Where that is more than the voice wanted and a machine is on its way out, only the
    /// second such tick in a row is: one ask that is lost in a scale-in is not to light again what just went
    /// dark. The host asks for Status twice in one tick: an answer sooner than half a `tick` after the last one
    /// is the same tick's.
    pub fn told(
        &mut self,
        voice: &str,
        answer: Answer,
        tick: Duration,
        damping: Damping,
        now: Moment,
    ) {
        self.call(voice, now);
        let voice = self.voice(voice);
        match voice.told {
            // The host asks twice in a tick, and its strategy is given the second answer.
            Some(told) if now.since(told.at) < tick / 2 => {
                voice.told = Some(Told { at: told.at, ..Told::by(answer, now) });
            }
            Some(told) => {
                let asked = told.count.unwrap_or(voice.level);
                let falls = told.fell || answer.falls;
                voice.doubted = falls && asked > voice.level && !voice.doubted;
                voice.hear(if voice.doubted { voice.level } else { asked }, now);
                voice.told = Some(Told::by(answer, now));
            }
            None => voice.told = Some(Told::by(answer, now)),
        }
        self.settle(damping, now);
    }

    /// Status was answered ready with a count that is in motion. Silence asks for what is desired: it
    /// neither raises, as the policy may be blind and not content, nor lets a window run out.
    pub fn told_in_motion(&mut self, voice: &str, tick: Duration, damping: Damping, now: Moment) {
        self.call(voice, now);
        let voice = self.voice(voice);
        let same_tick = voice.told.filter(|told| now.since(told.at) < tick / 2);
        if voice.told.is_some() && same_tick.is_none() {
            voice.hear(voice.level, now);
        }
        let at = same_tick.map_or(now, |told| told.at);
        voice.told = Some(Told { at, count: None, fell: true });
        self.settle(damping, now);
    }

    /// A policy called Status, whatever it was answered: its voice does not lapse.
    ///
    /// While nobody calls at all, the host is silent and not a policy: after that every voice has its
    /// whole span anew.
    pub fn call(&mut self, voice: &str, now: Moment) {
        let last = self.heard.replace(now).unwrap_or(now);
        for known in self.voices.values_mut() {
            let heard = known.heard.get_or_insert(now);
            if now.since(last) >= HOST_SILENCE {
                *heard = now;
            }
        }
        self.voice(voice).heard = Some(now);
    }

    /// Status was answered not ready. Where it was answered ready earlier in the same tick, the host has
    /// broken its evaluation off, and no Scale is no word of the policy's.
    pub fn told_not_ready(&mut self, voice: &str, tick: Duration, now: Moment) {
        let voice = self.voice(voice);
        voice.told = voice.told.filter(|told| now.since(told.at) >= tick / 2);
    }

    /// Lets windows that have run out take effect, and voices lapse whose policies are gone.
    pub fn settle(&mut self, damping: Damping, now: Moment) {
        if let Some(last) = self.heard.filter(|last| now.since(*last) < HOST_SILENCE) {
            let gone = |voice: &Voice| voice.lapse(damping.ttl, last).is_some_and(|at| at <= now);
            let lapsed = self.voices.extract_if(.., |_, voice| gone(voice)).map(|(name, _)| name);
            self.lapsed.extend(lapsed);
        }
        for voice in self.voices.values_mut() {
            voice.settle(damping.window, now);
        }
    }

    /// The voices that have lapsed since this was asked last.
    pub fn take_lapsed(&mut self) -> Vec<String> {
        std::mem::take(&mut self.lapsed)
    }

    /// When a lower count takes effect or a voice lapses next, if nobody calls until then.
    #[must_use]
    pub fn next_change(&self, damping: Damping) -> Option<Moment> {
        let last = self.heard.unwrap_or_default();
        let changes = |voice: &Voice| {
            let lower = voice.next_change(damping.window);
            lower.into_iter().chain(voice.lapse(damping.ttl, last)).min()
        };
        self.voices.values().filter_map(changes).min()
    }

    /// The voices whose policies have not called for a quarter of the span after which they lapse: name,
    /// level, and when they do.
    pub fn silent(
        &self,
        damping: Damping,
        now: Moment,
    ) -> impl Iterator<Item = (&str, NodeCount, Moment)> {
        let last = self.heard.unwrap_or_default();
        self.voices.iter().filter_map(move |(name, voice)| {
            let quiet = voice.heard.is_some_and(|heard| now.since(heard) >= damping.ttl / 4);
            Some((name.as_str(), voice.level, voice.lapse(damping.ttl, last).filter(|_| quiet)?))
        })
    }

    /// The voices that ask for fewer: name, level, and when the lower count holds.
    pub fn waiting(&self, window: Duration) -> impl Iterator<Item = (&str, NodeCount, Moment)> {
        self.voices.iter().filter_map(move |(name, voice)| {
            voice.next_change(window).map(|at| (name.as_str(), voice.level, at))
        })
    }

    fn voice(&mut self, name: &str) -> &mut Voice {
        self.voices.entry(name.to_owned()).or_insert_with(|| Voice::at(NodeCount(0)))
    }
}

impl Told {
    const fn by(answer: Answer, at: Moment) -> Self {
        Self { at, count: Some(answer.count), fell: answer.falls }
    }
}

impl Voice {
    fn at(level: NodeCount) -> Self {
        Self {
            level,
            heard: None,
            lower_since: None,
            lower: VecDeque::new(),
            told: None,
            doubted: false,
        }
    }

    fn hear(&mut self, count: NodeCount, now: Moment) {
        if count >= self.level {
            self.level = count;
            self.lower_since = None;
            self.lower.clear();
            return;
        }
        self.lower_since.get_or_insert(now);
        // A lower ask before a higher one hides behind it: the higher takes its place in time, which
        // is when the one before ceased to stand.
        let mut from = now;
        while let Some((hidden, _)) = self.lower.pop_back_if(|(_, older)| *older <= count) {
            from = hidden;
        }
        if self.lower.len() < ASKS_MAX {
            self.lower.push_back((from, count));
        } // else the last, higher ask stands: damping errs on the side of machines that stay
    }

    fn settle(&mut self, window: Duration, now: Moment) {
        let Some(since) = self.lower_since else { return };
        if now.since(since) < window {
            return;
        }
        // An ask stands until the next one: the one that stood when the window began still counts.
        while self.lower.len() > 1
            && self.lower.get(1).is_some_and(|(at, _)| now.since(*at) >= window)
        {
            self.lower.pop_front();
        }
        let Some((_, highest)) = self.lower.front().copied() else { return };
        self.level = highest;
        if self.lower.len() == 1 {
            self.lower.clear();
            self.lower_since = None;
        } else {
            self.lower.pop_front();
            self.lower_since = self.lower.front().map(|(at, _)| *at);
        }
    }

    fn next_change(&self, window: Duration) -> Option<Moment> {
        self.lower_since.map(|since| since + window)
    }

    /// When it lapses; never where it was the `last` that called: then nobody asks for fewer.
    fn lapse(&self, ttl: Duration, last: Moment) -> Option<Moment> {
        self.heard.filter(|heard| *heard < last).map(|heard| heard + ttl)
    }
}

#[cfg(test)]
mod tests;
