//! What systemd is to the agent, as far as lines go: it hears what is to be stored, keeps it, and hands it to the next
//! agent as descriptors from 3 on, with their names.

use std::fs::File;
use std::io::IoSliceMut;
use std::mem::MaybeUninit;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::net::UnixDatagram;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use rustix::fs::OFlags;
use rustix::io::{FdFlags, fcntl_setfd};
use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, recvmsg};
use rustix::process::Signal;
use tempfile::TempDir;
use testkit::process::Process;
use testkit::wait::{Probe, eventually};
use tokio::process::Command;

/// Long beside what any step takes on a loaded machine.
const BOUND: Duration = Duration::from_secs(180);

/// Starts a program with what is stored: the shell (dash knows no numbers above 9) becomes it, so that the number of its process is the one that is named.
const HAND_OVER: &str =
    "[ -z \"$STORED\" ] || exec 3<&\"$STORED\"-; export LISTEN_PID=$$; exec \"$0\" \"$@\"";

/// A rack file for two lines of one chip, one of them a machine's.
pub(crate) const RACK: &str = r#"[agent]
socket = "agent.sock"
state = "state"
poll = "1s"

[devices.header]
driver = "gpio"
chip = "relays"
lines = ["RELAY1", 2]

[machines.node1]
outlets = [{ device = "header", outlet = 1 }]
off_dwell = "100ms"
"#;

/// Whether there is a store.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Store {
    /// As with `FileDescriptorStoreMax=` in the unit.
    Keeps,
    /// As under anything that is not systemd.
    None,
}

/// The agent as a service.
pub(crate) struct Service {
    home: TempDir,
    notify: UnixDatagram,
    store: Store,
    stored: Vec<(String, OwnedFd)>,
    agent: Option<Process>,
}

impl Service {
    pub(crate) fn new(store: Store) -> Result<Self> {
        Self::of(store, RACK)
    }

    /// With a rack file of the test's own.
    pub(crate) fn of(store: Store, rack: &str) -> Result<Self> {
        let home = tempfile::tempdir()?;
        std::fs::write(home.path().join("rack.toml"), rack)?;
        let notify = UnixDatagram::bind(home.path().join("notify"))?;
        notify.set_nonblocking(true)?;
        Ok(Self { home, notify, store, stored: Vec::new(), agent: None })
    }

    fn path(&self, name: &str) -> PathBuf {
        self.home.path().join(name)
    }

    /// Starts the agent, hands it what is stored, and waits until it answers.
    pub(crate) async fn start(&mut self) -> Result<()> {
        self.hear()?;
        let config = self.path("rack.toml");
        let argv =
            ["bash", "-c", HAND_OVER, env!("CARGO_BIN_EXE_power-agent"), "serve", "--config"];
        let argv = argv.iter().map(Into::into).chain([config.into_os_string()]);
        let argv: Vec<std::ffi::OsString> = argv.collect();
        let mut number = String::new();
        let mut names = String::new();
        if let Some((name, descriptor)) = self.stored.first() {
            fcntl_setfd(descriptor, FdFlags::empty())?;
            number = descriptor.as_raw_fd().to_string();
            name.clone_into(&mut names);
        }
        let notify = self.path("notify");
        let mut environment: Vec<(&str, &std::ffi::OsStr)> = Vec::new();
        if self.store == Store::Keeps {
            environment.push(("NOTIFY_SOCKET", notify.as_os_str()));
            environment.push(("STORED", number.as_ref()));
        }
        if !self.stored.is_empty() {
            environment.push(("LISTEN_FDS", "1".as_ref()));
            environment.push(("LISTEN_FDNAMES", names.as_ref()));
        }
        let agent = Process::start_with("agent", &argv, self.home.path(), &environment);
        // Nobody else may inherit what only the agent is given.
        for (_, descriptor) in &self.stored {
            fcntl_setfd(descriptor, FdFlags::CLOEXEC)?;
        }
        self.agent = Some(agent?);
        eventually("the agent to answer", BOUND, async || {
            let ran = self.run("status").await?;
            let answered = ran.1.contains("node1");
            Ok(Probe::of(answered.then_some(()), || format!("{}\n{}", ran.1, self.log())))
        })
        .await
    }

    /// Waits until what a command prints has all of these words in it.
    pub(crate) async fn says(&self, words: &str, expected: &[&str]) -> Result<String> {
        eventually(&format!("{words} to say {expected:?}"), BOUND, async || {
            let (_, said) = self.run(words).await?;
            let all = expected.iter().all(|word| said.contains(word));
            let shown = format!("{said}\n{}", self.log());
            Ok(Probe::of(all.then_some(said), || shown))
        })
        .await
    }

    fn log(&self) -> String {
        std::fs::read_to_string(self.path("agent.log")).unwrap_or_default()
    }

    async fn run(&self, words: &str) -> Result<(bool, String)> {
        let mut command = Command::new(env!("CARGO_BIN_EXE_power-agent"));
        command.args(words.split(' ')).kill_on_drop(true);
        match words {
            "doctor" => command.arg("--config").arg(self.path("rack.toml")),
            "init" => &mut command,
            _ => command.arg("--agent").arg(format!("unix:{}", self.path("agent.sock").display())),
        };
        let ran =
            tokio::time::timeout(BOUND, command.output()).await.context(words.to_owned())??;
        let said = [ran.stdout, ran.stderr].concat();
        Ok((ran.status.success(), String::from_utf8_lossy(&said).into_owned()))
    }

