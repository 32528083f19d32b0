//! A machine that really wakes by LAN: QEMU under Debian's own kernel, behind a card in standby that only a magic packet
//! brings to start it. It answers on its network, and shuts down when it is asked to by ssh.
//!
//! It is emulated and not virtualized, so it needs no rights on the host's processor; a boot takes 3 to 5 seconds on an idle
//! machine. The card is `virtual-rack card`, run as the command of a machine of the virtual rack, whose relay is the mains.

mod cell;

use std::fs::File;
use std::io::Write as _;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, ensure};
use tokio::process::Command;
use tokio::time::Instant;

use crate::archive::Archive;
use crate::hosts;
use crate::network::{self, SHELF, in_own_network};
use crate::process::on_path;
use crate::programs::program;
use crate::skip::skip;

/// The emulator.
const QEMU: &str = "qemu-system-x86_64";

/// What a machine's end of a network is made by: QEMU's cable on it is a tap.
const TUN: &str = "/dev/net/tun";

/// Behind the card `nic` of the namespace `shelf` (see [`SHELF`]) the machine's own cable `vm`. The card has
/// an address of its own, because a switch keeps what is sent to its ports' addresses.
const BOARD: &str = "
ip -n shelf link set nic address 52:54:00:00:00:01
ip -n shelf link add board type bridge
ip -n shelf link set nic master board
ip -n shelf tuntap add vm mode tap
ip -n shelf link set vm master board
for link in board vm; do ip -n shelf link set $link up; done
";

