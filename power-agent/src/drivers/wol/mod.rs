//! A network card of this host that sends magic packets: it wakes machines, and can neither cut nor read one.
//!
//! Each packet goes out by a socket of its own, so that an interface that was gone and is back needs no care.

mod frame;
mod look;
mod send;

use std::net::Ipv4Addr;
use std::path::Path;
use std::time::Duration;

use fleet::PowerState;

use super::{Capabilities, Driver, DriverError, OutletNumber, OwnerGone, Readings, Settings};
use crate::config::{Finding, Section};

pub(crate) use look::{Hindrance, look_at};

pub use frame::{MacAddress, MacError, Password, WakeCall};

/// The discard service: what most tools send to, and where no program answers.
const PORT_DEFAULT: u16 = 9;
/// The kernel's `IFNAMSIZ` has 16 bytes and ends with a zero byte.
const INTERFACE_BYTES_MAX: usize = 15;

/// How packets go out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Via {
    /// As frames of their own, EtherType 0x0842: needs `CAP_NET_RAW`.
    Raw {
        /// The VLAN with which they are tagged.
        vlan: Option<u16>,
    },
    /// In UDP datagrams to a broadcast address.
    Udp {
        /// The network's own, e.g. 10.0.0.255.
        broadcast: Ipv4Addr,
        /// The port; no program listens there.
        port: u16,
    },
}

/// What the rack file says of the device.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    interface: String,
    via: Via,
}

impl Config {
    /// The interface by which packets go out.
    #[must_use]
    pub fn interface(&self) -> &str {
        &self.interface
    }
}

/// The words of `via`.
const VIA: &[(&str, bool)] = &[("raw", true), ("udp", false)];

impl Settings for Config {
    const NAME: &'static str = "wol";
    type Driver = Wol;

    fn read(section: &mut Section<'_>) -> Option<Self> {
        if !section.has("interface") {
            section.missing("interface", "\"eth0\"");
        }
        let interface = section.text("interface", "\"eth0\"");
        let raw = section.choice("via", VIA).is_none_or(|via| via.value);
        let vlan = section.integer("vlan", 1..=4094, "12");
        let broadcast = section.text("broadcast", "\"10.0.0.255\"");
        let port = section.integer("port", 1..=65_535, "9");
        let strange: &[&str] = if raw { &["broadcast", "port"] } else { &["vlan"] };
        for key in strange.iter().filter(|key| section.has(key)) {
            let (via, remedy) = if raw {
                ("raw", "leave it out, or say `via = \"udp\"`")
            } else {
                ("udp", "name the VLAN's own interface, like \"eth0.12\", or say `via = \"raw\"`")
            };
            let title = format!("`{key}` has no meaning with `via = \"{via}\"`");
            section.tell(
                Finding::error(title, section.key_span(key))
                    .found("nothing reads it")
                    .remedy(remedy),
            );
        }
        let interface = interface?;
        if interface.value.len() > INTERFACE_BYTES_MAX || interface.value.contains(['/', ' ']) {
            section.tell(
                Finding::error("`interface` is no name of a network interface", interface.span)
                    .found(format!("found {:?}", interface.value))
                    .expected(format!("at most {INTERFACE_BYTES_MAX} bytes without '/' or spaces"))
                    .remedy("`ip -brief link` shows those that there are"),
            );
            return None;
        }
        let via = if raw {
            Via::Raw { vlan: vlan.and_then(|vlan| u16::try_from(vlan.value).ok()) }
        } else {
            let port = port.and_then(|port| u16::try_from(port.value).ok());
            Via::Udp {
                broadcast: read_broadcast(section, broadcast)?,
                port: port.unwrap_or(PORT_DEFAULT),
            }
        };
        Some(Self { interface: interface.value, via })
    }

    fn outlet_count(&self) -> u16 {
        0
    }

    fn port(&self) -> Option<&Path> {
        None
    }

    fn driver(&self) -> Wol {
        Wol { config: self.clone() }
    }
}

fn read_broadcast(
    section: &Section<'_>,
    text: Option<crate::config::At<String>>,
) -> Option<Ipv4Addr> {
    let Some(text) = text else {
        if !section.has("broadcast") {
            section.missing("broadcast", "\"10.0.0.255\"");
        }
        return None;
    };
    match text.value.parse::<Ipv4Addr>() {
        Ok(address)
            if !address.is_loopback() && !address.is_unspecified() && !address.is_multicast() =>
        {
            Some(address)
        }
        _ => {
            section.tell(
                Finding::error("`broadcast` is no broadcast address", text.span)
                    .found(format!("found {:?}", text.value))
                    .expected("the IPv4 broadcast address of the machines' network")
                    .remedy("`ip -4 address` shows it after `brd`"),
            );
            None
        }
    }
}

/// The driver.
pub(crate) struct Wol {
    config: Config,
}

impl Driver for Wol {
    async fn set(&mut self, _wanted: &[(OutletNumber, PowerState)]) -> Result<(), DriverError> {
        Err(DriverError::Misconfigured {
            what: "it wakes machines and has no outlets".to_owned(),
            who: format!("interface {}", self.config.interface),
            source: None,
        })
    }

    async fn read_all(&mut self) -> Result<Readings, DriverError> {
        send::find(&self.config.interface).map(|_there| Readings::default())
    }

    async fn wake(&mut self, call: &WakeCall) -> Result<(), DriverError> {
        send::send(&self.config.interface, &self.config.via, call)
    }

    fn capabilities(&self, _outlet: OutletNumber) -> Capabilities {
        Capabilities {
            can_cut: false,
            reads: None,
            gap_min: Duration::ZERO,
            owner_gone: OwnerGone::Stays,
        }
    }
}
