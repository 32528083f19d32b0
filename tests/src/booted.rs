//! This host's own Debian, booted once more by its systemd in namespaces of its own: what is installed there, started
//! and killed leaves nothing behind. It has no network, and of the host's files it sees a copy that forgets.

use std::fmt::Write as _;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use tokio::process::Command;

use crate::process::on_path;
use crate::skip::skip;

/// How long all of a script may take: booting takes two seconds, and a loaded machine is many times slower.
const SCRIPT_BOUND: Duration = Duration::from_secs(420);

/// Where the guest finds the folder that it shares with the host.
pub const SHARED: &str = "/run/shared";

/// Who boots.
const SYSTEMD: &str = "/lib/systemd/systemd";

/// What has to be on the host beside its systemd.
const PROGRAMS: [&str; 4] = ["unshare", "mount", "chroot", "script"];

/// Lays the copy, and becomes its first process. `$1` is the folder that is shared; it holds `script`.
/// The copy's changes are kept in memory, and what systemd starts is one target with one unit: the script.
const BOOT: &str = r#"
set -eu
shared=$1
mount --make-rprivate /
work=$shared/work
mkdir -p "$work"
mount -t tmpfs -o size=768m,mode=755 tmpfs "$work"
mkdir "$work/upper" "$work/own" "$work/root"
root=$work/root
mount -t overlay -o "lowerdir=/,upperdir=$work/upper,workdir=$work/own" overlay "$root"
mount -t proc proc "$root/proc"
mount -t sysfs -o ro sysfs "$root/sys"
mount -t tmpfs -o mode=755 tmpfs "$root/sys/fs/cgroup"
mount -t cgroup2 cgroup2 "$root/sys/fs/cgroup"
mount -t tmpfs -o mode=755 tmpfs "$root/dev"
mkdir "$root/dev/pts" "$root/dev/shm"
for device in null zero full random urandom tty; do
    touch "$root/dev/$device"
    mount --bind "/dev/$device" "$root/dev/$device"
done
mount -t devpts -o newinstance,ptmxmode=666 devpts "$root/dev/pts"
ln -s pts/ptmx "$root/dev/ptmx"
mount -t tmpfs -o mode=755 tmpfs "$root/run"
mount -t tmpfs -o mode=1777 tmpfs "$root/tmp"
mkdir "$root/run/shared"
mount --bind "$shared" "$root/run/shared"
touch "$root/dev/console"
mount --bind "$(tty)" "$root/dev/console"
cat > "$root/etc/systemd/system/trial.target" <<END
[Unit]
Requires=trial.service
END
cat > "$root/etc/systemd/system/trial.service" <<END
[Unit]
After=systemd-journald.socket
Requires=systemd-journald.socket
DefaultDependencies=no
[Service]
Type=oneshot
TimeoutStartSec=infinity
ExecStart=/bin/sh -eu /run/shared/script
StandardOutput=file:/run/shared/said
StandardError=file:/run/shared/complained
ExecStopPost=/bin/sh -c 'echo \$EXIT_STATUS > /run/shared/status; systemctl exit --force'
END
exec env -i container=lamplighter PATH=/usr/sbin:/usr/bin:/sbin:/bin \
    chroot "$root" /lib/systemd/systemd --system --unit=trial.target --show-status=no
"#;

/// Namespaces for it, with a group of processes of its own so that its systemd rules over nothing else. `$1` is the shared
/// folder, the rest the command. The group goes with all that systemd has made in it.
const ENTER: &str = r#"
set -eu
shared=$1
shift
group=$(sed -n 's/^[^ ]* [^ ]* [^ ]* [^ ]* \([^ ]*\) .* - cgroup2 .*/\1/p' /proc/self/mountinfo | head -1)
if [ -n "$group" ]; then
    group=$group/lamplighter-$$
    mkdir "$group"
    echo "$group" > "$shared/group"
    trap 'tries=0
        until find "$group" -depth -type d -exec rmdir {} + 2>/dev/null || [ "$tries" -ge 100 ]; do
            tries=$((tries + 1))
            sleep 0.1
        done' EXIT
    trap 'exit 1' HUP INT TERM
    (echo 0 > "$group/cgroup.procs"; exec "$@")
