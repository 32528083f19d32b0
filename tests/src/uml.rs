//! User-Mode Linux: a kernel of its own for a program of the build, started in less than a second.
//!
//! The program runs as root in it, from the path that it has on the host, and sees the host's files read-only.
//! GPIO chips are made in it by [`crate::gpio_sim`]. The kernel is a process: killing it is a power cut, and what
//! was synced to a kept folder survives it.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use tempfile::TempDir;
use tokio::time::Instant;

use crate::hosts;
use crate::process::{Process, on_path};
use crate::skip::skip;
use crate::wait::{Probe, eventually};

/// How long a test in a kernel of its own may take: it takes a second or two, and a loaded machine is many times
/// slower.
const TEST_BOUND: Duration = Duration::from_secs(300);

/// The kernel's memory: enough for the agent and a test beside it.
const MEMORY: &str = "mem=256M";

/// Set in the kernel by [`in_own_kernel`]: the test is where it wants to be; by [`over_reboots`] with the boot's number
/// and folder.
const INSIDE: &str = "LAMPLIGHTER_IN_OWN_KERNEL";

/// Folders that are the kernel's own, so that what lies below them on the host has to be shown.
const OWN_FOLDERS: [&str; 2] = ["/tmp", "/run"];

/// A command for a kernel of its own.
#[derive(Debug, Clone)]
pub struct Command {
    argv: Vec<OsString>,
    environment: Vec<(OsString, OsString)>,
    kept: Vec<PathBuf>,
}

impl Command {
    /// A program, by its path on the host.
    #[must_use]
    pub fn new(program: impl Into<OsString>) -> Self {
        Self { argv: vec![program.into()], environment: Vec::new(), kept: Vec::new() }
    }

    /// With one argument more.
    #[must_use]
    pub fn arg(mut self, argument: impl Into<OsString>) -> Self {
        self.argv.push(argument.into());
        self
    }

    /// With a variable in its environment, which otherwise has only PATH and HOME.
    #[must_use]
    pub fn env(mut self, name: impl Into<OsString>, value: impl Into<OsString>) -> Self {
        self.environment.push((name.into(), value.into()));
        self
    }

    /// With a folder of the host that it may write, by the same path: what is synced there survives the kernel.
    #[must_use]
    pub fn keep(mut self, folder: impl Into<PathBuf>) -> Self {
        self.kept.push(folder.into());
        self
    }

    /// The lines of the mounts file: what is to be seen below the folders that the kernel covers.
    fn mounts(&self) -> Result<Vec<u8>> {
        let own = std::env::current_exe().context("can not tell where this program is")?;
        let tests = Path::new(env!("CARGO_MANIFEST_DIR"));
        let mut shown = vec![tests.parent().unwrap_or(tests).to_owned()];
        let programs = [Some(own.as_path()), self.argv.first().map(Path::new)];
        for program in programs.into_iter().flatten() {
            // Tests lie in PROFILE/deps, programs in PROFILE.
            shown.extend(program.parent().map(|folder| match folder.file_name() {
                Some(name) if name == "deps" => folder.parent().unwrap_or(folder).to_owned(),
                _ => folder.to_owned(),
            }));
        }
        let covered = |folder: &Path| OWN_FOLDERS.iter().any(|own| folder.starts_with(own));
        shown.retain(|folder| {
            covered(folder) && !OWN_FOLDERS.iter().any(|own| folder == Path::new(own))
        });
        shown.dedup();
        let mut lines = Vec::new();
        for (mode, folder) in shown
            .iter()
            .map(|folder| ("ro", folder))
            .chain(self.kept.iter().map(|folder| ("rw", folder)))
        {
            let path = folder.as_os_str().as_bytes();
            ensure!(
                !path.iter().any(|byte| b",\n".contains(byte)),
                "{} can not be shown in a kernel of its own: it has a comma or a line's end",
                folder.display()
            );
            lines.extend_from_slice(format!("{mode} ").as_bytes());
            lines.extend_from_slice(path);
            lines.push(b'\n');
        }
        Ok(lines)
    }

