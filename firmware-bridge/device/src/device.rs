//! The device: bytes and time in, frames and edges out. Each request's effect is in `answers.rs`.

use bridge_protocol::codec::decode_greeting;
use bridge_protocol::event::Cause;
use bridge_protocol::frame::Counts;
use bridge_protocol::{
    Capability, Decoder, DeviceTime, Epoch, EventNumber, Frame, FrameKind, Generation, Header,
    Hello, News, OUTLETS_MAX, OutletNumber, PowerState, ResetCause, SafeState, Sequence, Told,
    Unspoken, Version, Welcome, What, Wire, encode,
};
use heapless::Vec;

use crate::image::{TRIAL_MS, Trial, Update};
use crate::lease::Lease;
use crate::log::Log;
use crate::outlets::{Edge, Outlets};
use crate::sampler::Sampler;
use crate::session::Session;
use crate::store::{Firmware, Memory, OpenCycle, Store};
use crate::{Facts, Hardware};

mod answers;
mod start;

/// What a contact has to follow its outlet: relays take 10 ms, contactors some tens.
pub const SETTLE_MS: u32 = 100;

/// From an answer that announces a restart to the restart: the answer is on the line by then.
pub const RESTART_MS: u32 = 100;

/// How long "all off" stays armed.
pub const ARMED_MS: u32 = 5_000;

/// "All off", armed.
#[derive(Debug, Clone, Copy)]
struct Armed {
    token: u32,
    until: DeviceTime,
}

/// A firmware bridge on some hardware.
#[derive(Debug)]
pub struct Device<H> {
    hardware: H,
    facts: Facts,
    cause: ResetCause,
    store: Store,
    /// The storage does not work: nothing is switched that had to be remembered.
    storage_failed: bool,
    decoder: Decoder,
    session: Option<Session>,
    generation: Generation,
    outlets: Outlets,
    /// What was last told of each contact that does not follow its outlet.
    disagrees: [Option<Option<PowerState>>; OUTLETS_MAX],
    lease: Lease,
    armed: Option<Armed>,
    log: Log,
    /// The newest event that was told unasked.
    told: EventNumber,
    sampler: Sampler,
    update: Option<Update>,
    trial: Option<Trial>,
    restart_at: Option<DeviceTime>,
    answer: Option<Wire>,
    /// The link's task ran since the watchdog was fed.
    link_ran: bool,
}

impl<H: Hardware> Device<H> {
    /// Bytes came over the line, or none: called whenever the link's task runs, because that it runs feeds the watchdog.
    pub fn received(&mut self, bytes: &[u8], now: DeviceTime) {
        self.link_ran = true;
        for byte in bytes {
            if let Some(frame) = self.decoder.take(*byte) {
                self.hear(&frame, now);
            }
        }
    }

    /// One round of the main loop: what is due is done, what is read is read, and the watchdog is fed if the link lives too.
    pub fn run(&mut self, now: DeviceTime) {
        if self.lease.ends(now) {
            self.take_safe_states(now);
        }
        while let Some(edge) = self.outlets.due(now) {
            self.drive(edge, now);
        }
        self.close_cycles(now);
        self.compare_contacts(now);
        self.sampler.step(&self.facts, &mut self.hardware, now);
        // The way back waits for the dark where a start would cut what is on.
        let trial_over = self.trial.is_some_and(|trial| now >= trial.until);
        let falls_back = trial_over && self.may_restart();
        if falls_back || self.restart_at.is_some_and(|at| now >= at) {
            self.trial = None;
            self.restart_at = None;
            self.hardware.restart();
        }
        if self.link_ran {
            self.link_ran = false;
            self.hardware.feed();
        }
    }

    /// The next frame for the line; asked until there is none.
    pub fn frame(&mut self, now: DeviceTime) -> Option<Wire> {
        if let Some(answer) = self.answer.take() {
            return Some(answer);
        }
        let version = self.session.as_ref()?.version();
        let header =
            Header { version, kind: FrameKind::Told, sequence: Sequence(0), epoch: self.epoch() };
        if let Some(event) = self.log.after(self.told).first() {
            self.told = event.number;
            return encode(header, &Told { at: now, news: News::Event(*event) }).ok();
        }
        let samples = self.sampler.tell(now);
        let measured = !samples.is_empty() && version >= Version::MEASURES;
        measured.then(|| encode(header, &Told { at: now, news: News::Measured(samples) }).ok())?
    }

    /// Which start this is.
    #[must_use]
    pub const fn epoch(&self) -> Epoch {
        self.store.memory().epoch
    }

    /// What the line did to frames.
    #[must_use]
    pub const fn counts(&self) -> Counts {
        self.decoder.counts()
    }

