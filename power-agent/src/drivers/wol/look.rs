//! Whether packets could leave this host now, as far as that is seen without sending one.

use std::net::Ipv4Addr;

use nix::ifaddrs::getifaddrs;
use nix::net::if_::InterfaceFlags;
use nix::sys::socket::{AddressFamily, SockFlag, SockType, socket};

use super::{Config, Via, send};

/// What was looked at: what was found, or what stands in the way.
pub(crate) type Found = Result<String, Hindrance>;

/// What stands in the way of packets.
#[derive(Debug)]
pub(crate) struct Hindrance {
    /// Whether none can leave; otherwise it may be meant so.
    pub(crate) grave: bool,
    /// What was found.
    pub(crate) found: String,
    /// What to do.
    pub(crate) remedy: String,
}

impl Hindrance {
    fn new(grave: bool, found: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self { grave, found: found.into(), remedy: remedy.into() }
    }
}

/// Looks at the interface, and at what this process may.
pub(crate) fn look_at(config: &Config) -> Vec<Found> {
    let interface = look_at_interface(config);
    let (sends, there) = match &config.via {
        Via::Raw { .. } => (may_send_frames(), None),
        Via::Udp { broadcast, .. } => {
            let told = Ok(format!("datagrams to {broadcast} need no right of their own"));
            (told, Some(is_broadcast(&config.interface, *broadcast)))
        }
    };
    [Some(interface), there, Some(sends)].into_iter().flatten().collect()
}

fn look_at_interface(config: &Config) -> Found {
    let name = &config.interface;
    let grave = |error: crate::drivers::DriverError| {
        let remedy = "name the interface on the machines' network; `ip -brief link` shows all";
        Hindrance::new(true, error.to_string(), remedy)
    };
    let found = send::find(name).map_err(grave)?;
    if matches!(config.via, Via::Raw { .. }) {
        send::source(name, &found.link).map_err(grave)?;
    }
    if !found.flags.contains(InterfaceFlags::IFF_RUNNING) {
        let remedy = format!("is its cable in, and the switch on? `ip link show {name}`");
        return Err(Hindrance::new(
            true,
            format!("interface {name} is up and has no link"),
            remedy,
        ));
    }
    Ok(format!("interface {name} is up and has a link; its address is {}", found.link))
}

/// Opens the socket and closes it.
fn may_send_frames() -> Found {
    match socket(AddressFamily::Packet, SockType::Raw, SockFlag::SOCK_CLOEXEC, None) {
        Ok(_closed) => Ok("this user may send frames".to_owned()),
        Err(error) => Err(Hindrance::new(
            true,
            format!("this user may not send frames: {}", error.desc()),
            "run doctor as the agent's user; give the unit `AmbientCapabilities=CAP_NET_RAW`, or say `via = \"udp\"`",
        )),
    }
}

/// A network's own broadcast address is the only one that reaches all of its cards and no other network's.
fn is_broadcast(interface: &str, wanted: Ipv4Addr) -> Found {
    let all = getifaddrs().map(Iterator::collect::<Vec<_>>).unwrap_or_default();
    let ours = all.iter().filter(|one| one.interface_name == interface);
    let there: Vec<Ipv4Addr> =
        ours.filter_map(|one| Some(one.broadcast.as_ref()?.as_sockaddr_in()?.ip())).collect();
    if there.contains(&wanted) || wanted == Ipv4Addr::BROADCAST {
        return Ok(format!("{wanted} is a broadcast address of {interface}"));
    }
    let told: Vec<String> = there.iter().map(ToString::to_string).collect();
    let told = if told.is_empty() { "none".to_owned() } else { told.join(", ") };
    let remedy = "write one of those, unless a router on the way makes a broadcast of it";
    let found = format!("{wanted} is no broadcast address of {interface}; it has {told}");
    Err(Hindrance::new(false, found, remedy))
}
