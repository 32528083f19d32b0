//! Goal: what is in a package, and what it does to a host. Method: dpkg's own tools, and a copy of this host that its
//! systemd boots in namespaces, with a virtual rack whose edges are counted through install, crash, upgrade and removal.

use std::io::Write as _;
use std::path::{Path, PathBuf};

use tempfile::{NamedTempFile, TempDir};
use testkit::booted;
use testkit::process::on_path;
use testkit::programs::program;
use testkit::skip::skip;

use super::{ARCHS, Arch, MADE, SMALL, pack};
use crate::steps::command;

/// A build with what debuggers need takes minutes to compress.
const QUICK: &str = "-Znone";

/// The processor of arm64, by its number in the format.
const AARCH64: u16 = 183;

fn arch(name: &str) -> &'static Arch {
    ARCHS.iter().find(|arch| arch.name == name).expect("there is one")
}

/// The package of a binary for one of the boards, in a folder of its own.
async fn package_of(program: &Path, name: &str) -> (TempDir, PathBuf) {
    let folder = tempfile::tempdir().expect("a folder");
    let package = pack(program, arch(name), folder.path(), QUICK).await.expect("a package");
    (folder, package)
}

/// The package that users get, where all were made before.
fn made(name: &str) -> Option<PathBuf> {
    let folder = PathBuf::from(std::env::var_os(MADE)?);
    Some(folder.join(format!("power-agent_{}_{name}.deb", env!("CARGO_PKG_VERSION"))))
}

/// Puts `power-agent.deb` into a folder: that which users of this host get, else one of the agent that cargo has built.
async fn trial_package(folder: &Path) {
    let place = folder.join("power-agent.deb");
    if let Some(made) = made("amd64") {
        std::fs::copy(made, place).expect("a package");
        return;
    }
    let stripped = folder.join("power-agent");
    let built = program("power-agent").expect("it is built").display().to_string();
    said("strip", &["-o", &stripped.display().to_string(), &built]).await;
    let (_folder, package) = package_of(&stripped, "amd64").await;
    std::fs::remove_file(stripped).expect("it is there");
    std::fs::copy(package, place).expect("a file");
}

/// What a program says.
async fn said(program: &str, arguments: &[&str]) -> String {
    let said = command(program, arguments).output().await.expect("it can be started");
    assert!(said.status.success(), "{program}: {}", String::from_utf8_lossy(&said.stderr));
    String::from_utf8(said.stdout).expect("it speaks UTF-8")
}

/// The begin of a static program for a kind of processor, by its number in the format: readelf asks for no more.
fn program_for(processor: u16) -> NamedTempFile {
    let mut bytes = [0_u8; 64];
    for (at, said) in [
        (0, &b"\x7fELF\x02\x01\x01"[..]),
        // An executable.
        (16, &[2, 0]),
        (18, &processor.to_le_bytes()),
        (20, &[1]),
        // The header's own size.
        (52, &[64]),
    ] {
        bytes[at..at + said.len()].copy_from_slice(said);
    }
    let mut file = NamedTempFile::new().expect("a file");
    file.write_all(&bytes).expect("room");
    file
}

#[tokio::test]
async fn a_program_for_another_board_makes_no_package() {
    let folder = tempfile::tempdir().expect("a folder");
    let wrong = program_for(AARCH64);
    let told =
        pack(wrong.path(), arch("armhf"), folder.path(), QUICK).await.expect_err("it is refused");
    assert!(told.to_string().contains("is for AArch64"), "{told:#}");
    assert_eq!(std::fs::read_dir(folder.path()).expect("a folder").count(), 0);
}

#[tokio::test]
async fn a_package_has_everything_in_its_place_and_no_file_below_etc() {
    let program = program_for(AARCH64);
    let (_folder, package) = package_of(program.path(), "arm64").await;
    let package = package.display().to_string();
    let list = said("dpkg-deb", &["--contents", &package]).await;
    let places: Vec<(&str, &str)> = list
        .lines()
        .filter_map(|line| Some((line.split_whitespace().next()?, line.split_whitespace().last()?)))
        .collect();
    for (mode, place) in [
        ("-rwxr-xr-x", "./usr/bin/power-agent"),
        ("-rw-r--r--", "./usr/lib/systemd/system/power-agent.service"),
        ("-rw-r--r--", "./usr/lib/sysusers.d/power-agent.conf"),
        ("-rw-r--r--", "./usr/lib/udev/rules.d/60-power-agent.rules"),
        ("-rw-r--r--", "./usr/share/man/man1/power-agent.1.gz"),
        ("-rw-r--r--", "./usr/share/man/man1/power-agent-audit-verify.1.gz"),
        ("-rw-r--r--", "./usr/share/bash-completion/completions/power-agent"),
        ("-rw-r--r--", "./usr/share/zsh/vendor-completions/_power-agent"),
        ("-rw-r--r--", "./usr/share/fish/vendor_completions.d/power-agent.fish"),
        ("-rw-r--r--", "./usr/share/doc/power-agent/copyright"),
        ("-rw-r--r--", "./usr/share/doc/power-agent/changelog.gz"),
        ("-rw-r--r--", "./usr/share/doc/power-agent/examples/rack.toml"),
        ("drwxr-xr-x", "./etc/lamplighter/"),
    ] {
        assert!(places.contains(&(mode, place)), "{mode} {place} is not in\n{list}");
    }
    let own = |line: &str| line.split_whitespace().nth(1) == Some("root/root");
    assert!(list.lines().all(own), "{list}");
    // A rack file is its owner's: none comes with a package, and dpkg has nothing to ask about.
    let below = |(_, place): &&(&str, &str)| place.starts_with("./etc/") && !place.ends_with('/');
    assert_eq!(places.iter().find(below), None);
    let fields = said("dpkg-deb", &["--field", &package]).await;
    assert!(fields.contains("Architecture: arm64\n"), "{fields}");
    assert!(!fields.contains("lib"), "the static binary needs no library: {fields}");
    assert!(!said("dpkg-deb", &["--info", &package]).await.contains("conffiles"));
}