    /// What a command of the agent's prints; all but `doctor` must succeed.
    pub(crate) async fn said(&self, words: &str) -> Result<String> {
        let (well, said) = self.run(words).await?;
        ensure!(well || words == "doctor", "{words}: {said}\n{}", self.log());
        Ok(said)
    }

    /// What `check` prints, with variables in its environment.
    pub(crate) async fn checked(&self, environment: &[(&str, &str)]) -> Result<String> {
        let mut command = Command::new(env!("CARGO_BIN_EXE_power-agent"));
        command.arg("check").arg(self.path("rack.toml"));
        command.envs(environment.iter().copied()).kill_on_drop(true);
        let ran = tokio::time::timeout(BOUND, command.output()).await??;
        Ok(String::from_utf8([ran.stdout, ran.stderr].concat())?)
    }

    /// Changes the file, has it read again, and waits until the log says what came of it.
    pub(crate) async fn reload(&self, from: &str, to: &str, expected: &str) -> Result<()> {
        let file = self.path("rack.toml");
        let text = std::fs::read_to_string(&file)?;
        ensure!(text.contains(from), "{from} is not in\n{text}");
        std::fs::write(&file, text.replace(from, to))?;
        self.agent.as_ref().context("no agent")?.signal(Signal::HUP)?;
        eventually(&format!("the log to say {expected:?}"), BOUND, async || {
            let log = self.log();
            Ok(Probe::of(log.contains(expected).then_some(()), || log))
        })
        .await
    }

    /// As a crash.
    pub(crate) async fn kill(&mut self) -> Result<()> {
        self.hear()?;
        self.agent.take().context("no agent")?.kill().await.map(drop)
    }

    /// As `systemctl restart` does first.
    pub(crate) async fn stop(&mut self) -> Result<()> {
        let agent = self.agent.take().context("no agent")?;
        agent.stop(BOUND).await?;
        self.hear()
    }

    /// The end of the test.
    pub(crate) async fn end(mut self) -> Result<()> {
        self.stop().await
    }

    /// The names of what is stored.
    pub(crate) async fn stored(&mut self) -> Result<Vec<String>> {
        self.hear()?;
        Ok(self.stored.iter().map(|(name, _)| name.clone()).collect())
    }

    /// Of each descriptor of lines that the agent has, whether programs that it starts would have it too.
    pub(crate) fn passes_on(&self) -> Result<Vec<bool>> {
        let folder = format!("/proc/{}", self.agent.as_ref().context("no agent")?.id());
        let mut found = Vec::new();
        for entry in std::fs::read_dir(format!("{folder}/fd"))? {
            let number = entry?.file_name().to_string_lossy().into_owned();
            let open = std::fs::read_link(format!("{folder}/fd/{number}")).unwrap_or_default();
            if !open.to_string_lossy().contains("gpio-line") {
                continue;
            }
            let told = std::fs::read_to_string(format!("{folder}/fdinfo/{number}"))?;
            let flags = told.lines().find_map(|line| line.strip_prefix("flags:"));
            let flags = u32::from_str_radix(flags.context("its flags")?.trim(), 8)?;
            found.push(OFlags::from_bits_retain(flags).intersection(OFlags::CLOEXEC).is_empty());
        }
        Ok(found)
    }

    /// What another process can do that has got hold of what is stored: the same lines by a descriptor of its own.
    pub(crate) async fn another_hand(&mut self) -> Result<File> {
        self.hear()?;
        let (_, stored) = self.stored.first().context("nothing is stored")?;
        Ok(stored.try_clone()?.into())
    }

    /// Hears all that was said until now.
    fn hear(&mut self) -> Result<()> {
        loop {
            let mut words = [0_u8; 4096];
            let mut space = [const { MaybeUninit::uninit() }; rustix::cmsg_space!(ScmRights(4))];
            let mut control = RecvAncillaryBuffer::new(&mut space);
            let mut parts = [IoSliceMut::new(&mut words)];
            let flags = RecvFlags::CMSG_CLOEXEC;
            let count = match recvmsg(&self.notify, &mut parts, &mut control, flags) {
                Ok(heard) => heard.bytes,
                Err(rustix::io::Errno::AGAIN) => return Ok(()),
                Err(error) => return Err(error.into()),
            };
            let came = control.drain().flat_map(|message| match message {
                RecvAncillaryMessage::ScmRights(descriptors) => descriptors.collect(),
                _ => Vec::new(),
            });
            let came: Vec<OwnedFd> = came.collect();
            let text = String::from_utf8(words.get(..count).unwrap_or_default().to_vec())?;
            let name = text.lines().find_map(|line| line.strip_prefix("FDNAME="));
            let Some(name) = name.map(str::to_owned) else { continue };
            if text.lines().any(|line| line == "FDSTOREREMOVE=1") {
                self.stored.retain(|(known, _)| *known != name);
            }
            self.stored.extend(came.into_iter().map(|descriptor| (name.clone(), descriptor)));
        }
    }
}
