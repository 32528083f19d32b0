//! What was measured last, and what of it is to be told.

use bridge_protocol::reading::SAMPLES_MAX;
use bridge_protocol::{DeviceTime, OUTLETS_MAX, OutletNumber, Reading, Refusal, Sample};
use heapless::Vec;

use crate::{Facts, Meters, Quantity};

/// Between two measurements; each takes one outlet. A board of sixteen is through in 80 ms.
pub const STEP_MS: u32 = 5;

/// The shortest period in which all measurements are told: a full board is six frames, which take half of it at 115200 baud.
pub const PERIOD_MS_MIN: u32 = 250;

#[derive(Debug, Clone, Copy)]
struct Kept {
    reading: Reading,
    at: DeviceTime,
    /// It was not told since it changed, or since the last period began.
    untold: bool,
}

/// The measurements of a device.
#[derive(Debug, Clone)]
pub struct Sampler {
    kept: [[Option<Kept>; Quantity::COUNT]; OUTLETS_MAX],
    /// The outlet that is measured next; `None`: the first.
    next: Option<OutletNumber>,
    step_at: DeviceTime,
    period: Option<(u32, DeviceTime)>,
}

impl Sampler {
    /// Nothing was measured yet.
    #[must_use]
    pub const fn new(now: DeviceTime) -> Sampler {
        let kept = [[None; Quantity::COUNT]; OUTLETS_MAX];
        Sampler { kept, next: None, step_at: now, period: None }
    }

    /// Measurements are told in this period from now on, or not.
    ///
    /// # Errors
    ///
    /// Where the line could not bear it.
    pub fn watch(&mut self, period_ms: Option<u32>, now: DeviceTime) -> Result<(), Refusal> {
        if period_ms.is_some_and(|period| period < PERIOD_MS_MIN) {
            return Err(Refusal::TooShort(PERIOD_MS_MIN));
        }
        self.period = period_ms.map(|period| (period, now));
        Ok(())
    }

    /// Measures one outlet, where it is time to.
    pub fn step(&mut self, facts: &Facts, meters: &mut impl Meters, now: DeviceTime) {
        if let Some((period, due)) = &mut self.period
            && now >= *due
        {
            *due = now.after(*period);
            self.kept.iter_mut().flatten().flatten().for_each(|kept| kept.untold = true);
        }
        if now < self.step_at {
            return;
        }
        self.step_at = now.after(STEP_MS);
        let Some(outlet) = self.next.or_else(|| facts.all().next()) else { return };
        self.next = facts.all().find(|other| *other > outlet);
        let Some(row) = self.kept.get_mut(outlet.index()) else { return };
        for (quantity, place) in Quantity::ALL.into_iter().zip(row) {
            if !facts.has(quantity.capability()) {
                continue;
            }
            // What can not be measured any more is not told with its last value.
            let was = *place;
            *place = meters.measure(outlet, quantity).map(|reading| {
                let changed = was.is_none_or(|was| was.reading != reading);
                let untold = was.is_some_and(|was| was.untold);
                let untold = untold || (changed && quantity.is_told_at_once());
                Kept { reading, at: now, untold }
            });
        }
    }

    /// What is kept of outlets from one on, and with which to go on where a message does not hold more.
    #[must_use]
    pub fn from(
        &self,
        first: OutletNumber,
        now: DeviceTime,
    ) -> (Vec<Sample, SAMPLES_MAX>, Option<OutletNumber>) {
        let mut samples = Vec::new();
        for outlet in OutletNumber::all().filter(|outlet| *outlet >= first) {
            let row = self.kept.get(outlet.index()).into_iter().flatten().flatten();
            let row: Vec<Sample, { Quantity::COUNT }> =
                row.map(|kept| sample(outlet, *kept, now)).collect();
            if samples.extend_from_slice(&row).is_err() {
                return (samples, Some(outlet));
            }
        }
        (samples, None)
    }

    /// What is to be told, as much as a message holds; it counts as told. Nothing where nobody watches.
    pub fn tell(&mut self, now: DeviceTime) -> Vec<Sample, SAMPLES_MAX> {
        let mut samples = Vec::new();
        if self.period.is_none() {
            return samples;
        }
        for (outlet, row) in OutletNumber::all().zip(&mut self.kept) {
            for kept in row.iter_mut().flatten().filter(|kept| kept.untold) {
                if samples.push(sample(outlet, *kept, now)).is_err() {
                    return samples;
                }
                kept.untold = false;
            }
        }
        samples
    }
}

fn sample(outlet: OutletNumber, kept: Kept, now: DeviceTime) -> Sample {
    let age_ms = u16::try_from(now.since(kept.at)).unwrap_or(u16::MAX);
    Sample { outlet, reading: kept.reading, age_ms }
}