#[tokio::test]
async fn the_same_sources_give_the_same_package_to_the_byte() {
    let program = program_for(AARCH64);
    let (_one, first) = package_of(program.path(), "arm64").await;
    let (_other, second) = package_of(program.path(), "arm64").await;
    assert!(std::fs::read(first).expect("a file") == std::fs::read(second).expect("a file"));
}

#[tokio::test]
async fn every_command_has_a_page_that_man_reads_without_a_complaint() {
    let contents =
        super::Contents::of(program_for(AARCH64).path(), "arm64", &[]).expect("contents");
    let stage = tempfile::tempdir().expect("a folder");
    contents.write(stage.path()).await.expect("they are written");
    let pages = stage.path().join("usr/share/man/man1");
    let mut count = 0;
    for page in std::fs::read_dir(pages).expect("a folder").flatten() {
        let script = "zcat \"$1\" | head -c 4000";
        let page = page.path().display().to_string();
        let text = said("sh", &["-c", script, "sh", &page]).await;
        assert!(text.contains(".SH NAME") && text.contains(".SH SYNOPSIS"), "{page}: {text}");
        count += 1;
    }
    let words = power_agent::cli::command();
    assert!(count > words.get_subcommands().count(), "{count} pages");
}

#[tokio::test]
async fn lintian_finds_nothing() {
    if on_path("lintian").is_none() {
        return skip("lintian on a package", "it is not on the PATH: `apt-get install lintian`");
    }
    let program = program_for(AARCH64);
    let (folder, arch) = (tempfile::tempdir().expect("a folder"), arch("arm64"));
    let package = pack(program.path(), arch, folder.path(), SMALL).await.expect("a package");
    let package = package.display().to_string();
    let mut linting =
        command("lintian", &["--allow-root", "--info", "--fail-on", "warning", &package]);
    let linted = linting.output().await.expect("it can be started");
    let told = String::from_utf8_lossy(&linted.stdout);
    assert!(
        linted.status.success() && told.is_empty(),
        "{told}\n{}",
        String::from_utf8_lossy(&linted.stderr)
    );
}

/// The rack of the copy: what its edges are counted at.
const RACK: &str = r#"
socket = "rack.sock"
edge_log = "edges.jsonl"
[boards.a]
kind = "lcus-ascii"
channels = 2
link = "board-a"
[machines]
"#;

/// What its owner writes.
const AGENT: &str = r#"
[agent]
name = "trial"
[devices.board-a]
driver = "lcus"
port = "/run/shared/board-a"
channels = 2
status = "ascii"
[machines.node1]
outlets = [{ device = "board-a", outlet = 1 }]
"#;

/// How exposed systemd may call the service, of 10: 2.4 for the groups, the network and the raw frames that it needs.
const EXPOSURE_MAX: f64 = 2.5;

/// The day of a package. It says what it finds as `NAME: VALUE`.
const SCRIPT: &str = include_str!("trial.sh");

#[tokio::test]
async fn installed_started_killed_upgraded_and_purged_it_moves_nothing_that_nobody_ordered() {
    if !booted::at_hand() {
        return;
    }
    let folder = tempfile::tempdir().expect("a folder");
    let here = folder.path();
    trial_package(here).await;
    std::fs::copy(program("virtual-rack").expect("it is built"), here.join("virtual-rack"))
        .expect("a file");
    std::fs::write(here.join("vrack.toml"), RACK).expect("a file");
    std::fs::write(here.join("rack.toml"), AGENT).expect("a file");
    let told = booted::run(SCRIPT, here).await.expect("it boots");
    let all = format!("{}\n{}", told.said, told.complained);
    assert_eq!(told.status, 0, "{all}");
    for (name, wanted) in [
        ("installed", "enabled inactive"),
        ("without a rack file", "inactive"),
        ("started", "active"),
        ("its user", "lamplighter"),
        ("its capabilities", "0000000000002000"),
        ("its groups", "dialout gpio lamplighter"),
        ("status", "off"),
        ("reloaded", "active"),
        ("after SIGSTOP", "active, started anew 1 times, watchdog"),
        ("after SIGKILL", "active, started anew 2 times"),
        ("edges before an order", "0"),
        ("ordered on", "on"),
        ("edges of the order", "1"),
        ("upgraded", "active, by another process"),
        ("the machine after the upgrade", "on"),
        ("the rack file after the upgrade", "as it was"),
        ("removed", "inactive"),
        ("purged", "the rack file stays, the state is gone"),
        ("edges in the end", "1"),
        ("verified", ""),
    ] {
        assert_eq!(told.found(name), Some(wanted), "{name}\n{all}");
    }
    let exposure = told.found("exposure").unwrap_or_default();
    println!("{exposure}");
    let mut words = exposure.split_whitespace();
    let level = words.find_map(|word| word.parse::<f64>().ok()).expect("systemd tells a level");
    assert!(level <= EXPOSURE_MAX, "{exposure}");
}
