//! What was measured, and how it is told.

use std::time::Duration;

use anyhow::{Context as _, Result};

/// Times of one kind.
#[derive(Debug, Default)]
pub(crate) struct Samples(Vec<Duration>);

impl Samples {
    /// From one moment to a later one, both on the wall's clock.
    pub(crate) fn add(&mut self, from: Duration, to: Duration) {
        self.0.push(to.saturating_sub(from));
    }

    /// The one in the middle.
    pub(crate) fn median(&mut self) -> Result<Duration> {
        self.0.sort_unstable();
        self.0.get(self.0.len() / 2).copied().context("nothing was measured")
    }

    /// Median, least and most, in milliseconds.
    pub(crate) fn row(&mut self) -> Result<String> {
        let median = self.median()?;
        let [least, .., most] = self.0.as_slice() else {
            return Ok(format!("{:>10.2}", millis(median)));
        };
        Ok(format!("{:>10.2}{:>10.2}{:>10.2}", millis(median), millis(*least), millis(*most)))
    }
}

/// In milliseconds.
pub(crate) fn millis(time: Duration) -> f64 {
    time.as_secs_f64() * 1e3
}
