//! What is in the agent's package: every file with its place and mode, and what dpkg is told of it.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Stdio;

use anyhow::{Context as _, Result, ensure};
use clap_complete::Shell;
use clap_mangen::Man;
use tokio::io::AsyncWriteExt as _;

use crate::steps::{command, workspace};

/// The package's name, and the program's.
const NAME: &str = "power-agent";

/// Files of `power-agent/debian` that lie on the disk as they are, and where.
const PLAIN: &[(&str, &str)] = &[
    ("power-agent.service", "usr/lib/systemd/system/power-agent.service"),
    ("power-agent.sysusers", "usr/lib/sysusers.d/power-agent.conf"),
    ("power-agent.rules", "usr/lib/udev/rules.d/60-power-agent.rules"),
    ("copyright", "usr/share/doc/power-agent/copyright"),
];

/// What dpkg runs.
const SCRIPTS: &[&str] = &["postinst", "prerm", "postrm"];

/// What lintian is told of a program without libraries.
const STATIC: &str = "# One file for every 64-bit system, whatever its C library.\n\
    power-agent: statically-linked-binary [usr/bin/power-agent]\n";

/// Where shells look for completions.
const COMPLETIONS: &[(Shell, &str)] = &[
    (Shell::Bash, "usr/share/bash-completion/completions/power-agent"),
    (Shell::Zsh, "usr/share/zsh/vendor-completions/_power-agent"),
    (Shell::Fish, "usr/share/fish/vendor_completions.d/power-agent.fish"),
];

/// A file of the package.
struct Entry {
    place: String,
    mode: u32,
    bytes: Vec<u8>,
    /// Debian wants manuals and changes compressed.
    gzip: bool,
}

/// What a package holds.
pub(crate) struct Contents {
    entries: Vec<Entry>,
    control: String,
    scripts: Vec<Entry>,
    version: String,
    arch: &'static str,
}

impl Contents {
    /// The contents around a built binary.
    pub(crate) fn of(program: &Path, arch: &'static str, libraries: &[String]) -> Result<Self> {
        let folder = workspace().join(NAME).join("debian");
        let read = |path: &Path| {
            std::fs::read(path).with_context(|| format!("{} can not be read", path.display()))
        };
        let plain =
            |bytes, place: &str, mode| Entry { place: place.to_owned(), mode, bytes, gzip: false };
        let mut entries = vec![plain(read(program)?, "usr/bin/power-agent", 0o755)];
        for (name, place) in PLAIN {
            entries.push(plain(read(&folder.join(name))?, place, 0o644));
        }
        let example = read(&workspace().join("examples/rack.toml"))?;
        entries.push(plain(example, "usr/share/doc/power-agent/examples/rack.toml", 0o644));
        let changes = read(&folder.join("changelog"))?;
        let place = "usr/share/doc/power-agent/changelog".to_owned();
        let mut told = power_agent::cli::command();
        for (shell, place) in COMPLETIONS {
            let mut bytes = Vec::new();
            clap_complete::generate(*shell, &mut told, NAME, &mut bytes);
            entries.push(plain(bytes, place, 0o644));
        }
        let version = env!("CARGO_PKG_VERSION").to_owned();
        ensure!(
            String::from_utf8_lossy(&changes).starts_with(&format!("{NAME} ({version}) ")),
            "the first line of power-agent/debian/changelog is of another version than {version}"
        );
        entries.push(Entry { place, mode: 0o644, bytes: changes, gzip: true });
        manual(power_agent::cli::command(), &mut entries)?;
        if libraries.is_empty() {
            let place = "usr/share/lintian/overrides/power-agent";
            entries.push(plain(STATIC.as_bytes().to_vec(), place, 0o644));
        }
        let size: usize = entries.iter().map(|entry| entry.bytes.len()).sum();
        let scripts = SCRIPTS
            .iter()
            .map(|name| Ok(plain(read(&folder.join(name))?, name, 0o755)))
            .collect::<Result<_>>()?;
        let control = control(&version, arch, libraries, size);
        Ok(Self { entries, control, scripts, version, arch })
    }

    /// `power-agent_0.1.0_arm64.deb`.
    pub(crate) fn file_name(&self) -> String {
        format!("{NAME}_{}_{}.deb", self.version, self.arch)
    }

