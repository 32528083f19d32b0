//! Lines as outlets, whoever moves them: the gap between two, and the patience with lines that are not there.

use std::time::Duration;

use fleet::{DeviceName, PowerState, ReadSource};
use tokio::time::{Instant, sleep, sleep_until};

use super::super::{Capabilities, Driver, DriverError, OutletNumber, OwnerGone, Readings};
use crate::descriptors::Descriptors;

/// How long a set waits for a chip that is gone: an expander on USB that was plugged in needs a second or two.
const REOPEN_PATIENCE: Duration = Duration::from_secs(3);
/// The waits between two tries grow from here…
const BACKOFF_MIN: Duration = Duration::from_millis(50);
/// …to here, so that a chip that is back is found within a second.
const BACKOFF_MAX: Duration = Duration::from_millis(800);

/// What moves the lines of one device.
pub(crate) trait Lines: Send {
    /// What it is, for an error.
    fn place(&self) -> String;
    /// Makes a line active or inactive.
    fn set(&mut self, index: usize, active: bool) -> Result<(), DriverError>;
    /// Which lines are active.
    fn read(&mut self) -> Result<Vec<bool>, DriverError>;
    /// Tells which device the lines are of, and who keeps descriptors beyond this process.
    fn introduce(&mut self, device: &DeviceName, descriptors: &Descriptors);
}

/// The driver: owns the lines of one device.
pub(crate) struct Outlets<L> {
    lines: L,
    count: u16,
    gap_min: Duration,
    free_at: Instant,
    owner_gone: OwnerGone,
    source: ReadSource,
}

impl<L: Lines> Outlets<L> {
    pub(in crate::drivers) fn new(
        lines: L,
        count: u16,
        gap_min: Duration,
        (owner_gone, source): (OwnerGone, ReadSource),
    ) -> Self {
        Self { lines, count, gap_min, free_at: Instant::now(), owner_gone, source }
    }

    /// The line's place among those of the device.
    fn index(&self, outlet: OutletNumber) -> Result<usize, DriverError> {
        if outlet.get() > self.count {
            let what = format!("there is no outlet {outlet}, only {} lines are named", self.count);
            return Err(DriverError::Misconfigured { what, who: self.lines.place(), source: None });
        }
        Ok(usize::from(outlet.get()) - 1)
    }

    /// Sets one line; waits a little for a chip that is gone, as long as nothing moved.
    async fn set_one(&mut self, index: usize, state: PowerState) -> Result<(), DriverError> {
        let give_up_at = Instant::now() + REOPEN_PATIENCE;
        let mut wait = BACKOFF_MIN;
        loop {
            match self.lines.set(index, state == PowerState::On) {
                Err(DriverError::Unreachable { .. }) if Instant::now() + wait < give_up_at => {
                    sleep(wait).await;
                    wait = (wait * 2).min(BACKOFF_MAX);
                }
                result => return result,
            }
        }
    }
}

impl<L: Lines> Driver for Outlets<L> {
    async fn set(&mut self, wanted: &[(OutletNumber, PowerState)]) -> Result<(), DriverError> {
        let mut lines = Vec::new();
        for (outlet, state) in wanted {
            lines.push((self.index(*outlet)?, *state));
        }
        for (done, (index, state)) in lines.into_iter().enumerate() {
            sleep_until(self.free_at).await;
            self.set_one(index, state).await.map_err(|error| after(done, error))?;
            self.free_at = Instant::now() + self.gap_min;
        }
        Ok(())
    }

    async fn read_all(&mut self) -> Result<Readings, DriverError> {
        let levels = self.lines.read()?;
        let numbers = (1..=self.count).filter_map(OutletNumber::new);
        let state = |active| if active { PowerState::On } else { PowerState::Off };
        Ok(numbers.zip(levels.into_iter().map(state)).collect())
    }

    fn capabilities(&self, _outlet: OutletNumber) -> Capabilities {
        Capabilities {
            can_cut: true,
            reads: Some(self.source),
            gap_min: self.gap_min,
            owner_gone: self.owner_gone,
        }
    }

    fn introduce(&mut self, device: &DeviceName, descriptors: &Descriptors) {
        self.lines.introduce(device, descriptors);
    }
}

/// What an error of a line says of the whole set, where other lines were set before it.
fn after(done: usize, error: DriverError) -> DriverError {
    match error {
        DriverError::Unreachable { what, who, source } if done > 0 => {
            let what = format!("{what}; {done} of the lines were set before that");
            DriverError::Indeterminate { what, who, source }
        }
        error => error,
    }
}
