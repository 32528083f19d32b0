//! What the agent counts, under the names that Prometheus reads. A name is for ever, as a field of the wire is.
//!
//! Labels are few and known: verbs, codes, states, and the devices of the rack file; never a machine or a person.

mod scrape;

use std::fmt;

use agent_api::{Hold, HoldEnds};
use fleet::feeds::FeedSum;
use fleet::{HoldKind, Moment, PowerState};
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::Registry;

use crate::audit::{Event, Outcome, What};
use crate::clock::Clock;

pub(crate) use scrape::serve;

/// The labels of one series.
type Labels = Vec<(&'static str, String)>;

type Histograms = Family<Labels, Histogram, fn() -> Histogram>;

/// Everything that is counted.
#[derive(Debug)]
pub(crate) struct Metrics {
    registry: Registry,
    orders: Family<Labels, Counter>,
    refusals: Family<Labels, Counter>,
    operations: Family<Labels, Counter>,
    durations: Histograms,
    turned_away: Family<Labels, Counter>,
    reads: Family<Labels, Counter>,
    read_errors: Family<Labels, Counter>,
    packets: Family<Labels, Counter>,
    packet_errors: Family<Labels, Counter>,
    journal: Histogram,
    journal_failures: Counter,
    audit_lines: Gauge,
    now: Now,
}

/// Why somebody was turned away.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Why {
    /// No handshake came about.
    HandshakeRefused,
    /// The certificate is not good any more, or names nobody.
    Unproven,
    /// The role does not allow it.
    Denied,
    /// Too often.
    OverQuota,
    /// The operation id was given to another order.
    Replayed,
    /// The call made no sense, or came too late.
    CallRefused,
}

impl Why {
    const ALL: [Why; 6] = [
        Why::HandshakeRefused,
        Why::Unproven,
        Why::Denied,
        Why::OverQuota,
        Why::Replayed,
        Why::CallRefused,
    ];

    fn labels(self) -> Labels {
        let word = match self {
            Why::HandshakeRefused => "handshake-refused",
            Why::Unproven => "unproven",
            Why::Denied => "denied",
            Why::OverQuota => "over-quota",
            Why::Replayed => "replayed",
            Why::CallRefused => "call-refused",
        };
        vec![("why", word.to_owned())]
    }
}

/// What is looked up when it is asked for.
#[derive(Debug, Default)]
struct Now {
    outlets: Family<Labels, Gauge>,
    machines: Family<Labels, Gauge>,
    running: Gauge,
    holds: Family<Labels, Gauge>,
    quarantined: Gauge,
    trouble: Family<Labels, Gauge>,
    watchers: Gauge,
    budgets: Family<Labels, Gauge>,
    committed: Family<Labels, Gauge>,
    currents: Family<Labels, Gauge>,
}

/// From a tenth of a second to an hour: a relay that clicks, and a drain that takes its time.
fn operation_seconds() -> Histogram {
    Histogram::new(exponential_buckets(0.1, 2.0, 16))
}

impl Default for Metrics {
    fn default() -> Self {
        let constructor: fn() -> Histogram = operation_seconds;
        let mut metrics = Self {
            registry: Registry::with_prefix("lamplighter_agent"),
            orders: Family::default(),
            refusals: Family::default(),
            operations: Family::default(),
            durations: Family::new_with_constructor(constructor),
            turned_away: Family::default(),
            reads: Family::default(),
            read_errors: Family::default(),
            packets: Family::default(),
            packet_errors: Family::default(),
            // From a millisecond to 8 s: flash, and a worn SD card.
            journal: Histogram::new(exponential_buckets(0.001, 2.0, 14)),
            journal_failures: Counter::default(),
            audit_lines: Gauge::default(),
            now: Now::default(),
        };
        metrics.register();
        metrics
    }
}

