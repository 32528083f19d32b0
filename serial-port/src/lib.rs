//! A serial port of this host: proven to be the right one before anything goes out, held alone, and not reset by us.

mod identity;
mod look;
pub mod processes;

use std::os::fd::{AsRawFd, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::fs::{FileType, FlockOperation, Mode, OFlags, Stat, flock, fstat, major, minor};
use rustix::io::Errno;
use rustix::termios::{ControlModes, OptionalActions, tcgetattr, tcsetattr};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_serial::{DataBits, FlowControl, Parity, SerialPort, SerialPortBuilderExt, StopBits};

use identity::{Mismatch, Seen, judge};

pub use identity::{NameKind, Usb, UsbId};
pub use look::{Sight, adapter, look};
/// An open port.
pub use tokio_serial::SerialStream;

/// Where the kernel tells of its devices.
const SYS: &str = "/sys";

/// Why a port could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// It is not there, not to be had, or not surely the right one: a moment later it may be.
    #[error("{what}")]
    Away {
        /// What stands in the way.
        what: String,
        /// What the kernel said.
        #[source]
        source: Option<std::io::Error>,
    },
    /// Something else is there than was asked for.
    #[error("{0}")]
    Other(String),
}

impl From<std::io::Error> for OpenError {
    fn from(error: std::io::Error) -> Self {
        Self::Away { what: "it can not be opened".to_owned(), source: Some(error) }
    }
}

/// What can be opened, again and again: the seam at which tests put a false line below a driver.
pub trait Port: Send {
    /// The open line.
    type Line: AsyncRead + AsyncWrite + Unpin + Send;

    /// Opens it for one who has it alone; what came in before is thrown away. Needs the runtime of tokio; must not wait.
    ///
    /// # Errors
    ///
    /// Where it is not there, somebody else's, or not surely the right one. Then nothing was sent.
    fn open(&mut self) -> Result<Self::Line, OpenError>;

    /// The name of the place, for people.
    fn place(&self) -> String;
}

/// Which port, and which adapter it must be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PortSettings {
    /// Its name: best one by path, which says where it is plugged in.
    pub path: PathBuf,
    /// Which kind of adapter it must be.
    pub usb: Option<UsbId>,
    /// Which adapter it must be.
    pub serial: Option<String>,
    /// Whether DTR and RTS stay raised while it is open, as the kernel raises them.
    pub dtr: bool,
}

impl PortSettings {
    /// What kind of name it has.
    #[must_use]
    pub fn kind(&self) -> NameKind {
        NameKind::of(&self.path)
    }

    /// Which adapter is asked for, as a sentence has it; empty: any.
    #[must_use]
    pub fn adapter(&self) -> String {
        let usb = self.usb.map(|usb| format!("USB {usb}"));
        let serial = self.serial.as_ref().map(|serial| format!("serial number {serial}"));
        usb.into_iter().chain(serial).collect::<Vec<_>>().join(" with ")
    }
}

/// A tty: 8N1, without flow control, held exclusively.
pub struct TtyPort {
    settings: PortSettings,
    baud: u32,
    sys: PathBuf,
}

impl TtyPort {
    /// A port that is not open yet, with its speed in bits per second.
    #[must_use]
    pub fn new(settings: PortSettings, baud: u32) -> Self {
        Self { settings, baud, sys: PathBuf::from(SYS) }
    }

