//! One ICMP echo and its answer, by the kernel's ping socket where the group may, else by a raw one.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::{AtomicU32, Ordering};

use socket2::{Domain, Protocol, Socket, Type};
use tokio::net::UdpSocket;

use super::forbidden;

const REMEDY: &str =
    "give the unit `AmbientCapabilities=CAP_NET_RAW`, or widen net.ipv4.ping_group_range";
/// More than the answer to our echo with the largest IPv4 header.
const ANSWER_BYTES_MAX: usize = 256;
/// Type and code, checksum, identifier and sequence, before the payload.
const HEADER_BYTES: usize = 8;

/// Tells one echo from another, also of another process.
static NONCE: AtomicU32 = AtomicU32::new(0);

/// Ends when the answer has come; who asks bounds it.
pub(super) async fn ping(address: IpAddr) -> Result<String, String> {
    let socket = open(address).map_err(|error| forbidden(&error, REMEDY))?;
    let (nonce, process) = (NONCE.fetch_add(1, Ordering::Relaxed), std::process::id());
    let payload = [process.to_be_bytes(), nonce.to_be_bytes()].concat();
    let (ask, answers) = if address.is_ipv4() { (8, 0) } else { (128, 129) };
    let said = |error: io::Error| error.to_string();
    socket.connect(SocketAddr::new(address, 0)).await.map_err(said)?;
    socket.send(&echo(ask, &payload)).await.map_err(said)?;
    let mut answer = [0; ANSWER_BYTES_MAX];
    loop {
        let length = socket.recv(&mut answer).await.map_err(said)?;
        let told = answer.get(..length).unwrap_or_default();
        if is_answer(told, answers, &payload) {
            return Ok(String::new());
        }
    }
}

/// Whether the kernel gives this process the socket.
pub(super) fn allowed(address: IpAddr) -> Result<(), String> {
    open(address).map(drop).map_err(|error| forbidden(&error, REMEDY))
}

fn open(address: IpAddr) -> io::Result<UdpSocket> {
    let (domain, protocol) = if address.is_ipv4() {
        (Domain::IPV4, Protocol::ICMPV4)
    } else {
        (Domain::IPV6, Protocol::ICMPV6)
    };
    let socket = match Socket::new(domain, Type::DGRAM, Some(protocol)) {
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
            Socket::new(domain, Type::RAW, Some(protocol))?
        }
        opened => opened?,
    };
    socket.set_nonblocking(true)?;
    UdpSocket::from_std(socket.into())
}

/// The identifier is the kernel's on a ping socket, so the payload says whose it is.
fn echo(kind: u8, payload: &[u8]) -> Vec<u8> {
    let mut packet = vec![kind, 0, 0, 0, 0, 0, 0, 1];
    packet.extend(payload);
    let sum = packet
        .chunks(2)
        .map(|pair| u32::from(u16::from_be_bytes([pair[0], pair.get(1).copied().unwrap_or(0)])))
        .sum::<u32>();
    let folded = (sum & 0xffff) + (sum >> 16);
    let folded = (folded & 0xffff) + (folded >> 16);
    let [_, _, high, low] = (!folded).to_be_bytes();
    packet[2] = high;
    packet[3] = low;
    packet
}

/// A raw IPv4 socket gives the IP header too.
fn is_answer(told: &[u8], kind: u8, payload: &[u8]) -> bool {
    let header = match told.first() {
        Some(first) if first >> 4 == 4 => usize::from(first & 0x0f) * 4,
        _ => 0,
    };
    let icmp = told.get(header..).unwrap_or_default();
    icmp.first() == Some(&kind) && icmp.get(HEADER_BYTES..) == Some(payload)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_echo_adds_up_and_only_its_own_answer_counts() {
        let packet = echo(8, &[1, 2, 3, 4, 5, 6, 7, 8]);
        let words = packet.chunks(2).map(|two| u32::from(u16::from_be_bytes([two[0], two[1]])));
        let sum: u32 = words.sum();
        assert_eq!((sum & 0xffff) + (sum >> 16), 0xffff);
        let mut answer = packet.clone();
        answer[0] = 0;
        assert!(is_answer(&answer, 0, &[1, 2, 3, 4, 5, 6, 7, 8]));
        assert!(!is_answer(&packet, 0, &[1, 2, 3, 4, 5, 6, 7, 8]), "our own request");
        assert!(!is_answer(&answer, 0, &[9, 2, 3, 4, 5, 6, 7, 8]), "another's");
        let with_header = [vec![0x45; 1], vec![0; 19], answer].concat();
        assert!(is_answer(&with_header, 0, &[1, 2, 3, 4, 5, 6, 7, 8]));
    }
}
