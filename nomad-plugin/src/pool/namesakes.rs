//! Policies that go by one demand name: the pool takes them for one whose counts take turns, and can only tell of it.
//!
//! The host does not say who calls. A policy shows itself by its target block at Status, and at Scale by its id, where its
//! strategy is one of the host's own; two with equal blocks and a strategy that loses the id can not be told apart.

use std::collections::BTreeMap;
use std::time::Duration;

use fleet::Moment;

use crate::host::Config;

/// How long a face is remembered: longer than two cooldowns of the host's default, in which a policy does not scale.
const REMEMBERED: Duration = Duration::from_secs(30 * 60);

/// A face that comes back once may be an edit that was taken back. One that comes back more often is another policy.
const RETURNS_MIN: usize = 3;

/// Faces that are remembered of one name; more policies than that do not share a pool.
const FACES_MAX: usize = fleet::policies::POLICIES_MAX;

/// What a policy shows of itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Sign {
    Block,
    Id,
}

/// Who was seen under each name.
#[derive(Debug, Default)]
pub(super) struct Namesakes(BTreeMap<(String, Sign), Faces>);

#[derive(Debug, Default)]
struct Faces {
    /// When each was seen last.
    seen: BTreeMap<String, Moment>,
    last: String,
    /// When one that had gone came back, the latest last; at most [`RETURNS_MIN`].
    returns: Vec<Moment>,
}

impl Namesakes {
    /// A policy of this name called Status with this block. Tells whether it is new that several go by the name.
    pub(super) fn called(&mut self, voice: &str, block: &Config, now: Moment) -> bool {
        // The host's own keys may be another for each of its calls.
        let own = block.iter().filter(|(key, _)| !key.starts_with('_'));
        let face: String = own.map(|(key, value)| format!("{key}={value:?};")).collect();
        self.see(voice, Sign::Block, face, now)
    }

    /// The policy of this name and id asked for a count. Tells whether it is new that several go by the name.
    pub(super) fn asked(&mut self, voice: &str, id: &str, now: Moment) -> bool {
        self.see(voice, Sign::Id, id.to_owned(), now)
    }

    fn see(&mut self, voice: &str, sign: Sign, face: String, now: Moment) -> bool {
        let before = self.is_shared(voice, now);
        let faces = self.0.entry((voice.to_owned(), sign)).or_default();
        faces.seen.retain(|_, at| now.since(*at) < REMEMBERED);
        let is_known = faces.seen.contains_key(&face);
        if is_known && faces.last != face {
            faces.returns.push(now);
            if faces.returns.len() > RETURNS_MIN {
                faces.returns.remove(0);
            }
        }
        if is_known || faces.seen.len() < FACES_MAX {
            faces.seen.insert(face.clone(), now);
            faces.last = face;
        }
        !before && self.is_shared(voice, now)
    }

    /// Whether several policies go by this name.
    fn is_shared(&self, voice: &str, now: Moment) -> bool {
        [Sign::Block, Sign::Id].into_iter().any(|sign| {
            self.0.get(&(voice.to_owned(), sign)).is_some_and(|faces| faces.take_turns(now))
        })
    }

    /// The names by which several policies go.
    pub(super) fn shared(&self, now: Moment) -> Vec<&str> {
        let shared = self.0.iter().filter(|(_, faces)| faces.take_turns(now));
        let mut names: Vec<&str> = shared.map(|((voice, _), _)| voice.as_str()).collect();
        names.dedup();
        names
    }

    /// The policies of a demand that has lapsed are gone.
    pub(super) fn forget(&mut self, voice: &str) {
        self.0.retain(|(known, _), _| known != voice);
    }
}

impl Faces {
    fn take_turns(&self, now: Moment) -> bool {
        self.returns.iter().filter(|at| now.since(**at) < REMEMBERED).count() >= RETURNS_MIN
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64) -> Moment {
        Moment::from_millis(seconds * 1000)
    }

    fn block(idle_time: &str) -> Config {
        [("pool", "rack"), ("idle_time", idle_time)]
            .map(|(key, value)| (key.to_owned(), value.to_owned()))
            .into()
    }

    #[test]
    fn two_blocks_that_take_turns_are_two_policies_until_they_have_not_for_long() {
        let mut namesakes = Namesakes::default();
        let mut news = Vec::new();
        for tick in 0..10 {
            let idle_time = if tick % 2 == 0 { "5m" } else { "10m" };
            if namesakes.called("default", &block(idle_time), at(tick * 5)) {
                news.push(tick);
            }
        }
        assert_eq!(news, [4], "once, when one has come back for the third time");
        assert_eq!(namesakes.shared(at(50)), ["default"]);
        for tick in 10..500 {
            namesakes.called("default", &block("5m"), at(tick * 5));
        }
        assert!(namesakes.shared(at(2500)).is_empty(), "one of them was taken away");
    }

    #[test]
    fn a_block_that_is_edited_and_edited_back_is_one_policy() {
        let mut namesakes = Namesakes::default();
        for (tick, idle_time) in ["5m", "10m", "5m", "5m", "20m", "5m"].into_iter().enumerate() {
            let now = at(u64::try_from(tick).unwrap() * 10);
            assert!(!namesakes.called("default", &block(idle_time), now), "{tick}");
        }
        let mut same = block("5m");
        for tick in 0..10 {
            same.insert("_nomad_autoscaler_grpc_timeout".to_owned(), format!("{tick}s"));
            assert!(!namesakes.called("default", &same, at(100 + tick)), "the host's own key");
        }
    }

    #[test]
    fn ids_tell_policies_of_equal_blocks_apart_and_each_name_is_judged_alone() {
        let mut namesakes = Namesakes::default();
        for round in 0..4 {
            namesakes.asked("day", "a", at(round * 600));
            namesakes.asked("night", "c", at(round * 600));
            namesakes.asked("day", "b", at(round * 600 + 300));
        }
        assert_eq!(namesakes.shared(at(2100)), ["day"]);
        namesakes.forget("day");
        assert!(namesakes.shared(at(2100)).is_empty());
    }

    #[test]
    fn faces_without_end_are_not_kept() {
        let mut namesakes = Namesakes::default();
        for face in 0..10_000_u32 {
            namesakes.asked("day", &face.to_string(), at(1));
        }
        assert!(
            namesakes
                .0
                .values()
                .all(|faces| faces.seen.len() <= FACES_MAX && faces.returns.len() <= RETURNS_MIN)
        );
    }
}
