//! A real Chromium without a screen, spoken to over a pipe by its own DevTools protocol: what a person would see and do.

use std::collections::VecDeque;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};
use tokio::time::timeout;

use crate::process::on_path;
use crate::skip::skip;

/// Debian's name for it.
pub const PROGRAM: &str = "chromium";

/// How long one answer may take: a start takes a second, and a loaded machine is many times slower.
const ANSWER_BOUND: Duration = Duration::from_secs(120);

/// The largest message, in bytes: a screenshot of a long page.
const MESSAGE_BYTES_MAX: usize = 64 << 20;

/// How many events are kept for somebody who waits for one.
const EVENTS_MAX: usize = 1024;

/// As a phone or a screen shows a page.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct View {
    /// In pixels.
    pub width: u32,
    /// In pixels.
    pub height: u32,
    /// With the dark colours that a person has chosen.
    pub dark: bool,
    /// With as little movement as a person has chosen.
    pub still: bool,
}

/// A browser with one tab.
pub struct Browser {
    child: Child,
    to: ChildStdin,
    from: BufReader<ChildStdout>,
    tab: String,
    next: u64,
    events: VecDeque<Value>,
    // Last, so that it outlives the browser.
    _profile: TempDir,
}

/// Whether there is a Chromium, for a test that needs one; where not it says loudly that the test was skipped.
///
/// # Panics
/// Where there is none and `CI=true`: there nothing is skipped.
#[must_use]
pub fn available() -> bool {
    if on_path(PROGRAM).is_some() {
        return true;
    }
    let missing = "there is no chromium on the PATH; `cargo xtask test` installs it";
    skip("a test in a real browser", missing);
    false
}

impl Browser {
    /// Starts one, with a profile of its own that goes with it. It believes every certificate.
    ///
    /// # Errors
    /// Where it can not be started, with what it said.
    pub async fn start() -> Result<Self> {
        let profile = tempfile::tempdir()?;
        // Its DevTools speak on the descriptors 3 and 4.
        let mut command = Command::new("sh");
        command
            .args([
                "-c",
                "exec \"$0\" \"$@\" 3<&0 4>&1 </dev/null >/dev/null 2>chromium.log",
                PROGRAM,
            ])
            .args(["--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"])
            .args(["--remote-debugging-pipe", "--no-first-run", "--ignore-certificate-errors"])
            .args([
                "--disable-background-networking",
                "--disable-component-update",
                "--disable-sync",
            ])
            .arg(format!("--user-data-dir={}", profile.path().display()))
            .current_dir(profile.path())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .kill_on_drop(true);
        let mut child = command.spawn().context("chromium can not be started")?;
        let to = child.stdin.take().context("a pipe to it")?;
        let from = BufReader::new(child.stdout.take().context("a pipe from it")?);
        let (tab, events) = (String::new(), VecDeque::new());
        let mut browser = Self { child, to, from, tab, next: 0, events, _profile: profile };
        let made = browser.call("Target.createTarget", json!({"url": "about:blank"})).await?;
        let attach = json!({"targetId": made["targetId"], "flatten": true});
        let attached = browser.call("Target.attachToTarget", attach).await?;
        browser.tab = attached["sessionId"].as_str().context("a session")?.to_owned();
        for domain in ["Page.enable", "Runtime.enable", "Log.enable"] {
            browser.call(domain, json!({})).await?;
        }
        Ok(browser)
    }

    /// Asks for one thing.
    ///
    /// # Errors
    /// What the browser said against it, or that it is silent.
    pub async fn call(&mut self, method: &str, parameters: Value) -> Result<Value> {
        self.next += 1;
        let id = self.next;
        let mut message = json!({"id": id, "method": method, "params": parameters});
        if !self.tab.is_empty() {
            message["sessionId"] = json!(self.tab);
        }
        let mut bytes = serde_json::to_vec(&message)?;
        bytes.push(0);
        self.to.write_all(&bytes).await.context("chromium has ended")?;
        loop {
            let said = self.hear().await.with_context(|| format!("no answer to {method}"))?;
            if said["id"] == json!(id) {
                ensure!(said.get("error").is_none(), "{method}: {}", said["error"]);
                return Ok(said["result"].clone());
            }
            if self.events.len() == EVENTS_MAX {
                self.events.pop_front();
            }
            self.events.push_back(said);
        }
    }

    async fn hear(&mut self) -> Result<Value> {
        let mut bytes = Vec::new();
        let read = timeout(ANSWER_BOUND, self.from.read_until(0, &mut bytes)).await;
        read.context("chromium is silent")??;
        ensure!(bytes.len() <= MESSAGE_BYTES_MAX, "a message of {} bytes", bytes.len());
        if bytes.pop() != Some(0) {
            bail!("chromium has ended: {:?}", self.child.try_wait()?);
        }
        Ok(serde_json::from_slice(&bytes)?)
    }

