//! What goes wrong: drawn from the seed. Each run knows some kinds of faults only, so that rare pairs meet often.

mod people;

use fleet::JobKind;

use crate::chance::Chance;
use crate::hardware::{Board, Boots};
use crate::installation::{Installation, Links};
use crate::plugin::Network;
use crate::policy::Policy;
use crate::site::{POOLS, RACKS};

/// The kinds.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) enum Kind {
    AgentKilled,
    AgentRebooted,
    AgentCutOff,
    PluginKilled,
    PluginStopped,
    NomadSilent,
    Parted,
    Hangs,
    BootsBadly,
    IgnoresSoftOff,
    BoardFails,
    Welds,
    MainsFail,
    Person,
    Button,
    Locks,
    Operator,
    Network,
    Lag,
    Clock,
    AWeek,
    Snapshot,
    AgentAlone,
    PluginAlone,
    Split,
    Ticks,
    OldOrder,
}

const KINDS: [Kind; 27] = [
    Kind::AgentKilled,
    Kind::AgentRebooted,
    Kind::AgentCutOff,
    Kind::PluginKilled,
    Kind::PluginStopped,
    Kind::NomadSilent,
    Kind::Parted,
    Kind::Hangs,
    Kind::BootsBadly,
    Kind::IgnoresSoftOff,
    Kind::BoardFails,
    Kind::Welds,
    Kind::MainsFail,
    Kind::Person,
    Kind::Button,
    Kind::Locks,
    Kind::Operator,
    Kind::Network,
    Kind::Lag,
    Kind::Clock,
    Kind::AWeek,
    Kind::Snapshot,
    Kind::AgentAlone,
    Kind::PluginAlone,
    Kind::Split,
    Kind::Ticks,
    Kind::OldOrder,
];

/// How long an agent is away at least for which a week passes, in seconds: longer than any dwell, for the hardware's
/// clock is not its own.
const AWAY_MIN: u64 = 40;

const JOBS: [&str; 3] = ["web", "db", "batch"];

/// The faults of one run.
pub(crate) struct Faults {
    kinds: Vec<Kind>,
    /// What ends by itself: when, and what.
    ends: Vec<(u64, Kind, usize, &'static str)>,
}

impl Faults {
    pub(crate) fn of(chance: &mut Chance) -> Self {
        let one_in = *chance.pick(&[1, 2, 4]);
        let kinds = KINDS.into_iter().filter(|_| chance.once_in(one_in)).collect();
        Self { kinds, ends: Vec::new() }
    }

    /// Lets jobs come and go, and something go wrong now and then.
    pub(crate) fn step(&mut self, all: &mut Installation, chance: &mut Chance) {
        self.end(all, false);
        if chance.once_in(60) {
            self.work(all, chance);
        }
        if !self.kinds.is_empty() && chance.once_in(20) {
            let kind = *chance.pick(&self.kinds.clone());
            self.happen(kind, all, chance);
        }
    }

    fn work(&mut self, all: &mut Installation, chance: &mut Chance) {
        let job = *chance.pick(&JOBS);
        if chance.once_in(2) {
            all.nomad.stop(job);
            return all.note(format!("job {job} is stopped"));
        }
        let kind = if job == "batch" { JobKind::Batch } else { JobKind::Service };
        let count = usize::try_from(chance.between(1, 5)).unwrap();
        all.nomad.run(job, kind, count);
        all.nomad.jobs.get_mut(job).unwrap().migrates = job == "db";
        all.note(format!("{count} of job {job}"));
        if chance.once_in(4) {
            self.policy(all, chance);
        }
    }

    /// A policy is written anew, or deleted.
    fn policy(&mut self, all: &mut Installation, chance: &mut Chance) {
        let pool = usize::try_from(chance.between(0, 1)).unwrap();
        let few = chance.between(0, u64::try_from(POOLS[pool].machines.len()).unwrap() - 1);
        let few = Policy::Fixed(u32::try_from(few).unwrap());
        let new = *chance.pick(&[Policy::Pending, few, few, Policy::Silent, Policy::Gone]);
        let voices = &mut all.policies[pool].voices;
        let last = u64::try_from(voices.len()).unwrap() - 1;
        let place = usize::try_from(chance.between(0, last)).unwrap();
        voices[place].1 = new;
        let voice = voices[place].0;
        all.note(format!("the policy {voice} is {new:?}"));
    }

