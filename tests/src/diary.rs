//! What tasks themselves say of their lives, with times: a story's evidence beside the rack's edges.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, Result, bail};

use crate::wait::{Probe, eventually};
use crate::work::ShellJob;

/// A file into which tasks write what they live through: begin, end, and what a story asks of them.
#[derive(Debug, Clone)]
pub struct Diary {
    path: PathBuf,
}

/// A line of a diary.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// What happened.
    pub what: String,
    /// When, on the wall's clock, in microseconds since 1970: as the rack's edges.
    pub wall_us: u64,
    /// The job's id.
    pub job: String,
    /// The allocation's id.
    pub alloc: String,
    /// The node's name.
    pub node: String,
}

/// The most that is read of a diary: a task writes 120 bytes a second at most, and a story is over in minutes.
const DIARY_BYTES_MAX: u64 = 1024 * 1024;

/// How long Nomad waits for the end of a task that is asked: far above what a story takes on a busy host.
pub(crate) const TASK_PATIENCE: &str = "10m";

impl Diary {
    /// A diary in this folder.
    #[must_use]
    pub fn new(dir: &Path) -> Self {
        Self { path: dir.join("diary") }
    }

    /// A script that can `say WHAT` to the diary and then does this.
    #[must_use]
    pub fn script(&self, then: &str) -> String {
        format!(
            "say() {{ echo \"$1 $(date +%s%6N) $NOMAD_JOB_ID $NOMAD_ALLOC_ID ${{node.unique.name}}\" >> {}; }}\n{then}",
            self.path.display()
        )
    }

    /// A service that says `begin`, and upon SIGTERM says `asked`, takes its time and says
    /// `end`. Its `setup` runs first.
    #[must_use]
    pub fn service(&self, id: &str, setup: &str, stop_takes: Duration) -> ShellJob {
        self.stopping(id, setup, &format!("sleep {}", stop_takes.as_secs()))
    }

    /// As [`Diary::service`], but that it says `end` only once there is a file `gate`.
    #[must_use]
    pub fn held_service(&self, id: &str, gate: &Path) -> ShellJob {
        self.stopping(id, "", &format!("until [ -e {} ]; do sleep 0.1; done", gate.display()))
    }

    fn stopping(&self, id: &str, setup: &str, stops: &str) -> ShellJob {
        let lives = format!(
            "trap 'say asked; {stops}; say end; exit 0' TERM\n{setup}\nsay begin\n\
             while :; do sleep 1000 & wait $!; done"
        );
        ShellJob {
            script: self.script(&lives),
            in_task: format!("kill_signal = \"SIGTERM\"\nkill_timeout = \"{TASK_PATIENCE}\""),
            ..ShellJob::service(id, 1)
        }
    }

    /// What was written so far, oldest first.
    ///
    /// # Errors
    /// Where the file can not be read, is longer than a story's can be, or has a line that is none of ours.
    pub fn entries(&self) -> Result<Vec<Entry>> {
        let length = match std::fs::metadata(&self.path) {
            Ok(meta) => meta.len(),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(error.into()),
        };
        if length > DIARY_BYTES_MAX {
            bail!(
                "{} has {length} bytes, at most {DIARY_BYTES_MAX} are expected",
                self.path.display()
            );
        }
        std::fs::read_to_string(&self.path)?.lines().map(Entry::read).collect()
    }

    /// What a job has written of one kind, oldest first.
    ///
    /// # Errors
    /// As [`Diary::entries`].
    pub fn said(&self, job: &str, what: &str) -> Result<Vec<Entry>> {
        let mut entries = self.entries()?;
        entries.retain(|entry| entry.job == job && entry.what == what);
        Ok(entries)
    }

    /// Waits until a job has written this, and that so often; returns the last.
    ///
    /// # Errors
    /// Where it has not within `bound`: with all that was written.
    pub async fn said_when(
        &self,
        job: &str,
        what: &str,
        times: usize,
        bound: Duration,
    ) -> Result<Entry> {
        eventually(&format!("{job} to say {what} for the {times}. time"), bound, || async {
            let found =
                times.checked_sub(1).and_then(|last| self.said(job, what).ok()?.get(last).cloned());
            Ok(Probe::of(found, || format!("{:?}", self.entries())))
        })
        .await
    }
}

impl Entry {
    fn read(line: &str) -> Result<Self> {
        let words: Vec<&str> = line.split(' ').collect();
        let [what, wall_us, job, alloc, node] = words.as_slice() else {
            bail!("the diary has {line:?}, expected WHAT MICROSECONDS JOB ALLOC NODE");
        };
        Ok(Self {
            what: (*what).to_owned(),
            wall_us: wall_us.parse().with_context(|| line.to_owned())?,
            job: (*job).to_owned(),
            alloc: (*alloc).to_owned(),
            node: (*node).to_owned(),
        })
    }
}
