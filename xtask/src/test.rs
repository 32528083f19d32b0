//! `cargo xtask test`: everything that CI runs, in the order in which it fails soonest.

use std::path::PathBuf;

use anyhow::{Result, bail};

use crate::firmware;
use crate::package;
use crate::setup;
use crate::steps::{Tally, command, step};

/// The version of cargo-deny that checks the dependencies.
const DENY_VERSION: &str = "0.20.2";

/// Stories that run side by side: each is a cluster of its own, which mostly waits for clocks; four of them keep a core
/// busy, and the slowest machines that run them have two.
const STORIES_AT_ONCE: &str = "--test-threads=4";

/// The driver that only a Pi's owner builds: it is linted, and its own tests run; the rest runs without it.
const RPPAL: &str = "--features=power-agent/rppal";

/// Steps that are nothing without the real hosts.
const ON_HOSTS: &[&str] = &["contract", "stories"];

/// What runs without the real hosts of their tests: by its name in each of them.
const ON_STAND_IN: &[&str] = &[
    "test",
    "-p",
    "testkit",
    "--test",
    "nomad_contract",
    "--test",
    "stories",
    "--",
    "stand_in",
    STORIES_AT_ONCE,
];

/// A step: its name, and cargo's arguments.
const STEPS: &[(&str, &[&str])] = &[
    ("format", &["fmt", "--all", "--check"]),
    ("lints", &["clippy", "--workspace", "--all-targets", RPPAL, "--", "-D", "warnings"]),
    ("build", &["build", "--workspace", "--bins"]),
    (
        "tests",
        &["test", "--workspace", "--exclude", "testkit", "--exclude", "xtask", "--no-fail-fast"],
    ),
    ("tests with rppal", &["test", "-p", "power-agent", "--lib", RPPAL, "rppal"]),
    ("tidy", &["test", "-p", "testkit", "--lib", "--test", "tidy"]),
    ("stand-in", ON_STAND_IN),
    ("demo", &["xtask", "demo", "--stand-in"]),
    (
        "contract",
        &[
            "test",
            "-p",
            "testkit",
            "--test",
            "nomad_contract",
            "--",
            "--skip",
            "stand_in",
            STORIES_AT_ONCE,
        ],
    ),
    (
        "stories",
        &[
            "test",
            "-p",
            "testkit",
            "--test",
            "stories",
            "--",
            "--skip",
            "stand_in",
            STORIES_AT_ONCE,
        ],
    ),
    ("packages", &["test", "-p", "xtask", "--", "--nocapture"]),
    ("kernels", &["test", "-p", "testkit", "--test", "gpio", "--test", "pi", "--", "--nocapture"]),
    ("documentation", &["doc", "--workspace", "--no-deps", "--document-private-items"]),
];

/// Runs the steps whose names begin with one of `only`, or all.
pub(crate) async fn run(only: &[String]) -> Result<()> {
    let wanted = |name: &str| only.is_empty() || only.iter().any(|start| name.starts_with(start));
    let is_step = STEPS.iter().any(|(name, _)| wanted(name));
    if !is_step && !wanted("firmware") && !wanted("dependencies") {
        let names: Vec<&str> = STEPS.iter().map(|(name, _)| *name).collect();
        bail!("no step begins so; there are {}, firmware, dependencies", names.join(", "));
    }
    let in_ci = testkit::skip::in_ci();
    setup::for_test().await?;
    let hosts = hosts(in_ci).await?;
    let mut tally = Tally::default();
    let mut skipped = Vec::new();
    for (name, arguments) in STEPS.iter().filter(|(name, _)| wanted(name)) {
        if hosts.is_err() && ON_HOSTS.contains(name) {
            skipped.push(format!("{} {name} tests", listed(arguments).await?));
            continue;
        }
        let mut cargo = command("cargo", arguments);
        match *name {
            "kernels" => kernels(in_ci).await?,
            "packages" => {
                if let Some(folder) = packages(&[], in_ci).await? {
                    cargo.env(package::MADE, folder);
                }
            }
            _ => {}
        }
        cargo.env("RUSTDOCFLAGS", "-D warnings");
        step(name, cargo, &mut tally).await?;
    }
    if wanted("firmware") {
        firmware::weigh(in_ci, &mut tally).await?;
    }
    if wanted("dependencies") {
        dependencies(&mut tally).await?;
    }
    if let Err(missing) = hosts {
        println!("\nSKIPPED on the real hosts: {}, and those of other", skipped.join(" and "));
        println!("crates that say so themselves, because {missing}.");
    }
    println!("\n{} passed, {} failed", tally.passed, tally.failed);
    Ok(())
}

/// How many tests a step has.
async fn listed(arguments: &[&str]) -> Result<usize> {
    let all = [arguments, &["--list", "--format", "terse"]].concat();
    let output = command("cargo", &all).output().await?;
    let text = String::from_utf8_lossy(&output.stdout);
    Ok(text.lines().filter(|line| line.ends_with(": test")).count())
}

/// Builds the real hosts where they are not there. In CI they have to be.
async fn hosts(in_ci: bool) -> Result<Result<(), String>> {
    match testkit::hosts::available() {
        Ok(()) => {
            testkit::hosts::nomad().await?;
            testkit::hosts::autoscaler().await?;
            testkit::hosts::go_target_value().await?;
            Ok(Ok(()))
        }
        Err(missing) if in_ci => bail!("{missing}"),
        Err(missing) => Ok(Err(missing)),
    }
}

/// Makes the kernels of the tests where they are not in the cache, and the agent that runs on one; a test of what can
/// not be had says so, and in CI fails.
async fn kernels(in_ci: bool) -> Result<()> {
    // As packages: the binaries that the tests run are in them.
    packages(&["arm64", "armhf"].map(str::to_owned), in_ci).await?;
    if testkit::uml::available().is_ok() {
        testkit::uml::prepare().await?;
    }
    if testkit::pi::available().is_ok() {
        testkit::pi::prepare().await?;
    }
    Ok(())
}

/// Makes the packages that are named, or all, and tells where they lie; where they can not be made it says so, and in CI
/// fails.
async fn packages(only: &[String], in_ci: bool) -> Result<Option<PathBuf>> {
    match package::run(only, "release").await {
        Ok(folder) => Ok(Some(folder)),
        Err(error) if in_ci => Err(error),
        Err(error) => {
            println!("\nSKIPPED, the agent for other boards: {error:#}");
            Ok(None)
        }
    }
}

/// Licences, sources and bans of the dependencies, by cargo-deny out of the cache.
async fn dependencies(tally: &mut Tally) -> Result<()> {
    let tools = testkit::hosts::cache()?.join("tools");
    let deny: PathBuf = tools.join("bin/cargo-deny");
    if !deny.is_file() {
        let root = tools.display().to_string();
        let version = format!("cargo-deny@{DENY_VERSION}");
        let arguments = ["install", "--locked", "--root", &root, &version];
        step("building cargo-deny, once", command("cargo", &arguments), tally).await?;
    }
    let program = deny.display().to_string();
    let checks = ["check", "bans", "licenses", "sources"];
    step("dependencies", command(&program, &checks), tally).await?;
    firmware::dependencies(&program, tally).await
}
