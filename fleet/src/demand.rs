//! From what policies ask to what is desired: the largest voice wins, and a lower count waits out its window.
//!
//! Damping is ours because the host's cooldown runs from the request and the host is silent when a
//! policy is content; so silence is an ask for the count that was told.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use crate::{Moment, NodeCount};

/// Asks that are remembered of one voice. They are kept as falling maxima, so more would need a
/// policy that asks for that many different counts within one window.
pub const ASKS_MAX: usize = 64;

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

/// What the policies of one pool want.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Demand {
    voices: BTreeMap<String, Voice>,
}

/// One policy, by the `demand` of its target block.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Voice {
    level: NodeCount,
    /// Asks below the level since the last that was not: when the run began, then falling maxima.
    lower_since: Option<Moment>,
    lower: VecDeque<(Moment, NodeCount)>,
    told: Option<Told>,
}

/// A Status that was answered ready and not asked about since.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Told {
    at: Moment,
    /// What silence asks for; none while the count is in motion.
    count: Option<NodeCount>,
}

impl Demand {
    /// A demand whose voices stand at these levels: from a record, or from the count adopted at birth.
    #[must_use]
    pub fn standing(levels: impl IntoIterator<Item = (String, NodeCount)>) -> Self {
        let voices = levels.into_iter().map(|(name, level)| (name, Voice::at(level))).collect();
        Self { voices }
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
        window: Duration,
        now: Moment,
    ) {
        let voice = self.voice(voice);
        voice.told = None;
        let count = match direction {
            Direction::Up => count.max(voice.level),
            Direction::Down => count.min(voice.level),
            Direction::None => count,
        };
        voice.hear(count, now);
        voice.settle(window, now);
    }

    /// Status was answered ready with `count`. A full tick after the last answer without an ask in
    /// between is an ask for what was told then. The host asks for Status twice in one tick: an
    /// answer sooner than half a `tick` after the last one is the same tick's.
    pub fn told(
        &mut self,
        voice: &str,
        count: NodeCount,
        tick: Duration,
        window: Duration,
        now: Moment,
    ) {
        let voice = self.voice(voice);
        match voice.told {
            Some(told) if now.since(told.at) < tick / 2 => {}
            Some(told) => {
                voice.hear(told.count.unwrap_or(voice.level), now);
                voice.told = Some(Told { at: now, count: Some(count) });
            }
            None => voice.told = Some(Told { at: now, count: Some(count) }),
        }
        voice.settle(window, now);
    }

    /// Status was answered ready with a count that is in motion. Silence asks for what is desired: it
    /// neither raises, as the policy may be blind and not content, nor lets a window run out.
    pub fn told_in_motion(&mut self, voice: &str, tick: Duration, window: Duration, now: Moment) {
        let voice = self.voice(voice);
        let same_tick = voice.told.filter(|told| now.since(told.at) < tick / 2);
        if voice.told.is_some() && same_tick.is_none() {
            voice.hear(voice.level, now);
        }
        voice.told = Some(Told { at: same_tick.map_or(now, |told| told.at), count: None });
        voice.settle(window, now);
    }

    /// Lets windows that have run out take effect.
    pub fn settle(&mut self, window: Duration, now: Moment) {
        for voice in self.voices.values_mut() {
            voice.settle(window, now);
        }
    }

