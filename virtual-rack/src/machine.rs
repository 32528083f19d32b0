//! A machine behind a relay: current and orders in, what happens to its command out.

use std::fmt;
use std::time::Duration;

use serde::Deserialize;
use serde::Serialize;

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
}

/// A soft off that the machine could not take, because it is not up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("found it {phase}, expected it up")]
pub struct NotUp {
    /// Where it is.
    pub phase: Phase,
}

/// A machine's model.
#[derive(Debug, Clone)]
pub struct Machine {
    nature: Nature,
    phase: Phase,
    since: Moment,
}

impl Machine {
    /// A machine without current.
    #[must_use]
    pub fn dark(nature: Nature) -> Self {
        Self { nature, phase: Phase::Dark, since: Moment::START }
    }

    /// A machine that was up long before the rack was looked at.
    #[must_use]
    pub fn up(nature: Nature) -> Self {
        Self { nature, phase: Phase::Up, since: Moment::START }
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

    /// Current came or went.
    ///
    /// The place of the fault "mains failure": the rack calls this with off for every machine while
    /// no contact moves.
    pub fn current(&mut self, power: Power, now: Moment) -> Option<Effect> {
        match (power, self.phase) {
            (Power::On, Phase::Dark) => {
                self.enter(Phase::Booting, now);
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

    /// It is asked to shut down.
    ///
    /// The place of the fault "ignores soft off": here the order is taken and nothing follows.
    ///
    /// # Errors
    /// [`NotUp`] where nobody is there to take the order.
    pub fn soft_off(&mut self, now: Moment) -> Result<Effect, NotUp> {
        match self.phase {
            Phase::Up => {
                self.enter(Phase::ShuttingDown, now);
                Ok(Effect::Terminate)
            }
            Phase::Dark | Phase::Booting | Phase::ShuttingDown | Phase::Halted => {
                Err(NotUp { phase: self.phase })
            }
        }
    }

    /// When something happens by itself next.
    ///
    /// The place of the faults "does not boot" and "hangs while it shuts down": here the deadline is
    /// left out, and the phase lasts until the current goes.
    #[must_use]
    pub fn deadline(&self) -> Option<Moment> {
        match self.phase {
            Phase::Booting => Some(self.since + self.nature.boot),
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
        assert_eq!(machine.soft_off(at(2000)), Ok(Effect::Terminate));
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
                Phase::Up => Ok(Effect::Terminate),
                other => Err(NotUp { phase: other }),
            };
            assert_eq!(machine.soft_off(at(1)), expected);
        }
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
