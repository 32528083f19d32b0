//! Currents: whole milliamperes, written as people write them, `16A`, `0.35A` or `350mA`.

use std::fmt;
use std::iter::Sum;

/// The largest current that is read: a feed of a machine room has a few thousand amperes, and no sum of 65,536 of
/// these comes near the end of 64 bits.
pub const MILLIAMPS_MAX: u64 = 10_000_000;

/// Digits after the point: a thousandth of an ampere is the least that is counted.
const FRACTION_DIGITS_MAX: usize = 3;

/// A current in milliamperes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Milliamps(u64);

/// Why a text is no current.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum AmperesError {
    /// It is not a number with a unit.
    #[error("it is not a number followed by A or mA")]
    Form,
    /// It has more than thousandths of an ampere.
    #[error("it is finer than a milliampere")]
    TooFine,
    /// It is more than [`MILLIAMPS_MAX`].
    #[error("it is more than 10000 A")]
    TooLarge,
}

impl Milliamps {
    /// No current.
    pub const ZERO: Milliamps = Milliamps(0);

    /// A current of so many milliamperes.
    #[must_use]
    pub const fn new(milliamps: u64) -> Self {
        Self(milliamps)
    }

    /// Milliamperes.
    #[must_use]
    pub const fn get(self) -> u64 {
        self.0
    }

    /// Both together.
    #[must_use]
    pub const fn plus(self, other: Milliamps) -> Self {
        Self(self.0.saturating_add(other.0))
    }

    /// What is left of it; none where the other is larger.
    #[must_use]
    pub const fn less(self, other: Milliamps) -> Self {
        Self(self.0.saturating_sub(other.0))
    }
}

impl Sum for Milliamps {
    fn sum<I: Iterator<Item = Milliamps>>(parts: I) -> Self {
        parts.fold(Self::ZERO, Self::plus)
    }
}

impl fmt::Display for Milliamps {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&format!("{} A", number(*self)))
    }
}

/// Amperes without their unit and without needless zeros: `15.2`.
#[must_use]
pub fn number(current: Milliamps) -> String {
    let text = format!("{}.{:03}", current.0 / 1000, current.0 % 1000);
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

/// Reads a current: a number and `A` or `mA`, with or without a space between.
///
/// # Errors
/// See [`AmperesError`].
pub fn parse_amperes(text: &str) -> Result<Milliamps, AmperesError> {
    let (value, digits_max) = match text.strip_suffix("mA") {
        Some(value) => (value, 0),
        None => (text.strip_suffix('A').ok_or(AmperesError::Form)?, FRACTION_DIGITS_MAX),
    };
    let value = value.strip_suffix(' ').unwrap_or(value);
    let (whole, fraction) = value.split_once('.').unwrap_or((value, ""));
    let digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    let ends = value.ends_with('.') || whole.is_empty();
    if ends || !digits(whole) || !digits(fraction) {
        return Err(AmperesError::Form);
    }
    if fraction.len() > digits_max {
        return Err(AmperesError::TooFine);
    }
    let zeros = digits_max - fraction.len();
    let thousandths = format!("{whole}{fraction}{}", "0".repeat(zeros));
    match thousandths.parse::<u64>() {
        Ok(milliamps) if milliamps <= MILLIAMPS_MAX => Ok(Milliamps(milliamps)),
        Ok(_) | Err(_) => Err(AmperesError::TooLarge),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn amperes_are_read_to_the_milliampere_and_said_again() {
        for (text, milliamps, said) in [
            ("16A", 16_000, "16 A"),
            ("0.35 A", 350, "0.35 A"),
            ("350mA", 350, "0.35 A"),
            ("15.205A", 15_205, "15.205 A"),
            ("0A", 0, "0 A"),
        ] {
            let read = parse_amperes(text).unwrap();
            assert_eq!((read.get(), read.to_string().as_str()), (milliamps, said), "{text}");
        }
    }

    #[test]
    fn what_is_no_current_is_refused() {
        for (text, why) in [
            ("16", AmperesError::Form),
            ("A", AmperesError::Form),
            ("-1A", AmperesError::Form),
            ("1.A", AmperesError::Form),
            ("1e3A", AmperesError::Form),
            ("16W", AmperesError::Form),
            ("0.5mA", AmperesError::TooFine),
            ("0.0005A", AmperesError::TooFine),
            ("10001A", AmperesError::TooLarge),
            ("99999999999999999999999A", AmperesError::TooLarge),
        ] {
            assert_eq!(parse_amperes(text), Err(why), "{text}");
        }
    }
}
