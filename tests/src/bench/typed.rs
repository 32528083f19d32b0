//! What a person or a script types at the agent's command, what a scraper asks, and what they get.

use std::process::Stdio;

use serde_json::Value;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::process::{Child, Command};
use tokio::time::timeout;

use super::{Bench, PATIENCE, PAUSE, until};
use crate::said::Said;

impl Bench {
    /// The command with these arguments, to be started with all its ends in our hand.
    #[must_use]
    pub fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(&self.program);
        let socket = format!("unix:{}", self.path("agent.sock").display());
        command.args(arguments).env("POWER_AGENT", socket).kill_on_drop(true);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    }

    /// Types it and waits for its end.
    pub async fn run(&self, arguments: &[&str]) -> Said {
        said_by(self.command(arguments).spawn().expect("it starts")).await
    }

    /// What it answers with `--json`.
    pub async fn json(&self, arguments: &[&str]) -> Value {
        let said = self.run(&[arguments, &["--json"]].concat()).await;
        serde_json::from_str(&said.out).unwrap_or_else(|error| panic!("{error}: {said:?}"))
    }

    /// What the status calls a machine's power.
    pub async fn power(&self, machine: &str) -> String {
        let status = self.json(&["status", machine]).await;
        status["machines"][0]["power"].as_str().unwrap_or_default().to_owned()
    }

    /// Waits until something holds of a machine in the status.
    pub async fn until_status(&self, machine: &str, what: &str, holds: impl Fn(&Value) -> bool) {
        let mut seen = Value::Null;
        let looks = async {
            loop {
                seen = self.json(&["status", machine]).await;
                if holds(&seen["machines"][0]) {
                    return;
                }
                tokio::time::sleep(PAUSE).await;
            }
        };
        let met = timeout(PATIENCE, looks).await.is_ok();
        assert!(met, "waited too long until {what} of {machine}: {seen}");
    }

    /// Waits until the status calls a machine's power so.
    pub async fn until_power(&self, machine: &str, power: &str) {
        self.until_status(machine, power, |machine| machine["power"] == power).await;
    }
}

impl Bench {
    /// What the agent answers to a scraper that asks for this path, status and all.
    pub async fn scraped(&self, path: &str) -> String {
        let address = until("the address is in the log", async || {
            let log = self.log();
            let line = log.lines().rfind(|line| line.contains("answers Prometheus"))?;
            line.split("address=").nth(1).map(|rest| rest.trim().to_owned())
        })
        .await;
        let mut stream = TcpStream::connect(address).await.expect("it listens");
        let request = format!("GET {path} HTTP/1.1\r\nHost: here\r\n\r\n");
        stream.write_all(request.as_bytes()).await.expect("it is taken");
        let mut text = String::new();
        let read = timeout(PATIENCE, stream.read_to_string(&mut text)).await;
        read.expect("in time").expect("an answer");
        text
    }
}

/// How a command ends, and what it has said.
pub async fn said_by(child: Child) -> Said {
    let output = timeout(PATIENCE, child.wait_with_output()).await.expect("it ends");
    let output = output.expect("its end is seen");
    let text = |bytes| String::from_utf8(bytes).expect("it speaks UTF-8");
    let code = output.status.code().expect("it ends by itself");
    Said { code, out: text(output.stdout), err: text(output.stderr) }
}