    /// Opens it and looks what it is. Nothing is set and nothing is sent before that is known.
    fn prove(&self) -> Result<OwnedFd, OpenError> {
        let flags = OFlags::RDWR | OFlags::NOCTTY | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let path = &self.settings.path;
        let port = rustix::fs::open(path, flags, Mode::empty()).map_err(|error| match error {
            Errno::BUSY => taken(path, rustix::fs::stat(path).ok()),
            error => OpenError::from(std::io::Error::from(error)),
        })?;
        let found = fstat(&port).map_err(std::io::Error::from)?;
        // As long as it is open, the kernel gives its number to nobody else.
        let seen = Seen::of(&self.sys, major(found.st_rdev), minor(found.st_rdev));
        let is_port = FileType::from_raw_mode(found.st_mode).is_char_device();
        if !is_port || tcgetattr(&port).is_err_and(|error| error == Errno::NOTTY) {
            return Err(OpenError::Other("it is no serial port".to_owned()));
        }
        // A container may hide all that the kernel tells: then a name is believed, if it is all that the file says.
        let hidden = seen.is_none() && !self.sys.join("dev/char").is_dir();
        if !(hidden && self.settings.adapter().is_empty()) {
            judge(&self.settings, seen.as_ref())?;
        }
        match flock(&port, FlockOperation::NonBlockingLockExclusive) {
            Err(Errno::WOULDBLOCK) => return Err(taken(path, Some(found))),
            locked => locked.map_err(std::io::Error::from)?,
        }
        Ok(port)
    }
}

impl Port for TtyPort {
    type Line = SerialStream;

    fn open(&mut self) -> Result<SerialStream, OpenError> {
        let proven = self.prove()?;
        // Without it the kernel drops DTR when the port is closed and raises it when it is opened next, and a board
        // whose reset hangs on DTR starts anew.
        let mut modes = tcgetattr(&proven).map_err(std::io::Error::from)?;
        if modes.control_modes.contains(ControlModes::HUPCL) {
            modes.control_modes.remove(ControlModes::HUPCL);
            tcsetattr(&proven, OptionalActions::Now, &modes).map_err(std::io::Error::from)?;
        }
        flock(&proven, FlockOperation::Unlock).map_err(std::io::Error::from)?;
        // By its descriptor: what was proven is what is opened, whatever the name leads to now. It locks for itself.
        let name = format!("/proc/self/fd/{}", proven.as_raw_fd());
        let mut port = tokio_serial::new(name, self.baud)
            .data_bits(DataBits::Eight)
            .parity(Parity::None)
            .stop_bits(StopBits::One)
            .flow_control(FlowControl::None);
        if !self.settings.dtr {
            port = port.dtr_on_open(false);
        }
        let mut stream = port.open_native_async().map_err(std::io::Error::from)?;
        stream.set_exclusive(true).map_err(std::io::Error::from)?;
        // A port that can not tell of such lines has none to lower.
        if !self.settings.dtr && stream.read_clear_to_send().is_ok() {
            stream.write_request_to_send(false).map_err(std::io::Error::from)?;
        }
        stream.clear(tokio_serial::ClearBuffer::Input).map_err(std::io::Error::from)?;
        Ok(stream)
    }

    fn place(&self) -> String {
        format!("port {}", self.settings.path.display())
    }
}

impl From<Mismatch> for OpenError {
    fn from(mismatch: Mismatch) -> Self {
        match mismatch {
            Mismatch::Other(what) => Self::Other(what),
            Mismatch::Astray(what) => Self::Away { what, source: None },
        }
    }
}

