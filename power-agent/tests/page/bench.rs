//! A rack, its agent with a page, and three people with tokens: ada may all, bob two machines, eve looks.

use std::collections::BTreeMap;
use std::process::Stdio;
use std::time::Duration;

use power_agent::audit::{AuditLine, each_line};
use serde_json::{Value, json};
use testkit::bench::{Bench, PATIENCE, said_by, until};
use testkit::browser::Browser;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::process::Command;
use tokio::time::timeout;

pub(crate) const BOARDS: &str = r#"
socket = "rack.sock"
edge_log = "edges.jsonl"
[boards.a]
kind = "lcus-ascii"
channels = 4
link = "a.tty"
[boards.b]
kind = "lcus-silent"
channels = 4
link = "b.tty"
[boards.c]
kind = "lcus-ascii"
channels = 1
link = "c.tty"
"#;

pub(crate) const RACK: &str = r#"
[agent]
name = "shelf"
socket = "agent.sock"
state = "state"
poll = "300ms"
[page]
listen = "127.0.0.1:0"
[devices.a]
driver = "lcus"
port = "a.tty"
channels = 4
status = "ascii"
[devices.b]
driver = "lcus"
port = "b.tty"
channels = 4
status = "none"
[devices.c]
driver = "lcus"
port = "c.tty"
channels = 1
status = "ascii"
[pools.rack]
off_dwell = "1s"
cycles_per_hour = 0
[pools.lab]
off_dwell = "1s"
cycles_per_hour = 0
[machines.lamp1]
pool = "rack"
outlets = [{ device = "a", outlet = 1 }]
[machines.lamp2]
pool = "rack"
outlets = [{ device = "a", outlet = 2 }]
[machines.lamp10]
pool = "rack"
outlets = [{ device = "a", outlet = 3 }]
[machines.desk1]
pool = "lab"
outlets = [{ device = "b", outlet = 1 }]
[machines.desk2]
pool = "lab"
outlets = [{ device = "b", outlet = 2 }]
[machines.desk3]
pool = "lab"
outlets = [{ device = "a", outlet = 4 }]
[machines.nas]
never_off = true
outlets = [{ device = "c", outlet = 1 }]
"#;

/// The page's own header, which the agent wants with everything that changes something.
pub(crate) const OWN: (&str, &str) = ("x-lamplighter", "test");

/// A rack with its page.
pub(crate) struct Shelf {
    pub(crate) bench: Bench,
    pub(crate) port: u16,
    pub(crate) tokens: BTreeMap<&'static str, String>,
    /// The rack file with the people's sections.
    pub(crate) file: String,
}

/// What was answered.
#[derive(Debug)]
pub(crate) struct Said {
    pub(crate) status: u16,
    pub(crate) headers: BTreeMap<String, String>,
    pub(crate) body: String,
}

impl Said {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }

    pub(crate) fn text(&self) -> String {
        self.json()["text"].as_str().unwrap_or_default().to_owned()
    }
}

/// All dark, the agent answers.
pub(crate) async fn shelf() -> Shelf {
    shelf_of(BOARDS, RACK, |_| {}).await
}

/// The same with the page at this port.
pub(crate) async fn shelf_at(port: u16) -> Shelf {
    let rack = RACK.replace("127.0.0.1:0", &format!("127.0.0.1:{port}"));
    shelf_of(BOARDS, &rack, |_| {}).await
}

/// The same with a page that others than this host may reach; `prepare` makes the files that it needs.
pub(crate) async fn shelf_on_the_network(tls: &str, prepare: impl FnOnce(&Bench)) -> Shelf {
    let rack = RACK.replace("listen = \"127.0.0.1:0\"", "listen = \"0.0.0.0:0\"") + tls;
    shelf_of(BOARDS, &rack, prepare).await
}

/// The same of another rack.
pub(crate) async fn shelf_of(boards: &str, rack: &str, prepare: impl FnOnce(&Bench)) -> Shelf {
    let mut bench = Bench::new(boards, rack).await;
    prepare(&bench);
    let mut tokens = BTreeMap::new();
    let mut file = rack.to_owned();
    let bobs: &[&str] = if rack.contains("lamp2") { &["--machines", "lamp[1-2]"] } else { &[] };
    for (name, more) in [
        ("ada", &["--role", "break-glass"][..]),
        ("bob", &[&["--role", "operator"], bobs].concat()),
        ("eve", &["--role", "viewer", "--expires", "30"]),
    ] {
        let (token, lines) = token(&bench, name, more).await;
        tokens.insert(name, token);
        file.push_str(&lines);
    }
    bench.write_agent_file(&file);
    bench.start_agent().await;
    let port = port(&bench).await;
    Shelf { bench, port, tokens, file }
}

/// Makes a token as a person does.
pub(crate) async fn token(bench: &Bench, name: &str, more: &[&str]) -> (String, String) {
    let mut command = Command::new(bench.program());
    command.args(["--json", "token", "add", name]).args(more).kill_on_drop(true);
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let said = said_by(command.spawn().expect("it starts")).await;
    assert_eq!(said.code, 0, "{said:?}");
    let made: Value = serde_json::from_str(&said.out).expect("JSON");
    let text = |key: &str| made[key].as_str().expect("a text").to_owned();
    (text("token"), text("lines"))
}

pub(crate) async fn port(bench: &Bench) -> u16 {
    let address = || {
        let log = bench.log();
        let rest = log.split("serves the page address=").last()?.split_whitespace().next()?;
        rest.rsplit(':').next()?.parse().ok()
    };
    until("the page is served", async || address()).await
}

