//! Breakers: what flows through a feed, and that it trips when that is too much. It does not ask who was first.

use std::time::Duration;

use super::Action;
use super::Plugged;
use super::Rack;
use crate::moment::Moment;
use crate::relay::Power;

/// What a machine draws from its feed, in milliamperes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Amps {
    /// Once it has started.
    pub running_ma: u64,
    /// From the moment at which it gets current, for as long as its start lasts.
    pub inrush_ma: u64,
    /// How long that is.
    pub inrush_for: Duration,
}

impl Rack {
    /// What flows through a feed, in milliamperes.
    #[must_use]
    pub fn flows_ma(&self, feed: &str, now: Moment) -> u64 {
        let plugged =
            self.machines.values().filter(|plugged| plugged.feed.as_deref() == Some(feed));
        plugged.filter_map(|plugged| plugged.draws_ma(now)).sum()
    }

    /// The breaker's own judgment, after a contact has closed.
    pub(super) fn judge_feed(&mut self, feed: &str, now: Moment) -> Vec<Action> {
        let Some(trip_ma) = self.breakers.get(feed).copied() else { return Vec::new() };
        if self.flows_ma(feed, now) <= trip_ma {
            return Vec::new();
        }
        // A feed that has a breaker is one of the rack's.
        self.mains(feed, Power::Off, now).unwrap_or_default()
    }
}

impl Plugged {
    fn draws_ma(&self, now: Moment) -> Option<u64> {
        let (amps, since) = (self.amps?, self.fed_since?);
        let starts = now.since(since) < amps.inrush_for;
        Some(if starts { amps.inrush_ma } else { amps.running_ma })
    }

    /// Its contact, or the mains behind it, has moved.
    pub(super) fn takes(&mut self, current: Power, now: Moment) {
        self.fed_since = match current {
            Power::On => Some(self.fed_since.unwrap_or(now)),
            Power::Off => None,
        };
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::fault::Fault;

    const RACK: &str = r#"
        socket = "s"
        edge_log = "e"
        [feeds.a]
        trip_ma = 3000
        [boards.a]
        kind = "lcus-ascii"
        channels = 3
        link = "l"
    "#;

    fn rack() -> Rack {
        let machine = |channel| {
            format!(
                "[machines.n{channel}]\nboard = \"a\"\nchannel = {channel}\nfeed = \"a\"\nboot_ms = 10\n\
                 shutdown_ms = 10\nwatts = 5\nrunning_ma = 500\ninrush_ma = 2000\ninrush_ms = 100\n"
            )
        };
        let text = format!("{RACK}{}{}{}", machine(1), machine(2), machine(3));
        Rack::assemble(&crate::config::parse(&text, Path::new("RACK.toml")).unwrap())
    }

    fn close(rack: &mut Rack, channel: u8, millis: u64) {
        rack.by_hand(&format!("a:{channel}"), Power::On, Moment::from_millis(millis)).unwrap();
    }

    #[test]
    fn two_starts_at_once_trip_the_breaker_and_all_that_hang_on_it_are_dark() {
        let mut rack = rack();
        close(&mut rack, 1, 0);
        close(&mut rack, 2, 99);
        assert_eq!(rack.faults(), [Fault::NoMains("a".to_owned())]);
        assert_eq!(rack.flows_ma("a", Moment::from_millis(99)), 0);
    }

    #[test]
    fn starts_one_after_another_are_carried() {
        let mut rack = rack();
        for (channel, millis) in [(1, 0), (2, 100), (3, 200)] {
            close(&mut rack, channel, millis);
        }
        assert_eq!(rack.faults(), []);
        assert_eq!(rack.flows_ma("a", Moment::from_millis(250)), 3000);
        assert_eq!(rack.flows_ma("a", Moment::from_millis(300)), 1500);
    }
}
