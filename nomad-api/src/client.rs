//! One request to Nomad: token, region, deadline, bounded answer; and the blocking query over it.

use std::sync::Arc;
use std::time::Duration;

use reqwest::header::HeaderMap;
use reqwest::{Method, Response, Url};
use serde::de::DeserializeOwned;

use crate::config::{Config, Secret, TokenSource};
use crate::error::Error;
use crate::{connect, token};

/// How long a plain request may take, from connecting to the last byte: Nomad answers from memory, but
/// an election takes a few seconds and is worth waiting out.
pub const REQUEST_DEADLINE: Duration = Duration::from_secs(15);

/// The longest wait of a blocking query: Nomad's own default; a longer one is shortened to it.
pub const WAIT_MAX: Duration = Duration::from_secs(300);

/// The largest answer that is read: about 20,000 nodes or allocations of 3 KiB.
const RESPONSE_BYTES_MAX: usize = 64 * 1024 * 1024;

/// What reading the work of all namespaces needs; without it in one of them, Nomad leaves that one out.
pub(crate) const READ_JOB_EVERYWHERE: &str = "namespace \"*\" { capabilities = [\"read-job\"] } \
    (and read-job in each block for one namespace, which replaces that for \"*\" there)";

/// The ACL rule that grants a capability in a namespace.
pub(crate) fn rule(namespace: &str, capability: &str) -> String {
    format!("namespace {namespace:?} {{ capabilities = [{capability:?}] }}")
}

/// How much of Nomad's words an error keeps: its messages are a line.
const EXCERPT_BYTES_MAX: usize = 512;

/// A client of one Nomad cluster; clones share their connections.
#[derive(Clone)]
pub struct Client {
    inner: Arc<Inner>,
    namespace: Option<String>,
}

struct Inner {
    connection: connect::Connection,
    address: String,
    region: Option<String>,
    token: TokenSource,
    http_auth: Option<Secret>,
}

impl std::fmt::Debug for Client {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Client")
            .field("address", &self.inner.address)
            .field("namespace", &self.namespace)
            .finish_non_exhaustive()
    }
}

/// Whether to answer at once or when something has changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct QueryOptions {
    /// Answer when the state is newer than this index; 0 answers at once.
    pub index: u64,
    /// Answer at the latest after this time, even if nothing changed.
    pub wait: Duration,
}

impl QueryOptions {
    /// Answers at once.
    pub const NOW: Self = Self { index: 0, wait: Duration::ZERO };

    /// Answers when something changed after `index`, at the latest after `wait`.
    #[must_use]
    pub const fn after(index: u64, wait: Duration) -> Self {
        Self { index, wait }
    }

    fn wait_bounded(&self) -> Duration {
        self.wait.min(WAIT_MAX)
    }

    /// Nomad adds up to a sixteenth of the wait, so that a herd of waiters does not return at once.
    fn deadline(&self) -> Duration {
        if self.index == 0 {
            return REQUEST_DEADLINE;
        }
        let wait = self.wait_bounded();
        wait + wait / 16 + REQUEST_DEADLINE
    }
}

/// How fresh an answer is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct QueryMeta {
    /// The index of the answer: of the last change of what was asked about; at least 1.
    pub index: u64,
    /// What to wait after next: `index`, or 0 where the index went backwards (a restored snapshot, another cluster).
    pub next: u64,
    /// Whether the answering server knew a leader.
    pub known_leader: bool,
    /// How long ago the answering server had heard of the leader.
    pub last_contact: Duration,
}

impl QueryMeta {
    fn read(headers: &HeaderMap, asked: u64) -> Self {
        let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
        let number = |name: &str| text(name).and_then(|text| text.parse::<u64>().ok());
        // An index of 0 would make the next query answer at once, in a busy loop.
        let index = number("x-nomad-index").unwrap_or_default().max(1);
        Self {
            index,
            next: if index < asked { 0 } else { index },
            known_leader: text("x-nomad-knownleader") == Some("true"),
            last_contact: Duration::from_millis(number("x-nomad-lastcontact").unwrap_or_default()),
        }
    }
}

