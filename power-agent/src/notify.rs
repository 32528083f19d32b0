//! What the service manager is told (systemd's `NOTIFY_SOCKET`): ready, reading again, stopping, and that the agent lives.
//! Where nobody asked for it, nothing is said.

use std::sync::Arc;
use std::time::Duration;

use sd_notify::NotifyState;

use crate::agent::Agent;

/// How many signs of life are due while systemd waits for one: one that is late does not end the agent.
const SIGNS_PER_PATIENCE: u32 = 3;

/// Told in a state of the service manager, and answered by nobody.
fn tell(states: &[NotifyState<'_>]) {
    if let Err(err) = sd_notify::notify(states) {
        tracing::warn!(%err, "the service manager could not be told");
    }
}

/// Every device was looked at, what was half done is taken up, and orders are heard.
pub(crate) fn ready(machines: usize) {
    tell(&[NotifyState::Ready, NotifyState::Status(&format!("{machines} machines"))]);
}

/// The rack file is being read again; [`ready`] ends it.
pub(crate) fn reloading() {
    match NotifyState::monotonic_usec_now() {
        Ok(now) => tell(&[NotifyState::Reloading, now]),
        Err(err) => tracing::warn!(%err, "the service manager could not be told"),
    }
}

/// The end has begun.
pub(crate) fn stopping() {
    tell(&[NotifyState::Stopping]);
}

/// Tells again and again that the agent lives, where systemd waits for it: that its loop runs, its book is given from
/// hand to hand, and its journal answers. A disk that refuses answers too: a restart would not mend it.
pub(crate) async fn live(agent: Arc<Agent>) {
    let Some(patience) = sd_notify::watchdog_enabled() else { return };
    let mut stopping = agent.stop.subscribe();
    let proof = || {
        let agent = Arc::clone(&agent);
        async move { agent.lives().await }
    };
    let signs = feed(patience / SIGNS_PER_PATIENCE, proof, || tell(&[NotifyState::Watchdog]));
    tokio::select! {
        _ = stopping.wait_for(|stop| *stop) => {}
        () = signs => {}
    }
}

/// A sign after each proof, for ever.
async fn feed<P>(pause: Duration, proof: impl Fn() -> P, mut sign: impl FnMut())
where
    P: Future<Output = ()>,
{
    loop {
        proof().await;
        sign();
        tokio::time::sleep(pause).await;
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use tokio::sync::Mutex;

    use super::*;

    const PAUSE: Duration = Duration::from_secs(20);

    #[tokio::test(start_paused = true)]
    async fn no_sign_is_given_while_something_stands_still_and_they_come_again_after_it() {
        let (book, signs) = (Mutex::new(()), Cell::new(0_u32));
        let proof = || async { drop(book.lock().await) };
        let watch = async {
            tokio::time::sleep(PAUSE * 10 + PAUSE / 2).await;
            assert_eq!(signs.get(), 11);
            let held = book.lock().await;
            tokio::time::sleep(PAUSE * 100).await;
            assert_eq!(signs.get(), 11);
            drop(held);
            tokio::time::sleep(PAUSE / 2).await;
            assert_eq!(signs.get(), 12);
        };
        tokio::select! {
            () = feed(PAUSE, proof, || signs.set(signs.get() + 1)) => {}
            () = watch => {}
        }
    }
}
