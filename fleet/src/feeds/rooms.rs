//! The feeds of a pool's agents as decisions far from them see them: how much room each has, taken machine by machine
//! while a plan is made. The agent asks its own ledger again when an order comes.

use std::collections::BTreeMap;
use std::fmt;

use super::{Draw, FeedRoom, number};
use crate::FeedName;

/// A feed of one agent: another agent's may have the same name, and is another feed.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct FeedKey {
    /// The agent's address.
    pub agent: String,
    /// The feed.
    pub feed: FeedName,
}

/// What a machine takes of its feeds.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct FedView {
    /// What of which; empty: of none that is counted.
    pub draws: Vec<(FeedKey, Draw)>,
    /// Whether that is in their sums already.
    pub counted: bool,
}

/// A feed that has no room for a machine, however long it waits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NoRoom {
    /// The feed.
    pub feed: FeedName,
    /// How far it is taken.
    pub room: FeedRoom,
}

/// Feeds with a budget, and the room that each has left.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct FeedRooms {
    /// By feed. One that is not here limits nothing.
    pub rooms: BTreeMap<FeedKey, FeedRoom>,
}

impl FeedRooms {
    /// Whether a budget says when this machine may start.
    #[must_use]
    pub fn bind(&self, fed: &FedView) -> bool {
        fed.draws.iter().any(|(key, _)| self.rooms.contains_key(key))
    }

    /// Takes what a machine's start needs of all its feeds.
    ///
    /// # Errors
    /// The first feed that has no room for it; then nothing was taken.
    pub fn take(&mut self, fed: &FedView) -> Result<(), NoRoom> {
        let mut taken = Vec::new();
        for (key, draw) in &fed.draws {
            let Some(mut room) = self.rooms.get(key).copied() else { continue };
            if !room.take(*draw, fed.counted) {
                return Err(NoRoom { feed: key.feed.clone(), room });
            }
            taken.push((key.clone(), room));
        }
        self.rooms.extend(taken);
        Ok(())
    }
}

impl fmt::Display for NoRoom {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (feed, taken, budget) = (&self.feed, number(self.room.committed), self.room.budget);
        write!(f, "feed {feed}: {taken} of {budget} are taken, which leaves no room for it")
    }
}
