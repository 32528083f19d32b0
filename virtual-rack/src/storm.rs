//! Faults by chance: a seed gives a sequence of faults, each with its end, and an end of all. Pure,
//! so that a seed and a rack file are the whole story of a run.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::chance::Chance;
use crate::config::RackConfig;
use crate::control::Request;
use crate::fault::BoardFault;
use crate::fault::Fault;
use crate::fault::MachineFault;
use crate::fault::Weld;
use crate::script::duration;

/// As many places are sick at once at most: more is no rack but a ruin, and nothing could converge.
pub const SICK_MAX: usize = 3;
/// Faults closer together than this are one fault.
const EVERY_MIN: Duration = Duration::from_millis(100);
/// What is used where nothing is said: a storm of a minute, with a new fault every two seconds.
pub const LENGTH_DEFAULT: Duration = Duration::from_secs(60);
const EVERY_DEFAULT: Duration = Duration::from_secs(2);
/// A fault lasts as long as this many of its kind take to come, at most.
const LASTS_MAX: u64 = 4;

/// A storm: faults begin on average `every`, and all is healed after `length`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Storm {
    /// What chance begins with.
    pub seed: u64,
    /// When the last fault ends.
    pub length: Duration,
    /// The mean time between two faults.
    pub every: Duration,
}

/// One step of a storm.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Gust {
    /// How long after the storm's begin.
    pub after: Duration,
    /// What is asked of the rack: [`Request::Fault`] or [`Request::Heal`].
    pub request: Request,
}

impl Storm {
    /// Reads a storm's figures as people write them.
    ///
    /// # Errors
    /// What was found and what was expected.
    pub fn read(seed: &str, length: &str, every: Option<&str>) -> Result<Self, String> {
        let seed = seed
            .parse()
            .map_err(|_| format!("found the seed {seed:?}, expected a whole number"))?;
        let every = every.map_or(Ok(EVERY_DEFAULT), duration)?;
        Self::new(seed, duration(length)?, every)
    }

    /// A storm whose figures make sense.
    ///
    /// # Errors
    /// What was found and what was expected.
    pub fn new(seed: u64, length: Duration, every: Duration) -> Result<Self, String> {
        if every < EVERY_MIN || every > length {
            return Err(format!(
                "found a fault every {every:?} in a storm of {length:?}, expected {EVERY_MIN:?} up \
                 to the storm's length"
            ));
        }
        Ok(Self { seed, length, every })
    }

    /// All its steps, in order; the last one heals all.
    #[must_use]
    pub fn gusts(&self, rack: &RackConfig) -> Vec<Gust> {
        let places = places(rack);
        let mut chance = Chance::seeded(self.seed);
        let mut gusts = Vec::new();
        let mut sick: BTreeMap<String, Duration> = BTreeMap::new();
        let mut after = Duration::ZERO;
        loop {
            after += self.every / 2 + self.share(&mut chance, 1);
            if after >= self.length {
                break;
            }
            sick.retain(|_, until| *until > after);
            let Some((whose, place)) = chance.pick(&places) else { break };
            if sick.len() >= SICK_MAX || sick.contains_key(whose) {
                continue;
            }
            let fault = place.fault(&mut chance);
            let lasts = self.every / 2 + self.share(&mut chance, LASTS_MAX);
            let until = (after + lasts).min(self.length);
            let heal = Request::Heal { place: fault.place() };
            gusts.push(Gust { after, request: Request::Fault { fault } });
            gusts.push(Gust { after: until, request: heal });
            sick.insert(whose.clone(), until);
        }
        gusts.push(Gust { after: self.length, request: Request::Heal { place: "all".to_owned() } });
        gusts.sort_by_key(|gust| gust.after);
        gusts
    }

    /// A time by chance below `times` the mean pause.
    fn share(&self, chance: &mut Chance, times: u64) -> Duration {
        let every = u64::try_from(self.every.as_millis()).unwrap_or(u64::MAX);
        Duration::from_millis(chance.below(every.saturating_mul(times)))
    }
}

/// Where a fault can be. A board and its relays are one patient: healing the board heals them.
enum Place {
    Machine(String),
    Relay(String, u8),
    /// With another of which the kernel tells where it is plugged in, as of this one.
    Board(String, Option<String>),
    Feed(String),
}

fn places(rack: &RackConfig) -> Vec<(String, Place)> {
    let machines = rack.machines.iter().map(|(name, machine)| {
        [
            (name.clone(), Place::Machine(name.clone())),
            (machine.board.clone(), Place::Relay(machine.board.clone(), machine.channel)),
        ]
    });
    let told = |name: &&String| rack.boards.get(*name).is_some_and(|board| board.usb.is_some());
    let boards = rack.boards.keys().map(|name| {
        let twin = rack.boards.keys().filter(told).find(|other| *other != name);
        let twin = twin.filter(|_| told(&name)).cloned();
        (name.clone(), Place::Board(name.clone(), twin))
    });
    let feeds = rack.feeds.iter().map(|name| (name.clone(), Place::Feed(name.clone())));
    machines.flatten().chain(boards).chain(feeds).collect()
}