    /// When a lower count takes effect next, if nobody asks for more until then.
    #[must_use]
    pub fn next_change(&self, window: Duration) -> Option<Moment> {
        self.voices.values().filter_map(|voice| voice.next_change(window)).min()
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

impl Voice {
    fn at(level: NodeCount) -> Self {
        Self { level, lower_since: None, lower: VecDeque::new(), told: None }
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
}

#[cfg(test)]
mod tests {
    use super::*;

    const WINDOW: Duration = Duration::from_secs(60);
    const TICK: Duration = Duration::from_secs(10);

    fn at(seconds: u64) -> Moment {
        Moment::from_millis(seconds * 1000)
    }

    fn demand(level: u32) -> Demand {
        Demand::standing([("default".to_owned(), NodeCount(level))])
    }

    fn ask(demand: &mut Demand, count: u32, direction: Direction, seconds: u64) {
        demand.ask("default", NodeCount(count), direction, WINDOW, at(seconds));
    }

    #[test]
    fn a_higher_ask_holds_at_once_and_a_lower_one_after_its_window() {
        let mut demand = demand(1);
        ask(&mut demand, 4, Direction::Up, 0);
        assert_eq!(demand.desired(), NodeCount(4));
        ask(&mut demand, 2, Direction::Down, 10);
        assert_eq!(demand.desired(), NodeCount(4));
        assert_eq!(demand.next_change(WINDOW), Some(at(70)));
        demand.settle(WINDOW, at(69));
        assert_eq!(demand.desired(), NodeCount(4));
        demand.settle(WINDOW, at(70));
        assert_eq!(demand.desired(), NodeCount(2));
    }

    #[test]
    fn silence_while_the_count_is_in_motion_neither_raises_nor_lets_a_window_run_out() {
        let mut demand = demand(4);
        ask(&mut demand, 2, Direction::Down, 0);
        demand.told("default", NodeCount(4), TICK, WINDOW, at(59));
        demand.settle(WINDOW, at(60));
        assert_eq!(demand.desired(), NodeCount(2));
        demand.told_in_motion("default", TICK, WINDOW, at(69));
        assert_eq!(demand.desired(), NodeCount(2), "4 was told before the first machine left");
        ask(&mut demand, 1, Direction::Down, 70);
        demand.told_in_motion("default", TICK, WINDOW, at(80));
        demand.told_in_motion("default", TICK, WINDOW, at(90));
        demand.told("default", NodeCount(2), TICK, WINDOW, at(131));
        assert_eq!(
            demand.desired(),
            NodeCount(2),
            "it was silent at 80, so not every ask was lower"
        );
        demand.told("default", NodeCount(3), TICK, WINDOW, at(141));
        demand.told("default", NodeCount(3), TICK, WINDOW, at(151));
        assert_eq!(demand.desired(), NodeCount(3), "what is not in motion is asked for by silence");
    }

    #[test]
    fn the_highest_ask_of_the_window_wins() {
        let mut demand = demand(5);
        ask(&mut demand, 1, Direction::Down, 0);
        ask(&mut demand, 3, Direction::Down, 30);
        ask(&mut demand, 1, Direction::Down, 40);
        demand.settle(WINDOW, at(65));
        assert_eq!(demand.desired(), NodeCount(3));
        demand.settle(WINDOW, at(99));
        assert_eq!(demand.desired(), NodeCount(3), "3 stood until 40");
        demand.settle(WINDOW, at(100));
        assert_eq!(demand.desired(), NodeCount(1));
    }

    #[test]
    fn silence_asks_for_what_was_told_and_restarts_the_window() {
        let mut demand = demand(3);
        let told = |demand: &mut Demand, seconds| {
            demand.told("default", NodeCount(3), TICK, WINDOW, at(seconds));
        };
        ask(&mut demand, 1, Direction::Down, 0);
        told(&mut demand, 10);
        told(&mut demand, 10); // the same tick's second Status
        assert!(demand.next_change(WINDOW).is_some(), "not silent yet");
        told(&mut demand, 20);
        assert_eq!(demand.next_change(WINDOW), None, "content with three");
        demand.settle(WINDOW, at(600));
        assert_eq!(demand.desired(), NodeCount(3));
    }

    #[test]
    fn an_ask_between_two_status_calls_is_no_silence() {
        let mut demand = demand(3);
        for tick in 0..10 {
            demand.told("default", NodeCount(3), TICK, WINDOW, at(tick * 10));
            ask(&mut demand, 0, Direction::Down, tick * 10);
        }
        assert_eq!(demand.desired(), NodeCount(0));
    }

    #[test]
    fn up_never_lowers_and_down_never_raises() {
        let mut demand = demand(3);
        ask(&mut demand, 1, Direction::Up, 0);
        assert_eq!((demand.desired(), demand.next_change(WINDOW)), (NodeCount(3), None));
        ask(&mut demand, 9, Direction::Down, 1);
        assert_eq!(demand.desired(), NodeCount(3));
    }

    #[test]
    fn the_largest_voice_wins() {
        let mut demand = demand(3);
        demand.ask("nightly", NodeCount(5), Direction::Up, WINDOW, at(0));
        ask(&mut demand, 1, Direction::Down, 0);
        demand.settle(WINDOW, at(60));
        assert_eq!(demand.desired(), NodeCount(5));
    }

    proptest::proptest! {
        #[test]
        fn desired_is_never_below_the_highest_ask_that_stood_in_the_window(
            asks in proptest::collection::vec((0_u32..6, 0_u64..40), 1..200),
        ) {
            let mut demand = demand(3);
            let mut log = vec![(0, 3)];
            let mut clock = 1000;
            for (count, wait) in asks {
                clock += wait;
                ask(&mut demand, count, Direction::None, clock);
                log.push((clock, count));
                let from = clock.saturating_sub(60);
                let stood = log.iter().enumerate().filter(|(place, (_, _))| {
                    log.get(place + 1).is_none_or(|(next, _)| *next > from)
                });
                let highest = stood.map(|(_, (_, count))| *count).max().unwrap_or(0);
                proptest::prop_assert_eq!(demand.desired(), NodeCount(highest));
            }
        }
    }
}