    /// The words of the argv file, each ended by a NUL: `env` sets folder and environment.
    fn words(&self) -> Result<Vec<u8>> {
        let mut words: Vec<OsString> = vec!["env".into(), "-i".into(), "-C".into()];
        words.push(std::env::current_dir()?.into_os_string());
        let path = std::env::var_os("PATH").unwrap_or_default();
        let standard = [("PATH".into(), path), ("HOME".into(), "/root".into())];
        for (name, value) in standard.iter().chain(&self.environment) {
            words.push([name.as_os_str(), OsStr::new("="), value].into_iter().collect());
        }
        words.extend(self.argv.iter().cloned());
        let mut bytes = Vec::new();
        for word in &words {
            bytes.extend_from_slice(word.as_bytes());
            bytes.push(0);
        }
        Ok(bytes)
    }
}

/// A running kernel.
pub struct Kernel {
    process: Process,
    shared: TempDir,
    began: Instant,
}

/// How a command ended, with what it and the kernel printed.
#[derive(Debug, Clone)]
pub struct Ended {
    /// Its exit status; 128 and the signal's number where one ended it.
    pub status: i32,
    /// Its output and the kernel's.
    pub console: String,
    /// From the kernel's start to its end.
    pub took: Duration,
}

/// Whether a kernel can be had; starts nothing.
///
/// # Errors
/// What is missing and how to get it, for a person.
pub fn available() -> Result<(), String> {
    if !cfg!(target_arch = "x86_64") {
        return Err("User-Mode Linux is for x86-64 alone".to_owned());
    }
    for program in ["bash", "perl", "mount"] {
        if on_path(program).is_none() {
            return Err(format!("{program} is not on the PATH: it sets up a kernel of its own"));
        }
    }
    hosts::UML.available()
}

/// Builds the kernel where it is not in the cache.
///
/// # Errors
/// Where it can not be built.
pub async fn prepare() -> Result<()> {
    hosts::UML.ready().await.map(drop)
}

/// Whether a kernel can be had, for a test that needs one; where not it says loudly that the test was skipped.
///
/// # Panics
/// Where it can not be had and `CI=true`: there nothing is skipped.
#[must_use]
pub fn at_hand() -> bool {
    let Err(missing) = available() else { return true };
    skip("a test in a kernel of its own", &missing);
    false
}

/// Starts a kernel that runs the command and ends with it; builds the kernel first where it is not in the cache.
///
/// # Errors
/// Where it can not be built or started.
pub async fn start(command: &Command) -> Result<Kernel> {
    let linux = hosts::UML.ready().await?;
    let shared = tempfile::tempdir().context("can not make a folder for a kernel")?;
    let folder = shared.path();
    let mut mounts = command.mounts()?;
    mounts.extend_from_slice(format!("rw {}\n", folder.display()).as_bytes());
    std::fs::write(folder.join("mounts"), mounts)?;
    std::fs::write(folder.join("argv"), command.words()?)?;
    let init = hosts::UML.source().join("init");
    let mut argv: Vec<OsString> = vec![linux.into_os_string()];
    argv.extend([MEMORY, "rootfstype=hostfs", "rootflags=/", "ro", "quiet"].map(OsString::from));
    argv.extend(["con=null", "ssl=null", "con0=null,fd:1"].map(OsString::from));
    argv.push(format!("init={}", init.display()).into());
    argv.push(format!("uml_dir={}/", folder.display()).into());
    argv.push(format!("LAMPLIGHTER_UML={}", folder.display()).into());
    let began = Instant::now();
    let process = Process::start("console", &argv, folder)?;
    Ok(Kernel { process, shared, began })
}

impl Kernel {
    /// What was printed so far, by the command and by the kernel.
    #[must_use]
    pub fn console(&self) -> String {
        let bytes = std::fs::read(self.process.log()).unwrap_or_default();
        String::from_utf8_lossy(&bytes).replace('\r', "")
    }

    /// The group of its processes on the host.
    #[must_use]
    pub fn group(&self) -> u32 {
        self.process.id()
    }

    /// Waits until the console shows a text.
    ///
    /// # Errors
    /// Where it does not within `bound`, or the kernel ended before.
    pub async fn shows(&mut self, text: &str, bound: Duration) -> Result<()> {
        let mut ended = false;
        let shown = eventually(&format!("the console to show {text:?}"), bound, async || {
            ended = self.process.ended()?.is_some();
            let console = self.console();
            let found = console.contains(text);
            Ok(Probe::of((found || ended).then_some(found), || console))
        })
        .await?;
        ensure!(shown, "the kernel ended without showing {text:?}:\n{}", self.console());
        Ok(())
    }

