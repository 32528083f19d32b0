//! One line of the audit: JSON that ends with the hash of the line before and its own, over the bytes as they stand.
//!
//! The own hash is SHA-256 of the line up to `,"hash":`. So `sed 's/,"hash":.*//' | sha256sum` tells it too.

use ring::digest::{SHA256, digest};
use serde::{Deserialize, Serialize};

use super::event::{Event, Outcome};
use crate::clock::Stamped;

/// What stands before a line's own hash.
const HASH_KEY: &str = ",\"hash\":\"";

/// The hash before the first line.
pub(super) const GENESIS: &str = "0000000000000000000000000000000000000000000000000000000000000000";

/// The longest text of a field, in bytes: a refusal of a few sentences; a node's work may be told at length.
const TEXT_BYTES_MAX: usize = 2048;

/// The longest line, in bytes: a handful of texts, with every byte escaped as JSON may have to.
pub(super) const LINE_BYTES_MAX: usize = 64 << 10;

/// A line as it is read. Fields are added, never changed; which are there depends on what happened.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AuditLine {
    /// Its number; the first has 1.
    pub seq: u64,
    /// The wall clock, for people.
    pub time: String,
    /// The same in milliseconds since 1970.
    pub wall_ms: u64,
    /// Which boot of the host.
    pub boot: String,
    /// Milliseconds since that boot.
    pub up_ms: u64,
    /// What was asked, or happened.
    pub what: String,
    /// accepted, refused, ended, done.
    pub outcome: String,
    /// Refused: the class.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub code: Option<String>,
    /// Refused: what stands against it. Ended: the evidence.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub text: Option<String>,
    /// Ended: as ordered.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub well: Option<bool>,
    /// Ended: whether anything moved.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub changed: Option<bool>,
    /// Ended: from the order to the end.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub took_ms: Option<u64>,
    /// Who asked.
    pub by: String,
    /// How that is known.
    pub known: String,
    /// Where they came from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub peer: Option<String>,
    /// The machine.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub machine: Option<String>,
    /// The operation.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub operation: Option<String>,
    /// Why, or what happened.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// The plan.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub plan: Option<String>,
    /// The oldest line that is kept, where files are exchanged.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kept_from: Option<u64>,
    /// The hash of the line before.
    pub prev: String,
    /// Its own hash.
    #[serde(default, skip_serializing)]
    pub hash: String,
}

/// Why a line is none.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LineError {
    /// It is not what an agent writes.
    #[error("it is no line of an audit ({0})")]
    Shape(String),
    /// Its bytes are not those that its hash was made of.
    #[error("its own hash does not fit its text: the line was changed")]
    Changed,
}

/// Where a chain is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Tip {
    /// The number of its last line; 0: it has none.
    pub(crate) seq: u64,
    /// Its hash.
    pub(crate) hash: String,
}

impl Tip {
    /// Before the first line.
    pub(crate) fn genesis() -> Self {
        Self { seq: 0, hash: GENESIS.to_owned() }
    }
}

impl AuditLine {
    /// The line of an event after `tip`; its hash is not yet made.
    pub(super) fn of(event: &Event, now: &Stamped, tip: &Tip) -> Self {
        let full = |text: &str| (!text.is_empty()).then(|| cut(text));
        let mut line = Self {
            seq: tip.seq.saturating_add(1),
            time: now.wall_text(),
            wall_ms: now.wall_ms,
            boot: now.boot.as_str().to_owned(),
            up_ms: now.up_ms,
            what: event.what.as_str().to_owned(),
            outcome: String::new(),
            code: None,
            text: None,
            well: None,
            changed: None,
            took_ms: None,
            by: cut(&event.who.name),
            known: event.who.known.text(),
            peer: event.who.peer.as_deref().map(cut),
            machine: event.machine.as_ref().map(ToString::to_string),
            operation: event.operation.as_ref().map(ToString::to_string),
            reason: full(event.reason.as_str()),
            plan: event.plan.as_ref().map(ToString::to_string),
            kept_from: None,
            prev: tip.hash.clone(),
            hash: String::new(),
        };
        line.take_outcome(&event.outcome);
        line
    }

    fn take_outcome(&mut self, outcome: &Outcome) {
        let word = match outcome {
            Outcome::Accepted => "accepted",
            Outcome::Done => "done",
            Outcome::Refused { code, text } => {
                self.code = Some(cut(code));
                self.text = Some(cut(text));
                "refused"
            }
            Outcome::Ended { well, changed, evidence, took } => {
                self.text = Some(cut(evidence));
                self.well = Some(*well);
                self.changed = Some(*changed);
                self.took_ms = Some(fleet::moment::millis(*took));
                "ended"
            }
        };
        word.clone_into(&mut self.outcome);
    }

    /// The bytes of the line, without its end, and the tip that they make.
    pub(super) fn sealed(self) -> (String, Tip) {
        let mut text = serde_json::to_string(&self).expect("numbers and texts are always JSON");
        // The closing brace comes after the hash.
        text.pop();
        let hash = hash_of(&text);
        text.push_str(HASH_KEY);
        text.push_str(&hash);
        text.push_str("\"}");
        (text, Tip { seq: self.seq, hash })
    }

    /// Reads a line, and holds its bytes against its hash.
    ///
    /// # Errors
    /// See [`LineError`].
    pub fn read(text: &str) -> Result<Self, LineError> {
        let line: Self =
            serde_json::from_str(text).map_err(|error| LineError::Shape(error.to_string()))?;
        let body = text.rfind(HASH_KEY).and_then(|at| text.get(..at));
        let body = body.ok_or_else(|| LineError::Shape("it has no hash".to_owned()))?;
        let sealed = format!("{body}{HASH_KEY}{}\"}}", hash_of(body));
        if sealed == text { Ok(line) } else { Err(LineError::Changed) }
    }

    /// Where the chain is after this line.
    pub(super) fn tip(&self) -> Tip {
        Tip { seq: self.seq, hash: self.hash.clone() }
    }
}

/// A text within its bound.
fn cut(text: &str) -> String {
    let mut end = text.len().min(TEXT_BYTES_MAX);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    text.get(..end).unwrap_or_default().to_owned()
}

fn hash_of(text: &str) -> String {
    let digest = digest(&SHA256, text.as_bytes());
    digest.as_ref().iter().map(|byte| format!("{byte:02x}")).collect()
}
