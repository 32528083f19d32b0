//! Network namespaces of a test's own: it runs itself once more in there, as their root, after a script has laid the cables.

use std::process::Stdio;

use tokio::process::Command;

use crate::skip::skip;

/// Says that the test stands in its namespaces already.
const INSIDE: &str = "LAMPLIGHTER_OWN_NETWORK";

/// The test's end is `lan`, a machine's is `nic` in the namespace `shelf`; their ports are on one switch, `bridge0`.
pub const SHELF: &str = "
mount -t tmpfs none /run
ip link set lo up
ip netns add shelf
ip link add bridge0 type bridge
ip link add lan type veth peer name lan-port
ip link add nic-port type veth peer name nic netns shelf
ip link set lan-port master bridge0
ip link set nic-port master bridge0
ip -n shelf link set nic address 52:54:00:12:34:56
ip address add 10.9.0.1/24 broadcast 10.9.0.255 dev lan
for link in bridge0 lan lan-port nic-port; do ip link set $link up; done
ip -n shelf link set nic up
";

/// Whether this process is the one within its namespaces.
pub(crate) fn inside() -> bool {
    std::env::var_os(INSIDE).is_some()
}

/// Runs a test's body in network namespaces of its own, by running the test alone once more in there after the script.
/// Where there can be none it says loudly that the test was skipped.
///
/// # Panics
/// Where the test fails in there, or there can be no namespaces and `CI` is set: there nothing is skipped.
#[expect(clippy::print_stderr, reason = "what the test has told is to be seen")]
pub async fn in_own_network(test: &str, cables: &str, body: impl AsyncFnOnce()) {
    if inside() {
        return body().await;
    }
    let may = Command::new("unshare").args(["-rnm", "ip", "netns"]).output().await;
    if !may.is_ok_and(|said| said.status.success()) {
        let missing =
            "`unshare -rnm ip netns` does not work; allow user namespaces and install iproute2";
        return skip(test, missing);
    }
    let own = std::env::current_exe().expect("its own path");
    let said = Command::new("unshare")
        .args(["-rnm", "sh", "-ec", &format!("{cables}\nexec \"$0\" \"$@\"")])
        .arg(own)
        .args(["--exact", test, "--nocapture", "--test-threads=1"])
        .env(INSIDE, "1")
        .stdin(Stdio::null())
        .kill_on_drop(true)
        .output()
        .await
        .expect("it runs");
    let [out, err] = [&said.stdout, &said.stderr].map(|bytes| String::from_utf8_lossy(bytes));
    let passed = said.status.success() && out.contains("test result: ok. 1 passed;");
    assert!(passed, "{test}: {out}\n{err}");
    eprint!("{err}");
}

/// Runs a line of the shell in the namespaces, where it stands: `ip`, `bridge`.
///
/// # Panics
/// Where it fails.
pub async fn sh(line: &str) {
    let run = Command::new("sh").args(["-ec", line]).output().await.expect("a shell");
    assert!(run.status.success(), "{line}: {}", String::from_utf8_lossy(&run.stderr));
}
