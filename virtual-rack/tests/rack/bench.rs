//! A rack in a directory of its own, and an agent's side of its lines.

use std::fs::File;
use std::io::ErrorKind;
use std::io::Write;
use std::os::fd::AsFd;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::path::PathBuf;
use std::process::Stdio;
use std::time::Duration;

use rustix::process::Pid;
use rustix::process::Signal;
use tempfile::TempDir;
use tokio::process::Child;
use tokio::process::Command;
use virtual_rack::control::Client;
use virtual_rack::lcus::Counts;

/// Channel 1 on.
pub(crate) const ON_1: [u8; 4] = [0xA0, 1, 1, 0xA2];
/// Channel 1 off.
pub(crate) const OFF_1: [u8; 4] = [0xA0, 1, 0, 0xA1];
/// Far above what a swamped host needs for any single step.
const PATIENCE: Duration = Duration::from_secs(180);
/// Between two looks; more than a board's gap, so that a frame sent per look is heard.
const PAUSE: Duration = Duration::from_millis(60);

/// What a run of the binary gave.
pub(crate) struct Ran {
    pub(crate) code: Option<i32>,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

/// A rack under test; killed, with all that it started, when dropped.
pub(crate) struct Bench {
    pub(crate) client: Client,
    home: TempDir,
    rack: Child,
}

impl Bench {
    /// Starts a rack; `HOME` in its file becomes its directory, a file beside it is its script.
    pub(crate) async fn start(rack_file: &str, script: &[(&str, &str)]) -> Self {
        let home = tempfile::tempdir().expect("a directory");
        let path = home.path().display().to_string();
        let head = "socket = \"rack.sock\"\nedge_log = \"edges.jsonl\"\n";
        // A key of the last machine may stand after its table only, so boards come first.
        let text = format!("{head}{}", rack_file.replace("HOME", &path));
        std::fs::write(home.path().join("RACK.toml"), text).expect("a rack file");
        for name in ["child", "grandchild", "deaf"] {
            std::fs::write(home.path().join(name), "").expect("a file to follow");
        }
        let mut arguments = vec!["run", "RACK.toml"];
        for (name, text) in script {
            std::fs::write(home.path().join(name), text).expect("a script");
            arguments.extend(["--script", name]);
        }
        let rack = launch(home.path(), &arguments);
        let client = ready(home.path()).await;
        Self { client, home, rack }
    }

    /// Starts the rack anew in the same directory.
    pub(crate) async fn start_again(&mut self, more: &[&str]) {
        self.rack = launch(self.home.path(), &[&["run", "RACK.toml"], more].concat());
        self.client = ready(self.home.path()).await;
    }

    /// A path in the rack's directory.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.home.path().join(name)
    }

    /// The text of a file in the rack's directory.
    pub(crate) fn text(&self, name: &str) -> String {
        std::fs::read_to_string(self.path(name)).unwrap_or_default()
    }

    /// Opens a line as an agent does, which tries again while it is busy.
    pub(crate) async fn open(&self, link: &str) -> File {
        let flags = i32::try_from(rustix::fs::OFlags::NOCTTY.bits()).expect("a flag fits");
        let mut how = File::options();
        how.read(true).write(true).custom_flags(flags);
        let tries = async {
            loop {
                match how.open(self.path(link)) {
                    Err(err) if err.kind() == ErrorKind::ResourceBusy => {
                        tokio::time::sleep(Duration::from_millis(1)).await;
                    }
                    outcome => return outcome,
                }
            }
        };
        let opened = tokio::time::timeout(PATIENCE, tries).await;
        opened.expect("the line is free at last").expect("the line opens")
    }

    /// Waits until so many bytes lie unread on a line; opened anew for each look.
    pub(crate) async fn until_unread(&self, link: &str, bytes: usize) {
        until_unread(bytes, async || self.open(link).await).await;
    }

    /// Waits until so many bytes lie unread on a line that is open.
    pub(crate) async fn until_unread_by(&self, line: &File, bytes: usize) {
        until_unread(bytes, async || line).await;
    }

    /// Writes to a line that is open for this write alone.
    pub(crate) async fn write(&self, link: &str, bytes: &[u8]) {
        self.open(link).await.write_all(bytes).expect("the line takes it");
    }

    /// Waits until a board has heard enough.
    pub(crate) async fn heard(&self, link: &str, enough: impl Fn(Counts) -> bool) {
        let wait = async {
            while !enough(self.frames(link).await) {
                tokio::time::sleep(PAUSE).await;
            }
        };
        let waited = tokio::time::timeout(PATIENCE, wait).await;
        assert!(waited.is_ok(), "heard only {:?}", self.frames(link).await);
    }

    /// Sends a frame until the board has obeyed one more.
    pub(crate) async fn order(&self, link: &str, frame: [u8; 4]) {
        let before = self.frames(link).await.accepted;
        self.repeat_until(link, &frame, |frames| frames.accepted > before).await;
    }

