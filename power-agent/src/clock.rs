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

/// A moment as it is written down: of which boot, and what the wall clock said, for people.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stamped {
    /// The boot.
    pub boot: BootId,
    /// Milliseconds since that boot.
    pub up_ms: u64,
    /// Milliseconds since 1970, as far as the host knew.
    pub wall_ms: u64,
}

impl Stamped {
    /// This moment.
    #[must_use]
    pub fn now(boot: &BootId) -> Self {
        let up_ms = Clock.now().as_millis().saturating_sub(millis(BEFORE_BOOT));
        Self { boot: boot.clone(), up_ms, wall_ms: Clock.wall_ms() }
    }

    /// The wall clock as people write it, in UTC: `2026-11-22T21:07:58.120Z`.
    #[must_use]
    pub fn wall_text(&self) -> String {
        wall_text(self.wall_ms)
    }
}

/// Milliseconds since 1970 as people write them, in UTC.
#[must_use]
pub fn wall_text(wall_ms: u64) -> String {
    const DAY_MS: u64 = 24 * 3600 * 1000;
    let (days, rest) = (wall_ms / DAY_MS, wall_ms % DAY_MS);
    // The civil calendar from days since 1970: counted from 1 March of the year 0, so that leap days come last.
    let days = days + 719_468;
    let (era, of_era) = (days / 146_097, days % 146_097);
    let year_of_era = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let march_month = (5 * of_year + 2) / 153;
    let day = of_year - (153 * march_month + 2) / 5 + 1;
    let month = if march_month < 10 { march_month + 3 } else { march_month - 9 };
    let year = era * 400 + year_of_era + u64::from(month <= 2);
    let (hour, minute) = (rest / 3_600_000, rest / 60_000 % 60);
    let (second, milli) = (rest / 1000 % 60, rest % 1000);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{milli:03}Z")
}

/// The end of a day in UTC that is written like `2027-12-31`, in milliseconds since 1970; `None`: it is no such day.
#[must_use]
pub fn end_of_day_ms(day: &str) -> Option<u64> {
    const DAY_MS: u64 = 24 * 3600 * 1000;
    // Ten characters and only such days as are written back the same way.
    let mut numbers = day.split('-').map(|part| part.parse::<u64>().ok());
    let (year, month, date) = (numbers.next()??, numbers.next()??, numbers.next()??);
    if !(1970..10_000).contains(&year) || !(1..=12).contains(&month) || !(1..=31).contains(&date) {
        return None;
    }
    let (march_year, march_month) =
        if month > 2 { (year, month - 3) } else { (year - 1, month + 9) };
    let leaps = march_year / 4 - march_year / 100 + march_year / 400;
    let days = 365 * march_year + leaps + (153 * march_month + 2) / 5 + date - 1 - 719_468;
    let begins = days * DAY_MS;
    wall_text(begins).starts_with(&format!("{day}T")).then_some(begins + DAY_MS)
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

    /// The wall clock, for what is in years: when a certificate ends.
    #[must_use]
    #[expect(clippy::disallowed_methods, reason = "this file is where clocks are read")]
    pub fn wall(self) -> SystemTime {
        SystemTime::now()
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
    fn the_wall_clock_is_written_as_people_write_it() {
        assert_eq!(wall_text(0), "1970-01-01T00:00:00.000Z");
        assert_eq!(wall_text(951_782_400_000), "2000-02-29T00:00:00.000Z");
        assert_eq!(wall_text(1_709_251_199_999), "2024-02-29T23:59:59.999Z");
        assert_eq!(wall_text(1_795_381_678_120), "2026-11-22T21:07:58.120Z");
    }

    #[test]
    fn a_day_is_read_as_it_is_written_and_others_are_none() {
        assert_eq!(end_of_day_ms("1970-01-01"), Some(86_400_000));
        assert_eq!(end_of_day_ms("2024-02-29"), Some(1_709_251_200_000));
        for none in
            ["2023-02-29", "2024-2-29", "2024-13-01", "1969-12-31", "2024-02-29-1", "soon", ""]
        {
            assert_eq!(end_of_day_ms(none), None, "{none}");
        }
        let mut at = 0;
        while at < 4_102_444_800_000 {
            let day = wall_text(at).get(..10).unwrap_or_default().to_owned();
            at += 86_400_000;
            assert_eq!(end_of_day_ms(&day), Some(at), "{day}");
        }
    }

    #[test]
    fn what_lies_at_the_origin_is_older_than_any_boot() {
        assert!(Clock.now().since(Moment::ZERO) >= BEFORE_BOOT);
    }
}