/// One question: what it is for people, what it needs, and the HTTP request.
pub(crate) struct Ask {
    /// Completes "while …".
    pub(crate) what: String,
    /// The ACL rule that it needs.
    pub(crate) needs: String,
    method: Method,
    path: Vec<String>,
    query: Vec<(&'static str, String)>,
    body: Option<Vec<u8>>,
    deadline: Duration,
}

impl Ask {
    pub(crate) fn new(method: Method, path: &[&str], what: impl Into<String>) -> Self {
        Self {
            what: what.into(),
            needs: "no capability".to_owned(),
            method,
            path: path.iter().map(|&segment| segment.to_owned()).collect(),
            query: Vec::new(),
            body: None,
            deadline: REQUEST_DEADLINE,
        }
    }

    pub(crate) fn get(path: &[&str], what: impl Into<String>) -> Self {
        Self::new(Method::GET, path, what)
    }

    pub(crate) fn put(path: &[&str], what: impl Into<String>, body: &serde_json::Value) -> Self {
        Self::new(Method::PUT, path, what).body(body)
    }

    pub(crate) fn body(mut self, body: &serde_json::Value) -> Self {
        self.body = Some(body.to_string().into_bytes());
        self
    }

    pub(crate) fn needs(mut self, rule: impl Into<String>) -> Self {
        self.needs = rule.into();
        self
    }

    pub(crate) fn with(mut self, key: &'static str, value: impl Into<String>) -> Self {
        self.query.push((key, value.into()));
        self
    }

    fn blocking(mut self, options: &QueryOptions) -> Self {
        self.deadline = options.deadline();
        if options.index == 0 {
            return self;
        }
        let wait = format!("{}ms", options.wait_bounded().as_millis().max(1));
        self.with("index", options.index.to_string()).with("wait", wait)
    }
}

/// An answer of any status that the caller may want to read.
pub(crate) struct Answer {
    pub(crate) code: u16,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Vec<u8>,
}

impl Client {
    /// Checks the settings and reads the TLS files; nothing is sent before the first question.
    ///
    /// # Errors
    /// [`Error::Config`] or [`Error::File`], with the setting that is wrong and what was expected.
    pub fn new(config: &Config) -> Result<Self, Error> {
        Ok(Self {
            inner: Arc::new(Inner {
                connection: connect::connect(config)?,
                address: config.address.clone(),
                region: config.region.clone(),
                token: config.token.clone(),
                http_auth: config.http_auth.clone(),
            }),
            namespace: config.namespace.clone(),
        })
    }

    /// The address that is asked, for messages.
    #[must_use]
    pub fn address(&self) -> &str {
        &self.inner.address
    }

    /// The namespace of variables and of jobs without one.
    #[must_use]
    pub fn namespace(&self) -> &str {
        self.namespace.as_deref().unwrap_or("default")
    }

    /// Asks and decodes, optionally waiting for a change.
    pub(crate) async fn query<T: DeserializeOwned>(
        &self,
        ask: Ask,
        options: &QueryOptions,
    ) -> Result<(T, QueryMeta), Error> {
        let ask = ask.blocking(options);
        let answer = self.succeed(&ask).await?;
        let value = self.decode(&ask, &answer.body)?;
        Ok((value, QueryMeta::read(&answer.headers, options.index)))
    }

    /// Asks and decodes, optionally waiting for a change; what does not exist is none.
    pub(crate) async fn query_optional<T: DeserializeOwned>(
        &self,
        ask: Ask,
        options: &QueryOptions,
    ) -> Result<(Option<T>, QueryMeta), Error> {
        let ask = ask.blocking(options);
        let answer = self.send(&ask).await?;
        let meta = QueryMeta::read(&answer.headers, options.index);
        match answer.code {
            200..300 => Ok((Some(self.decode(&ask, &answer.body)?), meta)),
            404 => Ok((None, meta)),
            code => Err(self.refusal(&ask, code, &answer.body)),
        }
    }

