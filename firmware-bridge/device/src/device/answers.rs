//! What a device does about each request, and what it answers.

use bridge_protocol::message::{Answer, Order, Outcome, Refusal, Request, Said, Switch};
use bridge_protocol::{Capability, ImageFacts, OutletSeen, PowerState, decode};

use super::{
    ARMED_MS, Armed, Cause, Device, DeviceTime, Edge, Firmware, Frame, FrameKind, Hardware, Header,
    Lease, Memory, OUTLETS_MAX, OutletNumber, RESTART_MS, SafeState, Update, Vec, encode,
};
use crate::session::Turn;

impl<H: Hardware> Device<H> {
    pub(super) fn asked(&mut self, frame: &Frame, now: DeviceTime) {
        let Header { version, sequence, epoch, .. } = frame.header;
        if !self.facts.versions.has(version) {
            return self.unspoken(sequence);
        }
        if epoch != self.epoch() {
            self.answer = self.answered(frame, now, Said::Refused(Refusal::OtherEpoch));
            return;
        }
        let Some(session) = self.session.as_mut().filter(|session| session.version() == version)
        else {
            return;
        };
        match session.turn(sequence) {
            Turn::Late => return,
            Turn::Again(answer) => {
                self.lease.renew(now);
                self.answer = Some(answer);
                return;
            }
            Turn::Obey => self.lease.renew(now),
        }
        let said = match decode::<Request>(frame) {
            Ok(request) if request.since() > version => Err(Refusal::NotInVersion),
            Ok(request) => self.obey(request, now),
            Err(_) => Err(Refusal::Malformed),
        };
        self.answer = self.answered(frame, now, said.unwrap_or_else(Said::Refused));
        if let (Some(session), Some(answer)) = (&mut self.session, &self.answer) {
            session.answered(answer);
        }
    }

    fn answered(&self, asked: &Frame, at: DeviceTime, said: Said) -> Option<super::Wire> {
        let header = Header { kind: FrameKind::Answer, epoch: self.epoch(), ..asked.header };
        encode(header, &Answer { at, said }).ok()
    }

    fn obey(&mut self, request: Request, now: DeviceTime) -> Result<Said, Refusal> {
        if let Some(order) = request.order() {
            self.take_order(order, now)?;
        }
        match request {
            Request::Beat => Ok(Said::Alive),
            Request::Read => Ok(Said::Outlets(self.seen(now))),
            Request::Set(order, switches) => self.set(order, &switches, now),
            Request::Cycle(order, outlet, off_ms) => self.cycle(order, outlet, off_ms, now),
            Request::ArmAllOff(order) => {
                let (token, until) = (order.generation.0, now.after(ARMED_MS));
                self.armed = Some(Armed { token, until });
                Ok(Said::Armed(order.generation, token, until))
            }
            Request::AllOff(order, token) => self.all_off(order, token, now),
            Request::Lease(order, length, safe) => self.take_lease(order, length, &safe, now),
            Request::Log(after) => Ok(Said::Events(self.log.after(after), self.log.newest())),
            Request::Measure(first) => {
                let (samples, next) = self.sampler.from(first, now);
                Ok(Said::Measured(samples, next))
            }
            Request::Watch(period) => self.sampler.watch(period, now).map(|()| Said::Alive),
            Request::UpdateBegin(_, image) => self.begin_update(image),
            Request::UpdateBytes(offset, bytes) => {
                let update = self.update.as_mut().ok_or(Refusal::NoImage)?;
                update.take(offset, &bytes, &mut self.hardware).map(Said::ImageUpTo)
            }
            Request::UpdateEnd(order) => self.end_update(order, now),
            Request::UpdateKeep(order) => self.keep_update(order, now),
        }
    }

    /// Whether an order's turn has come, and not gone. It counts as heard also where something else refuses it later.
    fn take_order(&mut self, order: Order, now: DeviceTime) -> Result<(), Refusal> {
        if order.generation <= self.generation {
            return Err(Refusal::Stale(self.generation));
        }
        if now > order.until {
            return Err(Refusal::TooLate);
        }
        self.generation = order.generation;
        Ok(())
    }

    fn seen(&mut self, now: DeviceTime) -> Vec<OutletSeen, OUTLETS_MAX> {
        let mut seen = Vec::new();
        let reads = self.facts.has(Capability::Contacts);
        for outlet in self.facts.all() {
            let contact = if reads { self.hardware.contact(outlet) } else { None };
            let driven = self.outlets.driven(outlet);
            let changes_in_ms = self.outlets.starts_in(outlet, now);
            let kept = seen.push(OutletSeen { outlet, driven, contact, changes_in_ms });
            assert!(kept.is_ok(), "a board has no more outlets than a message");
        }
        seen
    }

    fn set(&mut self, order: Order, switches: &[Switch], now: DeviceTime) -> Result<Said, Refusal> {
        once_each(switches.iter().map(|switch| switch.outlet))?;
        let mut outcomes = Vec::new();
        for switch in switches {
            let (outcome, edge) = match self.may_set(*switch) {
                Ok(()) => self.outlets.set(switch.outlet, switch.state, order.until, now),
                Err(why) => (Outcome::Refused(why), None),
            };
            if let Some(edge) = edge {
                self.drive(edge, now);
            }
            let kept = outcomes.push(outcome);
            assert!(kept.is_ok(), "an outcome for each switch");
        }
        Ok(Said::Set(order.generation, outcomes))
    }

