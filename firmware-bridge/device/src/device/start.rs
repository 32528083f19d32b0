//! How a device starts: it finds its outlets as they are, and ends what it had begun.

use super::{
    Cause, Decoder, Device, DeviceTime, EventNumber, Facts, Firmware, Generation, Hardware, Lease,
    Log, Memory, OUTLETS_MAX, OpenCycle, OutletNumber, Outlets, PowerState, ResetCause, SafeState,
    Sampler, Store, TRIAL_MS, Trial, Vec, What,
};
use crate::Failed;

/// Milliseconds of a tenth of a second.
const TENTH_MS: u32 = 100;

impl<H: Hardware> Device<H> {
    /// Starts on a board. After a loss of its supply nothing is given power: outlets whose safe state is off are driven off,
    /// the others stay as they are found. After any other reset all are adopted, and an open cycle is ended.
    pub fn start(mut hardware: H, facts: Facts, cause: ResetCause, now: DeviceTime) -> Device<H> {
        let opened = Store::open(&mut hardware);
        let storage_failed = opened.is_err();
        let store = opened.unwrap_or_else(|_failed: Failed| Store::blank());
        let mut device = Device {
            outlets: Outlets::new(facts.limits, now),
            sampler: Sampler::new(now),
            hardware,
            facts,
            cause,
            store,
            storage_failed,
            decoder: Decoder::new(),
            session: None,
            generation: Generation(0),
            disagrees: [None; OUTLETS_MAX],
            lease: Lease::default(),
            armed: None,
            log: Log::new(),
            told: EventNumber(0),
            update: None,
            trial: None,
            restart_at: None,
            answer: None,
            link_ran: false,
        };
        device.log.add(now, What::Started(cause));
        if storage_failed {
            device.log.add(now, What::StorageFailed);
        }
        device.find_outlets(now);
        let firmware = device.find_firmware(now);
        let open = device.end_cycles(now);
        let epoch = bridge_protocol::Epoch(device.epoch().0.saturating_add(1));
        let memory = Memory { epoch, cycles: open, firmware, ..device.store.memory().clone() };
        device.remember(memory, now);
        device
    }

    fn find_outlets(&mut self, now: DeviceTime) {
        for outlet in self.facts.all() {
            let level = self.hardware.level(outlet);
            self.outlets.adopt(outlet, level);
            let safe = self.store.memory().safe.get(outlet.index());
            if self.cause.lost_power() && safe == Some(&SafeState::Off) {
                // Also where it seems to be off: what a pin reads right after the supply came is not much.
                self.hardware.drive(outlet, PowerState::Off);
                if let Some(edge) = self.outlets.cut(outlet, Cause::Start, now) {
                    self.log.add(now, What::Driven { outlet, state: edge.state, by: Cause::Start });
                }
            }
        }
    }

    /// Which cycles stay open: those that this start ends.
    fn end_cycles(&mut self, now: DeviceTime) -> Vec<OpenCycle, OUTLETS_MAX> {
        let mut open = Vec::new();
        for cycle in self.store.memory().cycles.clone() {
            let outlet = cycle.outlet;
            // Its off was not driven yet, or its on was.
            let is_over = self.outlets.driven(outlet) == PowerState::On;
            if is_over || !self.facts.has_outlet(outlet) {
                continue;
            }
            if self.cause.lost_power() {
                self.log.add(now, What::CycleLeftOff(outlet));
                continue;
            }
            // How long it has been off is not known, so it has its whole off again.
            let off_ms = u32::from(cycle.off_tenths).saturating_mul(TENTH_MS);
            self.outlets.end_cycle_after(outlet, off_ms, now);
            let kept = open.push(cycle);
            assert!(kept.is_ok(), "there are no more than there were");
        }
        open
    }

    fn find_firmware(&mut self, now: DeviceTime) -> Firmware {
        let firmware = self.store.memory().firmware;
        match firmware {
            Firmware::Trial(slot) => {
                self.log.add(now, What::OnTrial);
                self.trial = Some(Trial { slot, until: now.after(TRIAL_MS) });
                firmware
            }
            Firmware::FellBack(slot) => {
                self.log.add(now, What::FellBack);
                Firmware::Settled(slot)
            }
            Firmware::Settled(_) | Firmware::New(_) => firmware,
        }
    }

    /// A cycle as it is remembered.
    pub(super) fn open_cycle(outlet: OutletNumber, off_ms: u32) -> OpenCycle {
        let off_tenths = u16::try_from(off_ms.div_ceil(TENTH_MS)).unwrap_or(u16::MAX);
        OpenCycle { outlet, off_tenths }
    }
}
