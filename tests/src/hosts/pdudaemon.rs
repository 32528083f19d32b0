//! pdudaemon, which the crash test kills beside the agent to compare: a Python environment, made once in the cache.
//! It is no host of ours, so who can not have it skips the comparison and says why.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use tokio::process::Command;

use super::{cache, fingerprint, lock};

/// Debian's own Python, whose headers its packages bring.
const PYTHON: &str = "/usr/bin/python3";

/// How long one step of the making may take: half a minute on two busy cores, most of it a registry's.
const STEP_DEADLINE: Duration = Duration::from_secs(5 * 60);

/// The Debian packages that its making needs: its environment, and what its module for systemd is compiled with.
pub const PACKAGES: [&str; 5] =
    ["gcc", "python3-venv", "python3-dev", "libsystemd-dev", "pkg-config"];

fn requirements() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("hosts/pdudaemon/requirements.txt")
}

fn cached() -> Result<PathBuf> {
    let file = requirements();
    let text = std::fs::read_to_string(&file).with_context(|| format!("no {}", file.display()))?;
    let version = text.lines().find_map(|line| line.strip_prefix("pdudaemon=="));
    let version = version.context("requirements.txt pins no pdudaemon")?;
    let key = fingerprint(&[text.as_bytes()]);
    Ok(cache()?.join("hosts").join(format!("pdudaemon-{version}-{key:016x}")))
}

/// The program where it has been made; none where it is to be made.
///
/// # Errors
/// Where there is no place for it.
pub fn found() -> Result<Option<PathBuf>> {
    let program = cached()?.join("bin/pdudaemon");
    Ok(program.is_file().then_some(program))
}

/// Makes it where it is not there, and returns the program.
///
/// # Errors
/// Where it can not be had: what failed, in the words of what failed.
#[expect(clippy::print_stderr, reason = "a person waits here and sees what for")]
pub async fn ready() -> Result<PathBuf> {
    let folder = cached()?;
    let hosts = folder.parent().context("the cache has a folder")?;
    std::fs::create_dir_all(hosts)?;
    let _only_maker = lock(hosts.join("pdudaemon.lock")).await?;
    if let Some(found) = found()? {
        return Ok(found);
    }
    eprintln!("making pdudaemon once in {} (half a minute)", folder.display());
    // A half-made environment can not be moved: its paths stand in its files. Its program comes last.
    if folder.exists() {
        std::fs::remove_dir_all(&folder)?;
    }
    step(Command::new(PYTHON).args(["-m", "venv"]).arg(&folder)).await?;
    let mut install = Command::new(folder.join("bin/pip"));
    install.args(["install", "--quiet", "--disable-pip-version-check", "--requirement"]);
    step(install.arg(requirements())).await?;
    found()?.context("pip brought no pdudaemon")
}

async fn step(command: &mut Command) -> Result<()> {
    let ran = command.stdin(Stdio::null()).kill_on_drop(true).output();
    let Ok(ran) = tokio::time::timeout(STEP_DEADLINE, ran).await else {
        bail!("{command:?} did not end within {STEP_DEADLINE:?}");
    };
    let ran = ran.with_context(|| format!("{command:?} can not be started"))?;
    let words = String::from_utf8_lossy(&ran.stderr);
    ensure!(ran.status.success(), "{command:?} failed ({}):\n{words}", ran.status);
    Ok(())
}