    /// Asks and decodes; what does not exist is none.
    pub(crate) async fn read_optional<T: DeserializeOwned>(
        &self,
        ask: Ask,
    ) -> Result<Option<T>, Error> {
        match self.succeed(&ask).await {
            Ok(answer) => self.decode(&ask, &answer.body).map(Some),
            Err(error) if error.is_not_found() => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Writes and decodes the answer.
    pub(crate) async fn write<T: DeserializeOwned>(&self, ask: Ask) -> Result<T, Error> {
        let answer = self.succeed(&ask).await?;
        self.decode(&ask, &answer.body)
    }

    /// Asks; every status but success is an error.
    pub(crate) async fn succeed(&self, ask: &Ask) -> Result<Answer, Error> {
        let answer = self.send(ask).await?;
        if (200..300).contains(&answer.code) {
            return Ok(answer);
        }
        Err(self.refusal(ask, answer.code, &answer.body))
    }

    /// The error for an answer that is not the one that was hoped for.
    pub(crate) fn refusal(&self, ask: &Ask, code: u16, body: &[u8]) -> Error {
        let (what, address, body) = (ask.what.clone(), self.inner.address.clone(), excerpt(body));
        match code {
            401 | 403 => Error::Forbidden { what, address, needs: ask.needs.clone(), body },
            _ => Error::Status { what, address, code, body },
        }
    }

    pub(crate) fn decode<T: DeserializeOwned>(&self, ask: &Ask, body: &[u8]) -> Result<T, Error> {
        serde_json::from_slice(body).map_err(|source| Error::Decode {
            what: ask.what.clone(),
            address: self.inner.address.clone(),
            excerpt: excerpt(body),
            source,
        })
    }

    /// Asks, whatever the status; the whole exchange happens within the deadline.
    pub(crate) async fn send(&self, ask: &Ask) -> Result<Answer, Error> {
        let exchange = async {
            let mut response = self.open(ask).await?;
            let mut body = Vec::new();
            while let Some(chunk) = response.chunk().await.map_err(|e| self.unreachable(ask, e))? {
                if body.len() + chunk.len() > RESPONSE_BYTES_MAX {
                    return Err(self.too_large(ask, RESPONSE_BYTES_MAX));
                }
                body.extend_from_slice(&chunk);
            }
            let headers = std::mem::take(response.headers_mut());
            Ok(Answer { code: response.status().as_u16(), headers, body })
        };
        match tokio::time::timeout(ask.deadline, exchange).await {
            Ok(result) => result,
            Err(_elapsed) => Err(self.timed_out(ask, ask.deadline)),
        }
    }

    /// Sends the request and returns the response with its body still to be read. A token file that was
    /// rotated between our reading and Nomad's refusal is read once more.
    pub(crate) async fn open(&self, ask: &Ask) -> Result<Response, Error> {
        let token = token::current(&self.inner.token).await?;
        let response = self.send_once(ask, token.as_ref()).await?;
        if !matches!(response.status().as_u16(), 401 | 403) {
            return Ok(response);
        }
        let rotated = token::current(&self.inner.token).await?;
        if rotated == token {
            return Ok(response);
        }
        self.send_once(ask, rotated.as_ref()).await
    }

    async fn send_once(&self, ask: &Ask, token: Option<&Secret>) -> Result<Response, Error> {
        let mut request = self.inner.connection.http.request(ask.method.clone(), self.url(ask));
        if let Some(token) = token {
            request = request.header("X-Nomad-Token", token.expose());
        }
        if let Some(auth) = &self.inner.http_auth {
            let (user, password) = auth.expose().split_once(':').unwrap_or((auth.expose(), ""));
            request = request.basic_auth(user, Some(password));
        }
        if let Some(body) = &ask.body {
            request = request.header("Content-Type", "application/json").body(body.clone());
        }
        request.send().await.map_err(|error| self.unreachable(ask, error))
    }

    fn url(&self, ask: &Ask) -> Url {
        let mut url = self.inner.connection.base.clone();
        if let Ok(mut segments) = url.path_segments_mut() {
            segments.pop_if_empty().push("v1").extend(&ask.path);
        }
        {
            let mut query = url.query_pairs_mut();
            if let Some(region) = &self.inner.region {
                query.append_pair("region", region);
            }
            let named = ask.query.iter().any(|(key, _)| *key == "namespace");
            if let Some(namespace) = self.namespace.as_deref().filter(|_| !named) {
                query.append_pair("namespace", namespace);
            }
            for (key, value) in &ask.query {
                query.append_pair(key, value);
            }
        }
        url
    }

    pub(crate) fn unreachable(&self, ask: &Ask, error: reqwest::Error) -> Error {
        Error::Unreachable {
            what: ask.what.clone(),
            address: self.inner.address.clone(),
            // The URL repeats what was asked.
            source: Box::new(error.without_url()),
        }
    }

    pub(crate) fn timed_out(&self, ask: &Ask, deadline: Duration) -> Error {
        Error::TimedOut { what: ask.what.clone(), address: self.inner.address.clone(), deadline }
    }

    pub(crate) fn too_large(&self, ask: &Ask, bytes_max: usize) -> Error {
        Error::TooLarge { what: ask.what.clone(), address: self.inner.address.clone(), bytes_max }
    }
}

/// The beginning of an answer, as text for a person.
pub(crate) fn excerpt(body: &[u8]) -> String {
    let shown = body.get(..EXCERPT_BYTES_MAX).unwrap_or(body);
    String::from_utf8_lossy(shown).trim().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(index: &str) -> HeaderMap {
        let mut headers = HeaderMap::new();
        headers.insert("x-nomad-index", index.parse().unwrap());
        headers.insert("x-nomad-knownleader", "true".parse().unwrap());
        headers.insert("x-nomad-lastcontact", "12".parse().unwrap());
        headers
    }

    #[test]
    fn an_index_that_goes_backwards_starts_again_from_zero() {
        let meta = QueryMeta::read(&headers("40"), 41);
        assert_eq!((meta.index, meta.next), (40, 0));
        let meta = QueryMeta::read(&headers("41"), 41);
        assert_eq!((meta.index, meta.next), (41, 41));
        assert!(meta.known_leader);
        assert_eq!(meta.last_contact, Duration::from_millis(12));
    }

    #[test]
    fn an_index_of_zero_is_taken_as_one_so_that_the_next_query_waits() {
        assert_eq!(QueryMeta::read(&headers("0"), 0).next, 1);
        assert_eq!(QueryMeta::read(&HeaderMap::new(), 0).next, 1);
    }

    #[test]
    fn the_deadline_leaves_room_for_the_spread_that_nomad_adds() {
        let options = QueryOptions::after(7, Duration::from_secs(160));
        assert_eq!(options.deadline(), Duration::from_secs(170) + REQUEST_DEADLINE);
        let endless = QueryOptions::after(7, Duration::from_secs(86_400));
        assert!(endless.deadline() < Duration::from_secs(340));
    }

    #[test]
    fn a_name_can_not_leave_its_place_in_the_path() {
        let client = Client::new(&Config::at("http://127.0.0.1:1/proxy")).unwrap();
        let ask = Ask::get(&["node", "a/../b?c"], "reading").with("filter", "a == \"b\"");
        assert_eq!(
            client.url(&ask).as_str(),
            "http://127.0.0.1:1/proxy/v1/node/a%2F..%2Fb%3Fc?filter=a+%3D%3D+%22b%22"
        );
    }

    #[test]
    fn an_address_without_a_scheme_is_refused_with_what_was_expected() {
        let error = Client::new(&Config::at("127.0.0.1:4646")).unwrap_err();
        assert!(error.to_string().contains("expected http://HOST:PORT"), "{error}");
    }
}
