//! What the commands need of the system: installed where that is possible, else named exactly.

use std::path::Path;

use anyhow::{Result, bail};

use crate::steps::{Tally, command, step};

/// A program, and the Debian package that brings it.
struct Need {
    program: &'static str,
    package: &'static str,
    why: &'static str,
}

/// What demo and stories need: all are of every Debian but a very small one.
const DEMO: &[Need] = &[
    Need { program: "cc", package: "gcc", why: "links Rust programs" },
    Need {
        program: "unshare",
        package: "util-linux",
        why: "is the power cut of a virtual machine",
    },
    Need { program: "setpriv", package: "util-linux", why: "ends programs with their test" },
];

/// What the tests need beside.
const TEST: &[Need] = &[
    Need { program: "ssh", package: "openssh-client", why: "soft off by ssh is tested with it" },
    Need {
        program: "sshd",
        package: "openssh-server",
        why: "soft off by ssh is tested against it",
    },
];

/// Folders in which programs lie that are not for everybody's PATH.
const SYSTEM_FOLDERS: [&str; 3] = ["/usr/sbin", "/sbin", "/usr/local/sbin"];

fn is_there(program: &str) -> bool {
    let system = SYSTEM_FOLDERS.iter().any(|folder| Path::new(folder).join(program).is_file());
    system || testkit::process::on_path(program).is_some()
}

/// Installs what the demo needs.
pub(crate) async fn for_demo() -> Result<()> {
    install(DEMO).await
}

/// Installs what the tests need.
pub(crate) async fn for_test() -> Result<()> {
    install(DEMO).await?;
    install(TEST).await?;
    for component in ["rustfmt", "clippy"] {
        let program = format!("cargo-{}", if component == "rustfmt" { "fmt" } else { component });
        if !is_there(&program) {
            let adding = command("rustup", &["component", "add", component]);
            step(&format!("installing {component}"), adding, &mut Tally::default()).await?;
        }
    }
    Ok(())
}

async fn install(needs: &[Need]) -> Result<()> {
    let missing: Vec<&Need> = needs.iter().filter(|need| !is_there(need.program)).collect();
    if missing.is_empty() {
        return Ok(());
    }
    let packages: Vec<&str> = missing.iter().map(|need| need.package).collect();
    let may = rustix::process::geteuid().is_root() && is_there("apt-get");
    if !may {
        let list: Vec<String> =
            missing.iter().map(|need| format!("{} ({})", need.program, need.why)).collect();
        bail!(
            "these programs are missing: {}; install them with `apt-get install {}`",
            list.join(", "),
            packages.join(" ")
        );
    }
    let mut update = command("apt-get", &["update", "-q"]);
    update.env("DEBIAN_FRONTEND", "noninteractive");
    step("reading the package lists", update, &mut Tally::default()).await?;
    let mut arguments = vec!["install", "-q", "-y", "--no-install-recommends"];
    arguments.extend(&packages);
    let mut installing = command("apt-get", &arguments);
    installing.env("DEBIAN_FRONTEND", "noninteractive");
    step(&format!("installing {}", packages.join(" ")), installing, &mut Tally::default()).await
}
