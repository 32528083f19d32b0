//! What a sign of life to the service manager rests on.

use std::sync::Arc;

use super::Agent;

impl Agent {
    /// Returns when the book can be had and the journal answers: orders are heard as long as it does.
    pub(crate) async fn lives(&self) {
        drop(self.book.lock().await);
        let store = Arc::clone(&self.store);
        if let Err(err) = tokio::task::spawn_blocking(move || store.answers()).await {
            tracing::error!(%err, "the journal was not asked whether it answers");
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicBool, Ordering};

    use tokio::task::{JoinSet, spawn_blocking};

    use super::super::room::tests::agent;
    use super::*;

    /// Threads that are begun and ended one after another: more than a proof needs that waits for nothing.
    const ROUNDS: u32 = 100;

    /// Whether a proof that was begun while something is held ends only after that was let go.
    async fn waits_for(agent: &Arc<Agent>, held: impl Sized) -> bool {
        let freed = Arc::new(AtomicBool::new(false));
        let (asked, seen) = (Arc::clone(agent), Arc::clone(&freed));
        let mut proof = JoinSet::new();
        proof.spawn(async move {
            asked.lives().await;
            seen.load(Ordering::SeqCst)
        });
        for _ in 0..ROUNDS {
            spawn_blocking(|| ()).await.unwrap();
        }
        freed.store(true, Ordering::SeqCst);
        drop(held);
        proof.join_next().await.unwrap().unwrap()
    }

    #[tokio::test]
    async fn a_sign_of_life_waits_for_the_book_and_for_the_journal() {
        let folder = tempfile::tempdir().unwrap();
        let agent = agent(folder.path());
        assert!(waits_for(&agent, agent.book.lock().await).await, "the book");
        assert!(waits_for(&agent, agent.store.hanging()).await, "the journal");
    }
}
