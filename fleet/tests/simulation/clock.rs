//! The clocks of an agent's host: one that counts since its boot and that nobody can set, and one on the wall that
//! anybody can. What is written down carries both, as the agent writes it; only the boot decides.

use std::time::Duration;

use fleet::Moment;
use fleet::arbiter::BEFORE_BOOT;

use crate::chance::Chance;

/// A week, in seconds.
pub(crate) const WEEK: u64 = 7 * 24 * 3600;
/// What a wall clock without a battery shows before it is set: the day on which its image was built.
const UNSET: i64 = 1_600_000_000;
/// The furthest that a wall clock steps, in seconds: fifty years.
const STEP_MAX: i64 = 50 * 365 * 24 * 3600;

/// Where a plugin's clock stands when it starts, as in its loop: ages of an earlier boot reach far back.
pub(crate) const PLUGIN_ORIGIN: Duration = BEFORE_BOOT.saturating_mul(4);

/// A moment on a plugin's clock.
pub(crate) fn plugin_at(now: u64) -> Moment {
    Moment::ZERO + PLUGIN_ORIGIN + Duration::from_secs(now)
}

/// When something was written: in which boot, and what the wall clock said.
#[derive(Clone, Copy, Default, PartialEq, Eq, Debug)]
pub(crate) struct Stamp {
    pub(crate) boot: u64,
    pub(crate) wall: i64,
}

#[derive(Default)]
pub(crate) struct Host {
    boot: u64,
    /// When it booted, on the simulation's clock.
    up: u64,
    /// Seconds that have passed for it alone: it was away for a week, and the others have not waited.
    ahead: u64,
    /// What its wall clock shows more than the simulation's.
    wall: i64,
}

impl Host {
    /// Now, on the clock of this boot: none knows how long ago an earlier boot was.
    pub(crate) fn at(&self, now: u64) -> Moment {
        let up = now.saturating_sub(self.up) + self.ahead;
        Moment::ZERO + BEFORE_BOOT + Duration::from_secs(up)
    }

    pub(crate) fn stamp(&self, now: u64) -> Stamp {
        Stamp { boot: self.boot, wall: i64::try_from(now).unwrap() + self.wall }
    }

    /// Another boot, and a wall clock that nobody has set yet.
    pub(crate) fn reboot(&mut self, back_at: u64) {
        self.boot += 1;
        (self.up, self.ahead) = (back_at, 0);
        self.wall = UNSET - i64::try_from(back_at).unwrap();
    }

    /// It is up since now at the latest.
    pub(crate) fn is_up_at(&mut self, now: u64) {
        self.up = self.up.min(now);
    }

    /// A week has passed for it.
    pub(crate) fn a_week_passes(&mut self) {
        self.ahead += WEEK;
        self.wall += i64::try_from(WEEK).unwrap();
    }

    /// Somebody sets its wall clock: by a second, an hour or decades, forwards or back.
    pub(crate) fn step_wall(&mut self, chance: &mut Chance) {
        let by = *chance.pick(&[1, 3600, STEP_MAX]);
        self.wall += if chance.once_in(2) { by } else { -by };
    }
}