impl Shelf {
    /// Asks as a program does: with somebody's token.
    pub(crate) async fn ask(&self, who: &str, method: &str, path: &str, body: &Value) -> Said {
        let bearer = format!("Bearer {}", self.tokens[who]);
        let headers = [OWN, ("authorization", bearer.as_str())];
        self.ask_bare(method, path, &headers, &body.to_string()).await
    }

    pub(crate) async fn ask_bare(
        &self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: &str,
    ) -> Said {
        let stream = TcpStream::connect(("127.0.0.1", self.port)).await.expect("the page is there");
        ask_over(stream, method, path, headers, body).await
    }

    /// The rack as somebody sees it: each machine's tile by its name.
    pub(crate) async fn tiles(&self, who: &str) -> BTreeMap<String, Value> {
        let said = self.ask(who, "GET", "/api/rack", &json!({})).await;
        assert_eq!(said.status, 200, "{said:?}");
        let rack = said.json();
        let groups = rack["groups"].as_array().expect("groups").iter();
        let machines = groups.flat_map(|group| group["machines"].as_array().expect("machines"));
        machines.map(|tile| (tile["name"].as_str().unwrap().to_owned(), tile.clone())).collect()
    }

    /// Waits until a machine looks so.
    pub(crate) async fn looks(&self, machine: &str, look: &str) {
        let seen = async || {
            let tile = self.tiles("ada").await.remove(machine)?;
            // While an order runs, a reading may be of before its end.
            let runs =
                tile["doing"]["text"].as_str().is_some_and(|text| !text.starts_with("booting"));
            (tile["look"] == look && !runs).then_some(())
        };
        until(&format!("{machine} looks {look}"), seen).await;
    }

    /// An order, with an id of its own.
    pub(crate) async fn order(&self, who: &str, machine: &str, verb: &str, reason: &str) -> Said {
        static NEXT: std::sync::atomic::AtomicU32 = std::sync::atomic::AtomicU32::new(0);
        let next = NEXT.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        let operation = format!("test-{next}");
        let body = match verb {
            "hold" | "release" => json!({"reason": reason}),
            _ => json!({"reason": reason, "operation": operation}),
        };
        self.ask(who, "POST", &format!("/api/machines/{machine}/{verb}"), &body).await
    }

    /// The audit's lines of a kind, at least so many.
    pub(crate) async fn audit(&self, what: &str, count: usize) -> Vec<AuditLine> {
        let directory = self.bench.path("state");
        until("the audit tells of it", async || {
            let mut lines = Vec::new();
            each_line(&directory, |_, line| lines.extend(line.ok())).ok()?;
            lines.retain(|line: &AuditLine| line.what == what);
            (lines.len() >= count).then_some(lines)
        })
        .await
    }

    /// How many frames the silent board has heard: each is a movement, because nobody queries it.
    pub(crate) async fn frames(&self) -> u64 {
        self.bench.heard().await;
        let state = self.bench.rack.state().await.expect("the rack answers");
        let frames = state.boards["b"].frames;
        frames.accepted + frames.queries + frames.lost + frames.bad + frames.ignored
    }

    pub(crate) fn address(&self) -> String {
        format!("http://127.0.0.1:{}/", self.port)
    }

    /// A browser in which somebody has logged in by the form.
    pub(crate) async fn browser(&self, who: &str) -> Browser {
        let mut browser = Browser::start().await.unwrap_or_else(|error| panic!("{error:#}"));
        browser.visit(&self.address()).await.unwrap();
        shown(&mut browser, "document.readyState === 'complete'").await;
        let token = json!(self.tokens[who]);
        let log_in = format!(
            "document.querySelector('#token').value = {token}; document.querySelector('button').click(); true"
        );
        browser.evaluate(&log_in).await.unwrap();
        shown(&mut browser, "document.querySelector('.tile, .empty')").await;
        browser
    }
}

/// Waits until an expression is true in the page. A page that is just being loaded has none yet.
pub(crate) async fn shown(browser: &mut Browser, expression: &str) {
    let asked = format!("Boolean({expression})");
    let looks = async {
        loop {
            if browser.evaluate(&asked).await.is_ok_and(|value| value == json!(true)) {
                return;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    if timeout(PATIENCE, looks).await.is_err() {
        let text = browser.evaluate("document.body.innerText").await;
        panic!("waited too long until {expression}: {text:?}");
    }
}

/// One request and its whole answer.
pub(crate) async fn ask_over(
    mut stream: impl AsyncRead + AsyncWrite + Unpin,
    method: &str,
    path: &str,
    headers: &[(&str, &str)],
    body: &str,
) -> Said {
    let mut request = format!("{method} {path} HTTP/1.1\r\nhost: shelf\r\nconnection: close\r\n");
    for (name, value) in headers {
        request.push_str(&format!("{name}: {value}\r\n"));
    }
    request.push_str(&format!("content-length: {}\r\n\r\n{body}", body.len()));
    // Who sends more than is read may find the line closed; the answer is there all the same.
    drop(stream.write_all(request.as_bytes()).await);
    let mut answer = Vec::new();
    let read = timeout(PATIENCE, stream.read_to_end(&mut answer)).await.expect("an answer in time");
    drop(read);
    let answer = String::from_utf8(answer).expect("a text");
    let (head, body) = answer.split_once("\r\n\r\n").unwrap_or_else(|| panic!("{answer:?}"));
    let mut lines = head.lines();
    let status = lines.next().unwrap().split(' ').nth(1).unwrap().parse().unwrap();
    let headers = lines.filter_map(|line| line.split_once(": "));
    let headers = headers.map(|(name, value)| (name.to_lowercase(), value.to_owned())).collect();
    Said { status, headers, body: body.to_owned() }
}
