//! What the commands need of the system: installed where that is possible, else named exactly.

use std::path::Path;

use anyhow::{Result, bail};

use testkit::cluster::Hosts;
use testkit::hosts::{Need, kernel_needs};

use crate::steps::{Tally, command, step};

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

/// What the tests' kernels and booted hosts run on, and what looks at packages: installed where that is possible, else their
/// tests are skipped and say so.
const KERNELS: &[Need] = &[
    Need {
        program: "qemu-system-aarch64",
        package: "qemu-system-arm",
        why: "emulates a Raspberry Pi",
    },
    Need {
        program: "qemu-system-x86_64",
        package: "qemu-system-x86",
        why: "emulates a machine that wakes by LAN",
    },
    Need { program: "qemu-arm", package: "qemu-user", why: "runs programs for armv7" },
    Need { program: "systemctl", package: "systemd", why: "boots a copy of this host" },
    Need { program: "lintian", package: "lintian", why: "looks for mistakes in packages" },
    Need { program: "perl", package: "perl-base", why: "switches a kernel of its own off" },
];

/// What the page is looked at with: installed where that is possible, else its tests are skipped and say so.
const BROWSER: &[Need] = &[Need {
    program: testkit::browser::PROGRAM,
    package: "chromium",
    why: "shows the page as people see it",
}];

/// What tests run beside ours to compare: installed where that is possible, else those are skipped and say so.
const COMPARED: &[Need] = &[
    Need {
        program: "powermand",
        package: "powerman",
        why: "is killed in the midst of a cycle, as the agent is",
    },
    Need {
        program: "etherwake",
        package: "etherwake",
        why: "sends the packets that ours are compared with",
    },
    Need {
        program: "wakeonlan",
        package: "wakeonlan",
        why: "sends the packets that ours are compared with",
    },
];

/// Debian's Go compiler.
const GO_PACKAGE: &str = "golang-go";

/// The oldest Go that builds Nomad 1.10: what its go.mod asks for.
const GO_MINOR_MIN: u32 = 24;

/// Folders in which programs lie that are not for everybody's PATH.
const SYSTEM_FOLDERS: [&str; 3] = ["/usr/sbin", "/sbin", "/usr/local/sbin"];

/// Whether a program can be started.
pub(crate) fn is_there(program: &str) -> bool {
    let system = SYSTEM_FOLDERS.iter().any(|folder| Path::new(folder).join(program).is_file());
    system || testkit::process::on_path(program).is_some()
}

/// Installs what the demo needs on these hosts.
pub(crate) async fn for_demo(hosts: Hosts) -> Result<()> {
    install(DEMO).await?;
    match hosts {
        Hosts::Real => go_for_hosts().await,
        Hosts::StandIn => Ok(()),
    }
}

/// Installs Debian's Go where the hosts are still to be built, nothing else brings one, and Debian's is
/// new enough. Where that can not be, who needs the hosts says what is missing.
async fn go_for_hosts() -> Result<()> {
    if testkit::hosts::available().is_ok() || !may_install() {
        return Ok(());
    }
    update_lists().await?;
    let policy = command("apt-cache", &["policy", GO_PACKAGE]).output().await?;
    let policy = String::from_utf8_lossy(&policy.stdout).into_owned();
    let candidate = policy.lines().find_map(|line| line.trim().strip_prefix("Candidate: "));
    if candidate.and_then(go_minor).is_some_and(|minor| minor >= GO_MINOR_MIN) {
        install_packages(&[GO_PACKAGE]).await?;
    }
    Ok(())
}

/// The minor version of Debian's Go package: 24 of `2:1.24~2`.
fn go_minor(version: &str) -> Option<u32> {
    let upstream = version.split_once(':').map_or(version, |(_, upstream)| upstream);
    let minor = upstream.strip_prefix("1.")?;
    let digits: String = minor.chars().take_while(char::is_ascii_digit).collect();
    digits.parse().ok()
}

/// Installs what the tests need.
pub(crate) async fn for_test() -> Result<()> {
    install(DEMO).await?;
    install(TEST).await?;
    if may_install() {
        install(COMPARED).await?;
        install(KERNELS).await?;
        install(BROWSER).await?;
        install(&kernel_needs()?).await?;
        if testkit::uml::available().is_err() {
            // A machine that has the programs may have no lists, and the kernel's source is looked up in them.
            update_lists().await?;
        }
    }
    if let Err(why) = pdudaemon().await {
        println!("\npdudaemon can not be had, and the crash test is not compared with it: {why:#}");
    }
    go_for_hosts().await?;
    for component in ["rustfmt", "clippy"] {
        let program = format!("cargo-{}", if component == "rustfmt" { "fmt" } else { component });
        if !is_there(&program) {
            let adding = command("rustup", &["component", "add", component]);
            step(&format!("installing {component}"), adding, &mut Tally::default()).await?;
        }
    }
    Ok(())
}

/// Makes pdudaemon, to be killed in the midst of a cycle as the agent is. Its packages are asked for only then.
async fn pdudaemon() -> Result<()> {
    if testkit::hosts::pdudaemon::found()?.is_none() {
        if may_install() {
            update_lists().await?;
            install_packages(&testkit::hosts::pdudaemon::PACKAGES).await?;
        }
        testkit::hosts::pdudaemon::ready().await?;
    }
    Ok(())
}

async fn install(needs: &[Need]) -> Result<()> {
    let missing: Vec<&Need> = needs.iter().filter(|need| !is_there(need.program)).collect();
    if missing.is_empty() {
        return Ok(());
    }
    let packages: Vec<&str> = missing.iter().map(|need| need.package).collect();
    if !may_install() {
        let list: Vec<String> =
            missing.iter().map(|need| format!("{} ({})", need.program, need.why)).collect();
        bail!(
            "these programs are missing: {}; install them with `apt-get install {}`",
            list.join(", "),
            packages.join(" ")
        );
    }
    update_lists().await?;
    install_packages(&packages).await
}

/// Installs the packages that bring a program, or names them.
pub(crate) async fn install_or_name(program: &str, packages: &[&str]) -> Result<()> {
    if !may_install() {
        bail!(
            "{program} or what belongs to it is missing; install it with `apt-get install {}`",
            packages.join(" ")
        );
    }
    update_lists().await?;
    install_packages(packages).await
}

fn may_install() -> bool {
    rustix::process::geteuid().is_root() && is_there("apt-get")
}

async fn update_lists() -> Result<()> {
    let mut update = command("apt-get", &["update", "-q"]);
    update.env("DEBIAN_FRONTEND", "noninteractive");
    step("reading the package lists", update, &mut Tally::default()).await
}

async fn install_packages(packages: &[&str]) -> Result<()> {
    let mut arguments = vec!["install", "-q", "-y", "--no-install-recommends"];
    arguments.extend(packages);
    let mut installing = command("apt-get", &arguments);
    installing.env("DEBIAN_FRONTEND", "noninteractive");
    step(&format!("installing {}", packages.join(" ")), installing, &mut Tally::default()).await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn debians_versions_of_go_are_read() {
        assert_eq!(go_minor("2:1.19~1"), Some(19));
        assert_eq!(go_minor("1.24.4-1"), Some(24));
        assert_eq!(go_minor("(none)"), None);
    }
}