/// The first process is busybox's init: it runs this, then serves ssh, and takes `poweroff` as a machine does.
const RC: &str = "#!/bin/sh
mount -t devtmpfs dev /dev
mount -t proc proc /proc
for module in /modules/*; do insmod $module; done
ip link set lo up
ip address add $address dev eth0
ip link set eth0 up
";
const INITTAB: &str = "::sysinit:/bin/sh /etc/rc
::respawn:/usr/sbin/dropbear -F -E -s -r /etc/host_key
";
/// There is no systemd in it; the one thing that is asked of it, it does.
const SYSTEMCTL: &str = "#!/bin/sh
[ \"$*\" = poweroff ] && exec poweroff
";
const PASSWD: &str = "root:x:0:0:root:/root:/bin/sh\n";

/// A machine that stands ready to be woken, and the keys to it.
#[derive(Debug)]
pub struct Closet {
    folder: PathBuf,
    kernel: PathBuf,
}

/// The card of a machine.
#[derive(Debug, Clone, Copy)]
pub struct Card<'a> {
    /// Its address.
    pub mac: &'a str,
    /// Its `SecureOn` password, if it wants one.
    pub password: Option<&'a str>,
    /// How many packets it does not hear in each sleep.
    pub deaf: u32,
    /// The machine's address with the network's length, like 10.9.0.21/24.
    pub address: &'a str,
}

/// Whether such a machine can be had; starts nothing.
///
/// # Errors
/// What is missing and how to get it, for a person.
pub fn available() -> Result<(), String> {
    if !cfg!(target_arch = "x86_64") {
        return Err("its keys are made by its own programs, which are for x86-64".to_owned());
    }
    for (program, package) in
        [(QEMU, "qemu-system-x86"), ("nsenter", "util-linux"), ("ssh-keygen", "openssh-client")]
    {
        if on_path(program).is_none() {
            return Err(format!(
                "{program} is not on the PATH; on Debian: `apt-get install {package}`"
            ));
        }
    }
    if let Err(error) = File::options().read(true).write(true).open(TUN) {
        return Err(format!("{TUN} can not be opened ({error}); load the module tun"));
    }
    hosts::CLOSET.available()
}

/// Gathers what it boots from where that is not in the cache.
///
/// # Errors
/// Where it can not be had.
pub async fn prepare() -> Result<()> {
    hosts::CLOSET.ready().await.map(drop)
}

/// Runs a test's body where such a machine can stand: in network namespaces of its own (see [`in_own_network`]). Where it
/// can not be had it says loudly that the test was skipped.
///
/// # Panics
/// Where the test fails in there, where what it boots from can not be made, or where it can not be had and `CI=true`:
/// there nothing is skipped.
pub async fn in_closet(test: &str, body: impl AsyncFnOnce()) {
    if network::inside() {
        return body().await;
    }
    if let Err(missing) = available() {
        return skip(test, &missing);
    }
    // Before the network is cut off, by which it may still be fetched.
    prepare().await.expect("what it boots from");
    let began = Instant::now();
    in_own_network(test, &[SHELF, BOARD].concat(), body).await;
    // Past libtest, which keeps to itself what tests print that pass.
    writeln!(std::io::stderr(), "{test}: {:.1} s", began.elapsed().as_secs_f64()).ok();
}

impl Closet {
    /// Lays out in a folder what a machine boots from, and beside it what lets its owner in: `id_ed25519` and `known_hosts`.
    ///
    /// # Errors
    /// Where that can not be had or written.
    pub async fn lay_out(folder: &Path, addresses: &[&str]) -> Result<Self> {
        let parts = hosts::CLOSET.ready().await?;
        let key = folder.join("id_ed25519");
        let made = Command::new("ssh-keygen")
            .args(["-q", "-t", "ed25519", "-N", "", "-C", "lamplighter-test", "-f"])
            .arg(&key)
            .status()
            .await
            .context("ssh-keygen")?;
        ensure!(made.success(), "ssh-keygen ended with {made}");
        let owner = read(&key.with_extension("pub"))?;
        std::fs::write(folder.join("initrd"), files(&parts, &owner)?)?;
        let host = String::from_utf8(read(&parts.join("host_key.pub"))?)?;
        let known: Vec<String> =
            addresses.iter().map(|address| format!("{address} {host}")).collect();
        std::fs::write(folder.join("known_hosts"), known.concat())?;
        Ok(Self { folder: folder.to_owned(), kernel: parts.join("vmlinux") })
    }

    /// The command of a rack's machine: the card, and the machine that it wakes.
    ///
    /// # Errors
    /// Where the virtual rack is not built.
    pub fn command(&self, card: &Card<'_>) -> Result<Vec<String>> {
        let rack = program("virtual-rack")?.display().to_string();
        let [kernel, initrd] =
            [&self.kernel, &self.folder.join("initrd")].map(|path| path.display().to_string());
        let own = standing_by(&rack, card);
        let mut argv: Vec<&str> = own.iter().map(String::as_str).collect();
        // On a host that is overbooked the emulated timer is late, which the kernel would take for one that does not work.
        let words = format!(
            "console=ttyS0 rdinit=/bin/init quiet panic=-1 no_timer_check tsc=reliable nokaslr mitigations=off address={}",
            card.address
        );
        let device = format!("virtio-net-pci,netdev=n,mac={}", card.mac);
        argv.extend(["--", QEMU, "-accel", "tcg", "-M", "q35", "-cpu", "max", "-m", "128"]);
        argv.extend(["-nodefaults", "-no-reboot", "-display", "none", "-serial", "stdio"]);
        argv.extend(["-kernel", &kernel, "-initrd", &initrd, "-append", &words]);
        argv.extend(["-netdev", "tap,id=n,ifname=vm,script=no,downscript=no", "-device", &device]);
        Ok(argv.into_iter().map(str::to_owned).collect())
    }
}

/// The card of a machine, up to what it wakes.
fn standing_by(rack: &str, card: &Card<'_>) -> Vec<String> {
    let deaf = card.deaf.to_string();
    let mut argv = vec!["nsenter", "--net=/run/netns/shelf", rack, "card"];
    argv.extend(["--interface", "nic", "--mac", card.mac, "--deaf", &deaf]);
    argv.extend(card.password.iter().flat_map(|password| ["--password", *password]));
    argv.into_iter().map(str::to_owned).collect()
}

/// The machine's first and only files.
fn files(parts: &Path, owner: &[u8]) -> Result<Vec<u8>> {
    let mut files = Archive::default();
    for folder in ["bin", "dev", "proc", "tmp", "run", "etc", "root", "root/.ssh", "modules"] {
        files.folder(folder);
    }
    files.file("bin/busybox", &read(&parts.join("busybox"))?)?;
    for applet in ["sh", "init", "mount", "ip", "insmod", "poweroff"] {
        files.link(&format!("bin/{applet}"), "busybox")?;
    }
    for (name, text) in [
        ("bin/systemctl", SYSTEMCTL),
        ("etc/rc", RC),
        ("etc/inittab", INITTAB),
        ("etc/passwd", PASSWD),
    ] {
        files.file(name, text.as_bytes())?;
    }
    files.file("etc/host_key", &read(&parts.join("host_key"))?)?;
    files.file("root/.ssh/authorized_keys", owner)?;
    folder(&mut files, &parts.join("modules"), "modules")?;
    folder(&mut files, &parts.join("root"), "")?;
    Ok(files.end())
}

/// A folder with all that is in it, in the order of their names; what is at the root's own place has its folder already.
fn folder(files: &mut Archive, from: &Path, at: &str) -> Result<()> {
    let listed = std::fs::read_dir(from).with_context(|| format!("{}", from.display()))?;
    let mut entries: Vec<PathBuf> = listed.map(|entry| Ok(entry?.path())).collect::<Result<_>>()?;
    entries.sort();
    for entry in entries {
        let name = entry.file_name().and_then(|name| name.to_str()).context("a file's name")?;
        let there = if at.is_empty() { name.to_owned() } else { format!("{at}/{name}") };
        if entry.is_dir() {
            files.folder(&there);
            folder(files, &entry, &there)?;
        } else {
            files.file(&there, &read(&entry)?)?;
        }
    }
    Ok(())
}

fn read(path: &Path) -> Result<Vec<u8>> {
    std::fs::read(path).with_context(|| format!("can not read {}", path.display()))
}