impl Place {
    fn fault(&self, chance: &mut Chance) -> Fault {
        let mut span = |from: u64, to: u64| Duration::from_millis(from + chance.below(to - from));
        match self {
            Place::Machine(name) => {
                let late = span(500, 10_000);
                let faults = [
                    MachineFault::NoBoot(Some(1)),
                    MachineFault::NoBoot(None),
                    MachineFault::BootsLate(late),
                    MachineFault::Hangs,
                    MachineFault::IgnoresSoftOff,
                ];
                let fault = chance.pick(&faults).copied().unwrap_or(MachineFault::Hangs);
                Fault::Machine(name.clone(), fault)
            }
            Place::Relay(board, channel) => {
                let weld = if chance.hits(50) { Weld::Closed } else { Weld::Open };
                Fault::Relay(board.clone(), *channel, weld)
            }
            Place::Board(name, twin) => {
                let (answer, act, again) = (span(200, 3000), span(200, 3000), span(200, 3000));
                let pulled = u32::try_from(1 + chance.below(100)).unwrap_or(1);
                let mut faults = vec![
                    BoardFault::Mute,
                    BoardFault::AnswersLate(answer),
                    BoardFault::IgnoresFrames,
                    BoardFault::ActsLate(act),
                    BoardFault::ActsAgain(again),
                    BoardFault::Stale,
                    BoardFault::Loses(30),
                    BoardFault::Noisy(5),
                    BoardFault::Unplugged,
                    BoardFault::Renamed(format!("{name}-moved")),
                    BoardFault::PulledAfter(pulled),
                ];
                // Where nobody is told which adapter is where, these are another wiring and no fault.
                faults.extend(twin.clone().into_iter().flat_map(|twin| {
                    let (swapped, renumbered) = (twin.clone(), twin.clone());
                    [
                        BoardFault::Swapped(swapped),
                        BoardFault::Renumbered(renumbered),
                        BoardFault::Misled(twin),
                    ]
                }));
                let fault = chance.pick(&faults).cloned().unwrap_or(BoardFault::Mute);
                Fault::Board(name.clone(), fault)
            }
            Place::Feed(name) => Fault::NoMains(name.clone()),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use proptest::prelude::*;

    use super::*;
    use crate::moment::Moment;
    use crate::rack::Rack;

    fn rack() -> RackConfig {
        let mut text = "socket = \"s\"\nedge_log = \"e\"\n[feeds.left]\n[boards.a]\n\
            kind = \"lcus-ascii\"\nchannels = 4\nlink = \"l\"\nfeed = \"left\"\n"
            .to_owned();
        for channel in 1..=4 {
            text.push_str(&format!(
                "[machines.node{channel}]\nboard = \"a\"\nchannel = {channel}\nfeed = \"left\"\n\
                 boot_ms = 500\nshutdown_ms = 200\nwatts = 5\n"
            ));
        }
        crate::config::parse(&text, Path::new("RACK.toml")).unwrap()
    }

    proptest! {
        #[test]
        fn a_storm_is_the_same_for_the_same_seed_is_bounded_and_leaves_nothing_wrong(
            seed in any::<u64>(), seconds in 5_u64..120, every_ms in 100_u64..5000
        ) {
            let config = rack();
            let storm = Storm::new(
                seed, Duration::from_secs(seconds), Duration::from_millis(every_ms)
            ).unwrap();
            let gusts = storm.gusts(&config);
            prop_assert_eq!(&gusts, &storm.gusts(&config));
            prop_assert!(gusts.is_sorted_by_key(|gust| gust.after));
            let faults = gusts.iter().filter(|g| matches!(g.request, Request::Fault { .. })).count();
            let most = usize::try_from(seconds * 2000 / every_ms).unwrap();
            prop_assert!(faults <= most, "{} faults in {} s", faults, seconds);
            let mut model = Rack::assemble(&config);
            for gust in gusts {
                let now = Moment::START + gust.after;
                match gust.request {
                    // What is not on can not hang: that gust passes.
                    Request::Fault { fault } => drop(model.fail(fault, now)),
                    Request::Heal { place } => drop(model.heal(&place, now).unwrap()),
                    other => prop_assert!(false, "{:?}", other),
                }
                prop_assert!(model.faults().len() <= SICK_MAX, "{:?}", model.faults());
            }
            prop_assert_eq!(model.faults(), vec![]);
            prop_assert!(model.feeds().values().all(|mains| *mains == crate::relay::Power::On));
        }
    }

    #[test]
    fn every_kind_of_fault_comes_in_time() {
        let storm = Storm::new(7, Duration::from_secs(3600), Duration::from_secs(1)).unwrap();
        let words = |gust: Gust| match gust.request {
            Request::Fault { fault } => fault.to_string().split(' ').nth(1).map(str::to_owned),
            _ => None,
        };
        let seen: std::collections::BTreeSet<String> =
            storm.gusts(&rack()).into_iter().filter_map(words).collect();
        assert_eq!(seen.len(), 18, "{seen:?}");
    }
}
