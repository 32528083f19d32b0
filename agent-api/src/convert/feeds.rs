//! Feeds, and what a machine takes of them.

use fleet::feeds::FeedSum;
use fleet::moment::millis;
use fleet::{Draw, FeedName, FeedRoom, Milliamps, Supply};

use super::{FieldError, name, span};
use crate::wire;

impl From<&Supply> for wire::Supply {
    fn from(supply: &Supply) -> Self {
        Self {
            feed: supply.feed.to_string(),
            running_ma: supply.draw.running.get(),
            inrush_ma: supply.draw.inrush.get(),
            inrush_for_ms: millis(supply.draw.inrush_for),
        }
    }
}

impl TryFrom<wire::Supply> for Supply {
    type Error = FieldError;
    fn try_from(supply: wire::Supply) -> Result<Self, FieldError> {
        let draw = Draw {
            running: Milliamps::new(supply.running_ma),
            inrush: Milliamps::new(supply.inrush_ma),
            inrush_for: span(supply.inrush_for_ms),
        };
        Ok(Self { feed: name("feed", supply.feed, FeedName::new)?, draw })
    }
}

impl From<&FeedSum> for wire::Feed {
    fn from(sum: &FeedSum) -> Self {
        Self {
            name: sum.feed.to_string(),
            budget_ma: sum.room.budget.get(),
            committed_ma: sum.room.committed.get(),
            reserve_ma: sum.room.reserve.get(),
            current_ma: sum.current.get(),
        }
    }
}

impl TryFrom<wire::Feed> for FeedSum {
    type Error = FieldError;
    fn try_from(feed: wire::Feed) -> Result<Self, FieldError> {
        let room = FeedRoom {
            budget: Milliamps::new(feed.budget_ma),
            committed: Milliamps::new(feed.committed_ma),
            reserve: Milliamps::new(feed.reserve_ma),
        };
        let current = Milliamps::new(feed.current_ma);
        Ok(Self { feed: name("name", feed.name, FeedName::new)?, room, current })
    }
}
