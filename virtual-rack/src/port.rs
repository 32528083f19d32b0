//! A board's serial line: a pseudo-terminal whose far end an agent opens through a link.

use std::fs::File;
use std::io::Read;
use std::io::Write;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStringExt;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::path::PathBuf;
use std::sync::Arc;

use rustix::fs::Mode;
use rustix::fs::OFlags;
use rustix::pty::OpenptFlags;
use rustix::termios::OptionalActions;
use rustix::termios::QueueSelector;
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

use crate::closes::Closes;
use crate::sys::Entry;
use crate::sys::Usb;

/// One read: far more than a driver writes at once, far less than a terminal holds (4 KiB).
const READ_BYTES: usize = 256;

/// The near end of a serial line, and the link to the far one.
#[derive(Debug)]
pub(crate) struct Port {
    near: AsyncFd<File>,
    far: Arc<FarEnd>,
    closes: Arc<Closes>,
    /// Under which the closes of this line are told.
    watch: i32,
    /// The names that lead here, and where each does.
    links: Vec<(PathBuf, PathBuf)>,
    /// What the kernel tells of it.
    _told: Option<Entry>,
}

/// The end that an agent opens.
#[derive(Debug)]
pub(crate) struct FarEnd {
    /// Held, never read: without it the near end reports an error whenever no agent has the line
    /// open, and the line's settings are forgotten between two agents.
    held: OwnedFd,
    path: PathBuf,
}

impl FarEnd {
    /// The pseudo-terminal.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// What the kernel does when a real line is closed for the last time, and does not here because
    /// the far end is held: answers that nobody read are gone, and so is the exclusive use that a
    /// killed agent could not give back.
    pub(crate) fn forget_the_listener(&self) -> std::io::Result<()> {
        if open_elsewhere(&self.path) {
            return Ok(());
        }
        rustix::termios::tcflush(&self.held, QueueSelector::IFlush)?;
        rustix::termios::ioctl_tiocnxcl(&self.held)?;
        Ok(())
    }
}

impl Port {
    /// Makes a line in raw mode (an echo would hand the agent its own frames) and the link to it.
    /// Another link, `by_path`, leads where its second path says: to that one, if nobody is led astray.
    pub(crate) fn open(
        link: &Path,
        by_path: Option<(&Path, &Path)>,
        told: Option<(&Path, &Usb)>,
        closes: &Arc<Closes>,
    ) -> std::io::Result<Self> {
        let near =
            rustix::pty::openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC)?;
        rustix::pty::grantpt(&near)?;
        rustix::pty::unlockpt(&near)?;
        let name = rustix::pty::ptsname(&near, Vec::new())?;
        let path = PathBuf::from(std::ffi::OsString::from_vec(name.into_bytes()));
        let flags = OFlags::RDWR | OFlags::NOCTTY | OFlags::CLOEXEC;
        let far = rustix::fs::open(&path, flags, Mode::empty())?;
        let mut settings = rustix::termios::tcgetattr(&far)?;
        settings.make_raw();
        rustix::termios::tcsetattr(&far, OptionalActions::Now, &settings)?;
        let flags = rustix::fs::fcntl_getfl(&near)?;
        rustix::fs::fcntl_setfl(&near, flags | OFlags::NONBLOCK)?;
        let far = Arc::new(FarEnd { held: far, path });
        let told = told.map(|(sys, usb)| Entry::write(sys, far.path(), usb)).transpose()?;
        let mut links = vec![(link.to_owned(), far.path().to_owned())];
        links.extend(by_path.map(|(name, to)| (name.to_owned(), to.to_owned())));
        let port = Self {
            near: readable(near)?,
            watch: closes.follow(&far)?,
            far,
            closes: Arc::clone(closes),
            links,
            _told: told,
        };
        for (name, leads_to) in &port.links {
            if let Some(directory) = name.parent() {
                std::fs::create_dir_all(directory)?;
            }
            place_link(leads_to, name)?;
        }
        Ok(port)
    }

    /// The pseudo-terminal that the link leads to.
    pub(crate) fn path(&self) -> &Path {
        self.far.path()
    }

    /// Waits for bytes from the agent. A close that came before them is dealt with before them.
    pub(crate) async fn read(&self) -> std::io::Result<Vec<u8>> {
        let mut bytes = vec![0; READ_BYTES];
        loop {
            let mut ready = self.near.readable().await?;
            self.closes.deal()?;
            if let Ok(read) = ready.try_io(|near| near.get_ref().read(&mut bytes)) {
                bytes.truncate(read?);
                return Ok(bytes);
            }
        }
    }

    /// Sends bytes as a board does, who does not wait for a listener: false where the line was full
    /// and some are gone.
    pub(crate) fn send(&self, bytes: &[u8]) -> bool {
        self.near.get_ref().write(bytes).is_ok_and(|sent| sent == bytes.len())
    }
}

impl Drop for Port {
    fn drop(&mut self) {
        self.closes.leave(self.watch);
        for (link, leads_to) in self.links.iter().rev() {
            if std::fs::read_link(link).is_ok_and(|target| target == *leads_to)
                && let Err(err) = std::fs::remove_file(link)
            {
                tracing::warn!(link = %link.display(), %err, "could not remove a board's link");
            }
        }
    }
}

/// Whether another process that we may look into has the line open. Events can not be counted: the
/// kernel merges equal ones. A look at every descriptor costs a few milliseconds per close.
fn open_elsewhere(path: &Path) -> bool {
    let own = std::process::id().to_string();
    let processes = std::fs::read_dir("/proc").into_iter().flatten().flatten();
    processes
        .filter(|process| {
            // Numbers alone: `self` and `thread-self` are this process again.
            let name = process.file_name();
            name != *own && name.to_string_lossy().bytes().all(|byte| byte.is_ascii_digit())
        })
        .filter_map(|process| std::fs::read_dir(process.path().join("fd")).ok())
        .flat_map(Iterator::flatten)
        .any(|descriptor| std::fs::read_link(descriptor.path()).is_ok_and(|target| target == path))
}

pub(crate) fn readable(fd: OwnedFd) -> std::io::Result<AsyncFd<File>> {
    #[expect(
        deprecated,
        reason = "its successor is unsafe; a File keeps and closes its descriptor as demanded"
    )]
    AsyncFd::with_interest(File::from(fd), Interest::READABLE)
}

/// Puts the link, in place of one that an earlier rack left behind; never in place of a file.
fn place_link(target: &Path, link: &Path) -> std::io::Result<()> {
    match std::fs::symlink_metadata(link) {
        Ok(found) if found.is_symlink() => std::fs::remove_file(link)?,
        Ok(_) => {
            return Err(std::io::Error::new(
                std::io::ErrorKind::AlreadyExists,
                "found something that is no link in the link's place; move it away",
            ));
        }
        Err(_) => {}
    }
    symlink(target, link)
}
