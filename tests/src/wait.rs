//! Waiting for a condition with a bound; never for a fixed time.

use std::time::Duration;

use anyhow::{Result, bail};
use tokio::time::{Instant, sleep_until};

/// How often a condition is looked at: short beside the seconds that a boot takes, long beside a look.
const POLL_PERIOD: Duration = Duration::from_millis(50);

/// What a look at a condition found.
#[derive(Debug)]
pub enum Probe<T> {
    /// It holds.
    Met(T),
    /// It does not hold yet; this is the state that was seen.
    NotYet(String),
}

impl<T> Probe<T> {
    /// Met where there is something, not yet with this state where there is nothing.
    pub fn of(found: Option<T>, state: impl FnOnce() -> String) -> Self {
        found.map_or_else(|| Self::NotYet(state()), Self::Met)
    }
}

/// Looks again and again until the condition holds. A probe that fails counts as not yet: the
/// counterparty may still be starting.
///
/// # Errors
/// Where it does not hold within `bound`: what was awaited, for how long, and the last state seen.
pub async fn eventually<T>(
    what: &str,
    bound: Duration,
    mut probe: impl AsyncFnMut() -> Result<Probe<T>>,
) -> Result<T> {
    let deadline = Instant::now() + bound;
    let mut last = "nothing yet: the first look did not return".to_owned();
    loop {
        // A look that hangs must not outlive the bound.
        match tokio::time::timeout_at(deadline, probe()).await {
            Ok(Ok(Probe::Met(found))) => return Ok(found),
            Ok(Ok(Probe::NotYet(state))) => last = state,
            Ok(Err(error)) => last = format!("an error: {error:#}"),
            Err(_elapsed) => {}
        }
        let next = Instant::now() + POLL_PERIOD;
        if next >= deadline {
            bail!("waited {bound:?} for {what}; last seen: {last}");
        }
        sleep_until(next).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_condition_that_never_holds_is_told_with_the_last_state_seen() {
        let mut looks = 0;
        let result: Result<()> = eventually("a miracle", Duration::from_secs(1), || {
            looks += 1;
            let state = format!("look {looks}");
            async move { Ok(Probe::NotYet(state)) }
        })
        .await;
        let text = result.unwrap_err().to_string();
        assert!(text.starts_with("waited 1s for a miracle; last seen: look "), "{text}");
    }

    #[tokio::test(start_paused = true)]
    async fn a_look_that_hangs_does_not_outlive_the_bound() {
        let result: Result<()> =
            eventually("an answer", Duration::from_secs(2), std::future::pending).await;
        assert!(result.unwrap_err().to_string().contains("the first look did not return"));
    }
}