    /// Sends bytes, once per look, until the board has heard enough.
    pub(crate) async fn repeat_until(
        &self,
        link: &str,
        bytes: &[u8],
        enough: impl Fn(Counts) -> bool,
    ) {
        let tries = async {
            loop {
                let all = |frames: Counts| frames.accepted + frames.queries + frames.lost;
                let before = all(self.frames(link).await);
                self.write(link, bytes).await;
                self.heard(link, |frames| all(frames) > before).await;
                if enough(self.frames(link).await) {
                    return;
                }
                tokio::time::sleep(PAUSE).await;
            }
        };
        let tried = tokio::time::timeout(PATIENCE, tries).await;
        assert!(tried.is_ok(), "not obeyed: {:?}", self.frames(link).await);
    }

    async fn frames(&self, link: &str) -> Counts {
        let state = self.client.state().await.expect("the rack answers");
        let board = state.boards.values().find(|board| board.link == self.path(link));
        board.expect("a board has this link").frames
    }

    /// The processes of a program that name this rack's directory.
    pub(crate) fn processes(&self, program: &str) -> Vec<String> {
        let home = self.home.path().display().to_string();
        command_lines().filter(|line| line.starts_with(program) && line.contains(&home)).collect()
    }

    /// The ids of those processes.
    pub(crate) fn pids(&self, program: &str) -> Vec<String> {
        let home = self.home.path().display().to_string();
        let entries = std::fs::read_dir("/proc").expect("proc is mounted").flatten();
        let ours = entries.filter(|entry| {
            let line = std::fs::read(entry.path().join("cmdline")).unwrap_or_default();
            let line = String::from_utf8_lossy(&line).replace('\0', " ");
            line.starts_with(program) && line.contains(&home)
        });
        ours.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect()
    }

    /// How many processes name this rack's directory.
    pub(crate) fn survivors(&self) -> usize {
        self.processes("").len()
    }

    /// Sends a signal to the rack.
    pub(crate) fn signal(&self, signal: Signal) {
        let id = self.rack.id().and_then(|id| i32::try_from(id).ok()).and_then(Pid::from_raw);
        rustix::process::kill_process(id.expect("the rack runs"), signal).expect("it is ours");
    }

    /// Waits for the rack's end; whether it ended well.
    pub(crate) async fn ended(&mut self) -> bool {
        let ended = tokio::time::timeout(PATIENCE, self.rack.wait()).await;
        ended.expect("the rack ends").expect("it is our child").success()
    }

    /// Runs the binary to its end.
    pub(crate) async fn run(&self, arguments: &[&str]) -> Ran {
        let output = command(self.home.path(), arguments).output();
        let output = tokio::time::timeout(PATIENCE, output).await.expect("it ends");
        let output = output.expect("it starts");
        let text = |bytes| String::from_utf8(bytes).expect("it prints text");
        Ran { code: output.status.code(), stdout: text(output.stdout), stderr: text(output.stderr) }
    }
}

async fn until_unread<F: AsFd>(bytes: usize, mut line: impl AsyncFnMut() -> F) {
    let expected = u64::try_from(bytes).expect("it fits");
    let mut found = 0;
    let looks = async {
        loop {
            found = rustix::io::ioctl_fionread(line().await).expect("a line tells");
            if found == expected {
                return;
            }
            tokio::time::sleep(PAUSE).await;
        }
    };
    let looked = tokio::time::timeout(PATIENCE, looks).await;
    assert!(looked.is_ok(), "there are {found} bytes unread, not {bytes}");
}

/// Waits for a condition.
pub(crate) async fn eventually(what: &str, condition: impl Fn() -> bool) {
    let wait = async {
        while !condition() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    assert!(tokio::time::timeout(PATIENCE, wait).await.is_ok(), "not so: {what}");
}

fn command(home: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_virtual-rack"));
    command.current_dir(home).args(arguments).stdin(Stdio::null()).kill_on_drop(true);
    command
}

fn launch(home: &Path, arguments: &[&str]) -> Child {
    let log = File::create(home.join("rack.log")).expect("a log");
    let mut command = command(home, arguments);
    command.stdout(Stdio::null()).stderr(log).spawn().expect("the rack starts")
}

async fn ready(home: &Path) -> Client {
    let ready = Client::ready(home.join("rack.sock"), PATIENCE).await;
    let log = std::fs::read_to_string(home.join("rack.log")).unwrap_or_default();
    assert!(ready.is_ok(), "the rack did not come up: {log}");
    ready.expect("it was asserted")
}

fn command_lines() -> impl Iterator<Item = String> {
    let entries = std::fs::read_dir("/proc").expect("proc is mounted").flatten();
    entries.filter_map(|entry| {
        let line = std::fs::read(entry.path().join("cmdline")).ok()?;
        Some(String::from_utf8_lossy(&line).replace('\0', " "))
    })
}