    /// Whether an outlet may be switched at all now. Power can be taken from it whatever has failed.
    fn may_set(&self, switch: Switch) -> Result<(), Refusal> {
        if !self.facts.has_outlet(switch.outlet) {
            return Err(Refusal::NoSuchOutlet);
        }
        if switch.state == PowerState::On {
            if self.storage_failed {
                return Err(Refusal::StorageFailed);
            }
            // Another start is near, the new firmware's or the way back, and would cut it.
            let restarts = self.trial.is_some() || self.restart_at.is_some();
            if restarts && !self.facts.has(Capability::HoldsOverReset) {
                return Err(Refusal::OnTrial);
            }
        }
        Ok(())
    }

    /// The intent of a cycle is remembered before its off is driven, so that a reset in between does not leave it off.
    fn cycle(
        &mut self,
        order: Order,
        outlet: OutletNumber,
        off_ms: u32,
        now: DeviceTime,
    ) -> Result<Said, Refusal> {
        if !self.facts.has_outlet(outlet) {
            return Err(Refusal::NoSuchOutlet);
        }
        self.outlets.may_cycle(outlet, off_ms, now)?;
        let mut memory = self.store.memory().clone();
        memory.cycles.retain(|cycle| cycle.outlet != outlet);
        let kept = memory.cycles.push(Self::open_cycle(outlet, off_ms));
        assert!(kept.is_ok(), "a cycle for each outlet has room");
        if !self.remember(memory, now) {
            return Err(Refusal::StorageFailed);
        }
        let edge = self.outlets.cycle(outlet, off_ms, now);
        self.drive(edge, now);
        Ok(Said::Done(order.generation))
    }

    /// Everything loses its power at once, whatever its minimum time; open cycles are not ended any more.
    fn all_off(&mut self, order: Order, token: u32, now: DeviceTime) -> Result<Said, Refusal> {
        let armed = self.armed.take().filter(|armed| armed.token == token && now <= armed.until);
        armed.ok_or(Refusal::NotArmed)?;
        let edges: Vec<Edge, OUTLETS_MAX> = self
            .facts
            .all()
            .filter_map(|outlet| self.outlets.cut(outlet, Cause::Order, now))
            .collect();
        edges.into_iter().for_each(|edge| self.drive(edge, now));
        self.close_cycles(now);
        Ok(Said::Done(order.generation))
    }

    fn take_lease(
        &mut self,
        order: Order,
        length_ms: Option<u32>,
        safe: &[(OutletNumber, SafeState)],
        now: DeviceTime,
    ) -> Result<Said, Refusal> {
        once_each(safe.iter().map(|(outlet, _)| *outlet))?;
        if safe.iter().any(|(outlet, _)| !self.facts.has_outlet(*outlet)) {
            return Err(Refusal::NoSuchOutlet);
        }
        let lease = Lease::new(length_ms, now)?;
        let mut memory = self.store.memory().clone();
        memory.safe = [SafeState::Keep; OUTLETS_MAX];
        for (outlet, state) in safe {
            if let Some(kept) = memory.safe.get_mut(outlet.index()) {
                *kept = *state;
            }
        }
        if !self.remember(memory, now) {
            return Err(Refusal::StorageFailed);
        }
        self.lease = lease;
        Ok(Said::Done(order.generation))
    }

    fn begin_update(&mut self, image: ImageFacts) -> Result<Said, Refusal> {
        if !self.facts.has(Capability::Updates) {
            return Err(Refusal::Unable);
        }
        self.update = None;
        let firmware = self.store.memory().firmware;
        self.update = Some(Update::begin(image, &self.facts, firmware, &mut self.hardware)?);
        Ok(Said::ImageUpTo(0))
    }

    fn end_update(&mut self, order: Order, now: DeviceTime) -> Result<Said, Refusal> {
        let update = self.update.ok_or(Refusal::NoImage)?;
        if !self.may_restart() {
            return Err(Refusal::OutletsOn);
        }
        let verified = update.verify(&mut self.hardware);
        if matches!(verified, Err(Refusal::DoesNotVerify(_))) {
            self.update = None;
        }
        let firmware = Firmware::New(verified?);
        if !self.remember(Memory { firmware, ..self.store.memory().clone() }, now) {
            return Err(Refusal::StorageFailed);
        }
        self.update = None;
        self.restart_at = Some(now.after(RESTART_MS));
        Ok(Said::Done(order.generation))
    }

    fn keep_update(&mut self, order: Order, now: DeviceTime) -> Result<Said, Refusal> {
        let trial = self.trial.ok_or(Refusal::NoImage)?;
        let firmware = Firmware::Settled(trial.slot);
        if !self.remember(Memory { firmware, ..self.store.memory().clone() }, now) {
            return Err(Refusal::StorageFailed);
        }
        self.trial = None;
        Ok(Said::Done(order.generation))
    }
}

/// A list that names an outlet twice contradicts itself.
fn once_each(outlets: impl Iterator<Item = OutletNumber>) -> Result<(), Refusal> {
    let mut seen = [false; OUTLETS_MAX];
    for outlet in outlets {
        let Some(seen) = seen.get_mut(outlet.index()) else { return Err(Refusal::NoSuchOutlet) };
        if core::mem::replace(seen, true) {
            return Err(Refusal::Malformed);
        }
    }
    Ok(())
}
