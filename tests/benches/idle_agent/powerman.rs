//! powerman on the same kind of rack, with a device file for a board that tells its state.

use std::fmt::Write as _;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use testkit::bench::Bench;
use tokio::process::{Child, Command};

use crate::cost::Cost;

const POWERMAND: &str = "/usr/sbin/powermand";
const POWERMAN: &str = "/usr/bin/powerman";

/// Its first answer comes once all boards are open.
const TRIES: u32 = 20;
const PAUSE: Duration = Duration::from_millis(500);

/// The daemon; it ends with this.
pub(crate) struct Powerman {
    daemon: Child,
    port: u16,
    outlets: u32,
}

impl Powerman {
    /// `None`: it is not installed.
    pub(crate) fn start(rack: &Bench, boards: u8, channels: u8) -> Result<Option<Self>> {
        if !Path::new(POWERMAND).exists() {
            return Ok(None);
        }
        let free = std::net::TcpListener::bind("127.0.0.1:0").context("a port")?;
        let port = free.local_addr()?.port();
        drop(free);
        let file = rack.path("powerman.conf");
        std::fs::write(&file, config(rack, boards, channels, port))?;
        let mut command = Command::new(POWERMAND);
        command.arg("-f").arg("-c").arg(&file).stdin(Stdio::null());
        command.stdout(Stdio::null()).stderr(Stdio::null()).kill_on_drop(true);
        let daemon = command.spawn().context("powermand starts")?;
        Ok(Some(Self { daemon, port, outlets: u32::from(boards) * u32::from(channels) }))
    }

    /// Has it ask every board, and checks that it was told of every outlet.
    pub(crate) async fn ask(&self) -> Result<()> {
        let mut said = String::new();
        for _ in 0..TRIES {
            let mut command = Command::new(POWERMAN);
            command.args(["-h", &format!("127.0.0.1:{}", self.port), "-q"]);
            let output = command.kill_on_drop(true).output().await.context("powerman starts")?;
            said = String::from_utf8_lossy(&output.stdout).into_owned();
            let all = format!("n[1-{}]", self.outlets);
            let off = said.lines().find_map(|line| line.strip_prefix("off:"));
            if off.is_some_and(|names| names.trim() == all) {
                return Ok(());
            }
            tokio::time::sleep(PAUSE).await;
        }
        bail!("powerman does not tell of {} outlets that are off: {said}", self.outlets)
    }

    pub(crate) fn cost(&self) -> Result<Cost> {
        Cost::of(self.daemon.id().context("powermand runs")?)
    }
}

/// One specification for all boards: the question is one byte, the answer a line for each channel. The board passes over
/// the line ends after it: powerman 2.3.27 writes beyond the room of its own log where the last bytes are above 127, and
/// aborts. Without a login script it aborts too.
fn config(rack: &Bench, boards: u8, channels: u8, port: u16) -> String {
    let mut text = "specification \"board\" {\n  timeout 5.0\n  plug name { ".to_owned();
    let (mut answer, mut taken) = (String::new(), String::new());
    for channel in 1..=channels {
        let _infallible = write!(text, "\"{channel}\" ");
        let _infallible = write!(answer, "CH{channel}: (ON|OFF) *\\r\\n");
        let _infallible =
            writeln!(taken, "    setplugstate \"{channel}\" ${channel} on=\"ON\" off=\"OFF\"");
    }
    let _infallible = write!(
        text,
        "}}\n  script login {{\n    delay 0\n  }}\n  script status_all {{\n    send \"\\377\\r\\r\\r\"\n    expect \"{answer}\"\n{taken}  }}\n}}\nlisten \"127.0.0.1:{port}\"\n"
    );
    for board in 1..=boards {
        let tty = rack.path(&format!("b{board}.tty"));
        let first = u32::from(board - 1) * u32::from(channels) + 1;
        let _infallible = writeln!(
            text,
            "device \"b{board}\" \"board\" \"{}\" \"9600,8n1\"\nnode \"n[{first}-{}]\" \"b{board}\" \"[1-{channels}]\"",
            tty.display(),
            first + u32::from(channels) - 1
        );
    }
    text
}
