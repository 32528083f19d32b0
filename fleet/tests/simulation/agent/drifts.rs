//! Machines that read otherwise than they were ordered: read again and again, and lit again where the rack file says so.

use std::time::Duration;

use fleet::drift::{DriftPolicy, Seen, Verdict};
use fleet::reconciler::Done;
use fleet::{Moment, OnSoftOffTimeout, OperationId, Order, Origin, Reason, Verb};

use super::{Agent, Around};
use crate::site;

/// How often a board is read, in seconds.
const POLL: u64 = 3;
/// Begun later than this after the reading, the order is void.
const VALID_FOR: Duration = Duration::from_secs(10);

impl Agent {
    pub(super) fn look_for_drift(&mut self, around: &mut Around<'_>) {
        if !around.now.is_multiple_of(POLL) {
            return;
        }
        let names: Vec<String> = self.journal.machines.keys().cloned().collect();
        for name in names {
            let Ok(lines) = self.seen(&name, around.rack) else { continue };
            let at = self.at(around.now);
            if self.weigh(&name, lines, at) {
                self.relit = Some(at);
                self.light_again(&name, around);
            }
        }
    }

    /// Whether it is to be lit again now.
    fn weigh(&mut self, name: &str, lines: fleet::LinesSeen, at: Moment) -> bool {
        let kept = &self.journal.machines[name];
        let commanded = kept.commanded.as_ref();
        let seen = Seen {
            wanted: commanded.map(|commanded| (commanded.state, &commanded.operation)),
            lines,
            busy: self.live.contains_key(name),
            barred: kept.holds.foremost(at).is_some() || kept.quarantine.is_some(),
            policy: site::drift_policy(name),
            last_try: self.relit,
        };
        let watch = self.drifts.entry(name.to_owned()).or_default();
        matches!(watch.see(seen, at), Verdict::Enforce { .. })
    }

    fn light_again(&mut self, name: &str, around: &mut Around<'_>) {
        let order = Order {
            operation: OperationId::new(format!("drift-{name}-{}", around.now)).unwrap(),
            machine: Self::machine(name),
            verb: Verb::On,
            reason: Reason::new("drift"),
            origin: Origin::Agent,
            valid_for: VALID_FOR,
            on_soft_off_timeout: OnSoftOffTimeout::Quarantine,
            force: false,
            drain: false,
            plan: None,
        };
        if self.hear(&order, around) == Some(Done::Accepted) {
            let enforced = site::drift_policy(name) == DriftPolicy::Enforce;
            assert!(enforced, "at {}: {name} is lit again, and nobody has said so", around.now);
            around.check.relit += 1;
            self.drifts.entry(name.to_owned()).or_default().tried();
        }
    }
}