/// Somebody else has it, and who that is.
fn taken(path: &Path, file: Option<Stat>) -> OpenError {
    let real = std::fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
    let owner = file.and_then(|file| processes::owner(&real, &file));
    let owner = owner.map_or_else(|| "another process".to_owned(), |owner| owner.to_string());
    let what = format!("{owner} has it open; end that program, or keep it off this port");
    OpenError::Away { what, source: None }
}

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::io::{Read, Write};
    use std::os::unix::fs::{MetadataExt, symlink};

    use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
    use tempfile::TempDir;

    use super::identity::tests::plugged_in;
    use super::*;

    /// A pseudo-terminal under a name by path, with a kernel's tree that says where it is plugged in.
    struct Plug {
        home: TempDir,
        board: File,
        real: PathBuf,
        port: TtyPort,
    }

    fn plug(place: &str, serial: Option<&str>) -> Plug {
        let home = tempfile::tempdir().unwrap();
        let board = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap();
        grantpt(&board).unwrap();
        unlockpt(&board).unwrap();
        let real = PathBuf::from(ptsname(&board, Vec::new()).unwrap().into_string().unwrap());
        let number = std::fs::metadata(&real).unwrap().rdev();
        let number = format!("{}:{}", major(number), minor(number));
        plugged_in(&home.path().join("sys"), &number, place, "1a86:7523", serial);
        let names = home.path().join("dev/serial/by-path");
        std::fs::create_dir_all(&names).unwrap();
        let path = names.join("platform-fd500000.pcie-usb-0:1.3:1.0-port0");
        symlink(&real, &path).unwrap();
        let settings = PortSettings { path, usb: None, serial: None, dtr: true };
        let sys = home.path().join("sys");
        Plug { board: File::from(board), real, port: TtyPort { settings, baud: 9600, sys }, home }
    }

    fn refusal(port: &mut TtyPort) -> String {
        match port.open().unwrap_err() {
            OpenError::Away { what, .. } | OpenError::Other(what) => what,
        }
    }

    #[tokio::test]
    async fn a_name_that_leads_to_another_board_for_a_moment_opens_nothing() {
        let mut right = plug("1.3", None);
        right.port.open().unwrap();
        let mut wrong = plug("1.4", None);
        let said = refusal(&mut wrong.port);
        assert!(said.ends_with("plugged in at 1.4:1.0"), "{said}");
        assert!(right.home.path().exists() && wrong.home.path().exists());
    }

    #[tokio::test]
    async fn a_twin_with_another_serial_number_is_no_match() {
        let mut plug = plug("1.3", Some("B"));
        plug.port.settings.serial = Some("A".to_owned());
        let said = refusal(&mut plug.port);
        let expected = "it is USB 1a86:7523 with serial number B, plugged in at 1.3:1.0, expected serial number A";
        assert_eq!(said, expected);
        plug.port.settings.serial = Some("B".to_owned());
        plug.port.open().unwrap();
    }

    #[tokio::test]
    async fn who_has_the_port_is_named_and_it_is_had_once_he_is_gone() {
        let mut plug = plug("1.3", None);
        let other = File::options().read(true).write(true).open(&plug.real).unwrap();
        flock(&other, FlockOperation::LockExclusive).unwrap();
        let said = refusal(&mut plug.port);
        let own = format!("(process {}) has it open; end that program", std::process::id());
        assert!(said.contains(&own), "{said}");
        drop(other);
        let held = plug.port.open().unwrap();
        // Who is not root is refused by the kernel, also where he does not ask for a lock.
        assert!(held.exclusive());
        assert!(plug.port.open().is_err(), "it is held alone");
        drop(held);
        plug.port.open().unwrap();
    }

    #[tokio::test]
    async fn a_port_is_not_hung_up_when_it_is_closed_and_no_byte_is_changed() {
        let mut plug = plug("1.3", None);
        let kept = File::options().read(true).write(true).open(&plug.real).unwrap();
        let mut modes = tcgetattr(&kept).unwrap();
        modes.control_modes.insert(ControlModes::HUPCL);
        tcsetattr(&kept, OptionalActions::Now, &modes).unwrap();
        for dtr in [true, false] {
            plug.port.settings.dtr = dtr;
            let mut line = plug.port.open().unwrap();
            assert!(!tcgetattr(&kept).unwrap().control_modes.contains(ControlModes::HUPCL));
            let frame = [0x0A, 0x0D, 0x03, 0xFF];
            tokio::io::AsyncWriteExt::write_all(&mut line, &frame).await.unwrap();
            let mut heard = [0; 4];
            plug.board.read_exact(&mut heard).unwrap();
            assert_eq!(heard, frame);
            plug.board.write_all(&frame).unwrap();
            tokio::io::AsyncReadExt::read_exact(&mut line, &mut heard).await.unwrap();
            assert_eq!(heard, frame);
        }
    }

    #[tokio::test]
    async fn what_is_no_serial_port_is_refused_as_such() {
        for path in ["/dev/null", "/proc/self/comm"] {
            let path = PathBuf::from(path);
            let settings = PortSettings { path, usb: None, serial: None, dtr: true };
            assert_eq!(refusal(&mut TtyPort::new(settings, 9600)), "it is no serial port");
        }
    }
}
