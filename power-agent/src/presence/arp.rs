//! One ARP request and its answer, on one interface: who holds the address answers, whatever its firewall says.

use std::io;
use std::net::IpAddr;
use std::os::fd::AsRawFd;

use nix::ifaddrs::getifaddrs;
use nix::sys::socket::{LinkAddr, MsgFlags, bind, sendto};
use socket2::{Domain, Protocol, Socket, Type};
use tokio::net::UdpSocket;

use super::forbidden;

const REMEDY: &str = "give the unit `AmbientCapabilities=CAP_NET_RAW`";
const ETHERTYPE: u16 = 0x0806;
/// Ethernet and IPv4, with the lengths of their addresses.
const KINDS: [u8; 6] = [0, 1, 8, 0, 6, 4];
const REQUEST: [u8; 2] = [0, 1];
const ANSWER: [u8; 2] = [0, 2];
/// An Ethernet frame without payload beyond ARP's own is 60 bytes; a VLAN's tag may add four.
const FRAME_BYTES_MAX: usize = 128;

/// Ends when the answer has come; who asks bounds it.
pub(super) async fn ask(address: IpAddr, interface: &str) -> Result<String, String> {
    let IpAddr::V4(wanted) = address else {
        return Err("ARP knows no IPv6 address".to_owned());
    };
    let (link, own) = find(interface)?;
    let mac = link.addr().ok_or_else(|| format!("interface {interface} is no Ethernet"))?;
    let socket = open(&link).map_err(|error| forbidden(&error, REMEDY))?;
    let frame = request(mac, own, wanted.octets());
    sendto(socket.as_raw_fd(), &frame, &link, MsgFlags::empty())
        .map_err(|error| error.to_string())?;
    let mut heard = [0; FRAME_BYTES_MAX];
    loop {
        let length = socket.recv(&mut heard).await.map_err(|error| error.to_string())?;
        if is_answer(heard.get(..length).unwrap_or_default(), wanted.octets()) {
            return Ok(String::new());
        }
    }
}

/// Whether the kernel gives this process the socket.
pub(super) fn allowed(interface: &str) -> Result<(), String> {
    let (link, _) = find(interface)?;
    open(&link).map(drop).map_err(|error| forbidden(&error, REMEDY))
}

/// The interface, and its IPv4 address where it has one; zeros ask without one.
fn find(interface: &str) -> Result<(LinkAddr, [u8; 4]), String> {
    let all = getifaddrs().map_err(|error| error.to_string())?;
    let (mut link, mut own) = (None, [0; 4]);
    for found in all.filter(|found| found.interface_name == interface) {
        let Some(address) = found.address else { continue };
        if let Some(address) = address.as_link_addr() {
            link = Some(*address);
        }
        if let Some(address) = address.as_sockaddr_in() {
            own = address.ip().octets();
        }
    }
    Ok((link.ok_or_else(|| format!("there is no interface {interface}"))?, own))
}

fn open(link: &LinkAddr) -> io::Result<UdpSocket> {
    let protocol = Protocol::from(i32::from(ETHERTYPE.to_be()));
    let socket = Socket::new(Domain::PACKET, Type::RAW, Some(protocol))?;
    bind(socket.as_raw_fd(), link)?;
    socket.set_nonblocking(true)?;
    // Only to wait and to read: neither asks of which family the socket is.
    UdpSocket::from_std(socket.into())
}

fn request(mac: [u8; 6], own: [u8; 4], wanted: [u8; 4]) -> Vec<u8> {
    let ethertype = ETHERTYPE.to_be_bytes();
    let parts: [&[u8]; 9] =
        [&[0xff; 6], &mac, &ethertype, &KINDS, &REQUEST, &mac, &own, &[0; 6], &wanted];
    parts.concat()
}

fn is_answer(frame: &[u8], wanted: [u8; 4]) -> bool {
    let at = |from: usize, length: usize| frame.get(from..from + length).unwrap_or_default();
    at(12, 2) == ETHERTYPE.to_be_bytes()
        && at(14, 6) == KINDS
        && at(20, 2) == ANSWER
        && at(28, 4) == wanted
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_answer_of_who_holds_the_address_counts() {
        let (ours, theirs) = ([2, 0, 0, 0, 0, 1], [2, 0, 0, 0, 0, 2]);
        let asked = request(ours, [10, 0, 0, 1], [10, 0, 0, 21]);
        assert_eq!(asked.len(), 42);
        assert!(!is_answer(&asked, [10, 0, 0, 21]), "our own request");
        let mut answer = request(theirs, [10, 0, 0, 21], [10, 0, 0, 1]);
        answer[20..22].copy_from_slice(&ANSWER);
        assert!(is_answer(&answer, [10, 0, 0, 21]));
        assert!(!is_answer(&answer, [10, 0, 0, 22]), "another's");
        assert!(!is_answer(&answer[..30], [10, 0, 0, 21]), "cut short");
    }
}