    /// The hardware, for whoever simulates it.
    pub const fn hardware(&mut self) -> &mut H {
        &mut self.hardware
    }

    /// The hardware, when the device is no more.
    pub fn into_hardware(self) -> H {
        self.hardware
    }

    fn hear(&mut self, frame: &Frame, now: DeviceTime) {
        match frame.header.kind {
            FrameKind::Hello => self.greeted(frame, now),
            FrameKind::Request => self.asked(frame, now),
            // An echo, or another device on the same line.
            FrameKind::Welcome | FrameKind::Unspoken | FrameKind::Answer | FrameKind::Told => {}
        }
    }

    fn greeted(&mut self, frame: &Frame, now: DeviceTime) {
        if frame.header.version != Version::GREETING {
            return;
        }
        let Ok(hello) = decode_greeting::<Hello>(frame) else { return };
        let Some(version) = self.facts.versions.common(hello.versions) else {
            return self.unspoken(frame.header.sequence);
        };
        let known = self.session.as_ref().is_some_and(|session| session.id() == hello.session);
        if !known {
            self.session = Some(Session::new(hello.session, version, frame.header.sequence));
            self.told = self.log.newest();
        }
        let capabilities = self.facts.capabilities.iter().map(|capability| capability.code());
        let welcome = Welcome {
            session: hello.session,
            versions: self.facts.versions,
            speaks: version,
            identity: self.facts.identity,
            board: self.facts.board,
            firmware: self.facts.firmware,
            outlets: self.facts.outlets,
            capabilities: capabilities.collect(),
            cause: self.cause,
            at: now,
            generation: self.generation,
            newest_event: self.log.newest(),
        };
        self.answer =
            encode(self.greeting(FrameKind::Welcome, frame.header.sequence), &welcome).ok();
    }

    fn unspoken(&mut self, sequence: Sequence) {
        let unspoken = Unspoken { versions: self.facts.versions };
        self.answer = encode(self.greeting(FrameKind::Unspoken, sequence), &unspoken).ok();
    }

    const fn greeting(&self, kind: FrameKind, sequence: Sequence) -> Header {
        Header { version: Version::GREETING, kind, sequence, epoch: self.epoch() }
    }

    /// Whether outlets stay as they are while the device starts anew.
    fn may_restart(&self) -> bool {
        self.facts.has(Capability::HoldsOverReset) || self.outlets.are_dark()
    }

    /// Drives an outlet, and notes that it did.
    fn drive(&mut self, edge: Edge, now: DeviceTime) {
        self.hardware.drive(edge.outlet, edge.state);
        let Edge { outlet, state, by } = edge;
        self.log.add(now, What::Driven { outlet, state, by });
    }

    fn take_safe_states(&mut self, now: DeviceTime) {
        self.log.add(now, What::LeaseEnded);
        for outlet in self.facts.all() {
            let safe = self.store.memory().safe.get(outlet.index());
            let safe = safe.copied().unwrap_or(SafeState::Keep);
            if let Some(edge) = self.outlets.make_safe(outlet, safe, now) {
                self.drive(edge, now);
            }
        }
    }

    /// Cycles that have ended are no longer remembered.
    fn close_cycles(&mut self, now: DeviceTime) {
        let open = &self.store.memory().cycles;
        if open.iter().all(|cycle| self.outlets.is_in_cycle(cycle.outlet)) {
            return;
        }
        let still = open.iter().filter(|cycle| self.outlets.is_in_cycle(cycle.outlet));
        let cycles: Vec<OpenCycle, OUTLETS_MAX> = still.copied().collect();
        self.remember(Memory { cycles, ..self.store.memory().clone() }, now);
    }

    /// Whether it is remembered now. A storage that failed once is not tried again before the next start.
    fn remember(&mut self, memory: Memory, now: DeviceTime) -> bool {
        if self.storage_failed {
            return false;
        }
        let done = self.store.remember(&memory, &mut self.hardware).is_ok();
        if !done {
            self.storage_failed = true;
            self.log.add(now, What::StorageFailed);
        }
        done
    }

    /// Tells of contacts that do not follow: each once, until they follow or read otherwise.
    fn compare_contacts(&mut self, now: DeviceTime) {
        if !self.facts.has(Capability::Contacts) {
            return;
        }
        for outlet in self.facts.all() {
            if now < self.outlets.since(outlet).after(SETTLE_MS) {
                continue;
            }
            let contact = self.hardware.contact(outlet);
            let wrong = contact != Some(self.outlets.driven(outlet));
            let now_told = wrong.then_some(contact);
            let Some(told) = self.disagrees.get_mut(outlet.index()) else { continue };
            if *told != now_told {
                *told = now_told;
                if wrong {
                    self.log.add(now, What::Disagrees { outlet, contact });
                }
            }
        }
    }
}
