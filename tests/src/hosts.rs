//! The real hosts: Nomad, the Nomad Autoscaler, a Go plugin to measure against, and kernels.
//!
//! One of the right version on the PATH is taken as it is. Otherwise each is built once from its Go
//! module into a cache, under a name that carries the module's version and a hash of its lock files; a
//! host that is there is never built again.

pub mod pdudaemon;
pub(crate) mod recipe;

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use tokio::process::Command;

use crate::process::on_path;

pub use recipe::Need;
use recipe::Recipe;

/// Where Go is looked for after the PATH: where its own installer puts it.
const GO_DEFAULT: &str = "/usr/local/go/bin/go";

/// How long one build may take: 4 minutes on two idle cores, and a loaded machine is several times slower.
const BUILD_DEADLINE: Duration = Duration::from_secs(30 * 60);

/// A program that is built from a Go module.
struct Host {
    /// What the cached file's name begins with.
    name: &'static str,
    /// The folder of its go.mod below `tests/hosts`.
    folder: &'static str,
    /// The module that gives the version.
    module: &'static str,
    /// The package that is built.
    package: &'static str,
}

const NOMAD: Host = Host {
    name: "nomad",
    folder: "nomad",
    module: "github.com/hashicorp/nomad",
    package: "github.com/hashicorp/nomad",
};

const AUTOSCALER: Host = Host {
    name: "nomad-autoscaler",
    folder: "autoscaler",
    module: "github.com/hashicorp/nomad-autoscaler",
    package: "github.com/hashicorp/nomad-autoscaler",
};

const GO_TARGET_VALUE: Host = Host {
    name: "go-target-value",
    folder: "autoscaler",
    module: "github.com/hashicorp/nomad-autoscaler",
    package: "github.com/hashicorp/nomad-autoscaler/plugins/builtin/strategy/target-value",
};

/// A kernel that runs as a program, with gpio-sim.
pub(crate) const UML: Recipe = Recipe {
    name: "uml-linux",
    folder: "uml",
    inputs: &["build", "config"],
    needs: &[
        Need { program: "apt-get", package: "apt", why: "fetches the kernel's source" },
        Need { program: "cc", package: "gcc", why: "compiles the kernel" },
        Need { program: "make", package: "make", why: "compiles the kernel" },
        Need { program: "flex", package: "flex", why: "compiles the kernel" },
        Need { program: "bison", package: "bison", why: "compiles the kernel" },
        Need { program: "bc", package: "bc", why: "compiles the kernel" },
        Need { program: "xz", package: "xz-utils", why: "unpacks the kernel's source" },
        Need { program: "nice", package: "coreutils", why: "leaves the machine to its user" },
    ],
    package: "linux-source-6.1",
};

/// What an emulated Raspberry Pi boots from.
pub(crate) const PI: Recipe = Recipe {
    name: "pi-kernel",
    folder: "pi",
    inputs: &["build"],
    needs: &[
        Need { program: "apt-get", package: "apt", why: "fetches the Pi's kernel" },
        Need { program: "mke2fs", package: "e2fsprogs", why: "makes the Pi's card" },
    ],
    package: "apt",
};

/// What a machine that wakes by LAN boots from.
pub(crate) const CLOSET: Recipe = Recipe {
    name: "closet",
    folder: "closet",
    inputs: &["build"],
    needs: &[
        Need { program: "apt-get", package: "apt", why: "fetches the machine's kernel" },
        Need { program: "xz", package: "xz-utils", why: "unpacks the machine's kernel" },
    ],
    package: "apt",
};

/// What kernels of the tests are made by, as far as they are still to be made.
///
/// # Errors
/// Where the recipes can not be read.
pub fn kernel_needs() -> Result<Vec<Need>> {
    Ok([UML.missing()?, PI.missing()?, CLOSET.missing()?].concat())
}

/// The Nomad binary, built first where it is not in the cache.
///
/// # Errors
/// Where it has to be built and can not be: what is missing, or the compiler's words.
pub async fn nomad() -> Result<PathBuf> {
    NOMAD.ready().await
}

