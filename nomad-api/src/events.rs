//! The event stream: what changed, as it changes; resumed after a break where it had stopped.

use std::time::Duration;

use reqwest::Response;
use serde::Deserialize;
use serde_json::Value;

use crate::allocations::Allocation;
use crate::client::{Ask, Client, READ_JOB_EVERYWHERE, excerpt};
use crate::error::Error;
use crate::evaluations::Evaluation;
use crate::nodes::Node;
use crate::wire::null_as_default;

/// The longest line that is read: one write may touch some thousand allocations of a few KiB.
const LINE_BYTES_MAX: usize = 32 * 1024 * 1024;

/// How long the stream may be silent: Nomad sends a heartbeat every 30 s, and one may be late.
const SILENCE_MAX: Duration = Duration::from_secs(75);

/// How long Nomad may take to begin: its first heartbeat comes at once.
const BEGIN_DEADLINE: Duration = crate::REQUEST_DEADLINE;

/// What a stream tells about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Topic {
    /// Nodes; needs `node { policy = "read" }`.
    Node,
    /// Evaluations; needs `read-job` in every namespace.
    Evaluation,
    /// Allocations; needs `read-job` in every namespace.
    Allocation,
}

impl Topic {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Node => "Node",
            Self::Evaluation => "Evaluation",
            Self::Allocation => "Allocation",
        }
    }
}

/// The events of one write.
#[derive(Debug, Clone, PartialEq)]
pub struct EventBatch {
    /// The index of the write.
    pub index: u64,
    /// What it changed.
    pub events: Vec<Event>,
}

/// One change.
#[derive(Debug, Clone, PartialEq)]
pub struct Event {
    /// What kind of change: `NodeDrain`, `NodeEvent`, `EvaluationUpdated`, …
    pub kind: String,
    /// The id of what changed.
    pub key: String,
    /// The index of the write.
    pub index: u64,
    /// What changed, as it is after the write.
    pub payload: Payload,
}

/// What changed, as it is after the write.
#[derive(Debug, Clone, PartialEq)]
pub enum Payload {
    /// A node.
    Node(Box<Node>),
    /// An evaluation.
    Evaluation(Box<Evaluation>),
    /// An allocation, without its job.
    Allocation(Box<Allocation>),
    /// Something that was not asked for.
    Other,
}

/// What a stream says next.
#[derive(Debug, Clone, PartialEq)]
pub enum StreamItem {
    /// The stream has begun, or begun again after a break. Nomad keeps a hundred writes: what was missed
    /// may be more than it can repeat, so lists are to be read again now.
    Connected,
    /// A write; after a break the last one may come once more.
    Batch(EventBatch),
}

/// A stream of events that outlives its connection.
pub struct EventStream {
    client: Client,
    ask_topics: Vec<Topic>,
    /// The last index that was seen; 0 before the first.
    last: u64,
    connection: Option<Lines>,
}

struct Lines {
    response: Response,
    buffer: Vec<u8>,
    /// How far the buffer was searched for a line's end.
    searched: usize,
}

impl Client {
    /// Streams changes after `index`; 0 begins with what Nomad still holds. Nothing is sent before the
    /// first [`EventStream::next`].
    #[must_use]
    pub fn events(&self, topics: &[Topic], index: u64) -> EventStream {
        EventStream {
            client: self.clone(),
            ask_topics: topics.to_vec(),
            last: index,
            connection: None,
        }
    }
}

impl EventStream {
    /// Waits for what comes next. After an error the next call connects again, after the last index that
    /// was seen; the caller paces that. It is safe to drop the future: nothing is lost.
    ///
    /// # Errors
    /// [`Error::Unreachable`] or [`Error::TimedOut`] where the stream broke or fell silent,
    /// [`Error::Forbidden`] where the token lacks a capability, or others as of every question.
    pub async fn next(&mut self) -> Result<StreamItem, Error> {
        let ask = self.ask();
        if self.connection.is_none() {
            self.connection = Some(self.connect(&ask).await?);
            return Ok(StreamItem::Connected);
        }
        let result = self.next_batch(&ask).await;
        if result.is_err() {
            self.connection = None;
        }
        result.map(StreamItem::Batch)
    }

    fn ask(&self) -> Ask {
        let names: Vec<_> = self.ask_topics.iter().map(|topic| topic.as_str()).collect();
        let mut ask = Ask::get(&["event", "stream"], format!("following {}", names.join(", ")))
            .with("namespace", "*")
            .with("index", self.last.saturating_add(u64::from(self.last > 0)).to_string());
        for name in names {
            ask = ask.with("topic", name);
        }
        let jobs = self.ask_topics.iter().any(|topic| !matches!(topic, Topic::Node));
        let nodes = self.ask_topics.contains(&Topic::Node);
        let mut rules = Vec::new();
        if nodes {
            rules.push("node { policy = \"read\" }");
        }
        if jobs {
            rules.push(READ_JOB_EVERYWHERE);
        }
        ask.needs(rules.join(" and "))
    }

