//! Open descriptors that must outlive whoever uses them: over a reload in this process, and over a restart of the
//! service in systemd's descriptor store. What they are of, only their drivers know.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::io::{Error, ErrorKind, IoSlice, Result};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::UnixDatagram;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rustix::io::{FdFlags, fcntl_setfd};
use rustix::net::{
    SendAncillaryBuffer, SendAncillaryMessage, SendFlags, SocketAddrUnix, sendmsg_addr,
};

/// What our names begin with: a descriptor of another name was not put there by us.
const NAME_PREFIX: &str = "gpio-";

/// How many descriptors are kept, as `FileDescriptorStoreMax=` of our unit says: each is a GPIO chip's, and no host has so
/// many chips.
pub(crate) const KEPT_MAX: usize = 64;

/// The variable by which systemd tells where it hears us.
const NOTIFY_SOCKET: &str = "NOTIFY_SOCKET";

/// The variable by which systemd (254 and later) tells how many descriptors it keeps.
const FDSTORE: &str = "FDSTORE";

/// Whether descriptors outlive this process in the hands of a service manager.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kept {
    /// It says that it keeps them.
    Yes,
    /// It hears us and does not say: systemd before 254 never does, and a later one not where it keeps none.
    Unsaid,
    /// There is none, or it keeps none.
    No,
}

/// Descriptors by name; cheap to clone.
#[derive(Debug, Clone, Default)]
pub struct Descriptors(Arc<Inner>);

#[derive(Debug, Default)]
struct Inner {
    /// Where systemd hears us; `None`: nothing keeps a descriptor beyond this process.
    notify: Option<OsString>,
    held: Mutex<BTreeMap<String, OwnedFd>>,
}

impl Descriptors {
    /// Takes over what systemd has kept since an earlier run. To be called once in a process, before it starts another.
    ///
    /// # Errors
    /// Where the variables of systemd contradict themselves.
    pub fn of_service() -> Result<Self> {
        let given =
            sd_listen_fds::get().map_err(|error| Error::new(ErrorKind::InvalidData, error))?;
        let mut held = BTreeMap::new();
        for (name, descriptor) in given {
            let descriptor = descriptor.into_std();
            // A program that we start, like ssh, must not hold our lines beyond our own end.
            fcntl_setfd(&descriptor, FdFlags::CLOEXEC)?;
            if let Some(name) = name.filter(|name| name.starts_with(NAME_PREFIX)) {
                held.insert(name, descriptor);
            }
        }
        Ok(Self(Arc::new(Inner { notify: std::env::var_os(NOTIFY_SOCKET), held: held.into() })))
    }

    /// Whether the service manager of this process keeps them over a restart, as far as it tells.
    #[must_use]
    pub fn over_restart() -> Kept {
        let heard = std::env::var_os(NOTIFY_SOCKET).is_some();
        let told = std::env::var(FDSTORE).ok();
        kept(heard, told.as_deref())
    }

    /// A copy of the descriptor of that name.
    ///
    /// # Errors
    /// Where this process may open no more.
    pub(crate) fn get(&self, name: &str) -> Result<Option<OwnedFd>> {
        self.held().get(&own(name)).map(|held| held.try_clone()).transpose()
    }

    /// Keeps a descriptor: here, and in systemd's store where there is one. What was kept by that name is let go.
    ///
    /// # Errors
    /// Where systemd does not hear us; it is kept here all the same.
    pub(crate) fn keep(&self, name: &str, descriptor: BorrowedFd<'_>) -> Result<()> {
        let name = own(name);
        self.held().insert(name.clone(), descriptor.try_clone_to_owned()?);
        self.tell(&format!("FDSTORE=1\nFDNAME={name}"), Some(descriptor))
    }

    /// Lets go of what is kept by that name.
    ///
    /// # Errors
    /// Where systemd does not hear us; it is let go here all the same.
    pub(crate) fn forget(&self, name: &str) -> Result<()> {
        let name = own(name);
        self.held().remove(&name);
        self.tell(&format!("FDSTOREREMOVE=1\nFDNAME={name}"), None)
    }

    /// Names of what is kept that none of these names is for.
    pub(crate) fn unclaimed<'a>(&self, names: impl Iterator<Item = &'a str>) -> Vec<String> {
        let claimed: Vec<String> = names.map(own).collect();
        let held = self.held();
        let unclaimed = held.keys().filter(|name| !claimed.contains(name));
        unclaimed.filter_map(|name| name.strip_prefix(NAME_PREFIX)).map(str::to_owned).collect()
    }

    fn held(&self) -> MutexGuard<'_, BTreeMap<String, OwnedFd>> {
        // A map that somebody left in a panic is whole: each change is one call.
        self.0.held.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn tell(&self, words: &str, descriptor: Option<BorrowedFd<'_>>) -> Result<()> {
        let Some(notify) = &self.0.notify else { return Ok(()) };
        let address = match notify.as_bytes() {
            [b'@', name @ ..] => SocketAddrUnix::new_abstract_name(name)?,
            path => SocketAddrUnix::new(path)?,
        };
        let socket = UnixDatagram::unbound()?;
        let mut space = [const { MaybeUninit::uninit() }; rustix::cmsg_space!(ScmRights(1))];
        let mut control = SendAncillaryBuffer::new(&mut space);
        let descriptors: Vec<BorrowedFd<'_>> = descriptor.into_iter().collect();
        if !descriptors.is_empty() && !control.push(SendAncillaryMessage::ScmRights(&descriptors)) {
            return Err(Error::other("no room for a descriptor in a message"));
        }
        let words = [IoSlice::new(words.as_bytes())];
        sendmsg_addr(socket.as_fd(), &address, &words, &mut control, SendFlags::NOSIGNAL)?;
        Ok(())
    }
}

fn kept(heard: bool, told: Option<&str>) -> Kept {
    match (heard, told.map(str::parse::<u32>)) {
        (false, _) | (true, Some(Ok(0))) => Kept::No,
        (true, Some(Ok(_))) => Kept::Yes,
        (true, Some(Err(_)) | None) => Kept::Unsaid,
    }
}

fn own(name: &str) -> String {
    format!("{NAME_PREFIX}{name}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_unit_has_systemd_keep_as_many_as_a_rack_file_may_need() {
        let unit = include_str!("../debian/power-agent.service");
        assert!(unit.contains(&format!("\nFileDescriptorStoreMax={KEPT_MAX}\n")), "{unit}");
    }

    #[test]
    fn what_systemd_does_not_say_is_not_promised() {
        for (heard, told, expected) in [
            (false, None, Kept::No),
            (false, Some("512"), Kept::No),
            (true, Some("512"), Kept::Yes),
            (true, Some("0"), Kept::No),
            (true, None, Kept::Unsaid),
            (true, Some("many"), Kept::Unsaid),
        ] {
            assert_eq!(kept(heard, told), expected, "{heard} {told:?}");
        }
    }
}
