//! A machine behind a relay: current and orders in, what happens to its command out.

use std::fmt;
use std::time::Duration;

use serde::Deserialize;
use serde::Serialize;

use crate::fault::MachineFault;
use crate::moment::Moment;
use crate::relay::Power;

/// Where a machine is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Phase {
    /// No current.
    Dark,
    /// Current, and not yet up.
    Booting,
    /// Up: its command was started (and may have ended by itself).
    Up,
    /// Soft off was taken.
    ShuttingDown,
    /// Shut down with the relay closed: only a power cycle boots it again.
    Halted,
}

impl Phase {
    /// All of them, in the order of a machine's life.
    pub const ALL: [Phase; 5] =
        [Phase::Dark, Phase::Booting, Phase::Up, Phase::ShuttingDown, Phase::Halted];

    /// The word of scripts, command line and JSON.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Phase::Dark => "dark",
            Phase::Booting => "booting",
            Phase::Up => "up",
            Phase::ShuttingDown => "shutting-down",
            Phase::Halted => "halted",
        }
    }
}

impl fmt::Display for Phase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.word())
    }
}

impl std::str::FromStr for Phase {
    type Err = String;

    fn from_str(word: &str) -> Result<Self, String> {
        Self::ALL.into_iter().find(|phase| phase.word() == word).ok_or_else(|| {
            let words: Vec<&str> = Self::ALL.into_iter().map(Phase::word).collect();
            format!("found the state {word:?}, expected one of {}", words.join(", "))
        })
    }
}

/// How long a machine takes, and what it draws.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Nature {
    /// From current to up.
    pub boot: Duration,
    /// From soft off to halted.
    pub shutdown: Duration,
    /// Watts while booting.
    pub boot_watts: f64,
    /// Watts while up or shutting down.
    pub watts: f64,
    /// Watts while halted with the relay closed.
    pub halted_watts: f64,
}

/// What happens to the machine's command.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Effect {
    /// It is started.
    Start,
    /// It is told to end (SIGTERM).
    Terminate,
    /// It and everything that it started die now.
    Kill,
    /// It and everything that it started stand still, and stay where they are.
    Freeze,
    /// They go on.
    Thaw,
}

/// A soft off that the machine could not take, because it is not up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("found it {phase}{}, expected it up", if *.hangs { " and hanging" } else { "" })]
pub struct NotUp {
    /// Where it is.
    pub phase: Phase,
    /// Whether it hangs there.
    pub hangs: bool,
}

/// What can be wrong with a machine for longer than one life of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
struct Faults {
    no_boot: Option<MachineFault>,
    boots_late: Option<Duration>,
    ignores_soft_off: bool,
}

/// A machine's model.
#[derive(Debug, Clone)]
pub struct Machine {
    nature: Nature,
    phase: Phase,
    since: Moment,
    faults: Faults,
    /// Its programs stand still until its power is cut.
    hangs: bool,
    /// This boot never ends.
    boot_lost: bool,
}

impl Machine {
    /// A machine without current.
    #[must_use]
    pub fn dark(nature: Nature) -> Self {
        Self::found(nature, Phase::Dark)
    }

    /// A machine that was up long before the rack was looked at.
    #[must_use]
    pub fn up(nature: Nature) -> Self {
        Self::found(nature, Phase::Up)
    }

    fn found(nature: Nature, phase: Phase) -> Self {
        let faults = Faults::default();
        Self { nature, phase, since: Moment::START, faults, hangs: false, boot_lost: false }
    }

    /// Where it is.
    #[must_use]
    pub fn phase(&self) -> Phase {
        self.phase
    }

    /// Since when it is there.
    #[must_use]
    pub fn since(&self) -> Moment {
        self.since
    }

    /// Whether its programs stand still.
    #[must_use]
    pub fn hangs(&self) -> bool {
        self.hangs
    }

    /// What is wrong with it.
    #[must_use]
    pub fn faults(&self) -> Vec<MachineFault> {
        let late = self.faults.boots_late.map(MachineFault::BootsLate);
        let deaf = self.faults.ignores_soft_off.then_some(MachineFault::IgnoresSoftOff);
        let hangs = self.hangs.then_some(MachineFault::Hangs);
        [self.faults.no_boot, late, deaf, hangs].into_iter().flatten().collect()
    }

    /// From now on this is wrong with it; a boot under way is one of those that it concerns.
    ///
    /// # Errors
    /// Nothing can hang on a machine that is not on; it says where it is.
    pub fn fail(&mut self, fault: MachineFault) -> Result<Option<Effect>, Phase> {
        match fault {
            MachineFault::NoBoot(_) => {
                self.faults.no_boot = Some(fault);
                if self.phase == Phase::Booting && !self.boot_lost {
                    self.begin_boot();
                }
            }
            MachineFault::BootsLate(late) => self.faults.boots_late = Some(late),
            MachineFault::IgnoresSoftOff => self.faults.ignores_soft_off = true,
            MachineFault::Hangs => match self.phase {
                Phase::Dark | Phase::Halted => return Err(self.phase),
                Phase::Booting => self.hangs = true,
                Phase::Up | Phase::ShuttingDown => {
                    let already = std::mem::replace(&mut self.hangs, true);
                    return Ok((!already).then_some(Effect::Freeze));
                }
            },
        }
        Ok(None)
    }

