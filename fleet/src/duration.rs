//! Durations as Go writes them: `1h30m`, `1.5h`, `100ms`, `0`. The same text means the same in Nomad's files and in ours.

use std::time::Duration;

/// Nanoseconds by unit, the longer spelling before its prefix.
const UNITS: &[(&str, u64)] = &[
    ("ns", 1),
    ("us", 1_000),
    ("µs", 1_000),
    ("μs", 1_000),
    ("ms", 1_000_000),
    ("s", 1_000_000_000),
    ("m", 60_000_000_000),
    ("h", 3_600_000_000_000),
];

/// Digits after the point that are read; a nanosecond of an hour has thirteen.
const FRACTION_DIGITS_MAX: usize = 15;

/// Why a text is no duration.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum DurationError {
    /// There is no text.
    #[error("it is empty")]
    Empty,
    /// Time does not run backwards here.
    #[error("it is negative")]
    Negative,
    /// A part does not begin with a number.
    #[error("a part of it has no number")]
    Number,
    /// A number stands without a unit that is known.
    #[error("a number in it has no unit")]
    Unit,
    /// More than 584 years.
    #[error("it is too long")]
    TooLong,
}

/// Reads a duration as Go's `time.ParseDuration` does, but for negative ones.
///
/// # Errors
/// See [`DurationError`].
pub fn parse_duration(text: &str) -> Result<Duration, DurationError> {
    if text.starts_with('-') {
        return Err(DurationError::Negative);
    }
    let mut rest = text.strip_prefix('+').unwrap_or(text);
    if rest == "0" {
        return Ok(Duration::ZERO);
    }
    if rest.is_empty() {
        return Err(DurationError::Empty);
    }
    let mut total: u64 = 0;
    while !rest.is_empty() {
        let (nanos, tail) = part(rest)?;
        total = total.checked_add(nanos).ok_or(DurationError::TooLong)?;
        rest = tail;
    }
    Ok(Duration::from_nanos(total))
}

/// One number with its unit, in nanoseconds, and what follows it.
fn part(text: &str) -> Result<(u64, &str), DurationError> {
    let (whole, rest) = digits(text);
    let (fraction, rest) = match rest.strip_prefix('.') {
        Some(rest) => digits(rest),
        None => ("", rest),
    };
    if whole.is_empty() && fraction.is_empty() {
        return Err(DurationError::Number);
    }
    let unit_length = rest.find(|c: char| c.is_ascii_digit() || c == '.').unwrap_or(rest.len());
    let (unit, tail) = rest.split_at(unit_length);
    let (_, scale) = UNITS.iter().find(|(name, _)| *name == unit).ok_or(DurationError::Unit)?;
    let whole: u64 = match whole {
        "" => 0,
        digits => digits.parse().map_err(|_too_large| DurationError::TooLong)?,
    };
    let nanos = whole.checked_mul(*scale).ok_or(DurationError::TooLong)?;
    let nanos = nanos.checked_add(fraction_of(*scale, fraction)).ok_or(DurationError::TooLong)?;
    Ok((nanos, tail))
}

fn digits(text: &str) -> (&str, &str) {
    text.split_at(text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len()))
}

/// The decimal digits' share of `scale`, rounded down.
fn fraction_of(scale: u64, digits: &str) -> u64 {
    let mut unit = u128::from(scale) * 10_u128.pow(15);
    let mut sum = 0_u128;
    for digit in digits.bytes().take(FRACTION_DIGITS_MAX) {
        unit /= 10;
        sum += unit * u128::from(digit - b'0');
    }
    u64::try_from(sum / 10_u128.pow(15)).unwrap_or(u64::MAX)
}

/// Writes a duration as people say it, to the millisecond: `1h30m`, `90s` becomes `1m30s`, `250ms`, `1.5s`.
#[must_use]
pub fn show_duration(duration: Duration) -> String {
    let millis = duration.as_millis();
    if millis < 1000 {
        return if millis == 0 { "0s".to_owned() } else { format!("{millis}ms") };
    }
    let (hours, minutes) = (millis / 3_600_000, millis / 60_000 % 60);
    let (seconds, rest) = (millis / 1000 % 60, millis % 1000);
    let mut shown = String::new();
    if hours > 0 {
        shown.push_str(&format!("{hours}h"));
    }
    if minutes > 0 {
        shown.push_str(&format!("{minutes}m"));
    }
    if rest > 0 {
        let fraction = format!("{rest:03}");
        shown.push_str(&format!("{seconds}.{}s", fraction.trim_end_matches('0')));
    } else if seconds > 0 {
        shown.push_str(&format!("{seconds}s"));
    }
    shown
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_mean_what_go_says_they_mean() {
        for (text, nanos) in [
            ("0", 0),
            ("+5s", 5_000_000_000),
            ("1h30m", 5_400_000_000_000),
            ("1.5h", 5_400_000_000_000),
            ("1.5h30m", 7_200_000_000_000),
            (".5s", 500_000_000),
            ("1.s", 1_000_000_000),
            ("100ms", 100_000_000),
            ("3µs2ns", 3_002),
            ("0.000000001s", 1),
        ] {
            assert_eq!(parse_duration(text), Ok(Duration::from_nanos(nanos)), "{text}");
        }
    }

    #[test]
    fn what_go_refuses_is_refused() {
        for (text, why) in [
            ("", DurationError::Empty),
            ("-5s", DurationError::Negative),
            ("5", DurationError::Unit),
            ("1d", DurationError::Unit),
            ("5 s", DurationError::Unit),
            ("s", DurationError::Number),
            (".s", DurationError::Number),
            ("5m x", DurationError::Unit),
            ("99999999999999h", DurationError::TooLong),
        ] {
            assert_eq!(parse_duration(text), Err(why), "{text}");
        }
    }

    #[test]
    fn what_is_shown_is_read_again_to_the_millisecond() {
        for millis in [0, 1, 250, 1500, 60_000, 90_000, 3_600_000, 5_400_001, 604_800_000] {
            let duration = Duration::from_millis(millis);
            assert_eq!(parse_duration(&show_duration(duration)), Ok(duration), "{millis}");
        }
        assert_eq!(show_duration(Duration::from_millis(5_400_250)), "1h30m0.25s");
    }
}
