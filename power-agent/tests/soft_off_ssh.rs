//! Goal: what `ask` says of ssh is what happened on the machine, for each way in which it can go wrong.
//! Method: a real sshd on loopback, with keys of its own. Without an sshd on the host the tests say so; in CI they fail.

#![expect(
    clippy::unwrap_used,
    clippy::print_stderr,
    reason = "helpers of tests may fail them, and a skipped test must be seen"
)]

use std::net::{Ipv4Addr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use fleet::MachineName;
use power_agent::config::{SoftOffConfig, SoftOffWay, SshConfig};
use power_agent::soft_off::{SoftOffError, Taken, ask};
use testkit::ports::Port;
use tokio::process::{Child, Command};
use tokio::time::{Instant, sleep, timeout};

const BOUND: Duration = Duration::from_secs(180);
const SSHD: &str = "/usr/sbin/sshd";

/// An sshd on loopback that lets in one key.
struct Sshd {
    directory: tempfile::TempDir,
    port: Port,
    _process: Child,
}

impl Sshd {
    /// `None`: this host has no sshd, and this is not CI.
    async fn start() -> Option<Self> {
        if !Path::new(SSHD).exists() {
            assert!(std::env::var_os("CI").is_none(), "no {SSHD}: install openssh-server");
            eprintln!(
                "NOT TESTED: soft off by ssh, because {SSHD} is missing; install openssh-server"
            );
            return None;
        }
        let directory = tempfile::tempdir().unwrap();
        let here = directory.path().to_owned();
        for key in ["host", "good", "stranger"] {
            make_key(&here.join(key)).await;
        }
        std::fs::copy(here.join("good.pub"), here.join("authorized_keys")).unwrap();
        // sshd can not say which port it chose.
        let held = Port::take().unwrap();
        let port = held.number();
        let host_key = std::fs::read_to_string(here.join("host.pub")).unwrap();
        std::fs::write(here.join("known_hosts"), format!("[127.0.0.1]:{port} {host_key}")).unwrap();
        std::fs::write(here.join("known_to_nobody"), "").unwrap();
        std::fs::write(here.join("sshd_config"), config(&here, port)).unwrap();
        // Where sshd runs as root it wants an empty directory to lock itself into.
        if rustix::process::getuid().is_root() {
            std::fs::create_dir_all("/run/sshd").unwrap();
        }
        let process = Command::new(SSHD)
            .args(["-D", "-e", "-f"])
            .arg(here.join("sshd_config"))
            .stdin(Stdio::null())
            .stderr(std::fs::File::create(here.join("log")).unwrap())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        wait_for_port(&here, port).await;
        Some(Self { directory, port: held, _process: process })
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    fn config(&self, command: &str) -> SshConfig {
        SshConfig {
            target: format!("{}@127.0.0.1", user()),
            port: Some(self.port.number()),
            identity_file: Some(self.path("good")),
            known_hosts: Some(self.path("known_hosts")),
            command: command.to_owned(),
        }
    }

    async fn ask(&self, config: SshConfig) -> Result<Taken, SoftOffError> {
        let config = SoftOffConfig { way: SoftOffWay::Ssh(config), deadline: BOUND };
        let machine = MachineName::new("node1").unwrap();
        timeout(BOUND * 2, ask(&config, &machine, "rack-node1")).await.expect("it has a deadline")
    }
}

/// The name of the user that runs the tests: an sshd that is not root lets in nobody else.
fn user() -> String {
    let id = rustix::process::getuid().as_raw().to_string();
    let accounts = std::fs::read_to_string("/etc/passwd").unwrap();
    let account = accounts.lines().find(|line| line.split(':').nth(2) == Some(&id)).unwrap();
    account.split(':').next().unwrap().to_owned()
}

async fn make_key(file: &Path) {
    let arguments = ["-q", "-t", "ed25519", "-N", "", "-C", "lamplighter-test", "-f"];
    let made = Command::new("ssh-keygen").args(arguments).arg(file).status().await.unwrap();
    assert!(made.success());
}

fn config(here: &Path, port: u16) -> String {
    let here = here.display();
    format!(
        "ListenAddress 127.0.0.1\nPort {port}\nHostKey {here}/host\nAuthorizedKeysFile {here}/authorized_keys\n\
         PidFile none\nUsePAM no\nStrictModes no\nPasswordAuthentication no\nKbdInteractiveAuthentication no\n\
         PermitRootLogin prohibit-password\n"
    )
}

async fn wait_for_port(here: &Path, port: u16) {
    let ends_at = Instant::now() + BOUND;
    while TcpStream::connect((Ipv4Addr::LOCALHOST, port)).is_err() {
        let log = std::fs::read_to_string(here.join("log")).unwrap_or_default();
        assert!(Instant::now() < ends_at, "sshd does not listen: {log}");
        sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test]
async fn a_command_that_ended_well_on_the_machine_was_taken() {
    let Some(sshd) = Sshd::start().await else { return };
    let file = sshd.path("asked");
    let command = format!("echo asked {{machine}} {{node}} > '{}'", file.display());
    let taken = sshd.ask(sshd.config(&command)).await.unwrap();
    assert_eq!(taken.evidence, format!("ssh {}@127.0.0.1 ended with exit code 0", user()));
    assert_eq!(std::fs::read_to_string(file).unwrap(), "asked node1 rack-node1\n");
}

#[tokio::test]
async fn a_command_that_failed_on_the_machine_is_told_with_its_code() {
    let Some(sshd) = Sshd::start().await else { return };
    for code in [3, 255] {
        let error = sshd.ask(sshd.config(&format!("echo not root >&2; exit {code}"))).await;
        let error = error.unwrap_err().to_string();
        assert!(error.ends_with(&format!("failed with exit code {code}: not root")), "{error}");
    }
}

#[tokio::test]
async fn a_machine_that_goes_down_before_it_answers_has_taken_the_request() {
    let Some(sshd) = Sshd::start().await else { return };
    // The connection's own process dies, as it does when a shutdown kills everything.
    let taken = sshd.ask(sshd.config("kill -9 $PPID; sleep 5")).await.unwrap();
    assert!(
        taken.evidence.ends_with("closed the connection after the command was sent"),
        "{taken:?}"
    );
}

#[tokio::test]
async fn an_unknown_host_key_is_never_trusted() {
    let Some(sshd) = Sshd::start().await else { return };
    let mut config = sshd.config("true");
    config.known_hosts = Some(sshd.path("known_to_nobody"));
    let error = sshd.ask(config).await.unwrap_err();
    assert!(matches!(&error, SoftOffError::Unreached { .. }), "{error}");
    assert!(error.to_string().contains("Host key verification failed"), "{error}");
}

#[tokio::test]
async fn a_key_that_is_not_let_in_has_asked_nothing() {
    let Some(sshd) = Sshd::start().await else { return };
    let mut config = sshd.config("true");
    config.identity_file = Some(sshd.path("stranger"));
    let error = sshd.ask(config).await.unwrap_err();
    assert!(matches!(&error, SoftOffError::Unreached { .. }), "{error}");
    assert!(error.to_string().contains("Permission denied"), "{error}");
}

#[tokio::test]
async fn a_machine_where_nobody_listens_is_unreached() {
    let Some(sshd) = Sshd::start().await else { return };
    let mut config = sshd.config("true");
    let nobodys = Port::take().unwrap();
    config.port = Some(nobodys.number());
    let error = sshd.ask(config).await.unwrap_err();
    assert!(matches!(&error, SoftOffError::Unreached { .. }), "{error}");
    assert!(error.to_string().contains("Connection refused"), "{error}");
}