    /// Nothing is wrong with it any more. A boot that was lost stays lost until the power is cut.
    pub fn heal(&mut self) -> Option<Effect> {
        self.faults = Faults::default();
        let hung = std::mem::take(&mut self.hangs);
        let has_programs = matches!(self.phase, Phase::Up | Phase::ShuttingDown);
        (hung && has_programs).then_some(Effect::Thaw)
    }

    fn begin_boot(&mut self) {
        self.boot_lost = matches!(self.faults.no_boot, Some(MachineFault::NoBoot(_)));
        if let Some(MachineFault::NoBoot(Some(times))) = self.faults.no_boot {
            let left = times.saturating_sub(1);
            self.faults.no_boot = (left > 0).then_some(MachineFault::NoBoot(Some(left)));
        }
    }

    /// What it draws now.
    #[must_use]
    pub fn watts(&self) -> f64 {
        match self.phase {
            Phase::Dark => 0.0,
            Phase::Booting => self.nature.boot_watts,
            Phase::Up | Phase::ShuttingDown => self.nature.watts,
            Phase::Halted => self.nature.halted_watts,
        }
    }

    /// Current came or went: through its contact, or with the mains behind it.
    pub fn current(&mut self, power: Power, now: Moment) -> Option<Effect> {
        match (power, self.phase) {
            (Power::On, Phase::Dark) => {
                self.enter(Phase::Booting, now);
                self.begin_boot();
                None
            }
            (Power::Off, Phase::Up | Phase::ShuttingDown) => {
                self.enter(Phase::Dark, now);
                Some(Effect::Kill)
            }
            (Power::Off, Phase::Booting | Phase::Halted) => {
                self.enter(Phase::Dark, now);
                None
            }
            (Power::On, Phase::Booting | Phase::Up | Phase::ShuttingDown | Phase::Halted)
            | (Power::Off, Phase::Dark) => None,
        }
    }

    /// It is asked to shut down; `None` where it takes the order and does not follow it.
    ///
    /// # Errors
    /// [`NotUp`] where nobody is there to take the order.
    pub fn soft_off(&mut self, now: Moment) -> Result<Option<Effect>, NotUp> {
        match self.phase {
            Phase::Up if !self.hangs && self.faults.ignores_soft_off => Ok(None),
            Phase::Up if !self.hangs => {
                self.enter(Phase::ShuttingDown, now);
                Ok(Some(Effect::Terminate))
            }
            Phase::Dark | Phase::Booting | Phase::Up | Phase::ShuttingDown | Phase::Halted => {
                Err(NotUp { phase: self.phase, hangs: self.hangs })
            }
        }
    }

    /// When something happens by itself next.
    #[must_use]
    pub fn deadline(&self) -> Option<Moment> {
        match self.phase {
            Phase::Booting | Phase::ShuttingDown if self.hangs => None,
            Phase::Booting if self.boot_lost => None,
            Phase::Booting => {
                let late = self.faults.boots_late.unwrap_or_default();
                Some(self.since + self.nature.boot + late)
            }
            Phase::ShuttingDown => Some(self.since + self.nature.shutdown),
            Phase::Dark | Phase::Up | Phase::Halted => None,
        }
    }

    /// Time passed. A phase that ended is left at the moment when it ended, not when that was seen.
    pub fn elapse(&mut self, now: Moment) -> Option<Effect> {
        let due = self.deadline().filter(|due| *due <= now)?;
        match self.phase {
            Phase::Booting => {
                self.enter(Phase::Up, due);
                Some(Effect::Start)
            }
            Phase::ShuttingDown => {
                self.enter(Phase::Halted, due);
                Some(Effect::Kill)
            }
            Phase::Dark | Phase::Up | Phase::Halted => None,
        }
    }