impl Metrics {
    fn register(&mut self) {
        let registry = &mut self.registry;
        let build: Family<Labels, Gauge> = Family::default();
        build.get_or_create(&vec![("version", env!("CARGO_PKG_VERSION").to_owned())]).set(1);
        registry.register("build_info", "The agent's version; always 1", build);
        let said = "Orders that were heard, by verb and by whether they were accepted or refused";
        registry.register("orders", said, self.orders.clone());
        registry.register("refusals", "Orders that were refused, by code", self.refusals.clone());
        let said = "Operations that have ended, by verb and by whether as ordered (well or failed)";
        registry.register("operations", said, self.operations.clone());
        let said = "From an order to its end, in seconds, by verb";
        registry.register("operation_duration_seconds", said, self.durations.clone());
        let said =
            "Callers that were turned away, by why, also those that were too many for the audit";
        // An increase is seen only of what was there before.
        for why in Why::ALL {
            drop(self.turned_away.get_or_create(&why.labels()));
        }
        registry.register("turned_away", said, self.turned_away.clone());
        let said = "Readings of a device, by device";
        registry.register("device_reads", said, self.reads.clone());
        let said = "Readings of a device that failed, by device";
        registry.register("device_read_errors", said, self.read_errors.clone());
        let said = "Wake packets that went out, by device";
        registry.register("wake_packets", said, self.packets.clone());
        let said = "Wake packets that could not be sent, by device";
        registry.register("wake_packet_errors", said, self.packet_errors.clone());
        let said = "Whether the last reading of a device failed: 1 where it did";
        registry.register("device_unreadable", said, self.now.trouble.clone());
        let said = "How long a write of the journal took, in seconds";
        registry.register("journal_write_duration_seconds", said, self.journal.clone());
        let said = "Writes of the journal that failed; nothing moves then";
        registry.register("journal_write_failures", said, self.journal_failures.clone());
        let said = "The number of the newest line of the audit";
        registry.register("audit_seq", said, self.audit_lines.clone());
        let said = "Outlets by what was read of them: on, off or unknown";
        registry.register("outlets", said, self.now.outlets.clone());
        let said = "Machines by what may be said of them: on, off, assumed, differs or unknown";
        registry.register("machines", said, self.now.machines.clone());
        registry.register("sequences_running", "Sequences that run", self.now.running.clone());
        let said = "Machines that a person holds, by kind of hold";
        registry.register("holds", said, self.now.holds.clone());
        let said = "Machines in quarantine";
        registry.register("machines_quarantined", said, self.now.quarantined.clone());
        let said = "Who watches: plugins and screens";
        registry.register("watchers", said, self.now.watchers.clone());
        let said = "What a feed may carry, in milliamperes";
        registry.register("feed_budget_milliamperes", said, self.now.budgets.clone());
        let said = "What all that is on, may be on or was promised to be takes of a feed running, as modelled";
        registry.register("feed_committed_milliamperes", said, self.now.committed.clone());
        let said = "What flows through a feed now, inrush included, as modelled";
        registry.register("feed_current_milliamperes", said, self.now.currents.clone());
    }

    /// Counts what the audit is told.
    pub(crate) fn take(&self, event: &Event) {
        match (event.what, &event.outcome) {
            (What::Order(verb), Outcome::Accepted) => {
                self.order(verb.as_str(), "accepted");
            }
            (What::Order(verb), Outcome::Refused { code, .. }) => {
                self.order(verb.as_str(), "refused");
                self.refusals.get_or_create(&vec![("code", code.clone())]).inc();
                if code == "id-taken" {
                    self.turned_away(Why::Replayed);
                }
            }
            (What::Order(verb), Outcome::Ended { well, took, .. }) => {
                let verb = ("verb", verb.as_str().to_owned());
                let result = if *well { "well" } else { "failed" };
                let labels = vec![verb.clone(), ("result", result.to_owned())];
                self.operations.get_or_create(&labels).inc();
                self.durations.get_or_create(&vec![verb]).observe(took.as_secs_f64());
            }
            _ => {}
        }
    }

    /// Counts a caller that was turned away.
    pub(crate) fn turned_away(&self, why: Why) {
        self.turned_away.get_or_create(&why.labels()).inc();
    }

    fn order(&self, verb: &str, outcome: &str) {
        let labels = vec![("verb", verb.to_owned()), ("outcome", outcome.to_owned())];
        self.orders.get_or_create(&labels).inc();
    }

    /// Counts a reading of a device.
    pub(crate) fn read(&self, device: &str, well: bool) {
        let labels = vec![("device", device.to_owned())];
        self.reads.get_or_create(&labels).inc();
        let errors = self.read_errors.get_or_create_owned(&labels);
        if !well {
            errors.inc();
        }
        self.now.trouble.get_or_create(&labels).set(i64::from(!well));
    }

