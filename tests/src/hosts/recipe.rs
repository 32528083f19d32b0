//! Hosts that a script below `tests/hosts` makes from Debian's packages, once, into the cache. The packages
//! are only unpacked there; nothing is installed.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use tokio::time::Instant;

use crate::process::{Process, on_path};
use crate::wait::{Probe, eventually};

use super::{cache, fingerprint, lock};

/// How long one recipe may take: 4 minutes on two idle cores, 11 were seen on loaded ones.
const RECIPE_BOUND: Duration = Duration::from_secs(40 * 60);

/// A program that something needs, and the Debian package that brings it.
#[derive(Debug, Clone, Copy)]
pub struct Need {
    /// The file's name.
    pub program: &'static str,
    /// Debian's package.
    pub package: &'static str,
    /// What it is for, to be read after its name.
    pub why: &'static str,
}

/// A host that a script makes.
pub(crate) struct Recipe {
    /// What the cached file or folder is called, before the hash of the recipe.
    pub(crate) name: &'static str,
    /// Its folder below `tests/hosts`; the script there is called `build`, and gets the place of its result.
    pub(crate) folder: &'static str,
    /// The files of the folder that decide what comes out.
    pub(crate) inputs: &'static [&'static str],
    /// What the script runs.
    pub(crate) needs: &'static [Need],
    /// A package that the machine's package sources must offer.
    pub(crate) package: &'static str,
}

impl Recipe {
    /// The folder of its files.
    pub(crate) fn source(&self) -> PathBuf {
        Path::new(env!("CARGO_MANIFEST_DIR")).join("hosts").join(self.folder)
    }

    fn cached(&self) -> Result<PathBuf> {
        let mut parts = Vec::new();
        for input in self.inputs {
            let path = self.source().join(input);
            parts.push(
                std::fs::read(&path).with_context(|| format!("can not read {}", path.display()))?,
            );
        }
        let parts: Vec<&[u8]> = parts.iter().map(Vec::as_slice).collect();
        let key = fingerprint(&parts);
        Ok(cache()?.join("hosts").join(format!("{}-{key:016x}", self.name)))
    }

    /// Where it is; none where it has to be made.
    pub(crate) fn found(&self) -> Result<Option<PathBuf>> {
        Ok(Some(self.cached()?).filter(|cached| cached.exists()))
    }

    /// The programs that are missing to make it; none where it is made.
    pub(crate) fn missing(&self) -> Result<Vec<Need>> {
        if self.found()?.is_some() {
            return Ok(Vec::new());
        }
        let missing = self.needs.iter().filter(|need| on_path(need.program).is_none());
        Ok(missing.copied().collect())
    }

    /// Whether it is made or can be; makes nothing.
    ///
    /// # Errors
    /// What is missing and how to get it, for a person.
    pub(crate) fn available(&self) -> Result<(), String> {
        let name = self.name;
        let missing = self.missing().map_err(|error| format!("{error:#}"))?;
        if !missing.is_empty() {
            let programs: Vec<&str> = missing.iter().map(|need| need.program).collect();
            let packages: Vec<&str> = missing.iter().map(|need| need.package).collect();
            return Err(format!(
                "{name} is not built yet, and {} is missing; on Debian: `apt-get install {}`",
                programs.join(", "),
                packages.join(" ")
            ));
        }
        let made = self.found().map_err(|error| format!("{error:#}"))?.is_some();
        if !made && !offered(self.package) {
            return Err(format!(
                "{name} is not built yet, and the package sources do not offer {}; add those of \
                 Debian 12 and run `apt-get update`, or take {name} from the cache of a machine \
                 that has it",
                self.package
            ));
        }
        Ok(())
    }

    /// Where it is, made first where it is not.
    pub(crate) async fn ready(&self) -> Result<PathBuf> {
        if let Some(found) = self.found()? {
            return Ok(found);
        }
        if let Err(missing) = self.available() {
            bail!("{missing}");
        }
        let cached = self.cached()?;
        let folder = cached.parent().context("the cache has a folder")?;
        std::fs::create_dir_all(folder)
            .with_context(|| format!("can not make the cache {}", folder.display()))?;
        let only_builder: File = lock(folder.join(format!("{}.lock", self.name))).await?;
        if !cached.exists() {
            self.build(&cached).await?;
        }
        drop(only_builder);
        Ok(cached)
    }

    /// Runs the script in a folder of its own beside the cached file, so that what a killed one leaves is
    /// cleared by the next.
    #[expect(clippy::print_stderr, reason = "a person waits for minutes here and sees what for")]
    async fn build(&self, cached: &Path) -> Result<()> {
        let name = self.name;
        let work = cached.with_file_name(format!("{name}.work"));
        clear(&work)?;
        std::fs::create_dir_all(&work)?;
        let result = work.join("result");
        eprintln!("building {name} once into {}", cached.display());
        let began = Instant::now();
        let script = format!(
            "cd '{}' && exec '{}/build' '{}'",
            work.display(),
            self.source().display(),
            result.display()
        );
        let mut building = Process::start("build", &["bash", "-c", &script], &work)?;
        let mut told = 0;
        let log = building.log().to_owned();
        let status = eventually(&format!("the build of {name}"), RECIPE_BOUND, async || {
            let text = std::fs::read_to_string(&log)?;
            let whole = text.rfind('\n').map_or(0, |end| end + 1);
            if let Some(new) = text.get(told..whole).filter(|new| !new.is_empty()) {
                eprint!("{new}");
                told = whole;
            }
            Ok(Probe::of(building.ended()?, || building.log_tail()))
        })
        .await?;
        if !status.success() {
            bail!("building {name} failed ({status}); {}", building.log_tail());
        }
        std::fs::rename(&result, cached)
            .with_context(|| format!("the build of {name} left nothing"))?;
        clear(&work)?;
        eprintln!("built {name} in {:.0} s", began.elapsed().as_secs_f64());
        Ok(())
    }
}

fn clear(folder: &Path) -> Result<()> {
    match std::fs::remove_dir_all(folder) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(error).with_context(|| format!("can not clear {}", folder.display()))
        }
        _ => Ok(()),
    }
}

/// Whether the machine's package sources offer a package.
#[expect(
    clippy::disallowed_methods,
    reason = "asked before there is a runtime, and answers at once"
)]
fn offered(package: &str) -> bool {
    let asked = std::process::Command::new("apt-cache").args(["show", "-q", package]).output();
    asked.is_ok_and(|asked| asked.status.success() && !asked.stdout.is_empty())
}
