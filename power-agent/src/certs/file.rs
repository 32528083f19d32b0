//! Files that only their owner reads, written whole or not at all.

use std::collections::BTreeMap;
use std::fs::{DirBuilder, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use agent_api::credentials::PEM_BYTES_MAX;

use super::{CertsError, HELD_MAX};

/// Keys are nobody else's affair, and certificates need not be.
const MODE: u32 = 0o600;
const DIRECTORY_MODE: u32 = 0o700;

fn wrong(path: &Path) -> impl Fn(io::Error) -> CertsError + use<> {
    let path = path.to_owned();
    move |error| CertsError::File { path: path.clone(), problem: error.to_string() }
}

/// Makes a directory, where there is none.
pub(super) fn directory(path: &Path) -> Result<(), CertsError> {
    DirBuilder::new().recursive(true).mode(DIRECTORY_MODE).create(path).map_err(wrong(path))
}

pub(super) fn must_not_exist(path: &Path, remedy: &'static str) -> Result<(), CertsError> {
    if path.symlink_metadata().is_err() {
        return Ok(());
    }
    Err(CertsError::There { path: path.to_owned(), remedy })
}

/// Writes a file that is not there yet.
pub(super) fn create(path: &Path, bytes: &[u8]) -> Result<(), CertsError> {
    let file = OpenOptions::new().write(true).create_new(true).mode(MODE).open(path);
    let mut file = file.map_err(wrong(path))?;
    file.write_all(bytes).and_then(|()| file.sync_all()).map_err(wrong(path))
}

/// Writes a file beside and puts it in the place of the old one: who reads gets either.
pub(super) fn replace(path: &Path, bytes: &[u8]) -> Result<(), CertsError> {
    let mut beside = path.as_os_str().to_owned();
    beside.push(".new");
    let beside = PathBuf::from(beside);
    // What an earlier death has left here was never in use.
    drop(std::fs::remove_file(&beside));
    create(&beside, bytes)?;
    rename(&beside, path)
}

/// Moves a file; one that is gone already is where it should be.
pub(super) fn rename(from: &Path, to: &Path) -> Result<(), CertsError> {
    match std::fs::rename(from, to) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        moved => moved.map_err(wrong(from)),
    }
}

pub(super) fn read(path: &Path) -> Result<String, CertsError> {
    let mut text = String::new();
    let file = std::fs::File::open(path).map_err(wrong(path))?;
    file.take(PEM_BYTES_MAX).read_to_string(&mut text).map_err(wrong(path))?;
    Ok(text)
}

/// The certificates of a directory with their names; those of the authority itself are left out.
pub(super) fn certificates(dir: &Path) -> Result<BTreeMap<PathBuf, String>, CertsError> {
    let mut found = BTreeMap::new();
    let entries = match std::fs::read_dir(dir) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(found),
        entries => entries.map_err(wrong(dir))?,
    };
    for entry in entries {
        let path = entry.map_err(wrong(dir))?.path();
        let Some(who) = path.file_name().and_then(|name| name.to_str()?.strip_suffix(".pem"))
        else {
            continue;
        };
        if super::RESERVED.contains(&who) {
            continue;
        }
        let who = who.to_owned();
        found.insert(path, who);
        if found.len() > HELD_MAX {
            let problem = format!("more than {HELD_MAX} certificates");
            return Err(CertsError::File { path: dir.to_owned(), problem });
        }
    }
    Ok(found)
}
