//! Goal: a command that shuts a machine down is run once, bounded in time and output, and leaves nothing behind
//! that it should not. Method: real processes of this host's shell.

#![expect(clippy::unwrap_used, reason = "a helper of tests may fail them")]

use std::path::Path;
use std::time::Duration;

use fleet::MachineName;
use power_agent::config::{SoftOffConfig, SoftOffWay};
use power_agent::soft_off::{SoftOffError, Taken, ask};
use tokio::time::{Instant, sleep, timeout};

/// No test waits longer for anything.
const BOUND: Duration = Duration::from_secs(180);

fn shell(script: &str, deadline: Duration) -> SoftOffConfig {
    let argv = ["sh", "-c", script, "soft-off", "{machine}", "{node}"];
    let argv = argv.into_iter().map(str::to_owned).collect();
    SoftOffConfig { way: SoftOffWay::Exec { argv }, deadline }
}

async fn run(script: &str, deadline: Duration) -> Result<Taken, SoftOffError> {
    let machine = MachineName::new("node1").unwrap();
    let config = shell(script, deadline);
    timeout(BOUND, ask(&config, &machine, "rack-node1")).await.expect("it ends at its deadline")
}

/// The process that a script has noted in a file, as soon as it has.
async fn noted_process(file: &Path) -> u32 {
    let ends_at = Instant::now() + BOUND;
    loop {
        if let Ok(text) = std::fs::read_to_string(file)
            && let Ok(id) = text.trim().parse()
        {
            return id;
        }
        assert!(Instant::now() < ends_at, "the script never noted its process");
        sleep(Duration::from_millis(10)).await;
    }
}

fn is_running(process: u32) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{process}/stat")).unwrap_or_default();
    stat.rsplit(')').next().is_some_and(|rest| !rest.is_empty() && !rest.starts_with(" Z"))
}

async fn wait_until_gone(process: u32) {
    let ends_at = Instant::now() + BOUND;
    while is_running(process) {
        assert!(Instant::now() < ends_at, "process {process} still runs");
        sleep(Duration::from_millis(10)).await;
    }
}

#[tokio::test]
async fn a_command_that_ends_well_has_taken_the_request_with_the_names_put_in() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("names");
    let script = format!("cat; echo \"$1 $2\" > {}", file.display());
    let taken = run(&script, BOUND).await.unwrap();
    assert_eq!(taken.evidence, "sh ended with exit code 0");
    assert_eq!(std::fs::read_to_string(file).unwrap(), "node1 rack-node1\n");
}

#[tokio::test]
async fn a_command_that_fails_says_with_what_and_what_it_wrote() {
    let error = run("echo one; echo no route >&2; exit 7", BOUND).await.unwrap_err();
    assert_eq!(error.to_string(), "sh failed with exit code 7: one | no route");
    let error = run("kill -9 $$", BOUND).await.unwrap_err();
    assert_eq!(error.to_string(), "sh failed with signal: 9 (SIGKILL): it wrote nothing");
}

#[tokio::test]
async fn a_program_that_does_not_exist_is_told_by_name() {
    let way = SoftOffWay::Exec { argv: vec!["/nowhere/shut-down".to_owned()] };
    let config = SoftOffConfig { way, deadline: BOUND };
    let error = ask(&config, &MachineName::new("node1").unwrap(), "node1").await.unwrap_err();
    assert!(
        matches!(&error, SoftOffError::NotStarted { program, .. } if program == "/nowhere/shut-down")
    );
}

#[tokio::test]
async fn at_the_deadline_the_command_dies_with_all_that_it_has_started() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("child");
    let script = format!("echo began; sleep 1000 & echo $! > {}; wait", file.display());
    let error = run(&script, Duration::from_secs(3)).await.unwrap_err();
    assert_eq!(error.to_string(), "sh had not ended after 3s and was killed: began");
    wait_until_gone(noted_process(&file).await).await;
}

#[tokio::test]
async fn whoever_stops_waiting_leaves_nothing_running() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("child");
    let script = format!("sleep 1000 & echo $! > {}; wait", file.display());
    let (machine, config) = (MachineName::new("node1").unwrap(), shell(&script, BOUND));
    let mut asking = Box::pin(ask(&config, &machine, "node1"));
    let child = tokio::select! {
        ended = &mut asking => panic!("it ended: {ended:?}"),
        child = noted_process(&file) => child,
    };
    assert!(is_running(child));
    drop(asking);
    wait_until_gone(child).await;
}

#[tokio::test]
async fn what_a_command_leaves_behind_on_purpose_is_neither_waited_for_nor_killed() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("child");
    let script = format!("sleep 1000 & echo $! > {}", file.display());
    run(&script, BOUND).await.unwrap();
    let child = noted_process(&file).await;
    assert!(is_running(child));
    let id = rustix::process::Pid::from_raw(i32::try_from(child).unwrap()).unwrap();
    rustix::process::kill_process(id, rustix::process::Signal::KILL).unwrap();
    wait_until_gone(child).await;
}

#[tokio::test]
async fn a_command_that_talks_without_end_is_heard_and_not_kept() {
    let error = run("yes talk | head -c 5000000; exit 1", BOUND).await.unwrap_err();
    assert!(error.to_string().len() < 1000, "{error}");
}