/// The Nomad Autoscaler binary, built first where it is not in the cache.
///
/// # Errors
/// Where it has to be built and can not be: what is missing, or the compiler's words.
pub async fn autoscaler() -> Result<PathBuf> {
    AUTOSCALER.ready().await
}

/// The autoscaler's own `target-value` plugin in Go, built first where it is not in the cache.
///
/// # Errors
/// Where it has to be built and can not be: what is missing, or the compiler's words.
pub async fn go_target_value() -> Result<PathBuf> {
    GO_TARGET_VALUE.ready().await
}

/// Whether Nomad and the autoscaler are there already, so that nothing has to be built.
///
/// # Errors
/// Where the pinned versions can not be read, or no cache is known.
pub fn built() -> Result<bool> {
    Ok(NOMAD.found()?.is_some() && AUTOSCALER.found()?.is_some())
}

/// Whether every host is in the cache or can be built; builds nothing.
///
/// # Errors
/// What is missing and how to get it, for a person.
pub fn available() -> Result<(), String> {
    for host in [&NOMAD, &AUTOSCALER, &GO_TARGET_VALUE] {
        let found = host.found().map_err(|error| format!("{error:#}"))?;
        if found.is_none() {
            go().map_err(|error| format!("{} is not built yet, and {error}", host.name))?;
        }
    }
    Ok(())
}

/// The folder of what is built once: `LAMPLIGHTER_CACHE`, else the user's cache folder.
///
/// # Errors
/// Where neither is known.
pub fn cache() -> Result<PathBuf> {
    let set = |key: &str| std::env::var_os(key).filter(|value| !value.is_empty());
    let root = set("LAMPLIGHTER_CACHE")
        .map(PathBuf::from)
        .or_else(|| Some(PathBuf::from(set("XDG_CACHE_HOME")?).join("lamplighter")))
        .or_else(|| Some(PathBuf::from(set("HOME")?).join(".cache/lamplighter")))
        .context("no place for the built hosts: set LAMPLIGHTER_CACHE to a folder")?;
    Ok(root)
}

fn go() -> Result<PathBuf> {
    on_path("go")
        .or_else(|| Some(PathBuf::from(GO_DEFAULT)).filter(|go| go.is_file()))
        .with_context(|| {
            format!(
                "there is no Go compiler on the PATH or at {GO_DEFAULT}; install Go 1.24 or newer \
                 (https://go.dev/dl)"
            )
        })
}

impl Host {
    fn source(&self) -> PathBuf {
        Path::new(env!("CARGO_MANIFEST_DIR")).join("hosts").join(self.folder)
    }

    fn read(&self, name: &str) -> Result<Vec<u8>> {
        let path = self.source().join(name);
        std::fs::read(&path).with_context(|| format!("can not read {}", path.display()))
    }

    /// The version that its go.mod requires, without the `v`.
    fn version(&self) -> Result<String> {
        let module = self.read("go.mod")?;
        let text = String::from_utf8_lossy(&module);
        text.lines()
            .filter_map(|line| line.trim().trim_start_matches("require ").split_once(' '))
            .find(|(module, _)| *module == self.module)
            .map(|(_, version)| version.trim().trim_start_matches('v').to_owned())
            .with_context(|| format!("{}/go.mod does not require {}", self.folder, self.module))
    }

    fn cached(&self) -> Result<PathBuf> {
        let key = fingerprint(&[&self.read("go.mod")?, &self.read("go.sum")?]);
        let version = self.version()?;
        Ok(cache()?.join("hosts").join(format!("{}-{version}-{key:016x}", self.name)))
    }

