//! `cargo xtask package`: the agent as Debian packages, by dpkg-deb and the files of `power-agent/debian`.
//! The same sources give the same bytes: every time in a package is that of the commit.

mod deb;
mod elf;
#[cfg(test)]
mod tests;

use std::path::{Path, PathBuf};
use std::process::Stdio;

use anyhow::{Context as _, Result, bail, ensure};

use crate::cross;
use crate::setup;
use crate::steps::command;

pub(crate) use deb::Contents;

/// What a package is for.
pub(crate) struct Arch {
    /// Debian's name.
    name: &'static str,
    /// Rust's name.
    triple: &'static str,
    /// readelf's name of the processor.
    machine: &'static str,
}

/// How dpkg-deb is told to compress what users fetch.
const SMALL: &str = "-Zxz";

const ARCHS: &[Arch] = &[
    Arch {
        name: "amd64",
        triple: "x86_64-unknown-linux-gnu",
        machine: "Advanced Micro Devices X86-64",
    },
    Arch { name: "arm64", triple: "aarch64-unknown-linux-musl", machine: "AArch64" },
    Arch { name: "armhf", triple: "armv7-unknown-linux-gnueabihf", machine: "ARM" },
];

/// Tells the tests in which folder all packages lie; without it they look at a package of what cargo has built for them.
pub(crate) const MADE: &str = "LAMPLIGHTER_PACKAGES";

/// Builds the packages that are named, or all, and prints where they lie: in the folder that is returned.
pub(crate) async fn run(only: &[String], profile: &str) -> Result<PathBuf> {
    let names: Vec<&str> = ARCHS.iter().map(|arch| arch.name).collect();
    if let Some(unknown) = only.iter().find(|name| !names.contains(&name.as_str())) {
        bail!("no package for {unknown}; there are {}", names.join(", "));
    }
    if !setup::is_there("dpkg-deb") {
        setup::install_or_name("dpkg-deb", &["dpkg"]).await?;
    }
    let folder = cross::target_folder().join("debian");
    std::fs::create_dir_all(&folder)?;
    let wanted =
        ARCHS.iter().filter(|arch| only.is_empty() || only.iter().any(|name| name == arch.name));
    let mut made = Vec::new();
    for arch in wanted {
        let program = cross::build(arch.triple, profile).await?;
        made.push(pack(&program, arch, &folder, SMALL).await?);
    }
    println!();
    for package in made {
        let size = std::fs::metadata(&package)?.len();
        println!("{}.{} MB  {}", size / 1_000_000, size / 100_000 % 10, package.display());
    }
    Ok(folder)
}

/// Makes the package of a built binary in a folder.
async fn pack(program: &Path, arch: &Arch, folder: &Path, compression: &str) -> Result<PathBuf> {
    let needs = elf::needs(program).await?;
    ensure!(
        needs.machine == arch.machine,
        "{} is for {}, and a package for {} holds one for {}",
        program.display(),
        needs.machine,
        arch.name,
        arch.machine
    );
    let contents = Contents::of(program, arch.name, &needs.packages)?;
    let stage = folder.join(format!("stage-{}", arch.name));
    if stage.exists() {
        std::fs::remove_dir_all(&stage)?;
    }
    contents.write(&stage).await?;
    let package = folder.join(contents.file_name());
    let (from, to) = (stage.display().to_string(), package.display().to_string());
    let mut packing =
        command("dpkg-deb", &["--root-owner-group", compression, "--build", &from, &to]);
    packing.env("SOURCE_DATE_EPOCH", source_date().await?).stdout(Stdio::null());
    let status = packing.status().await.context("dpkg-deb can not be started")?;
    ensure!(status.success(), "dpkg-deb failed ({status})");
    std::fs::remove_dir_all(&stage)?;
    Ok(package)
}

/// Seconds since 1970: what the caller says, else the last commit's.
async fn source_date() -> Result<String> {
    if let Ok(said) = std::env::var("SOURCE_DATE_EPOCH") {
        return Ok(said);
    }
    let asked = command("git", &["log", "-1", "--format=%ct"]).output().await?;
    let told = String::from_utf8_lossy(&asked.stdout).trim().to_owned();
    ensure!(!told.is_empty(), "no commit tells the date; set SOURCE_DATE_EPOCH");
    Ok(told)
}
