//! `cargo xtask cross`: agent and plugin for the boards that they run on.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};

use crate::setup;
use crate::steps::{Tally, command, step, workspace};

/// How long rustup may take to fetch a standard library of 30 MB.
const FETCH_BOUND: Duration = Duration::from_secs(300);

/// A kind of board.
struct Target {
    /// Rust's name.
    triple: &'static str,
    /// What Debian's cross compiler begins with.
    gcc: &'static str,
    /// The packages that bring it: the compiler, and the C library's headers and start files.
    packages: &'static [&'static str],
}

const TARGETS: &[Target] = &[
    Target {
        triple: "x86_64-unknown-linux-gnu",
        gcc: "x86_64-linux-gnu",
        packages: &["gcc-x86-64-linux-gnu", "libc6-dev-amd64-cross"],
    },
    // Static: it runs on every 64-bit system, whatever its C library.
    Target {
        triple: "aarch64-unknown-linux-musl",
        gcc: "aarch64-linux-gnu",
        packages: &["gcc-aarch64-linux-gnu", "libc6-dev-arm64-cross"],
    },
    // rustup has no musl for 32-bit boards of this kind; it needs the C library of Debian 12 or later.
    Target {
        triple: "armv7-unknown-linux-gnueabihf",
        gcc: "arm-linux-gnueabihf",
        packages: &["gcc-arm-linux-gnueabihf", "libc6-dev-armhf-cross"],
    },
];

/// A program of a package of the workspace.
#[derive(Clone, Copy)]
struct Program {
    package: &'static str,
    name: &'static str,
}

const AGENT: Program = Program { package: "power-agent", name: "power-agent" };
const PLUGIN: Program = Program { package: "nomad-plugin", name: "lamplighter" };
const RACK: Program = Program { package: "virtual-rack", name: "virtual-rack" };

/// Builds agent and plugin for the targets that are named, or for all of another kind than this host, and prints the
/// binaries' sizes. With the virtual rack where that is asked for.
pub(crate) async fn run(only: &[String], profile: &str, with_rack: bool) -> Result<()> {
    let names: Vec<&str> = TARGETS.iter().map(|target| target.triple).collect();
    if let Some(unknown) = only.iter().find(|name| !names.contains(&name.as_str())) {
        bail!("no target {unknown}; there are {}", names.join(", "));
    }
    let wanted = TARGETS.iter().filter(|target| match only {
        [] => !target.is_of_this_host(),
        named => named.iter().any(|name| name == target.triple),
    });
    let mut built = Vec::new();
    for target in wanted {
        target.prepare().await?;
        for program in [AGENT, PLUGIN].into_iter().chain(with_rack.then_some(RACK)) {
            let file = target.build(program, profile).await?;
            let size = std::fs::metadata(&file)?.len();
            let (whole, tenth) = (size / 1_000_000, size / 100_000 % 10);
            built.push(format!("{}  {whole}.{tenth} MB  {}", target.triple, file.display()));
        }
    }
    println!();
    for line in built {
        println!("{line}");
    }
    Ok(())
}

/// Builds the agent for one target, and tells where its binary lies.
pub(crate) async fn build(triple: &str, profile: &str) -> Result<PathBuf> {
    let target = TARGETS.iter().find(|target| target.triple == triple);
    let target = target.with_context(|| format!("no target {triple}"))?;
    target.prepare().await?;
    target.build(AGENT, profile).await
}

impl Target {
    /// What this host is built for itself: its own compiler is that of the target.
    fn is_of_this_host(&self) -> bool {
        self.triple.starts_with(&format!("{}-", std::env::consts::ARCH))
    }

    /// Sees to the standard library and the cross compiler, which C in the dependencies (ring) needs too.
    async fn prepare(&self) -> Result<()> {
        let compiler = format!("{}-gcc", self.gcc);
        let start = format!("/usr/{}/lib/crt1.o", self.gcc);
        let is_complete = self.is_of_this_host() || Path::new(&start).is_file();
        if !setup::is_there(&compiler) || !is_complete {
            setup::install_or_name(&compiler, self.packages).await?;
        }
        library(self.triple).await
    }

    async fn build(&self, program: Program, profile: &str) -> Result<PathBuf> {
        let Program { package, name } = program;
        let triple = self.triple;
        let flags = format!("build.rustflags={:?}", unmoved()?);
        let arguments = ["build", "-p", package, "--bins", "--target", triple];
        let mut building = command("cargo", &arguments);
        building.args(["--profile", profile, "--config", &flags]);
        if package == "power-agent" && !triple.starts_with("x86_64") {
            // With both drivers of a Pi's header: who carries a binary to a board is to have the choice there.
            building.args(["--features", "rppal"]);
        }
        let key = triple.replace('-', "_");
        building
            .env(format!("CARGO_TARGET_{}_LINKER", key.to_uppercase()), format!("{}-gcc", self.gcc))
            .env(format!("CC_{key}"), format!("{}-gcc", self.gcc))
            .env(format!("AR_{key}"), format!("{}-ar", self.gcc));
        step(&format!("{name} for {triple}"), building, &mut Tally::default()).await?;
        let folder = if profile == "dev" { "debug" } else { profile };
        let file = target_folder().join(triple).join(folder).join(name);
        ensure!(file.is_file(), "{} is not there", file.display());
        Ok(file)
    }
}

/// Sees to Rust's library for a target.
pub(crate) async fn library(triple: &str) -> Result<()> {
    let arguments = ["--print", "target-libdir", "--target", triple];
    let asked = command("rustc", &arguments).stderr(Stdio::inherit()).output().await?;
    let folder = String::from_utf8_lossy(&asked.stdout).trim().to_owned();
    if !folder.is_empty() && Path::new(&folder).is_dir() {
        return Ok(());
    }
    let adding = command("rustup", &["target", "add", triple]);
    let name = format!("fetching Rust's library for {triple}");
    let mut tally = Tally::default();
    let fetched = tokio::time::timeout(FETCH_BOUND, step(&name, adding, &mut tally)).await;
    let remedy = || {
        format!(
            "{triple}: Rust's library could not be had; `rustup target add {triple}` where its server can be reached"
        )
    };
    fetched.with_context(remedy)?.with_context(remedy)
}

/// Flags with which a program does not say in which folders it was built: the same sources give the same program
/// everywhere.
fn unmoved() -> Result<Vec<String>> {
    let cargo = std::env::var_os("CARGO_HOME").map(PathBuf::from);
    let cargo = cargo
        .or_else(|| Some(PathBuf::from(std::env::var_os("HOME")?).join(".cargo")))
        .context("neither CARGO_HOME nor HOME says where cargo keeps its sources")?;
    // Of two that fit the last one counts: cargo may build below the workspace.
    let folders = [(cargo, "/cargo"), (workspace(), "/lamplighter"), (target_folder(), "/target")];
    let flag = |(folder, name): (PathBuf, &str)| {
        format!("--remap-path-prefix={}={name}", folder.display())
    };
    Ok(folders.map(flag).to_vec())
}

/// Where cargo builds.
pub(crate) fn target_folder() -> PathBuf {
    std::env::var_os("CARGO_TARGET_DIR")
        .map_or_else(|| workspace().join("target"), |folder| workspace().join(folder))
}
