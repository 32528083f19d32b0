//! What the checker of worlds knows: which frames arrived when, and which edges were. It decides by books of its own whether
//! an edge was ordered, once, in time and within the board's limits, and whether what was begun is ended.

use std::collections::BTreeMap;

use bridge_device::Limits;
use bridge_device::device::ARMED_MS;
use bridge_protocol::{
    Epoch, Frame, FrameKind, Generation, Hello, OutletNumber, PowerState, Request, SafeState,
    Sequence, SessionId, codec::decode_greeting, decode,
};

use crate::board::{LIMITS, Seen};

/// The loop runs each millisecond, and a start may wait for the distance to all others.
fn crowd(limits: &Limits) -> u64 {
    1 + u64::from(limits.start_gap_ms) * 16
}

#[derive(Debug, Clone, Copy)]
struct OpenCycle {
    /// The first moment at which its on may be.
    due: u64,
    off_ms: u64,
}

#[derive(Debug, Clone)]
struct Lease {
    length: u64,
    safe: BTreeMap<OutletNumber, SafeState>,
}

/// Counted over a whole world.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub(crate) struct Counts {
    pub(crate) orders: u64,
    pub(crate) edges: u64,
    pub(crate) cycles: u64,
    pub(crate) leases_ended: u64,
    pub(crate) by_lease: u64,
}

#[derive(Debug)]
pub(crate) struct Books {
    /// By how much the device's loop may be behind, over all starts that wait for each other.
    behind: u64,
    /// When the device started, in the world's time.
    boot_at: u64,
    epoch: Epoch,
    /// The opening, its last number, and whether that was a request's.
    session: Option<(SessionId, Sequence, bool)>,
    generation: Generation,
    /// Offs that arrived with the last frame: by outlet, whether a minimum time stops it, and the off of a cycle.
    offs: BTreeMap<OutletNumber, (bool, Option<u64>)>,
    /// Ons that arrived, by outlet, until when they may be driven.
    ons: BTreeMap<OutletNumber, u64>,
    cycles: BTreeMap<OutletNumber, OpenCycle>,
    lease: Option<Lease>,
    /// When a request last arrived that renews a lease.
    renewed: u64,
    /// "All off" is armed by this token until then.
    armed: Option<(u32, u64)>,
    /// What the last lease that ended has made of its outlets.
    safe: BTreeMap<OutletNumber, PowerState>,
    /// Outlets that the end of a lease gave their turn for an on, until when.
    safe_ons: BTreeMap<OutletNumber, u64>,
    last: BTreeMap<OutletNumber, (u64, PowerState)>,
    last_on: Option<u64>,
    pub(crate) counts: Counts,
}

impl Books {
    pub(crate) fn new(behind: u64) -> Books {
        Books {
            behind,
            boot_at: 0,
            epoch: Epoch::UNKNOWN,
            session: None,
            generation: Generation(0),
            offs: BTreeMap::new(),
            ons: BTreeMap::new(),
            cycles: BTreeMap::new(),
            lease: None,
            renewed: 0,
            armed: None,
            safe: BTreeMap::new(),
            safe_ons: BTreeMap::new(),
            last: BTreeMap::new(),
            last_on: None,
            counts: Counts::default(),
        }
    }

    /// The device started anew. Without a loss of its supply its open cycles go on, each with its whole off.
    pub(crate) fn started(&mut self, epoch: Epoch, lost_power: bool, now: u64) {
        assert!(epoch > self.epoch, "each start has its own epoch");
        self.boot_at = now;
        self.epoch = epoch;
        self.session = None;
        self.generation = Generation(0);
        self.ons.clear();
        self.safe_ons.clear();
        self.lease = None;
        self.armed = None;
        if lost_power {
            self.cycles.clear();
        }
        for cycle in self.cycles.values_mut() {
            cycle.due = now + cycle.off_ms;
        }
    }

    /// The supply went, and the relays fell.
    pub(crate) fn fell(&mut self, outlet: OutletNumber, now: u64) {
        self.last.insert(outlet, (now, PowerState::Off));
    }

    /// A frame arrived whole.
    pub(crate) fn heard(&mut self, frame: &Frame, now: u64) {
        let sequence = frame.header.sequence;
        if frame.header.kind == FrameKind::Hello {
            let Ok(hello) = decode_greeting::<Hello>(frame) else { return };
            if self.session.is_none_or(|(session, ..)| session != hello.session) {
                self.session = Some((hello.session, sequence, false));
            }
            return;
        }
        if frame.header.kind != FrameKind::Request || frame.header.epoch != self.epoch {
            return;
        }
        let Some((_, last, is_request)) = &mut self.session else { return };
        if sequence == *last && *is_request {
            self.renewed = now;
        }
        if !sequence.is_after(*last) {
            return;
        }
        (*last, *is_request) = (sequence, true);
        self.renewed = now;
        if let Ok(request) = decode::<Request>(frame) {
            self.ordered(&request, now);
        }
    }

