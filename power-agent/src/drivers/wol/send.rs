//! One packet by one socket on one interface. What is wrong is told with the interface and a remedy.

use std::io;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::os::fd::AsRawFd;

use nix::errno::Errno;
use nix::ifaddrs::getifaddrs;
use nix::net::if_::InterfaceFlags;
use nix::sys::socket::{AddressFamily, LinkAddr, MsgFlags, SockFlag, SockType, sendto, socket};
use socket2::{Domain, Protocol, Socket, Type};

use super::{Via, WakeCall};
use crate::drivers::DriverError;

/// An interface that is there and up.
pub(super) struct Found {
    pub(super) link: LinkAddr,
    pub(super) flags: InterfaceFlags,
}

/// Looks the interface up.
pub(super) fn find(name: &str) -> Result<Found, DriverError> {
    let addresses = getifaddrs()
        .map_err(|error| unreachable(name, "interfaces can not be listed", error.into()))?;
    let mut names: Vec<String> = Vec::new();
    for address in addresses {
        let Some(link) = address.address.as_ref().and_then(|address| address.as_link_addr()) else {
            continue;
        };
        if address.interface_name != name {
            names.push(address.interface_name);
            continue;
        }
        if !address.flags.contains(InterfaceFlags::IFF_UP) {
            let what = format!("it is down; `ip link set {name} up`");
            return Err(DriverError::Unreachable { what, who: who(name), source: None });
        }
        return Ok(Found { link: *link, flags: address.flags });
    }
    let there = if names.is_empty() { "none".to_owned() } else { names.join(", ") };
    let what = format!("there is no such interface; there are {there}");
    Err(DriverError::Unreachable { what, who: who(name), source: None })
}

/// Sends one packet.
pub(super) fn send(name: &str, via: &Via, call: &WakeCall) -> Result<(), DriverError> {
    let found = find(name)?;
    match via {
        Via::Raw { vlan } => raw(name, &found.link, &call.frame(source(name, &found.link)?, *vlan)),
        Via::Udp { broadcast, port } => udp(name, *broadcast, *port, &call.payload()),
    }
}

pub(super) fn source(name: &str, link: &LinkAddr) -> Result<[u8; 6], DriverError> {
    link.addr().filter(|_| link.halen() == 6).ok_or_else(|| DriverError::Misconfigured {
        what: "it has no Ethernet address; name a wired interface".to_owned(),
        who: who(name),
        source: None,
    })
}

fn raw(name: &str, link: &LinkAddr, frame: &[u8]) -> Result<(), DriverError> {
    let (family, kind) = (AddressFamily::Packet, SockType::Raw);
    // With no protocol it hears nothing.
    let socket =
        socket(family, kind, SockFlag::SOCK_CLOEXEC, None).map_err(|error| match error {
            Errno::EPERM | Errno::EACCES => not_allowed(name, error.into()),
            error => unreachable(name, "no raw socket could be opened", error.into()),
        })?;
    match sendto(socket.as_raw_fd(), frame, link, MsgFlags::empty()) {
        Ok(_sent) => Ok(()),
        Err(error) => Err(unreachable(name, "the frame was not sent", error.into())),
    }
}

fn udp(name: &str, broadcast: Ipv4Addr, port: u16, payload: &[u8]) -> Result<(), DriverError> {
    let told = |what: &'static str| {
        move |error: io::Error| match error.kind() {
            io::ErrorKind::PermissionDenied => not_allowed(name, error),
            _ => unreachable(name, what, error),
        }
    };
    let socket = Socket::new(Domain::IPV4, Type::DGRAM, Some(Protocol::UDP))
        .map_err(told("no UDP socket could be opened"))?;
    socket.set_broadcast(true).map_err(told("the socket may not broadcast"))?;
    socket
        .bind_device(Some(name.as_bytes()))
        .map_err(told("the socket could not be bound to it"))?;
    socket
        .send_to(payload, &SocketAddrV4::new(broadcast, port).into())
        .map(|_sent| ())
        .map_err(told("the datagram was not sent"))
}

fn who(name: &str) -> String {
    format!("interface {name}")
}

fn unreachable(name: &str, what: &str, error: io::Error) -> DriverError {
    let (what, source) = (what.to_owned(), Some(error.into()));
    DriverError::Unreachable { what, who: who(name), source }
}

fn not_allowed(name: &str, error: io::Error) -> DriverError {
    let what = "this process may not send frames; give the unit `AmbientCapabilities=CAP_NET_RAW`, or say `via = \"udp\"`".to_owned();
    DriverError::Misconfigured { what, who: who(name), source: Some(error.into()) }
}
