//! A simulated device behind a pseudo-terminal: the firmware's own lines on a board that is modelled.

use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStringExt;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result};
use bridge_protocol::Identity;
use bridge_simulated::{Limits, Simulated};
use firmware_bridge::words;
use rustix::fs::OFlags;
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{OptionalActions, tcgetattr, tcsetattr};
use tokio::time::{Instant, MissedTickBehavior, interval};

use super::word;

/// How often the device's loop runs: a firmware's runs oftener, and none of its times is shorter.
const ROUND: Duration = Duration::from_millis(1);
/// One read: what a line at 115200 baud brings in some rounds.
const READ_LEN: usize = 256;
/// Short ones, as a person at a desk waits for them.
const LIMITS: Limits = Limits { min_on_ms: 500, min_off_ms: 500, start_gap_ms: 250 };

/// The two ends of a line; the far one is held, so that its settings stay while nobody has it open.
struct Line {
    near: File,
    _far: OwnedFd,
    link: PathBuf,
}

impl Line {
    fn open(link: &Path) -> Result<Line> {
        let near = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC)?;
        grantpt(&near)?;
        unlockpt(&near)?;
        let name = ptsname(&near, Vec::new())?;
        let path = PathBuf::from(std::ffi::OsString::from_vec(name.into_bytes()));
        let flags = OFlags::RDWR | OFlags::NOCTTY | OFlags::CLOEXEC;
        let far = rustix::fs::open(&path, flags, rustix::fs::Mode::empty())?;
        // An echo would hand the host its own frames.
        let mut settings = tcgetattr(&far)?;
        settings.make_raw();
        tcsetattr(&far, OptionalActions::Now, &settings)?;
        let flags = rustix::fs::fcntl_getfl(&near)?;
        rustix::fs::fcntl_setfl(&near, flags | OFlags::NONBLOCK)?;
        symlink(&path, link).with_context(|| format!("link {}", link.display()))?;
        Ok(Line { near: File::from(near), _far: far, link: link.to_owned() })
    }
}

impl Drop for Line {
    fn drop(&mut self) {
        // It may be gone already; then there is nothing to take away.
        drop(std::fs::remove_file(&self.link));
    }
}

pub(super) async fn simulate(link: &Path, outlets: u8, board: Identity) -> Result<()> {
    let mut line = Line::open(link)?;
    println!("board {} on {}", words::identity(board), link.display());
    tokio::select! {
        () = run(&mut line, Simulated::new(board, outlets, LIMITS, 0)) => Ok(()),
        stopped = tokio::signal::ctrl_c() => stopped.context("it can not be stopped"),
    }
}

async fn run(line: &mut Line, mut device: Simulated) {
    let began = Instant::now();
    let mut rounds = interval(ROUND);
    rounds.set_missed_tick_behavior(MissedTickBehavior::Skip);
    let mut bytes = [0; READ_LEN];
    loop {
        rounds.tick().await;
        let now = u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX);
        // Nobody has the line open, or nothing came: both are silence to a device.
        let count = line.near.read(&mut bytes).unwrap_or(0);
        device.received(bytes.get(..count).unwrap_or_default(), now);
        let said = device.run(now);
        for edge in device.edges() {
            println!("outlet {:<2} {}", edge.outlet.get(), word(edge.state));
        }
        // A device does not wait for a listener: what the line does not take is lost, and the host asks again.
        drop(line.near.write(&said));
    }
}
