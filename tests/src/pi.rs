//! An emulated Raspberry Pi 3B: QEMU's model of its registers under Debian's own arm64 kernel.
//!
//! It boots from files in memory, runs a shell script as root and ends. A whole run takes 4 to 8 seconds on an idle
//! machine. It has no network, and a disk only as an SD card. `registers NAME` in the script prints the GPIO registers,
//! which [`Ended::registers`] reads back.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};

use tokio::time::Instant;

use crate::archive::Archive;
use crate::hosts;
use crate::process::{Process, on_path};
use crate::skip::skip;
use crate::wait::{Probe, eventually};

mod registers;

pub use registers::{Function, Registers};

/// How long one run may take beside what its script waits: some seconds idle, and emulation on a loaded machine is many times slower.
const RUN_BOUND: Duration = Duration::from_secs(300);

/// The emulator.
const QEMU: &str = "qemu-system-aarch64";

/// What stands before the script's exit status on the console.
const STATUS: &str = "@@status=";

/// The first process. The board has no power-off: its watchdog restarts it, and `-no-reboot` makes that the end.
const INIT: &str = "#!/bin/sh
export PATH=/bin HOME=/root
mount -t devtmpfs dev /dev
mkdir /dev/pts
mount -t devpts pts /dev/pts
mount -t proc proc /proc
mount -t sysfs sys /sys
mount -t tmpfs tmp /tmp
mount -t tmpfs run /run
ip link set lo up
insmod /bcm2835_wdt.ko
if [ -d /card ]; then
    for module in /modules/*; do insmod $module; done
    until [ -b /dev/mmcblk0 ]; do usleep 10000; done
    mount -t ext4 /dev/mmcblk0 /card
fi
sh /script </dev/null 2>&1
status=$?
[ ! -d /card ] || umount /card
echo \"@@status=$status\"
reboot -f
";

/// Prints the function select registers 0 to 5 and the level registers 0 and 1 in one line.
const REGISTERS: &str = "#!/bin/sh
line=\"@@registers $1\"
for at in 00 04 08 0c 10 14 34 38; do line=\"$line $(devmem 0x3f2000$at)\"; done
echo \"$line\"
";

/// What a Pi is to run.
#[derive(Debug, Clone)]
pub struct Pi {
    script: String,
    files: Vec<(String, PathBuf)>,
    card: bool,
    restarts: bool,
    counted: bool,
    bound: Duration,
}

/// How the script ended, with what it and the kernel printed.
#[derive(Debug, Clone)]
pub struct Ended {
    /// Its exit status.
    pub status: i32,
    /// Its output and the kernel's.
    pub console: String,
}

/// Whether a Pi can be emulated; starts nothing.
///
/// # Errors
/// What is missing and how to get it, for a person.
pub fn available() -> Result<(), String> {
    if on_path(QEMU).is_none() {
        return Err(format!(
            "{QEMU} is not on the PATH; on Debian: `apt-get install qemu-system-arm`"
        ));
    }
    hosts::PI.available()
}

/// Gathers what a Pi boots from where that is not in the cache.
///
/// # Errors
/// Where it can not be had.
pub async fn prepare() -> Result<()> {
    hosts::PI.ready().await.map(drop)
}

/// Whether a Pi can be emulated, for a test that needs one; where not it says loudly that the test was skipped.
///
/// # Panics
/// Where it can not be and `CI=true`: there nothing is skipped.
#[must_use]
pub fn at_hand() -> bool {
    let Err(missing) = available() else { return true };
    skip("a test on an emulated Raspberry Pi", &missing);
    false
}

impl Pi {
    /// A Pi that runs a script with busybox's shell and programs.
    #[must_use]
    pub fn new(script: &str) -> Self {
        Self {
            script: script.to_owned(),
            files: Vec::new(),
            card: false,
            restarts: false,
            counted: false,
            bound: RUN_BOUND,
        }
    }

    /// With an empty SD card of 64 MB, mounted on `/card`.
    #[must_use]
    pub fn with_card(mut self) -> Self {
        self.card = true;
        self
    }

    /// For a script that takes this long by itself.
    #[must_use]
    pub fn taking(mut self, long: Duration) -> Self {
        self.bound = RUN_BOUND + long;
        self
    }

    /// One whose clock counts instructions, two nanoseconds each, and skips what all wait for: its processor's time does not
    /// hang on the machine that emulates it, and an hour of waiting takes a minute. A Pi 3B does about as many in a second
    /// where it does not wait for its memory.
    #[must_use]
    pub fn counting_instructions(mut self) -> Self {
        self.counted = true;
        self
    }

    /// One that starts anew, as a board does, where the script ends in a `reboot`: the script runs again, until it comes
    /// to its own end. What is on the card is still there.
    #[must_use]
    pub fn restarting(mut self) -> Self {
        self.restarts = true;
        self
    }

    /// With a file of the host at a path of the Pi, executable. Programs must be static.
    #[must_use]
    pub fn file(mut self, there: &str, here: impl Into<PathBuf>) -> Self {
        self.files.push((there.to_owned(), here.into()));
        self
    }

    /// Boots it, runs the script and waits for the end; gathers what it boots from first where that is not in the
    /// cache.
    ///
    /// # Errors
    /// Where it can not be started, or does not come to its end.
    #[expect(clippy::print_stderr, reason = "what a Pi costs is to be seen")]
    pub async fn run(&self) -> Result<Ended> {
        let parts = hosts::PI.ready().await?;
        let folder = tempfile::tempdir().context("can not make a folder for a Pi")?;
        let initrd = folder.path().join("initrd");
        std::fs::write(&initrd, self.archive(&parts)?)?;
        let mut argv: Vec<OsString> = [QEMU, "-M", "raspi3b", "-display", "none"]
            .into_iter()
            .chain((!self.restarts).then_some("-no-reboot"))
            .chain(["-monitor", "none", "-serial", "stdio", "-serial", "null"])
            .map(OsString::from)
            .collect();
        for (option, file) in [
            ("-kernel", parts.join("Image")),
            ("-dtb", parts.join("bcm2837-rpi-3-b.dtb")),
            ("-initrd", initrd),
        ] {
            argv.extend([option.into(), file.into_os_string()]);
        }
        if self.counted {
            argv.extend(["-icount", "shift=1,sleep=off"].map(OsString::from));
        }
        if self.card {
            let card = folder.path().join("card");
            std::fs::copy(parts.join("card"), &card)?;
            let mut drive = OsString::from("if=sd,format=raw,file=");
            drive.push(card);
            argv.extend(["-drive".into(), drive]);
        }
        // Without iomem=relaxed nobody reads the registers, which rppal needs as well.
        argv.extend(
            [
                "-append",
                "console=ttyAMA0,115200 panic=-1 rdinit=/init iomem=relaxed quiet loglevel=1",
            ]
            .map(OsString::from),
        );
        let began = Instant::now();
        let mut process = Process::start("console", &argv, folder.path())?;
        eventually("the emulated Pi's end", self.bound, async || {
            let ended = process.ended()?.is_some() || (self.restarts && has_status(&process)?);
            Ok(Probe::of(ended.then_some(()), || process.log_tail()))
        })
        .await?;
        eprintln!("{:.1} s on an emulated Pi", began.elapsed().as_secs_f64());
        let console = std::fs::read(process.log())?;
        Ended::of(&String::from_utf8_lossy(&console).replace('\r', ""))
    }

    fn archive(&self, parts: &Path) -> Result<Vec<u8>> {
        let mut files = Archive::default();
        for folder in ["bin", "dev", "proc", "sys", "tmp", "run", "root"] {
            files.folder(folder);
        }
        if self.card {
            files.folder("card");
            files.folder("modules");
            for module in std::fs::read_dir(parts.join("modules"))? {
                let module = module?;
                let name = module.file_name().to_string_lossy().into_owned();
                files.file(&format!("modules/{name}"), &read(&module.path())?)?;
            }
        }
        files.file("bin/busybox", &read(&parts.join("busybox"))?)?;
        for applet in ["sh", "mount", "ip", "insmod", "reboot", "devmem"] {
            files.link(&format!("bin/{applet}"), "busybox")?;
        }
        files.file("bcm2835_wdt.ko", &read(&parts.join("bcm2835_wdt.ko"))?)?;
        files.file("init", INIT.as_bytes())?;
        files.file("bin/registers", REGISTERS.as_bytes())?;
        files.file("script", self.script.as_bytes())?;
        for (there, here) in &self.files {
            files.file(there.trim_start_matches('/'), &read(here)?)?;
        }
        Ok(files.end())
    }
}

impl Ended {
    fn of(console: &str) -> Result<Self> {
        let status = console.lines().find_map(|line| line.trim().strip_prefix(STATUS));
        let status = status.and_then(|status| status.parse().ok());
        let status =
            status.with_context(|| format!("the Pi ended before its script:\n{console}"))?;
        Ok(Self { status, console: console.to_owned() })
    }

    /// The registers as the script printed them under a name.
    ///
    /// # Errors
    /// Where it did not, or not once.
    pub fn registers(&self, name: &str) -> Result<Registers> {
        let lines = self.console.lines().filter_map(|line| line.split_once("@@registers "));
        let named = lines.filter_map(|(_, line)| line.split_once(' ').filter(|(n, _)| *n == name));
        let printed: Vec<&str> = named.map(|(_, words)| words).collect();
        ensure!(
            printed.len() == 1,
            "the registers {name} were printed {} times, not once:\n{}",
            printed.len(),
            self.console
        );
        Registers::of(printed.first().copied().unwrap_or_default())
    }
}

/// Whether the script of a Pi that starts anew has come to its end: the emulator goes on.
fn has_status(process: &Process) -> Result<bool> {
    let console = std::fs::read(process.log())?;
    Ok(String::from_utf8_lossy(&console).lines().any(|line| line.trim().starts_with(STATUS)))
}

fn read(path: &Path) -> Result<Vec<u8>> {
    std::fs::read(path).with_context(|| format!("can not read {}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_console_without_a_status_is_no_result() {
        assert!(Ended::of("Kernel panic").unwrap_err().to_string().contains("Kernel panic"));
        assert_eq!(Ended::of("a\n@@status=3\n").unwrap().status, 3);
    }

    #[test]
    fn registers_are_found_by_their_name() {
        let line = |name: &str| format!("@@registers {name} 0x0 0x0 0x0 0x0 0x0 0x0 0x0 0x0\n");
        let ended = Ended::of(&format!("{}{}@@status=0\n", line("a"), line("b"))).unwrap();
        assert!(ended.registers("b").is_ok());
        assert!(ended.registers("c").unwrap_err().to_string().contains("0 times"));
    }
}