    async fn connect(&self, ask: &Ask) -> Result<Lines, Error> {
        let begin = async {
            let mut response = self.client.open(ask).await?;
            if response.status().is_success() {
                return Ok(Lines { response, buffer: Vec::new(), searched: 0 });
            }
            let code = response.status().as_u16();
            let body = response.chunk().await.map_err(|e| self.client.unreachable(ask, e))?;
            Err(self.client.refusal(ask, code, &body.unwrap_or_default()))
        };
        match tokio::time::timeout(BEGIN_DEADLINE, begin).await {
            Ok(result) => result,
            Err(_elapsed) => Err(self.client.timed_out(ask, BEGIN_DEADLINE)),
        }
    }

    async fn next_batch(&mut self, ask: &Ask) -> Result<EventBatch, Error> {
        loop {
            let Some(lines) = self.connection.as_mut() else {
                return Err(broken(&self.client, ask, "the connection is closed"));
            };
            if let Some(line) = lines.take_line() {
                match read_line(&line) {
                    Ok(None) => continue,
                    Ok(Some(batch)) => {
                        self.last = batch.index;
                        return Ok(batch);
                    }
                    Err(source) => {
                        return Err(Error::Decode {
                            what: ask.what.clone(),
                            address: self.client.address().to_owned(),
                            excerpt: excerpt(&line),
                            source,
                        });
                    }
                }
            }
            if lines.buffer.len() > LINE_BYTES_MAX {
                return Err(self.client.too_large(ask, LINE_BYTES_MAX));
            }
            match tokio::time::timeout(SILENCE_MAX, lines.response.chunk()).await {
                Ok(Ok(Some(chunk))) => lines.buffer.extend_from_slice(&chunk),
                Ok(Ok(None)) => {
                    // Nomad appends its reason for closing as plain text, without a line's end.
                    let words = excerpt(&lines.buffer);
                    return Err(broken(&self.client, ask, &words));
                }
                Ok(Err(error)) => return Err(self.client.unreachable(ask, error)),
                Err(_elapsed) => return Err(self.client.timed_out(ask, SILENCE_MAX)),
            }
        }
    }
}

fn broken(client: &Client, ask: &Ask, words: &str) -> Error {
    let said = if words.is_empty() { "the server closed the stream" } else { words };
    Error::Unreachable {
        what: ask.what.clone(),
        address: client.address().to_owned(),
        source: said.into(),
    }
}

impl Lines {
    fn take_line(&mut self) -> Option<Vec<u8>> {
        let unsearched = self.buffer.get(self.searched..).unwrap_or_default();
        let Some(at) = unsearched.iter().position(|&byte| byte == b'\n') else {
            self.searched = self.buffer.len();
            return None;
        };
        let line = self.buffer.drain(..=self.searched + at).collect();
        self.searched = 0;
        Some(line)
    }
}

#[derive(Deserialize)]
struct WireBatch {
    #[serde(rename = "Index", default)]
    index: u64,
    #[serde(rename = "Events", default, deserialize_with = "null_as_default")]
    events: Vec<WireEvent>,
}

#[derive(Deserialize)]
struct WireEvent {
    #[serde(rename = "Topic", default)]
    topic: String,
    #[serde(rename = "Type", default)]
    kind: String,
    #[serde(rename = "Key", default)]
    key: String,
    #[serde(rename = "Index", default)]
    index: u64,
    #[serde(rename = "Payload", default)]
    payload: Value,
}

/// A line is a batch, or a heartbeat: none.
fn read_line(line: &[u8]) -> Result<Option<EventBatch>, serde_json::Error> {
    let batch: WireBatch = serde_json::from_slice(line)?;
    if batch.events.is_empty() {
        return Ok(None);
    }
    let events = batch.events.into_iter().map(read_event).collect::<Result<_, _>>()?;
    Ok(Some(EventBatch { index: batch.index, events }))
}

fn read_event(event: WireEvent) -> Result<Event, serde_json::Error> {
    let WireEvent { topic, kind, key, index, mut payload } = event;
    let inner = payload.get_mut(&topic).map(Value::take).unwrap_or_default();
    let payload = match (topic.as_str(), inner) {
        (_, Value::Null) => Payload::Other,
        ("Node", inner) => Payload::Node(serde_json::from_value(inner)?),
        ("Evaluation", inner) => Payload::Evaluation(serde_json::from_value(inner)?),
        ("Allocation", inner) => Payload::Allocation(serde_json::from_value(inner)?),
        _ => Payload::Other,
    };
    Ok(Event { kind, key, index, payload })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_heartbeat_is_no_batch() {
        assert_eq!(read_line(b"{}\n").unwrap(), None);
    }

    #[test]
    fn a_node_event_carries_the_node_as_it_is_after_the_write() {
        let line = br#"{"Index":23,"Events":[{"Topic":"Node","Type":"NodeDrain","Key":"n1","FilterKeys":null,
            "Index":23,"Payload":{"Node":{"ID":"n1","SchedulingEligibility":"ineligible","Events":[
            {"Message":"Node drain strategy set","Subsystem":"Drain","Details":null,"CreateIndex":23}]}}}]}"#;
        let batch = read_line(line).unwrap().unwrap();
        assert_eq!((batch.index, batch.events[0].kind.as_str()), (23, "NodeDrain"));
        let Payload::Node(node) = &batch.events[0].payload else { panic!("no node") };
        assert_eq!(node.events[0].create_index, 23);
    }
}