    /// Lays it out as dpkg-deb wants it.
    pub(crate) async fn write(&self, stage: &Path) -> Result<()> {
        folder(&stage.join("etc/lamplighter"))?;
        for entry in &self.entries {
            entry.write(stage).await?;
        }
        let told = stage.join("DEBIAN");
        for script in &self.scripts {
            script.write(&told).await?;
        }
        file(&told.join("control"), self.control.as_bytes(), 0o644)?;
        file(&told.join("md5sums"), &sums(stage).await?, 0o644)
    }
}

impl Entry {
    async fn write(&self, root: &Path) -> Result<()> {
        if self.gzip {
            let zipped = through("gzip", &["-9", "-n"], &self.bytes).await?;
            return file(&root.join(format!("{}.gz", self.place)), &zipped, self.mode);
        }
        file(&root.join(&self.place), &self.bytes, self.mode)
    }
}

/// A page for the program and one for each of its words.
fn manual(mut told: clap::Command, entries: &mut Vec<Entry>) -> Result<()> {
    told.build();
    let mut waiting = vec![(NAME.to_owned(), told)];
    while let Some((name, told)) = waiting.pop() {
        let words = told.get_subcommands().filter(|word| word.get_name() != "help");
        waiting.extend(words.map(|word| (format!("{name}-{}", word.get_name()), word.clone())));
        let mut bytes = Vec::new();
        let source = format!("{NAME} {}", env!("CARGO_PKG_VERSION"));
        Man::new(told.display_name(name.clone()))
            .title(name.clone())
            .source(source)
            .render(&mut bytes)?;
        let place = format!("usr/share/man/man1/{name}.1");
        entries.push(Entry { place, mode: 0o644, bytes, gzip: true });
    }
    Ok(())
}

fn control(version: &str, arch: &str, libraries: &[String], size: usize) -> String {
    let needs = ["systemd | systemd-standalone-sysusers", "init-system-helpers (>= 1.54)"];
    let needs: Vec<&str> = libraries.iter().map(String::as_str).chain(needs).collect();
    format!(
        "Package: {NAME}\nVersion: {version}\nArchitecture: {arch}\nSection: admin\nPriority: optional\n\
         Maintainer: The Lamplighter developers <maintainers@lamplighter.example.org>\nInstalled-Size: {}\nDepends: {}\n\
         Suggests: openssh-client\nDescription: switches the machines of a rack, and proves every switch\n \
         The agent of Lamplighter stands beside a rack, owns its relay boards, and\n \
         switches machines by order of people or of the Nomad Autoscaler. It moves\n \
         nothing at its start or its upgrade; GPIO lines that it drives fall back to\n \
         their pulls when it is stopped or removed, unless the kernel keeps them.\n",
        size.div_ceil(1024),
        needs.join(", ")
    )
}

/// What md5sum says of every file of the package.
async fn sums(stage: &Path) -> Result<Vec<u8>> {
    // No umask decides about folders.
    let script = "cd \"$1\" && find . -type d -exec chmod 755 {} + && find usr -type f | LC_ALL=C sort | xargs md5sum";
    let stage = stage.display().to_string();
    let said = command("sh", &["-c", script, "sh", &stage]).output().await?;
    ensure!(said.status.success(), "md5sum failed: {}", String::from_utf8_lossy(&said.stderr));
    Ok(said.stdout)
}

async fn through(program: &str, arguments: &[&str], bytes: &[u8]) -> Result<Vec<u8>> {
    let mut running = command(program, arguments);
    let mut running = running
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .with_context(|| format!("{program} can not be started"))?;
    let mut input = running.stdin.take().context("it has an input")?;
    let feeding = async move {
        input.write_all(bytes).await?;
        input.shutdown().await
    };
    let (fed, said) = tokio::join!(feeding, running.wait_with_output());
    fed?;
    let said = said?;
    ensure!(said.status.success(), "{program} failed ({})", said.status);
    Ok(said.stdout)
}

fn folder(path: &Path) -> Result<()> {
    std::fs::create_dir_all(path).with_context(|| format!("{} can not be made", path.display()))
}

/// Writes a file whose modes and whose folders' modes no umask decides.
fn file(path: &Path, bytes: &[u8], mode: u32) -> Result<()> {
    folder(path.parent().unwrap_or(path))?;
    std::fs::write(path, bytes)?;
    Ok(std::fs::set_permissions(path, PermissionsExt::from_mode(mode))?)
}
