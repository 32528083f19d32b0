//! The device's own memory of what happened: bounded, and there for a host that was gone.

use bridge_protocol::message::EVENTS_AT_ONCE_MAX;
use bridge_protocol::{DeviceTime, Event, EventNumber, What};
use heapless::{Deque, Vec};

/// Events that are kept: what a rack of sixteen does in an evening without a host, in 1 KB. The oldest go first, and a gap
/// in the numbers says so.
pub const EVENTS_MAX: usize = 64;

/// The newest events of this start.
#[derive(Debug, Clone, Default)]
pub struct Log {
    events: Deque<Event, EVENTS_MAX>,
    newest: EventNumber,
}

impl Log {
    /// Nothing happened yet.
    #[must_use]
    pub const fn new() -> Log {
        Log { events: Deque::new(), newest: EventNumber(0) }
    }

    /// Something happened.
    pub fn add(&mut self, at: DeviceTime, what: What) {
        self.newest = self.newest.next();
        if self.events.is_full() {
            self.events.pop_front();
        }
        let kept = self.events.push_back(Event { number: self.newest, at, what });
        assert!(kept.is_ok(), "the oldest has gone");
    }

    /// The newest number.
    #[must_use]
    pub const fn newest(&self) -> EventNumber {
        self.newest
    }

    /// The first events after a number.
    #[must_use]
    pub fn after(&self, number: EventNumber) -> Vec<Event, EVENTS_AT_ONCE_MAX> {
        let later = self.events.iter().filter(|event| event.number > number);
        later.take(EVENTS_AT_ONCE_MAX).copied().collect()
    }
}
