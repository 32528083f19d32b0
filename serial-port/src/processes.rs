//! The processes of this host, as far as this user may look: who has a port open, who has locked it. Reads /proc alone.

use std::path::{Path, PathBuf};

use rustix::fs::{Stat, major, minor};

/// How many processes are looked at: as many as Linux gives numbers to by default, twice over.
const PROCESSES_MAX: usize = 65_536;

/// A process and what it has open.
#[derive(Debug, Clone)]
pub struct Process {
    /// Its number.
    pub id: String,
    /// The name of its program, as the kernel keeps it: 15 bytes at most.
    pub name: String,
    /// The files that it has open, by their names without links.
    pub open: Vec<PathBuf>,
}

impl std::fmt::Display for Process {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} (process {})", self.name, self.id)
    }
}

/// All processes.
pub fn all() -> Vec<Process> {
    let Ok(entries) = std::fs::read_dir("/proc") else { return Vec::new() };
    let ids = entries.flatten().filter_map(|entry| entry.file_name().into_string().ok());
    let ids = ids.filter(|name| name.bytes().all(|byte| byte.is_ascii_digit()));
    ids.take(PROCESSES_MAX).filter_map(process).collect()
}

fn process(id: String) -> Option<Process> {
    let home = Path::new("/proc").join(&id);
    let name = std::fs::read_to_string(home.join("comm")).ok()?.trim().to_owned();
    let open = std::fs::read_dir(home.join("fd")).into_iter().flatten().flatten();
    let open = open.filter_map(|entry| std::fs::read_link(entry.path()).ok()).collect();
    Some(Process { id, name, open })
}

/// Who keeps others off a file: who has locked it, else who else has it open. `real` is its name without links.
pub fn owner(real: &Path, file: &Stat) -> Option<Process> {
    let locks = std::fs::read_to_string("/proc/locks").unwrap_or_default();
    let own = std::process::id().to_string();
    locked_by(&locks, file).and_then(process).or_else(|| {
        all()
            .into_iter()
            .find(|process| process.id != own && process.open.iter().any(|o| o == real))
    })
}

/// The process that has locked a file, if one has.
pub fn locker(real: &Path) -> Option<Process> {
    let file = rustix::fs::stat(real).ok()?;
    let locks = std::fs::read_to_string("/proc/locks").ok()?;
    locked_by(&locks, &file).and_then(process)
}

/// The process that has locked a file as a whole, by the kernel's own list.
fn locked_by(locks: &str, file: &Stat) -> Option<String> {
    let place = format!("{:02x}:{:02x}:{}", major(file.st_dev), minor(file.st_dev), file.st_ino);
    let mut fields = locks.lines().map(|line| line.split_whitespace().collect::<Vec<_>>());
    fields.find_map(|fields| match *fields.as_slice() {
        [_, "FLOCK", _, "WRITE", id, at, ..] if at == place => Some(id.to_owned()),
        _ => None,
    })
}

#[cfg(test)]
mod tests {
    use rustix::fs::{FlockOperation, flock, fstat};

    use super::*;

    #[test]
    fn who_has_locked_a_file_is_named_and_nobody_where_nobody_has() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let stat = fstat(file.as_file()).unwrap();
        let locks = || std::fs::read_to_string("/proc/locks").unwrap();
        assert_eq!(locked_by(&locks(), &stat), None);
        flock(file.as_file(), FlockOperation::LockExclusive).unwrap();
        assert_eq!(locked_by(&locks(), &stat), Some(std::process::id().to_string()));
        assert_eq!(locker(file.path()).unwrap().id, std::process::id().to_string());
    }
}