    /// Shows the page of an address and waits until its document and scripts are there.
    ///
    /// # Errors
    /// Where the browser can not go there.
    pub async fn visit(&mut self, address: &str) -> Result<()> {
        let gone = self.call("Page.navigate", json!({"url": address})).await?;
        if let Some(error) = gone.get("errorText").and_then(Value::as_str) {
            // A page that is answered with 401 is shown all the same.
            ensure!(error.contains("ERR_HTTP_RESPONSE_CODE"), "{address}: {error}");
        }
        Ok(())
    }

    /// What an expression of JavaScript comes to in the page, promises awaited.
    ///
    /// # Errors
    /// What it threw.
    pub async fn evaluate(&mut self, expression: &str) -> Result<Value> {
        let asked = json!({"expression": expression, "awaitPromise": true, "returnByValue": true});
        let came = self.call("Runtime.evaluate", asked).await?;
        ensure!(
            came.get("exceptionDetails").is_none(),
            "{expression}: {}",
            came["exceptionDetails"]
        );
        Ok(came["result"]["value"].clone())
    }

    /// Presses a key by its name, as `ArrowRight`, `Enter` or `f`.
    ///
    /// # Errors
    /// As [`Browser::call`].
    pub async fn press(&mut self, key: &str) -> Result<()> {
        let code = match key {
            "Enter" => 13,
            "Escape" => 27,
            "Tab" => 9,
            "ArrowLeft" => 37,
            "ArrowUp" => 38,
            "ArrowRight" => 39,
            "ArrowDown" => 40,
            _ => 0,
        };
        let text = match key {
            "Enter" => "\r",
            letter if letter.chars().count() == 1 => letter,
            _ => "",
        };
        let mut press = json!({"type": "keyDown", "key": key, "windowsVirtualKeyCode": code});
        if !text.is_empty() {
            press["text"] = json!(text);
        }
        self.call("Input.dispatchKeyEvent", press).await?;
        let release = json!({"type": "keyUp", "key": key, "windowsVirtualKeyCode": code});
        self.call("Input.dispatchKeyEvent", release).await.map(drop)
    }

    /// Types a text where the focus is.
    ///
    /// # Errors
    /// As [`Browser::call`].
    pub async fn write(&mut self, text: &str) -> Result<()> {
        self.call("Input.insertText", json!({"text": text})).await.map(drop)
    }

    /// From now on the page is shown so.
    ///
    /// # Errors
    /// As [`Browser::call`].
    pub async fn view(&mut self, view: View) -> Result<()> {
        let View { width, height, dark, still } = view;
        let size = json!({"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 600});
        self.call("Emulation.setDeviceMetricsOverride", size).await?;
        let scheme = if dark { "dark" } else { "light" };
        let motion = if still { "reduce" } else { "no-preference" };
        let features = json!([
            {"name": "prefers-color-scheme", "value": scheme},
            {"name": "prefers-reduced-motion", "value": motion},
        ]);
        let media = json!({"media": "screen", "features": features});
        self.call("Emulation.setEmulatedMedia", media).await.map(drop)
    }

    /// What is seen, as a PNG.
    ///
    /// # Errors
    /// Where there is no picture, or it can not be written.
    pub async fn picture(&mut self, path: &Path) -> Result<()> {
        let shot = self.call("Page.captureScreenshot", json!({"format": "png"})).await?;
        let bytes = from_base64(shot["data"].as_str().context("a picture")?);
        std::fs::write(path, bytes).with_context(|| path.display().to_string())
    }

    /// What the page's scripts complained of so far: exceptions, and what its policy has blocked.
    #[must_use]
    pub fn complaints(&self) -> Vec<String> {
        let bad = |event: &&Value| {
            let entry = &event["params"]["entry"];
            // A refused order is an answer with a status; that is no mistake of the page.
            event["method"] == "Runtime.exceptionThrown"
                || (event["method"] == "Log.entryAdded"
                    && entry["level"] == "error"
                    && entry["source"] != "network")
        };
        self.events.iter().filter(bad).map(ToString::to_string).collect()
    }
}

/// Bytes of a text in base64.
fn from_base64(text: &str) -> Vec<u8> {
    const LETTERS: &str = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let values = text.chars().filter_map(|letter| LETTERS.find(letter));
    let (mut bytes, mut bits, mut held) = (Vec::new(), 0_usize, 0_u32);
    for value in values {
        bits = (bits << 6) | value;
        held += 6;
        if held >= 8 {
            held -= 8;
            bytes.extend(u8::try_from(bits >> held));
            bits &= (1 << held) - 1;
        }
    }
    bytes
}

#[cfg(test)]
mod tests {
    use super::from_base64;

    #[test]
    fn base64_is_read() {
        assert_eq!(from_base64("bGFtcA=="), b"lamp");
        assert_eq!(from_base64("bGFtcHM="), b"lamps");
        assert_eq!(from_base64("/+8A"), [255, 239, 0]);
    }
}
