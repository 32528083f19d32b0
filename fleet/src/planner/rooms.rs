//! Who may be lit in one go: as many as their feeds carry, and where nothing is known of these, a few after the mains
//! were gone.

use std::time::Duration;

use super::{Blocked, RESTART_SPAN, RESTARTS_AT_ONCE_MAX, Scene};
use crate::view::MachineView;
use crate::{FeedRooms, Moment, Observed, PowerState, Progress, Verb};

/// The room that is left while a plan is made.
pub(super) struct Rooms {
    /// Running sums: each machine that is lit takes its part.
    feeds: FeedRooms,
    /// How many more machines without such a feed may be lit now, and after what time others.
    restarts: (usize, Duration),
}

impl Rooms {
    pub(super) fn of(scene: Scene<'_>, now: Moment) -> Self {
        let mut rooms = Self { feeds: scene.view.feeds.clone(), restarts: (0, RESTART_SPAN) };
        rooms.restarts = rooms.restarts(scene, now);
        rooms
    }

    /// Takes what a machine needs of all its feeds, or nothing.
    pub(super) fn take(&mut self, machine: &MachineView) -> Result<(), Blocked> {
        if self.feeds.bind(&machine.fed) {
            return self.feeds.take(&machine.fed).map_err(Blocked::FeedFull);
        }
        let (left, after) = &mut self.restarts;
        *left = left.checked_sub(1).ok_or(Blocked::Staggered(*after))?;
        Ok(())
    }

    /// As many as are wanted, but where power went away not all at once.
    fn restarts(&self, scene: Scene<'_>, now: Moment) -> (usize, Duration) {
        let machines =
            || scene.view.machines.values().filter(|machine| !self.feeds.bind(&machine.fed));
        let went = |machine: &MachineView| {
            let assumed = machine.agent.as_ref().map(|agent| agent.power.observed());
            let unsure = assumed == Some(Observed::Assumed(PowerState::On)) && !machine.is_on(now);
            machine.lost_power(now) || (unsure && !machine.is_starting(now))
        };
        if !machines().any(went) {
            return (usize::MAX, Duration::ZERO);
        }
        let lately = machines().filter_map(|machine| {
            let agent = machine.agent.as_ref()?;
            let running = agent.operation.as_ref().filter(|op| op.progress == Progress::Running);
            if running.is_some_and(|operation| operation.verb != Verb::Off) {
                return Some(RESTART_SPAN);
            }
            let commanded = agent.power.commanded.as_ref()?;
            let left = RESTART_SPAN.checked_sub(now.since(commanded.at))?;
            (commanded.state == PowerState::On && !left.is_zero()).then_some(left)
        });
        let left = lately.clone().min().unwrap_or(RESTART_SPAN);
        (RESTARTS_AT_ONCE_MAX.saturating_sub(lately.count()), left)
    }
}
