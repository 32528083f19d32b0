//! The agent's clocks. All decisions run on [`Clock::now`]; the wall clock is only written beside it, for people.

use std::time::{Duration, SystemTime};

use fleet::Moment;
use fleet::arbiter::BEFORE_BOOT;
use fleet::moment::millis;
use rustix::time::{ClockId, clock_gettime};

/// Which boot of the host this is: moments of different boots are never compared.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BootId(String);

impl BootId {
    /// Where the kernel tells it.
    const FILE: &str = "/proc/sys/kernel/random/boot_id";

    /// Takes an id; any text that differs from boot to boot.
    #[must_use]
    pub fn new(text: &str) -> Self {
        Self(text.trim().to_owned())
    }

    /// This boot's id.
    ///
    /// # Errors
    /// Where the kernel does not tell it.
    pub fn of_kernel() -> std::io::Result<Self> {
        std::fs::read_to_string(Self::FILE).map(|text| Self::new(&text))
    }

    /// The id as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// The kernel's clock since boot, which counts suspended time and which nobody can set.
#[derive(Debug, Clone, Copy, Default)]
pub struct Clock;

impl Clock {
    /// Now, on a clock whose origin lies [`BEFORE_BOOT`] before the boot: what is left from an earlier boot is put at
    /// the origin, and is then older than anything of this boot.
    #[must_use]
    pub fn now(self) -> Moment {
        let time = clock_gettime(ClockId::Boottime);
        let seconds = Duration::from_secs(u64::try_from(time.tv_sec).unwrap_or_default());
        let nanos = Duration::from_nanos(u64::try_from(time.tv_nsec).unwrap_or_default());
        Moment::from_millis(millis(BEFORE_BOOT + seconds + nanos))
    }

    /// How long the host has been up.
    #[must_use]
    pub fn host_up(self) -> Duration {
        self.now().since(Moment::ZERO + BEFORE_BOOT)
    }

    /// Milliseconds since 1970, as far as the host knows: for people who read the store, never for decisions.
    #[must_use]
    #[expect(clippy::disallowed_methods, reason = "this file is where clocks are read")]
    pub fn wall_ms(self) -> u64 {
        SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).map_or(0, millis)
    }
}

/// Waits until a moment of [`Clock`]; returns at once where it has passed.
pub async fn sleep_until(moment: Moment) {
    tokio::time::sleep(moment.since(Clock.now())).await;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_lies_at_the_origin_is_older_than_any_boot() {
        assert!(Clock.now().since(Moment::ZERO) >= BEFORE_BOOT);
    }
}