    fn happen(&mut self, kind: Kind, all: &mut Installation, chance: &mut Chance) {
        let now = all.now;
        let place = usize::try_from(chance.between(0, 1)).unwrap();
        let name: &'static str = chance.pick::<&'static str>(RACKS[place]);
        let lasts = *chance.pick(&[3, 10, 40, 150]);
        match kind {
            Kind::AgentKilled => all.agents[place].kill(now + lasts),
            Kind::AgentRebooted => reboot(place, all, now + lasts),
            Kind::AgentCutOff => all.agents[place].cut_off_until = now + lasts,
            Kind::PluginKilled if chance.once_in(2) => {
                all.process(place).for_each(|plugin| plugin.dies_with_order = Some(lasts));
            }
            Kind::PluginKilled => all.process(place).for_each(|plugin| plugin.kill(now + lasts)),
            Kind::PluginStopped => {
                all.process(place).for_each(|plugin| plugin.stopped_until = now + lasts);
            }
            Kind::Lag => {
                let lag = usize::try_from(chance.between(0, 8)).unwrap();
                all.process(place).for_each(|plugin| plugin.lag = lag);
            }
            Kind::NomadSilent => all.nomad.silent = true,
            Kind::Hangs | Kind::BootsBadly | Kind::IgnoresSoftOff | Kind::Welds => {
                self.machine_fails(kind, (place, name), all, chance);
            }
            Kind::BoardFails => {
                all.racks[place].board =
                    *chance.pick(&[Board::Silent, Board::Deaf, Board::Mumbles]);
            }
            Kind::MainsFail => self.mains_fail(place, all, chance),
            Kind::OldOrder => {
                // Where one is out of service, that one: it is there that the order surprises.
                let is_out = |name: &&&str| all.agents[place].is_quarantined(name);
                let name = RACKS[place].iter().find(is_out).unwrap_or(&name);
                all.old_order(name, chance);
            }
            Kind::Locks if chance.once_in(2) => {
                // Of a machine that goes: what has begun is not called off, and its agent dies over it.
                let goes = |name: &&&str| all.agents[place].goes_by_policy(name);
                let name = RACKS[place].iter().find(goes).copied().unwrap_or(name);
                people::happen(kind, name, all, chance);
                all.agents[place].kill(now + lasts);
            }
            Kind::Person | Kind::Button | Kind::Locks | Kind::Operator => {
                people::happen(kind, name, all, chance);
            }
            Kind::Network => {
                let (loses, repeats) = (*chance.pick(&[0, 2, 5]), *chance.pick(&[0, 3]));
                all.network = Network { loses, repeats, slow: chance.between(1, 8) };
            }
            Kind::Clock => all.agents[place].host.step_wall(chance),
            Kind::AWeek => a_week(place, all, now + lasts.max(AWAY_MIN)),
            Kind::Snapshot if chance.once_in(2) => all.save(),
            Kind::Snapshot => all.restore(chance.once_in(2)),
            Kind::Parted | Kind::AgentAlone | Kind::PluginAlone | Kind::Split => {
                part(kind, (place, name), now + lasts, all, chance);
            }
            Kind::Ticks => {
                all.policies.iter_mut().for_each(|policies| policies.loses = 2);
            }
        }
        all.note(format!("{kind:?} {place} {name} for {lasts} s"));
        self.ends.push((now + lasts, kind, place, name));
    }

