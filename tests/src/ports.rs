//! Free ports of the loopback interface that stay ours while nothing listens on them.

use std::net::{Ipv4Addr, TcpListener, UdpSocket};
use std::sync::atomic::{AtomicU32, Ordering};

use anyhow::{Result, bail};

/// Below the system's ephemeral ports, so that no outgoing connection takes one of ours, and below Nomad's
/// dynamic ports (20,000 and up).
const PORTS: std::ops::Range<u16> = 15_000..20_000;

/// How far apart two processes begin to look, so that they seldom look at the same port.
const STRIDE: u32 = 97;

/// How many ports this process has taken.
static TAKEN: AtomicU32 = AtomicU32::new(0);

/// A port that is free for TCP. It is ours as long as this lives: the UDP port of the same number is held,
/// and whoever takes ports here takes that first. So a machine that is off keeps its port.
#[derive(Debug)]
pub struct Port {
    number: u16,
    _held: UdpSocket,
}

impl Port {
    /// Takes a free port.
    pub fn take() -> Result<Self> {
        let length = u32::from(PORTS.end - PORTS.start);
        // Not where the last one began: a port that was given and is not held may not be taken yet.
        let taken = TAKEN.fetch_add(1, Ordering::Relaxed);
        let begin = std::process::id().wrapping_mul(STRIDE).wrapping_add(taken) % length;
        for step in 0..length {
            let offset = u16::try_from((begin + step) % length)?;
            let number = PORTS.start + offset;
            let Ok(held) = UdpSocket::bind((Ipv4Addr::LOCALHOST, number)) else { continue };
            if TcpListener::bind((Ipv4Addr::LOCALHOST, number)).is_ok() {
                return Ok(Self { number, _held: held });
            }
        }
        bail!("no free port on 127.0.0.1 between {} and {}", PORTS.start, PORTS.end)
    }

    /// Holds a port that a program of ours has just left, until it is started again.
    pub fn hold(number: u16) -> Result<Self> {
        Ok(Self { number, _held: UdpSocket::bind((Ipv4Addr::LOCALHOST, number))? })
    }

    /// Its number.
    #[must_use]
    pub const fn number(&self) -> u16 {
        self.number
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_port_that_is_held_is_not_given_again() {
        let ports: Vec<_> = (0..20).map(|_| Port::take().unwrap()).collect();
        let mut numbers: Vec<_> = ports.iter().map(Port::number).collect();
        numbers.sort_unstable();
        numbers.dedup();
        assert_eq!(numbers.len(), 20);
        assert!(TcpListener::bind((Ipv4Addr::LOCALHOST, numbers[0])).is_ok());
    }
}
