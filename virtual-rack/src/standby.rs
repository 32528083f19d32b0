//! A card in standby on a real network interface, and the machine around it: a command that a packet starts, and whose end
//! is the machine's power-off. It runs as the command of a rack's machine, whose relay is then the mains.

use std::io;
use std::os::fd::AsRawFd;
use std::process::Stdio;

use nix::ifaddrs::getifaddrs;
use nix::sys::socket::bind;
use socket2::{Domain, Protocol, Socket, Type};
use tokio::net::UdpSocket;
use tokio::process::{Child, Command};

use crate::card::{Card, Heard};

/// Frames of every type.
const ALL_TYPES: u16 = 0x0003;
/// More than an Ethernet frame without its checksum; a longer one is no magic packet.
const FRAME_BYTES_MAX: usize = 1600;

/// Why a card can not stand by.
#[derive(Debug, thiserror::Error)]
pub enum StandbyError {
    /// The interface is not there.
    #[error("there is no interface {interface}")]
    NoInterface {
        /// Its name.
        interface: String,
    },
    /// It can not be listened on.
    #[error("can not listen on interface {interface}")]
    Deaf {
        /// Its name.
        interface: String,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// The machine can not be started or watched.
    #[error("the machine's command {program}")]
    Machine {
        /// The command's first word.
        program: String,
        /// What the system said.
        #[source]
        source: io::Error,
    },
}

/// Stands by, and runs the machine whenever a packet wakes it, until the power is cut.
///
/// # Errors
/// See [`StandbyError`].
pub async fn stand_by(
    mut card: Card,
    interface: &str,
    argv: &[String],
) -> Result<(), StandbyError> {
    let deaf = |source| StandbyError::Deaf { interface: interface.to_owned(), source };
    let socket = open(interface)?;
    let mut frame = vec![0; FRAME_BYTES_MAX];
    loop {
        card.sleep();
        tracing::info!(interface, "the machine is off, and its card stands by");
        loop {
            let length = socket.recv(&mut frame).await.map_err(deaf)?;
            match card.hear(frame.get(..length).unwrap_or_default()) {
                Heard::Nothing => {}
                Heard::Stranger => tracing::info!("heard a packet for another card"),
                Heard::WrongPassword => tracing::info!("heard a packet without the password"),
                Heard::Lost => tracing::info!("a packet was lost"),
                Heard::Wakes => break,
            }
        }
        let failed = |source| {
            let program = argv.first().cloned().unwrap_or_default();
            StandbyError::Machine { program, source }
        };
        let mut machine = start(argv).map_err(failed)?;
        tracing::info!("heard its packet: the machine is on");
        let ended = run(&mut machine, &socket, &mut frame).await.map_err(failed)?;
        tracing::info!(%ended, "the machine is off");
    }
}

/// Until its end; what arrives meanwhile is the operating system's, and wakes nobody afterwards.
async fn run(
    machine: &mut Child,
    socket: &UdpSocket,
    frame: &mut [u8],
) -> io::Result<std::process::ExitStatus> {
    loop {
        tokio::select! {
            ended = machine.wait() => return ended,
            // An interface that goes down meanwhile is told of when the card stands by again.
            _ = socket.recv(frame) => {}
        }
    }
}

fn start(argv: &[String]) -> io::Result<Child> {
    let (program, arguments) = argv.split_first().ok_or(io::ErrorKind::InvalidInput)?;
    Command::new(program).args(arguments).stdin(Stdio::null()).kill_on_drop(true).spawn()
}

fn open(interface: &str) -> Result<UdpSocket, StandbyError> {
    let deaf = |source| StandbyError::Deaf { interface: interface.to_owned(), source };
    let links = getifaddrs().map_err(|error| deaf(error.into()))?;
    let mut named = links.filter(|link| link.interface_name == interface);
    let link = named.find_map(|link| link.address?.as_link_addr().copied());
    let link = link.ok_or_else(|| StandbyError::NoInterface { interface: interface.to_owned() })?;
    let listen = || {
        let protocol = Protocol::from(i32::from(ALL_TYPES.to_be()));
        let socket = Socket::new(Domain::PACKET, Type::RAW, Some(protocol))?;
        bind(socket.as_raw_fd(), &link)?;
        socket.set_nonblocking(true)?;
        // Only to wait and to read: neither asks of which family the socket is.
        UdpSocket::from_std(socket.into())
    };
    listen().map_err(deaf)
}