    fn enter(&mut self, phase: Phase, at: Moment) {
        self.phase = phase;
        self.since = at;
        if phase == Phase::Dark {
            self.hangs = false;
            self.boot_lost = false;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NATURE: Nature = Nature {
        boot: Duration::from_millis(1000),
        shutdown: Duration::from_millis(500),
        boot_watts: 9.0,
        watts: 6.5,
        halted_watts: 0.5,
    };

    fn at(millis: u64) -> Moment {
        Moment::from_millis(millis)
    }

    #[test]
    fn a_life_from_dark_to_halted_and_up_again_after_a_power_cycle() {
        let mut machine = Machine::dark(NATURE);
        assert_eq!((machine.current(Power::On, at(0)), machine.watts()), (None, 9.0));
        assert_eq!((machine.elapse(at(999)), machine.phase()), (None, Phase::Booting));
        assert_eq!(machine.elapse(at(1200)), Some(Effect::Start));
        assert_eq!((machine.since(), machine.watts()), (at(1000), 6.5), "up when due");
        assert_eq!(machine.soft_off(at(2000)), Ok(Some(Effect::Terminate)));
        assert_eq!(machine.elapse(at(2500)), Some(Effect::Kill));
        assert_eq!((machine.phase(), machine.watts()), (Phase::Halted, 0.5));
        assert_eq!((machine.deadline(), machine.current(Power::On, at(3000))), (None, None));
        assert_eq!(machine.phase(), Phase::Halted, "a closed relay boots nothing");
        assert_eq!((machine.current(Power::Off, at(3000)), machine.watts()), (None, 0.0));
        machine.current(Power::On, at(4000));
        assert_eq!(machine.deadline(), Some(at(5000)));
    }

    #[test]
    fn a_cut_at_any_moment_leaves_it_dark_at_once() {
        let mut machine = Machine::dark(NATURE);
        for (phase, effect) in [
            (Phase::Dark, None),
            (Phase::Booting, None),
            (Phase::Up, Some(Effect::Kill)),
            (Phase::ShuttingDown, Some(Effect::Kill)),
            (Phase::Halted, None),
        ] {
            machine.enter(phase, at(0));
            assert_eq!(machine.current(Power::Off, at(1)), effect, "{phase}");
            assert_eq!((machine.phase(), machine.deadline()), (Phase::Dark, None), "{phase}");
        }
    }

    #[test]
    fn soft_off_is_refused_where_nobody_is_up_to_take_it() {
        let mut machine = Machine::dark(NATURE);
        for phase in Phase::ALL {
            machine.enter(phase, at(0));
            let expected = match phase {
                Phase::Up => Ok(Some(Effect::Terminate)),
                other => Err(NotUp { phase: other, hangs: false }),
            };
            assert_eq!(machine.soft_off(at(1)), expected);
        }
    }

    #[test]
    fn a_boot_that_is_lost_stays_lost_until_the_power_is_cut_and_the_next_one_is_tried_anew() {
        let mut machine = Machine::dark(NATURE);
        assert_eq!(machine.fail(MachineFault::NoBoot(Some(1))), Ok(None));
        machine.current(Power::On, at(0));
        assert_eq!((machine.deadline(), machine.watts()), (None, 9.0));
        assert_eq!((machine.heal(), machine.deadline()), (None, None), "lost is lost");
        machine.current(Power::Off, at(5000));
        machine.current(Power::On, at(6000));
        assert_eq!(machine.deadline(), Some(at(7000)), "once was ordered, once it was");
        machine.fail(MachineFault::NoBoot(None)).unwrap();
        assert_eq!(machine.deadline(), None, "it concerns the boot under way");
        for cut in [8000, 9000] {
            machine.current(Power::Off, at(cut));
            machine.current(Power::On, at(cut));
            assert_eq!(machine.deadline(), None, "and every other");
        }
    }

    #[test]
    fn a_hanging_machine_draws_its_watts_takes_no_order_and_is_cured_by_a_cut() {
        let mut machine = Machine::up(NATURE);
        assert_eq!(machine.fail(MachineFault::Hangs), Ok(Some(Effect::Freeze)));
        assert_eq!((machine.fail(MachineFault::Hangs), machine.watts()), (Ok(None), 6.5));
        let refused = machine.soft_off(at(1)).unwrap_err().to_string();
        assert_eq!(refused, "found it up and hanging, expected it up");
        assert_eq!(machine.heal(), Some(Effect::Thaw));
        machine.soft_off(at(1)).unwrap();
        machine.fail(MachineFault::Hangs).unwrap();
        assert_eq!(machine.deadline(), None, "it hangs while it shuts down");
        assert_eq!(machine.current(Power::Off, at(2)), Some(Effect::Kill));
        assert_eq!((machine.hangs(), machine.fail(MachineFault::Hangs)), (false, Err(Phase::Dark)));
        machine.current(Power::On, at(3));
        machine.fail(MachineFault::BootsLate(Duration::from_secs(2))).unwrap();
        assert_eq!(machine.deadline(), Some(at(3003)));
        assert_eq!(machine.faults().len(), 1);
    }

    #[test]
    fn a_machine_that_ignores_soft_off_takes_the_order_and_stays_up() {
        let mut machine = Machine::up(NATURE);
        machine.fail(MachineFault::IgnoresSoftOff).unwrap();
        assert_eq!((machine.soft_off(at(1)), machine.phase()), (Ok(None), Phase::Up));
        machine.heal();
        assert_eq!(machine.soft_off(at(1)), Ok(Some(Effect::Terminate)));
    }

    #[test]
    fn every_phase_is_read_as_it_is_written() {
        for phase in Phase::ALL {
            assert_eq!(phase.word().parse(), Ok(phase));
            assert_eq!(serde_json::to_string(&phase).unwrap(), format!("{:?}", phase.word()));
        }
        assert_eq!(
            "on".parse::<Phase>().unwrap_err(),
            "found the state \"on\", expected one of dark, booting, up, shutting-down, halted"
        );
    }
}
