//! What a program says of itself, by binutils' readelf, which reads programs of every kind of processor: what it runs on,
//! and which of Debian's packages bring the libraries that it asks for.

use std::path::Path;

use anyhow::{Context as _, Result, bail, ensure};

use crate::steps::command;

/// Libraries, by what their names begin with, and the packages that bring them.
const LIBRARIES: &[(&str, &str)] =
    &[("libc.so.", LIBC), ("libm.so.", LIBC), ("ld-linux", LIBC), ("libgcc_s.so.", "libgcc-s1")];

/// The C library, whose version counts: a program that was linked on a newer system does not start on an older one.
const LIBC: &str = "libc6";

/// What a program needs of the system that it is installed on.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Needs {
    /// The processor, in readelf's words.
    pub(super) machine: String,
    /// Packages, as they stand in `Depends:`; none for a static program.
    pub(super) packages: Vec<String>,
}

/// Reads a built program.
pub(super) async fn needs(program: &Path) -> Result<Needs> {
    let path = program.display().to_string();
    let asked =
        command("readelf", &["--wide", "--file-header", "--dynamic", "--version-info", &path])
            .env("LC_ALL", "C")
            .output()
            .await
            .context("readelf can not be started; install it with `apt-get install binutils`")?;
    ensure!(
        asked.status.success(),
        "{path} is no program: {}",
        String::from_utf8_lossy(&asked.stderr)
    );
    of(&String::from_utf8_lossy(&asked.stdout)).with_context(|| format!("what {path} needs"))
}

fn of(told: &str) -> Result<Needs> {
    let mut machine = None;
    let mut packages: Vec<&str> = Vec::new();
    let mut libc = None;
    for line in told.lines() {
        if let Some((_, library)) = line.split_once("Shared library: [") {
            let library = library.trim_end_matches(']');
            let known = LIBRARIES.iter().find(|(start, _)| library.starts_with(start));
            let Some((_, package)) = known else { bail!("no package is known to bring {library}") };
            packages.push(package);
        } else if let Some(found) = line.trim_start().strip_prefix("Machine:") {
            machine = Some(found.trim().to_owned());
        } else if let Some((_, name)) = line.split_once("Name: GLIBC_") {
            // `GLIBC_PRIVATE` is no version, and nothing of ours may use what it stands for.
            let version = name.split_whitespace().next().unwrap_or_default();
            let parts = version.split('.').map(str::parse).collect::<Result<Vec<u32>, _>>();
            libc = libc.max(Some(parts.with_context(|| format!("no version: {version:?}"))?));
        }
    }
    packages.sort_unstable();
    packages.dedup();
    let named = |package: &str| match &libc {
        Some(version) if package == LIBC => {
            let parts: Vec<String> = version.iter().map(u32::to_string).collect();
            format!("{LIBC} (>= {})", parts.join("."))
        }
        _ => package.to_owned(),
    };
    Ok(Needs {
        machine: machine.context("it names no processor")?,
        packages: packages.into_iter().map(named).collect(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn libraries_stand_for_their_packages_and_the_newest_version_of_the_c_library_counts() {
        let told = "  Machine:                           ARM\n \
             0x1 (NEEDED)  Shared library: [libgcc_s.so.1]\n \
             0x1 (NEEDED)  Shared library: [libm.so.6]\n \
             0x1 (NEEDED)  Shared library: [libc.so.6]\n \
             0x1 (NEEDED)  Shared library: [ld-linux-armhf.so.3]\n  \
             0x0050:   Name: GCC_3.5  Flags: none  Version: 16\n  \
             0x0080:   Name: GLIBC_2.4  Flags: none  Version: 3\n  \
             0x0090:   Name: GLIBC_2.34  Flags: none  Version: 10\n  \
             0x0090:   Name: GLIBC_2.5  Flags: none  Version: 10\n";
        let packages = vec!["libc6 (>= 2.34)".to_owned(), "libgcc-s1".to_owned()];
        assert_eq!(of(told).expect("needs"), Needs { machine: "ARM".to_owned(), packages });
    }

    #[test]
    fn a_static_program_needs_nothing_and_a_library_that_nobody_knows_is_no_package() {
        let told = "  Machine: AArch64\n\nThere is no dynamic section in this file.\n";
        assert_eq!(of(told).expect("needs").packages, Vec::<String>::new());
        let told = "  Machine: ARM\n 0x1 (NEEDED)  Shared library: [libudev.so.1]\n";
        assert!(of(told).expect_err("unknown").to_string().contains("libudev.so.1"));
    }
}