    fn ordered(&mut self, request: &Request, now: u64) {
        let Some(order) = request.order() else { return };
        let until = self.boot_at + order.until.0;
        if order.generation <= self.generation || now > until {
            return;
        }
        self.generation = order.generation;
        self.counts.orders += 1;
        match request {
            Request::Set(_, switches) => {
                for switch in switches {
                    match switch.state {
                        PowerState::On => {
                            self.ons.insert(switch.outlet, until + self.behind);
                        }
                        PowerState::Off => {
                            self.ons.remove(&switch.outlet);
                            self.offs.insert(switch.outlet, (true, None));
                        }
                    }
                }
            }
            Request::Cycle(_, outlet, off_ms) => {
                self.offs.insert(*outlet, (true, Some(u64::from(*off_ms))));
            }
            Request::ArmAllOff(order) => {
                self.armed = Some((order.generation.0, now + u64::from(ARMED_MS)));
            }
            Request::AllOff(_, token) => {
                let armed = self.armed.take();
                if !armed.is_some_and(|(own, until)| own == *token && now <= until) {
                    return;
                }
                for outlet in OutletNumber::all() {
                    self.offs.insert(outlet, (false, None));
                }
                self.ons.clear();
                self.safe_ons.clear();
                self.cycles.clear();
            }
            Request::Lease(_, length, safe) => {
                let safe = safe.iter().copied().collect();
                let lease = |length: u32| Lease { length: u64::from(length), safe };
                self.lease = length.map(lease);
            }
            _ => {}
        }
    }

    /// What was driven because of the frame that arrived last.
    pub(crate) fn at_once(&mut self, edges: &[Seen], now: u64) {
        self.moved(edges, &BTreeMap::new(), now);
    }

    /// What was driven in a round of the device's loop; and that nothing is missing by now.
    pub(crate) fn round(&mut self, edges: &[Seen], now: u64) {
        let ended = self.lease_ends(edges, now);
        self.moved(edges, &ended, now);
        for (outlet, cycle) in &self.cycles {
            let latest = cycle.due + crowd(&LIMITS);
            assert!(now <= latest, "{outlet:?} was left off by its cycle: {cycle:?} at {now}");
        }
    }

    fn moved(&mut self, edges: &[Seen], ended: &BTreeMap<OutletNumber, SafeState>, now: u64) {
        for edge in edges {
            self.counts.edges += 1;
            match edge.state {
                PowerState::On => self.on(edge.outlet, now),
                PowerState::Off => self.off(edge.outlet, ended, now),
            }
            let before = self.last.insert(edge.outlet, (now, edge.state));
            assert!(before.is_none_or(|(_, state)| state != edge.state), "an edge is a change");
        }
        self.offs.clear();
    }

    /// The safe states of the lease that ends now; each off of it has to be there.
    fn lease_ends(&mut self, edges: &[Seen], now: u64) -> BTreeMap<OutletNumber, SafeState> {
        let Some(lease) = self.lease.clone() else { return BTreeMap::new() };
        if now < self.renewed + lease.length {
            return BTreeMap::new();
        }
        self.counts.leases_ended += 1;
        self.lease = None;
        let until = now + u64::from(LIMITS.min_off_ms) + crowd(&LIMITS);
        for (outlet, safe) in &lease.safe {
            let is_on = self.last.get(outlet).is_some_and(|(_, state)| *state == PowerState::On);
            match safe {
                SafeState::Off => {
                    let off = edges.contains(&Seen { outlet: *outlet, state: PowerState::Off });
                    assert!(!is_on || off, "{outlet:?} is not safe at {now}");
                    // What waited for an on does not any more.
                    self.ons.remove(outlet);
                    self.safe_ons.remove(outlet);
                    self.cycles.remove(outlet);
                }
                SafeState::On => {
                    self.safe_ons.insert(*outlet, until);
                }
                SafeState::Keep => {}
            }
        }
        let wanted = |(outlet, safe): (&OutletNumber, &SafeState)| match safe {
            SafeState::Off => Some((*outlet, PowerState::Off)),
            SafeState::On => Some((*outlet, PowerState::On)),
            SafeState::Keep => None,
        };
        self.safe = lease.safe.iter().filter_map(wanted).collect();
        lease.safe
    }

    /// What the last lease that ended has to have made of its outlets.
    pub(crate) fn safe_states(&self) -> BTreeMap<OutletNumber, PowerState> {
        self.safe.clone()
    }

    fn off(&mut self, outlet: OutletNumber, ended: &BTreeMap<OutletNumber, SafeState>, now: u64) {
        let dwell = u64::from(LIMITS.min_on_ms);
        let since = self.last.get(&outlet).map_or(0, |(at, _)| *at);
        self.ons.remove(&outlet);
        self.safe_ons.remove(&outlet);
        if ended.get(&outlet) == Some(&SafeState::Off) {
            self.counts.by_lease += 1;
            return;
        }
        let Some((dwells, cycle)) = self.offs.get(&outlet) else {
            panic!("{outlet:?} was cut at {now}, and nobody said so");
        };
        assert!(!dwells || now >= since + dwell, "{outlet:?} was on from {since} to {now} only");
        if let Some(off_ms) = *cycle {
            self.counts.cycles += 1;
            self.cycles.insert(outlet, OpenCycle { due: now + off_ms, off_ms });
        }
    }

    fn on(&mut self, outlet: OutletNumber, now: u64) {
        let since = self.last.get(&outlet).map_or(0, |(at, _)| *at);
        let dwell = u64::from(LIMITS.min_off_ms);
        assert!(now >= since + dwell, "{outlet:?} was off from {since} to {now} only");
        let gap = u64::from(LIMITS.start_gap_ms);
        assert!(self.last_on.is_none_or(|last| now >= last + gap), "two starts at {now}");
        self.last_on = Some(now);
        let (cycle, on, safe) =
            (self.cycles.remove(&outlet), self.ons.remove(&outlet), self.safe_ons.remove(&outlet));
        if let Some(cycle) = cycle {
            assert!(now >= cycle.due, "{outlet:?}: {cycle:?} ended at {now}");
            return;
        }
        let until = on.max(safe);
        assert!(
            until.is_some_and(|until| now <= until),
            "{outlet:?} got power at {now}, and nobody said so: {until:?}"
        );
    }
}