    /// The program on the PATH, where it says that it is of the pinned version: stories rest on what one
    /// version does.
    #[expect(
        clippy::disallowed_methods,
        reason = "asked before there is a runtime, and answers at once"
    )]
    fn installed(&self, version: &str) -> Option<PathBuf> {
        let program = on_path(self.name)?;
        let said = std::process::Command::new(&program).arg("version").output().ok()?;
        let said = String::from_utf8_lossy(&said.stdout).into_owned();
        let word = said.split_whitespace().find_map(|word| word.strip_prefix('v'))?;
        let same = word
            .strip_prefix(version)
            .is_some_and(|rest| !rest.starts_with(|c: char| c.is_ascii_digit()));
        same.then_some(program)
    }

    /// Where it is, without building it; `None`: it has to be built.
    fn found(&self) -> Result<Option<PathBuf>> {
        let cached = self.cached()?;
        if cached.is_file() {
            return Ok(Some(cached));
        }
        Ok(self.installed(&self.version()?))
    }

    async fn ready(&self) -> Result<PathBuf> {
        if let Some(found) = self.found()? {
            return Ok(found);
        }
        let cached = self.cached()?;
        let go = go().with_context(|| format!("{} has to be built first", self.name))?;
        let folder = cached.parent().context("the cache has a folder")?;
        std::fs::create_dir_all(folder)
            .with_context(|| format!("can not make the cache {}", folder.display()))?;
        let _only_builder = lock(folder.join(format!("{}.lock", self.name))).await?;
        if !cached.is_file() {
            self.build(&go, &cached).await?;
        }
        Ok(cached)
    }

    #[expect(clippy::print_stderr, reason = "a person waits for minutes here and sees what for")]
    async fn build(&self, go: &Path, cached: &Path) -> Result<()> {
        let name = self.name;
        eprintln!("building {name} once into {} (some minutes)", cached.display());
        // `-mod=mod` may rewrite the lock files, so it works on a copy of them.
        let work = tempfile::tempdir()?;
        for file in ["go.mod", "go.sum"] {
            std::fs::copy(self.source().join(file), work.path().join(file))?;
        }
        let unfinished = cached.with_extension(format!("{}.part", std::process::id()));
        let building = Command::new(go)
            .args(["build", "-mod=mod", "-o"])
            .arg(&unfinished)
            .arg(self.package)
            .current_dir(work.path())
            .stdin(Stdio::null())
            .kill_on_drop(true)
            .output();
        let output = tokio::time::timeout(BUILD_DEADLINE, building)
            .await
            .with_context(|| format!("{name} was not built within {BUILD_DEADLINE:?}"))??;
        if !output.status.success() {
            drop(std::fs::remove_file(&unfinished));
            let words = String::from_utf8_lossy(&output.stderr);
            bail!("go build of {} failed ({}):\n{words}", self.package, output.status);
        }
        std::fs::rename(&unfinished, cached)?;
        eprintln!("built {name}");
        Ok(())
    }
}

/// Waits until no other process builds the same host; the lock ends with the returned file.
async fn lock(path: PathBuf) -> Result<File> {
    let file = File::create(&path).with_context(|| format!("can not write {}", path.display()))?;
    let waiting = tokio::task::spawn_blocking(move || {
        rustix::fs::flock(&file, rustix::fs::FlockOperation::LockExclusive).map(|()| file)
    });
    Ok(waiting.await??)
}

/// FNV-1a over all parts: it tells lock files apart, it guards against nobody.
fn fingerprint(parts: &[&[u8]]) -> u64 {
    parts.iter().flat_map(|part| part.iter()).fold(0xcbf2_9ce4_8422_2325, |hash, &byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hosts_file_name_carries_its_version_and_its_lock_files() {
        let name = NOMAD.cached().unwrap().file_name().unwrap().to_string_lossy().into_owned();
        assert!(name.starts_with("nomad-1.10.0-"), "{name}");
        let name = GO_TARGET_VALUE.cached().unwrap();
        assert!(name.to_string_lossy().contains("/go-target-value-0.4.6-"), "{name:?}");
        assert_ne!(fingerprint(&[b"a"]), fingerprint(&[b"b"]));
    }
}
