//! The command as a person types it, on a simulated device behind a real pseudo-terminal.

#![expect(clippy::unwrap_used, reason = "a test that can not go on has found something")]

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use bridge_simulated::Image;
use firmware_bridge::protocol::Versions;
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt, BufReader, Lines};
use tokio::process::{Child, ChildStdout, Command};
use tokio::time::timeout;

/// For hangs alone.
const PATIENCE: Duration = Duration::from_secs(120);

const PROGRAM: &str = env!("CARGO_BIN_EXE_firmware-bridge");
const BOARD: &str = "4c414d5030303031";

struct Desk {
    home: TempDir,
    port: PathBuf,
    says: Lines<BufReader<ChildStdout>>,
    _device: Child,
}

impl Desk {
    async fn new() -> Desk {
        let home = tempfile::tempdir().unwrap();
        let port = home.path().join("bridge");
        let mut device = Command::new(PROGRAM)
            .args(["simulate", "--outlets", "4", "--board", BOARD, "--link"])
            .arg(&port)
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let says = BufReader::new(device.stdout.take().unwrap()).lines();
        let mut desk = Desk { home, port, says, _device: device };
        assert_eq!(desk.says().await, format!("board {BOARD} on {}", desk.port.display()));
        desk
    }

    async fn says(&mut self) -> String {
        timeout(PATIENCE, self.says.next_line()).await.unwrap().unwrap().unwrap()
    }

    /// What a command printed, and whether it ended well.
    async fn run(&self, words: &[&str]) -> (String, bool) {
        let (verb, rest) = words.split_first().unwrap();
        let mut command = Command::new(PROGRAM);
        let command = command.arg(verb).arg(&self.port).args(rest).kill_on_drop(true);
        let output = timeout(PATIENCE, command.output()).await.unwrap().unwrap();
        let text = [output.stdout, output.stderr].concat();
        (String::from_utf8(text).unwrap(), output.status.success())
    }

    async fn prints(&self, words: &[&str], expected: &[&str]) {
        let (text, well) = self.run(words).await;
        assert!(well, "{words:?}: {text}");
        for line in expected {
            assert!(text.contains(line), "{line:?} is not in what {words:?} printed:\n{text}");
        }
    }

    /// Until its shortest times are over, which the device tells.
    async fn obeys(&self, words: &[&str], expected: &[&str]) {
        loop {
            let (text, well) = self.run(words).await;
            if well {
                assert!(expected.iter().all(|line| text.contains(line)), "{words:?}: {text}");
                return;
            }
            assert!(text.contains("the shortest time between two switches lasts for"), "{text}");
        }
    }

    async fn refuses(&self, words: &[&str], expected: &str) {
        let (text, well) = self.run(words).await;
        assert!(!well && text.contains(expected), "{words:?}: {text}");
    }
}

#[tokio::test]
async fn a_person_looks_at_a_bridge_and_switches_by_it() {
    let mut desk = Desk::new().await;
    desk.prints(&["info"], &[BOARD, "firmware  1", "outlet 4  driven off contact off"]).await;
    let told = ["outlet 2  on: switched now", "outlet 3  off: it was so"];
    desk.obeys(&["set", "2=on", "3=off"], &told).await;
    assert_eq!(desk.says().await, "outlet 2  on");
    desk.prints(&["info", "--json"], &["\"identity\":\"4c414d5030303031\"", "\"driven\":\"On\""])
        .await;
    desk.obeys(&["cycle", "2", "--off-ms", "600"], &["outlet 2 is off"]).await;
    assert_eq!(desk.says().await, "outlet 2  off");
    assert_eq!(desk.says().await, "outlet 2  on");
    let told = ["started: its supply came", "outlet 2 driven on by an order", "by a cycle"];
    desk.prints(&["log"], &told).await;
}

#[tokio::test]
async fn what_is_wrong_is_refused_with_what_was_expected_and_moves_nothing() {
    let desk = Desk::new().await;
    let other = "4c414d5030303032";
    desk.refuses(&["set", "1=on", "--board", other], &format!("it is board {BOARD}")).await;
    desk.refuses(&["set", "1=toggle"], "write OUTLET=on or OUTLET=off").await;
    desk.refuses(&["set", "17=on"], "they are numbered from 1 to 16").await;
    desk.refuses(&["set", "5=on"], "not on: it has no such outlet").await;
    desk.refuses(&["cycle", "1"], "only what is on can be cycled").await;
    desk.prints(&["info"], &["outlet 1  driven off contact off"]).await;
    let (text, well) = {
        let nowhere = desk.home.path().join("nowhere");
        let mut command = Command::new(PROGRAM);
        let output = command.arg("info").arg(nowhere).kill_on_drop(true).output();
        let output = timeout(PATIENCE, output).await.unwrap().unwrap();
        (String::from_utf8(output.stderr).unwrap(), output.status.success())
    };
    assert!(!well && text.contains("no bridge has greeted within 5 s"), "{text}");
}

fn image(folder: &Path, firmware: u32) -> PathBuf {
    let file = folder.join(format!("firmware-{firmware}.bin"));
    let image = Image { firmware, versions: Versions::ALL };
    std::fs::write(&file, image.bytes(40_000)).unwrap();
    file
}

#[tokio::test]
async fn a_firmware_is_replaced_and_one_that_is_not_what_it_says_is_left_again() {
    let desk = Desk::new().await;
    let new = image(desk.home.path(), 2);
    let file = new.to_str().unwrap();
    desk.prints(
        &["update", file, "--firmware", "2"],
        &["40000 bytes", "verified", "2 runs and is kept"],
    )
    .await;
    desk.prints(&["info"], &["firmware  2", "for the 2. time: it was told to"]).await;
    let lying = image(desk.home.path(), 3);
    let file = lying.to_str().unwrap();
    desk.refuses(&["update", file, "--firmware", "4"], "it runs firmware 3").await;
    desk.refuses(&["update", "/dev/null", "--firmware", "4"], "it has 0 bytes").await;
}