    /// Counts a wake packet.
    pub(crate) fn woke(&self, device: &str, well: bool) {
        let family = if well { &self.packets } else { &self.packet_errors };
        family.get_or_create(&vec![("device", device.to_owned())]).inc();
    }

    /// Counts a write of the journal that began then.
    pub(crate) fn wrote(&self, began: Moment, well: bool) {
        self.journal.observe(Clock.now().since(began).as_secs_f64());
        if !well {
            self.journal_failures.inc();
        }
    }

    /// Everything, as text.
    fn text(
        &self,
        (machines, feeds): (&[agent_api::Machine], &[FeedSum]),
        audit_lines: u64,
        watchers: usize,
    ) -> String {
        // An increase is seen only of what was there before.
        for wake in machines.iter().filter_map(|machine| machine.paths.wake.as_ref()) {
            for family in [&self.packets, &self.packet_errors] {
                drop(family.get_or_create(&vec![("device", wake.device.to_string())]));
            }
        }
        self.now.look(machines);
        self.now.look_at_feeds(feeds);
        self.now.watchers.set(i64::try_from(watchers).unwrap_or(i64::MAX));
        self.audit_lines.set(i64::try_from(audit_lines).unwrap_or(i64::MAX));
        let mut text = String::new();
        // Writing into a text never fails.
        let written: fmt::Result = encode(&mut text, &self.registry);
        written.map_or_else(|_| String::new(), |()| text)
    }
}

impl Now {
    fn look_at_feeds(&self, feeds: &[FeedSum]) {
        for family in [&self.budgets, &self.committed, &self.currents] {
            family.clear();
        }
        for sum in feeds {
            let labels = vec![("feed", sum.feed.to_string())];
            for (family, current) in [
                (&self.budgets, sum.room.budget),
                (&self.committed, sum.room.committed),
                (&self.currents, sum.current),
            ] {
                let milliamperes = i64::try_from(current.get()).unwrap_or(i64::MAX);
                family.get_or_create(&labels).set(milliamperes);
            }
        }
    }

    fn look(&self, machines: &[agent_api::Machine]) {
        let count = |family: &Family<Labels, Gauge>, name: &'static str, word: &str, by: i64| {
            family.get_or_create(&vec![(name, word.to_owned())]).inc_by(by);
        };
        for family in [&self.outlets, &self.machines, &self.holds] {
            family.clear();
        }
        // What is nought is told too: an alert can not look at what is not there.
        for word in ["on", "off", "unknown"] {
            count(&self.outlets, "state", word, 0);
        }
        for word in ["on", "off", "assumed", "differs", "unknown"] {
            count(&self.machines, "power", word, 0);
        }
        for kind in HoldKind::ALL {
            count(&self.holds, "kind", kind.as_str(), 0);
        }
        let (mut running, mut quarantined) = (0, 0);
        for machine in machines {
            for outlet in &machine.outlets {
                let read = outlet.reading.map(|(state, _)| state);
                count(&self.outlets, "state", read.map_or("unknown", PowerState::as_str), 1);
            }
            count(&self.machines, "power", power(machine), 1);
            let counts = |hold: &&Hold| hold.ends != HoldEnds::Expired;
            for hold in machine.locks.holds.iter().filter(counts) {
                count(&self.holds, "kind", hold.kind.as_str(), 1);
            }
            let runs = machine.operation.as_ref().is_some_and(|last| !last.phase.is_finished());
            running += i64::from(runs);
            quarantined += i64::from(machine.quarantine.is_some());
        }
        self.running.set(running);
        self.quarantined.set(quarantined);
    }
}

/// What may be said of a machine's power, in one word of few.
fn power(machine: &agent_api::Machine) -> &'static str {
    let read = machine.reading.map(|(state, _)| state);
    let commanded = machine.commanded.as_ref().map(|commanded| commanded.state);
    match (read, commanded) {
        (Some(read), Some(commanded)) if read != commanded => "differs",
        (Some(read), _) => read.as_str(),
        (None, Some(_)) if machine.outlets.iter().all(|outlet| !outlet.can_read_back) => "assumed",
        (None, _) => "unknown",
    }
}
