//! What a kernel tells of a USB serial port in `/sys`, written down for the lines of a rack: who reads it finds the
//! adapter behind a port's number. A pseudo-terminal itself has no entry there.

use std::os::unix::fs::MetadataExt;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::path::PathBuf;

use rustix::fs::major;
use rustix::fs::minor;
use serde::Deserialize;

/// A board's adapter, and where it is plugged in.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Usb {
    /// The ports on the way to it: `1.3` is the third of a hub at the first.
    pub at: String,
    /// Vendor and product: `1a86:7523`.
    pub id: String,
    /// Its serial number, if it has one.
    pub serial: Option<String>,
}

/// The entry of one port; gone with it.
#[derive(Debug)]
pub(crate) struct Entry {
    number: PathBuf,
    adapter: PathBuf,
}

impl Entry {
    /// Tells that `port` is a port of this adapter.
    pub(crate) fn write(sys: &Path, port: &Path, usb: &Usb) -> std::io::Result<Self> {
        let rdev = std::fs::metadata(port)?.rdev();
        let number = sys.join(format!("dev/char/{}:{}", major(rdev), minor(rdev)));
        let adapter = sys.join("devices/platform/rack/usb1/1-1").join(format!("1-{}", usb.at));
        let tty = adapter.join(format!("1-{}:1.0/ttyUSB0/tty/ttyUSB0", usb.at));
        let entry = Self { number, adapter };
        entry.remove();
        std::fs::create_dir_all(&tty)?;
        let (vendor, product) = usb.id.split_once(':').unwrap_or((usb.id.as_str(), ""));
        let serial = usb.serial.as_deref().map(|serial| ("serial", serial));
        let told = [("idVendor", vendor), ("idProduct", product)];
        for (file, text) in told.into_iter().chain(serial) {
            std::fs::write(entry.adapter.join(file), format!("{text}\n"))?;
        }
        std::fs::write(tty.join("../../port_number"), "0\n")?;
        // Absolute, because who reads it may see this folder in another place.
        symlink(&tty, &entry.number)?;
        Ok(entry)
    }

    /// What an earlier rack may have left goes too; what is not there is no trouble.
    fn remove(&self) {
        std::fs::remove_file(&self.number).ok();
        std::fs::remove_dir_all(&self.adapter).ok();
    }
}

impl Drop for Entry {
    fn drop(&mut self) {
        self.remove();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_adapter_behind_a_number_is_found_and_gone_with_its_port() {
        let home = tempfile::tempdir().unwrap();
        std::fs::create_dir_all(home.path().join("dev/char")).unwrap();
        let usb = Usb { at: "1.3".to_owned(), id: "1a86:7523".to_owned(), serial: None };
        let entry = Entry::write(home.path(), Path::new("/dev/null"), &usb).unwrap();
        let number = home.path().join("dev/char/1:3");
        let tty = number.canonicalize().unwrap();
        assert!(tty.ends_with("usb1/1-1/1-1.3/1-1.3:1.0/ttyUSB0/tty/ttyUSB0"), "{tty:?}");
        let adapter = tty.ancestors().nth(4).unwrap();
        assert_eq!(std::fs::read_to_string(adapter.join("idVendor")).unwrap(), "1a86\n");
        drop(entry);
        assert!(!number.is_symlink() && !adapter.exists());
    }
}
