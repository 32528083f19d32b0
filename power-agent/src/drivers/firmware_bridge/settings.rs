//! What the rack file says of a firmware bridge.

use std::path::Path;
use std::time::Duration;

use firmware_bridge::protocol::{Identity, OUTLETS_MAX, SafeState};
use firmware_bridge::words;
use serial_port::{PortSettings, TtyPort};

use super::super::Settings;
use super::super::tty::{self, PORT_EXAMPLE};
use super::FirmwareBridge;
use crate::config::{Finding, Section};

/// What microcontrollers and their USB ports do without losses.
const BAUD: u32 = 115_200;
/// A shorter lease would end while systemd starts the agent anew.
const LEASE_MIN: Duration = Duration::from_secs(1);
/// Who is gone for longer than an hour does not come back by himself.
const LEASE_MAX: Duration = Duration::from_secs(3600);

const LEASE_EXAMPLE: &str = "\"1m\"";
const IDENTITY_EXAMPLE: &str = "\"e660583883265732\"";

/// The words of `safe`.
const SAFE: &[(&str, SafeState)] =
    &[("off", SafeState::Off), ("on", SafeState::On), ("keep", SafeState::Keep)];

/// One bridge, as the rack file has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    port: PortSettings,
    outlets: u8,
    identity: Option<Identity>,
    contacts: bool,
    /// How long it waits for a sign of the agent, and what its outlets become then.
    lease: Option<(Duration, SafeState)>,
}

impl Config {
    pub(super) const fn outlets(&self) -> u8 {
        self.outlets
    }

    pub(super) const fn identity(&self) -> Option<Identity> {
        self.identity
    }

    pub(super) const fn contacts(&self) -> bool {
        self.contacts
    }

    /// The lease in milliseconds, and what the outlets become at its end.
    pub(super) fn lease(&self) -> (Option<u32>, SafeState) {
        let Some((length, safe)) = self.lease else { return (None, SafeState::Keep) };
        (Some(u32::try_from(length.as_millis()).unwrap_or(u32::MAX)), safe)
    }

    #[cfg(test)]
    pub(super) fn for_tests(
        outlets: u8,
        identity: Option<Identity>,
        lease: Option<(Duration, SafeState)>,
    ) -> Self {
        let path = std::path::PathBuf::from("/dev/bench");
        let port = PortSettings { path, usb: None, serial: None, dtr: true };
        Self { port, outlets, identity, contacts: true, lease }
    }
}

impl Settings for Config {
    const NAME: &'static str = "firmware-bridge";
    type Driver = FirmwareBridge<TtyPort>;

    fn read(section: &mut Section<'_>) -> Option<Self> {
        let port = tty::read(section);
        let most = u64::try_from(OUTLETS_MAX).unwrap_or(u64::MAX);
        let outlets = section.integer("outlets", 1..=most, "8");
        let identity = read_identity(section);
        let contacts = section.truth("contacts").unwrap_or(true);
        let length = section.duration("lease", LEASE_MIN..=LEASE_MAX, LEASE_EXAMPLE);
        let safe = section.choice("safe", SAFE).map(|safe| safe.value);
        for (key, example) in [("port", PORT_EXAMPLE), ("outlets", "8")] {
            if !section.has(key) {
                section.missing(key, example);
            }
        }
        match (section.has("lease"), section.has("safe")) {
            (true, false) => section.missing("safe", "\"off\""),
            (false, true) => section.missing("lease", LEASE_EXAMPLE),
            _ => {}
        }
        let port = port?;
        let outlets = u8::try_from(outlets?.value).ok()?;
        Some(Self { port, outlets, identity: identity?, contacts, lease: length.zip(safe) })
    }

    fn outlet_count(&self) -> u16 {
        u16::from(self.outlets)
    }

    fn port(&self) -> Option<&Path> {
        Some(&self.port.path)
    }

    fn serial_port(&self) -> Option<&PortSettings> {
        Some(&self.port)
    }

    fn driver(&self) -> FirmwareBridge<TtyPort> {
        FirmwareBridge::new(self.clone(), TtyPort::new(self.port.clone(), BAUD))
    }
}

/// The outer `None`: it is there and is none.
fn read_identity(section: &mut Section<'_>) -> Option<Option<Identity>> {
    if !section.has("identity") {
        return Some(None);
    }
    let text = section.text("identity", IDENTITY_EXAMPLE)?;
    let identity = words::read_identity(&text.value);
    if identity.is_none() {
        let title = format!("`identity` in {} is no identity of a bridge", section.name());
        section.tell(
            Finding::error(title, text.span)
                .found(format!("found {:?}", text.value))
                .expected("sixteen hexadecimal digits, as `firmware-bridge info` shows them")
                .remedy(format!("write it like `identity = {IDENTITY_EXAMPLE}`, or leave it out")),
        );
    }
    identity.map(Some)
}