    fn machine_fails(
        &mut self,
        kind: Kind,
        (place, name): (usize, &'static str),
        all: &mut Installation,
        chance: &mut Chance,
    ) {
        all.check.touched(name, all.now);
        let machine = all.racks[place].machines.get_mut(name).unwrap();
        match kind {
            Kind::Hangs => machine.hangs = true,
            Kind::BootsBadly => machine.boots = *chance.pick(&[Boots::Never, Boots::Late(90)]),
            Kind::IgnoresSoftOff => machine.ignores_soft_off = true,
            _ => {
                let welded = chance.once_in(2);
                all.racks[place].weld(name, Some(welded), all.now);
            }
        }
    }

    fn mains_fail(&mut self, place: usize, all: &mut Installation, chance: &mut Chance) {
        let now = all.now;
        for name in RACKS[place] {
            all.check.touched(name, now);
        }
        all.racks[place].board_on_feed = chance.once_in(2);
        all.racks[place].feed(false, now);
        if chance.once_in(2) {
            reboot(place, all, now + 200);
        }
    }

    /// Ends what is over; all of it where `all_over`.
    fn end(&mut self, all: &mut Installation, all_over: bool) {
        let now = all.now;
        let (over, still) = std::mem::take(&mut self.ends)
            .into_iter()
            .partition::<Vec<_>, _>(|(end, ..)| all_over || *end <= now);
        self.ends = still;
        for (_, kind, place, name) in over {
            match kind {
                Kind::NomadSilent => all.nomad.silent = false,
                Kind::Hangs | Kind::BootsBadly | Kind::IgnoresSoftOff => {
                    all.check.touched(name, now);
                    all.racks[place].reset(name, now);
                }
                Kind::Welds => {
                    all.check.touched(name, now);
                    all.racks[place].weld(name, None, now);
                }
                Kind::BoardFails => all.racks[place].board = Board::Obeys,
                Kind::MainsFail => {
                    for name in RACKS[place] {
                        all.check.touched(name, now);
                    }
                    all.racks[place].feed(true, now);
                }
                Kind::Network => all.network = Network { slow: 1, ..Network::default() },
                Kind::Lag => all.process(place).for_each(|plugin| plugin.lag = 1),
                Kind::Ticks => all.policies.iter_mut().for_each(|policies| policies.loses = 0),
                _ => {}
            }
        }
    }

    /// Everything that is wrong comes to an end; people go home, and their holds with them.
    pub(crate) fn heal(&mut self, all: &mut Installation) {
        self.end(all, true);
        people::give_back(all);
        let now = all.now;
        // As `why` tells people to: what has power and does not run is started anew.
        for (place, names) in RACKS.iter().enumerate() {
            for name in *names {
                all.check.touched(name, now);
                all.racks[place].reset(name, now);
            }
        }
        for agent in &mut all.agents {
            agent.come_back(now);
        }
        for plugin in &mut all.plugins {
            (plugin.stopped_until, plugin.dies_with_order) = (now, None);
            plugin.dead_until = plugin.dead_until.min(now);
        }
        all.links = Links::default();
        all.note("all is healed".to_owned());
    }
}

/// The host of an agent goes down, and boots.
fn reboot(place: usize, all: &mut Installation, back_at: u64) {
    all.check.forget_dwell(RACKS[place]);
    all.check.locks.reboot(RACKS[place]);
    all.agents[place].reboot(back_at);
}

/// An agent is away, and a week has passed for it when it comes back.
fn a_week(place: usize, all: &mut Installation, back_at: u64) {
    all.agents[place].kill(back_at);
    all.agents[place].host.a_week_passes();
    all.check.locks.a_week_passes(RACKS[place]);
}

/// Some do not hear each other, while others hear both.
fn part(
    kind: Kind,
    (place, name): (usize, &str),
    until: u64,
    all: &mut Installation,
    chance: &mut Chance,
) {
    match kind {
        Kind::AgentAlone => all.links.agent_nomad[place] = until,
        Kind::PluginAlone => all.links.plugin_nomad[place] = until,
        Kind::Split => {
            let agent = usize::try_from(chance.between(0, 1)).unwrap();
            all.links.plugin_agent[place][agent] = until;
        }
        _ => {
            all.check.touched(name, all.now);
            all.links.nodes.insert(name.to_owned(), until);
        }
    }
}
