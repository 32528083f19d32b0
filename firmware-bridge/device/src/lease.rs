//! The host's lease: while it lives it says so, and when it does not, the safe states are taken.

use bridge_protocol::{DeviceTime, Refusal};

/// The shortest lease: the slowest pace of a link loses three tries and greets again within it.
pub const LEASE_MS_MIN: u32 = 400;

/// The longest lease: who is gone for longer than an hour is not coming back by himself.
pub const LEASE_MS_MAX: u32 = 3_600_000;

/// A lease that runs, or none.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Lease(Option<Running>);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Running {
    length_ms: u32,
    until: DeviceTime,
}

impl Lease {
    /// A lease as it was asked for.
    ///
    /// # Errors
    ///
    /// Where its length is out of bounds.
    pub fn new(length_ms: Option<u32>, now: DeviceTime) -> Result<Lease, Refusal> {
        match length_ms {
            Some(length) if length < LEASE_MS_MIN => Err(Refusal::TooShort(LEASE_MS_MIN)),
            Some(length) if length > LEASE_MS_MAX => Err(Refusal::TooLong(LEASE_MS_MAX)),
            Some(length_ms) => Ok(Lease(Some(Running { length_ms, until: now.after(length_ms) }))),
            None => Ok(Lease(None)),
        }
    }

    /// The host lives. A lease that has ended is not begun anew by this.
    pub fn renew(&mut self, now: DeviceTime) {
        if let Some(running) = &mut self.0 {
            running.until = now.after(running.length_ms);
        }
    }

    /// Whether it ends now: said once.
    pub fn ends(&mut self, now: DeviceTime) -> bool {
        let ends = self.0.is_some_and(|running| now >= running.until);
        if ends {
            self.0 = None;
        }
        ends
    }
}
