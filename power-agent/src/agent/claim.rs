//! A pool is taken for a lease: from then on no older one is obeyed, and whoever watches knows what was.

use fleet::{Fence, Origin};

use super::{Agent, Note, RequestError};
use crate::audit::{Event, What, Who};
use crate::memory::Change;

impl Agent {
    /// Takes a pool for a lease: older ones are obeyed no more. Who watches is told, in the order of what was obeyed.
    ///
    /// # Errors
    /// [`RequestError::StaleClaim`] or [`RequestError::Journal`].
    pub async fn claim(&self, fence: Fence, by: Who) -> Result<(), RequestError> {
        let mut book = self.book.lock().await;
        let highest = book.fences.highest(&fence.cluster, &fence.pool);
        if let Some(highest) = highest.filter(|highest| *highest > fence.number) {
            let number = fence.number;
            return Err(RequestError::StaleClaim {
                known: Fence { number: highest, ..fence },
                number,
            });
        }
        if highest != Some(fence.number) {
            let was = highest.map_or("none".to_owned(), |number| number.0.to_string());
            let who = Who::of_origin(&Origin::Autoscaler(fence.clone()), Some(by));
            let event = Event::new(What::Claim, who, &format!("the newest fence was {was}"));
            let change =
                Change { fence: Some(fence.clone()), audit: vec![event], ..Change::default() };
            self.store.commit_durably(change).await?;
            book.fences.remember(&fence);
        }
        // An error says that nobody watches.
        drop(self.changes.send(Note::Claimed));
        Ok(())
    }
}
