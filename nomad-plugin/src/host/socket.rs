//! The Unix socket that the host connects to: bound, given to a group where asked, and unlinked.

use std::ffi::{OsStr, OsString};
use std::hash::{BuildHasher, Hasher};
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use tokio::net::UnixListener;

/// How many names are tried: each is one of 2^32, so that even a directory full of left sockets
/// yields a free one within a few.
const NAMES_MAX: u32 = 100;

/// The file that maps group names to numbers.
const GROUPS: &str = "/etc/group";

/// Why there is no socket.
#[derive(Debug, thiserror::Error)]
pub(super) enum SocketError {
    #[error(
        "binding the plugin's socket {path:?}; set PLUGIN_UNIX_SOCKET_DIR or TMPDIR to a directory \
         that this user may write and whose path is at most 90 bytes long"
    )]
    Bind { path: PathBuf, source: io::Error },
    #[error("no free name for the plugin's socket in {dir:?}: all {NAMES_MAX} tried are taken")]
    NoName { dir: PathBuf },
    #[error(
        "no group {group:?} in {GROUPS}; PLUGIN_UNIX_SOCKET_GROUP takes the name or number of a group"
    )]
    Group { group: OsString },
    #[error("giving the plugin's socket {path:?} to group {group:?}")]
    Own { path: PathBuf, group: OsString, source: io::Error },
}

/// A bound socket's file; gone when this is dropped.
#[derive(Debug)]
pub(super) struct SocketFile {
    path: PathBuf,
}

impl SocketFile {
    pub(super) fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        // Gone already is as good as gone now.
        std::fs::remove_file(&self.path).ok();
    }
}

/// Binds a socket named as Go's are, `plugin` and a number, and opens it to `group`.
pub(super) fn bind(
    dir: &Path,
    group: Option<&OsStr>,
) -> Result<(UnixListener, SocketFile), SocketError> {
    let (listener, file) = bind_to_a_free_name(dir)?;
    if let Some(group) = group {
        let number = group_number(group, &std::fs::read_to_string(GROUPS).unwrap_or_default())
            .ok_or_else(|| SocketError::Group { group: group.to_owned() })?;
        std::os::unix::fs::chown(file.path(), None, Some(number))
            .and_then(|()| {
                std::fs::set_permissions(file.path(), std::fs::Permissions::from_mode(0o660))
            })
            .map_err(|source| SocketError::Own {
                path: file.path().to_owned(),
                group: group.to_owned(),
                source,
            })?;
    }
    Ok((listener, file))
}

fn bind_to_a_free_name(dir: &Path) -> Result<(UnixListener, SocketFile), SocketError> {
    for _ in 0..NAMES_MAX {
        let path = dir.join(format!("plugin{}", number()));
        match UnixListener::bind(&path) {
            Ok(listener) => return Ok((listener, SocketFile { path })),
            Err(error) if error.kind() == io::ErrorKind::AddrInUse => {}
            Err(source) => return Err(SocketError::Bind { path, source }),
        }
    }
    Err(SocketError::NoName { dir: dir.to_owned() })
}

/// Ten digits that differ by process and call, from the seeds of the standard hasher.
fn number() -> u64 {
    std::hash::RandomState::new().build_hasher().finish() >> 32
}

/// A group's number, from digits or from its line `name:password:number:members`.
fn group_number(group: &OsStr, groups: &str) -> Option<u32> {
    let group = group.to_str()?;
    if let Ok(number) = group.parse() {
        return Some(number);
    }
    groups.lines().find_map(|line| {
        let mut fields = line.split(':');
        (fields.next() == Some(group)).then(|| fields.nth(1)?.parse().ok()).flatten()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn item_9_a_group_is_a_name_or_a_number() {
        let groups = "root:x:0:\nplugdev:x:46:alice,bob\nshort\n";
        let number = |group: &str| group_number(OsStr::new(group), groups);
        assert_eq!(number("plugdev"), Some(46));
        assert_eq!(number("1234"), Some(1234));
        assert_eq!(number("root"), Some(0));
        assert_eq!(number("short"), None);
        assert_eq!(number("nobody-here"), None);
    }
}
