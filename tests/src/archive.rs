//! A kernel's first files: a cpio archive of the "newc" kind.

use anyhow::{Context as _, Result};

/// A folder's mode: type and permissions.
const FOLDER: u32 = 0o040_755;

/// An executable file's.
const FILE: u32 = 0o100_755;

/// A symbolic link's.
const LINK: u32 = 0o120_777;

/// The name that ends an archive.
const END: &str = "TRAILER!!!";

/// An archive that is being written. Folders come before what is in them.
#[derive(Debug, Default)]
pub(crate) struct Archive {
    bytes: Vec<u8>,
    entries: u32,
}

impl Archive {
    pub(crate) fn folder(&mut self, name: &str) {
        self.entry(name, FOLDER, 0, &[]);
    }

    pub(crate) fn file(&mut self, name: &str, content: &[u8]) -> Result<()> {
        self.sized(name, FILE, content)
    }

    pub(crate) fn link(&mut self, name: &str, target: &str) -> Result<()> {
        self.sized(name, LINK, target.as_bytes())
    }

    pub(crate) fn end(mut self) -> Vec<u8> {
        self.entry(END, 0, 0, &[]);
        self.bytes
    }

    fn sized(&mut self, name: &str, mode: u32, content: &[u8]) -> Result<()> {
        let size = u32::try_from(content.len());
        let size =
            size.with_context(|| format!("{name} is larger than an archive's file may be"))?;
        self.entry(name, mode, size, content);
        Ok(())
    }

    fn entry(&mut self, name: &str, mode: u32, size: u32, content: &[u8]) {
        self.entries += 1;
        let name_size = name.len() + 1;
        // inode, mode, user, group, links, time, size, device (2), device of a node (2), name's size, checksum
        let header = format!(
            "070701{:08x}{mode:08x}{:08x}{:08x}{:08x}{:08x}{size:08x}{:08x}{:08x}{:08x}{:08x}{name_size:08x}{:08x}",
            self.entries, 0, 0, 1, 0, 0, 0, 0, 0, 0
        );
        self.bytes.extend_from_slice(header.as_bytes());
        self.bytes.extend_from_slice(name.as_bytes());
        self.bytes.push(0);
        self.pad();
        self.bytes.extend_from_slice(content);
        self.pad();
    }

    /// Header with name, and content, end at multiples of four.
    fn pad(&mut self) {
        self.bytes.resize(self.bytes.len().next_multiple_of(4), 0);
    }
}