    /// Waits for the end of the command and of the kernel.
    ///
    /// # Errors
    /// Where they do not end within `bound`, or the kernel ended before the command.
    pub async fn ended(mut self, bound: Duration) -> Result<Ended> {
        eventually("the kernel's end", bound, async || {
            Ok(Probe::of(self.process.ended()?, || self.process.log_tail()))
        })
        .await?;
        let console = self.console();
        let Ok(status) = std::fs::read_to_string(self.shared.path().join("status")) else {
            bail!("the kernel ended before its command:\n{console}");
        };
        let status = status.trim().parse().context("the command's exit status")?;
        Ok(Ended { status, console, took: self.began.elapsed() })
    }

    /// A power cut: the kernel and all in it are gone at once.
    ///
    /// # Errors
    /// Where the system can not tell how it ended.
    pub async fn cut(self) -> Result<()> {
        self.process.kill().await.map(drop)
    }
}

/// Runs a test's body in a kernel of its own, by running the test alone once more in there. Where a kernel can not
/// be had it says loudly that the test was skipped; with `CI=true` that is a failure.
///
/// The body must be a closure that is written in the test's own function: by its name the test is found again.
///
/// # Errors
/// What went wrong in there.
pub fn in_own_kernel<F: FnOnce() -> Result<()>>(body: F) -> Result<()> {
    match std::env::var_os(INSIDE) {
        Some(_) => body(),
        None => run_inside(test_of(std::any::type_name_of_val(&body))?, None),
    }
}

/// One of the kernels of [`over_reboots`].
#[derive(Debug, Clone)]
pub struct Boot {
    /// Which it is, from 1.
    pub number: u32,
    /// What is written here outlives it.
    pub folder: PathBuf,
}

/// As [`in_own_kernel`], again and again in kernels that come one after another: each is the reboot of the one before, whose
/// processes and chips are gone.
///
/// # Errors
/// What went wrong in there.
pub fn over_reboots<F: FnOnce(&Boot) -> Result<()>>(boots: u32, body: F) -> Result<()> {
    if let Ok(told) = std::env::var(INSIDE) {
        let (number, folder) = told.split_once(' ').context("a boot is a number and a folder")?;
        return body(&Boot { number: number.parse()?, folder: folder.into() });
    }
    let name = test_of(std::any::type_name_of_val(&body))?;
    let kept = tempfile::tempdir().context("can not make a folder for a test")?;
    for number in 1..=boots {
        run_inside(name, Some(&Boot { number, folder: kept.path().to_owned() }))?;
    }
    Ok(())
}

#[expect(clippy::print_stderr, reason = "what a kernel costs is to be seen")]
fn run_inside(name: &str, boot: Option<&Boot>) -> Result<()> {
    if !at_hand() {
        return Ok(());
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let ended = runtime.block_on(async {
        let own = std::env::current_exe().context("can not tell where this program is")?;
        let command = Command::new(own);
        let command = match boot {
            Some(Boot { number, folder }) => {
                command.keep(folder).env(INSIDE, format!("{number} {}", folder.display()))
            }
            None => command.env(INSIDE, "1"),
        };
        let command = command
            .env("RUST_BACKTRACE", "0")
            .arg(name)
            .arg("--exact")
            .arg("--nocapture")
            .arg("--test-threads=1");
        start(&command).await?.ended(TEST_BOUND).await
    })?;
    eprintln!("{name}: {:.1} s in its own kernel", ended.took.as_secs_f64());
    let passed = ended.console.contains("test result: ok. 1 passed;");
    ensure!(
        ended.status == 0 && passed,
        "{name} failed in its own kernel (exit status {}):\n{}",
        ended.status,
        ended.console
    );
    Ok(())
}

/// The test in whose function a closure is written: `module::test` of `crate::module::test::{{closure}}`.
fn test_of(closure: &str) -> Result<&str> {
    closure
        .strip_suffix("::{{closure}}")
        .and_then(|path| path.split_once("::"))
        .map(|(_crate, test)| test)
        .filter(|test| !test.contains("{{closure}}"))
        .with_context(|| format!("{closure} is not a closure in a test's own function"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_closure_names_its_test() {
        let body = || ();
        let name = test_of(std::any::type_name_of_val(&body)).unwrap();
        assert_eq!(name, "uml::tests::a_closure_names_its_test");
        assert!(test_of("testkit::uml::available").is_err());
    }
}
