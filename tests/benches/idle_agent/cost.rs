//! What a process costs, as the kernel counts it.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context as _, Result};

/// What stands before the `schedstat` of a thread.
pub(crate) const THREAD: &str = "thread ";

/// Of one process, at one moment or between two.
#[derive(Debug, Clone)]
pub(crate) struct Cost {
    /// What is resident, in KiB, at the later moment.
    pub(crate) resident: u32,
    /// The most that ever was, in KiB.
    pub(crate) most: u32,
    /// Bytes that it had written to a disk.
    pub(crate) written: u64,
    /// The processor's time of all its threads.
    pub(crate) busy: Duration,
}

impl Cost {
    pub(crate) fn of(id: u32) -> Result<Self> {
        let folder = PathBuf::from(format!("/proc/{id}"));
        let read = |name: &str| {
            let file = folder.join(name);
            std::fs::read_to_string(&file).with_context(|| format!("{}", file.display()))
        };
        let (status, io) = (read("status")?, read("io")?);
        let mut text = format!("{status}{io}");
        for thread in std::fs::read_dir(folder.join("task"))? {
            let told = std::fs::read_to_string(thread?.path().join("schedstat"))?;
            text.push_str(THREAD);
            text.push_str(&told);
        }
        Self::parse(&text)
    }

    /// Of the kernel's words: `status`, `io`, and of each thread [`THREAD`] and its `schedstat`.
    pub(crate) fn parse(text: &str) -> Result<Self> {
        let mut busy = Duration::ZERO;
        for told in text.lines().filter_map(|line| line.strip_prefix(THREAD)) {
            let nanos = told.split_whitespace().next().context("schedstat has a first word")?;
            busy += Duration::from_nanos(nanos.parse()?);
        }
        Ok(Self {
            resident: number(text, "VmRSS:")?,
            most: number(text, "VmHWM:")?,
            // `cancelled_write_bytes:` is another line, and does not begin so.
            written: number(text, "write_bytes:")?,
            busy,
        })
    }

    /// What it cost since then.
    pub(crate) fn since(&self, before: &Self) -> Self {
        Self {
            written: self.written - before.written,
            busy: self.busy.saturating_sub(before.busy),
            ..self.clone()
        }
    }

    pub(crate) fn resident_ratio(&self, other: &Self) -> f64 {
        f64::from(self.resident) / f64::from(other.resident)
    }

    pub(crate) fn busy_ratio(&self, other: &Self) -> f64 {
        self.busy.as_secs_f64() / other.busy.as_secs_f64()
    }
}

fn number<N: std::str::FromStr>(text: &str, name: &str) -> Result<N> {
    let line = text.lines().find_map(|line| line.strip_prefix(name));
    let word = line.and_then(|line| line.split_whitespace().next());
    word.and_then(|word| word.parse().ok()).with_context(|| format!("the kernel tells {name}"))
}