else
    "$@"
fi
"#;

/// What the script said.
#[derive(Debug, Clone)]
pub struct Told {
    /// Its exit status.
    pub status: i32,
    /// Its output.
    pub said: String,
    /// Its complaints, and the console.
    pub complained: String,
}

impl Told {
    /// What stands behind `NAME: ` on a line of the output, for a script that says what it found so.
    #[must_use]
    pub fn found(&self, name: &str) -> Option<&str> {
        let mut lines = self.said.lines();
        lines.find_map(|line| line.strip_prefix(name)?.strip_prefix(": "))
    }
}

/// Whether it can be booted; boots nothing.
///
/// # Errors
/// What is missing, for a person.
pub fn available() -> Result<(), String> {
    if !rustix::process::geteuid().is_root() {
        return Err("only root may make the namespaces for it".to_owned());
    }
    if !Path::new(SYSTEMD).is_file() {
        return Err(format!("there is no {SYSTEMD}: `apt-get install systemd`"));
    }
    match PROGRAMS.iter().find(|program| on_path(program).is_none()) {
        Some(missing) => {
            Err(format!("{missing} is missing: `apt-get install util-linux bsdutils`"))
        }
        None => Ok(()),
    }
}

/// Whether it can be booted; says so loudly where it can not.
///
/// # Panics
/// Where it can not and `CI=true`: there nothing is skipped.
#[must_use]
pub fn at_hand() -> bool {
    let Err(missing) = available() else { return true };
    skip("a test on a booted copy of this host", &missing);
    false
}

/// Boots, runs a shell script as root there, and ends. The script finds the folder as [`SHARED`].
///
/// # Errors
/// Where it does not boot, or the script does not end in time: with what the console said.
pub async fn run(script: &str, shared: &Path) -> Result<Told> {
    std::fs::write(shared.join("script"), script)?;
    std::fs::write(shared.join("boot"), BOOT)?;
    std::fs::write(shared.join("enter"), ENTER)?;
    let [boot, enter, shared_text] = [shared.join("boot"), shared.join("enter"), shared.to_owned()]
        .map(|path| path.display().to_string());
    let namespaces = "unshare --mount --pid --fork --cgroup --ipc --uts --net --kill-child";
    let entering = format!("sh {enter} {shared_text} {namespaces} sh {boot} {shared_text}");
    // systemd writes to a terminal, which `script` makes.
    let booting = Command::new("script")
        .args(["-q", "-e", "-c", &entering, "/dev/null"])
        .stdin(Stdio::null())
        .kill_on_drop(true)
        .output();
    let ended = tokio::time::timeout(SCRIPT_BOUND, booting).await;
    let read = |name: &str| std::fs::read_to_string(shared.join(name)).unwrap_or_default();
    let ended = ended.with_context(|| {
        format!(
            "not at its end after {SCRIPT_BOUND:?}; it said:\n{}{}",
            read("said"),
            read("complained")
        )
    })??;
    let console = String::from_utf8_lossy(&ended.stdout).into_owned();
    let group = read("group");
    ensure!(
        group.is_empty() || !Path::new(group.trim()).exists(),
        "its group of processes was left behind: {group}"
    );
    let status = read("status");
    ensure!(
        !status.is_empty(),
        "the script did not end; the console said:\n{console}\n{}",
        read("complained")
    );
    let mut complained = read("complained");
    writeln!(complained, "{console}")?;
    let status = status.trim().parse().with_context(|| format!("no status: {status:?}"))?;
    Ok(Told { status, said: read("said"), complained })
}
