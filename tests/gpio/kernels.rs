//! What a kernel of its own promises a test.

use std::time::Duration;

use anyhow::Result;
use testkit::uml::{self, Command};

/// Long beside the second that a kernel takes, also on a loaded machine.
const BOUND: Duration = Duration::from_secs(180);

/// Runs what is told of kernels where they can be had.
fn on_a_kernel(told: impl Future<Output = Result<()>>) {
    if !uml::at_hand() {
        return;
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    if let Err(error) = runtime.expect("a runtime starts").block_on(told) {
        panic!("{error:#}");
    }
}

#[test]
fn a_command_in_a_kernel_is_root_there_and_its_exit_status_comes_back() {
    on_a_kernel(async {
        let script =
            "echo $WHO is $(id -u) on $(uname -m), not on the host: $(ls /sys/bus/gpio); exit 7";
        let command = Command::new("sh").arg("-c").arg(script).env("WHO", "it");
        let ended = uml::start(&command).await?.ended(BOUND).await?;
        assert_eq!(ended.status, 7, "{}", ended.console);
        assert!(ended.console.contains("it is 0 on x86_64"), "{}", ended.console);
        assert!(ended.console.contains("devices"), "{}", ended.console);
        Ok(())
    });
}

#[test]
fn a_kernel_writes_nothing_on_the_host_but_in_the_folders_that_are_kept() {
    on_a_kernel(async {
        let kept = tempfile::tempdir()?;
        let other = tempfile::tempdir()?;
        let script = format!(
            "echo a > {}/a; echo b > {}/b; echo c > /etc/lamplighter-was-here",
            kept.path().display(),
            other.path().display()
        );
        let command = Command::new("sh").arg("-c").arg(script).keep(kept.path());
        let ended = uml::start(&command).await?.ended(BOUND).await?;
        assert_eq!(std::fs::read_to_string(kept.path().join("a"))?, "a\n");
        assert!(!other.path().join("b").exists(), "{}", ended.console);
        assert!(ended.console.contains("Read-only file system"), "{}", ended.console);
        Ok(())
    });
}

#[test]
fn a_kernel_that_is_cut_leaves_what_was_synced_and_no_process() {
    on_a_kernel(async {
        let kept = tempfile::tempdir()?;
        let file = kept.path().join("journal");
        let script =
            format!("echo intent > {0}; sync {0}; echo synced; sleep 1000", file.display());
        let command = Command::new("sh").arg("-c").arg(script).keep(kept.path());
        let mut kernel = uml::start(&command).await?;
        kernel.shows("synced", BOUND).await?;
        let group = kernel.group();
        assert!(!processes_of(group)?.is_empty(), "a running kernel has processes");
        kernel.cut().await?;
        assert_eq!(std::fs::read_to_string(&file)?, "intent\n");
        testkit::wait::eventually("the end of the kernel's processes", BOUND, async || {
            let left = processes_of(group)?;
            Ok(testkit::wait::Probe::of(left.is_empty().then_some(()), || format!("{left:?}")))
        })
        .await
    });
}

/// The processes of a group, by the host's own list.
fn processes_of(group: u32) -> Result<Vec<String>> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir("/proc")? {
        let stat = std::fs::read_to_string(entry?.path().join("stat")).unwrap_or_default();
        // After the name in brackets: state, parent, group.
        let fields = stat.rsplit_once(") ").map(|(_, rest)| rest.split(' ').collect::<Vec<_>>());
        if let Some([state, _parent, of_group, ..]) = fields.as_deref()
            && *of_group == group.to_string()
            && *state != "Z"
        {
            found.push(stat);
        }
    }
    Ok(found)
}
