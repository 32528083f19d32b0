//! A request as it is asked: method, path, query. Nothing of HTTP goes deeper.

use std::time::Duration;

use http::Method;
use http::request::Parts;

/// The longest wait of a blocking query: Nomad's own.
const WAIT_MAX: Duration = Duration::from_secs(600);

/// What is asked.
#[derive(Debug)]
pub(crate) struct Question {
    pub(crate) method: Method,
    /// Behind `/v1`.
    pub(crate) path: Vec<String>,
    query: Vec<(String, String)>,
}

impl Question {
    /// # Errors
    /// In words, where it can not be read.
    pub(crate) fn read(head: &Parts) -> Result<Self, String> {
        let path = head.uri.path().strip_prefix("/v1/").ok_or("Nomad's API begins with /v1/")?;
        let path: Option<Vec<String>> = path.split('/').map(decoded).collect();
        let pairs = head.uri.query().unwrap_or_default().split('&').filter(|pair| !pair.is_empty());
        let query: Option<Vec<(String, String)>> = pairs
            .map(|pair| {
                let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
                Some((decoded(key)?, decoded(&value.replace('+', " "))?))
            })
            .collect();
        let (path, query) = path.zip(query).ok_or("a broken percent sign in the address")?;
        Ok(Self { method: head.method.clone(), path, query })
    }

    /// The value of a key of the query.
    pub(crate) fn asked(&self, key: &str) -> Option<&str> {
        self.query.iter().find(|(known, _)| known == key).map(|(_, value)| value.as_str())
    }

    /// The number that a key of the query carries; 0 where it carries none.
    ///
    /// # Errors
    /// In words, where it is no number.
    pub(crate) fn number(&self, key: &str) -> Result<u64, String> {
        let text = self.asked(key).unwrap_or("0");
        text.parse().map_err(|_error| format!("{key}={text:?}: expected a number"))
    }

    /// How long a blocking query waits: `200ms`, as our client writes it.
    ///
    /// # Errors
    /// In words, where it is no such time.
    pub(crate) fn wait(&self) -> Result<Duration, String> {
        let Some(text) = self.asked("wait") else { return Ok(WAIT_MAX) };
        let millis = text.strip_suffix("ms").and_then(|number| number.parse().ok());
        let wait = millis.map(Duration::from_millis);
        wait.map(|wait| wait.min(WAIT_MAX)).ok_or_else(|| format!("wait={text:?}: expected 200ms"))
    }
}

/// Text behind its percent signs; none where it is broken.
fn decoded(text: &str) -> Option<String> {
    let mut parts = text.split('%');
    let mut bytes = parts.next().unwrap_or_default().as_bytes().to_vec();
    for part in parts {
        bytes.push(u8::from_str_radix(part.get(..2)?, 16).ok()?);
        bytes.extend_from_slice(part.get(2..)?.as_bytes());
    }
    String::from_utf8(bytes).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(address: &str) -> Result<Question, String> {
        let request = http::Request::get(address).body(()).unwrap();
        Question::read(&request.into_parts().0)
    }

    #[test]
    fn an_address_is_read_as_our_client_writes_it() {
        let question =
            read("/v1/job/a%2Fb?filter=Type+%3D%3D+%22x%22&index=7&wait=200ms&namespace=*")
                .unwrap();
        assert_eq!(question.path, ["job", "a/b"]);
        assert_eq!(question.asked("filter"), Some("Type == \"x\""));
        assert_eq!((question.number("index"), question.number("cas")), (Ok(7), Ok(0)));
        assert_eq!(question.wait(), Ok(Duration::from_millis(200)));
    }

    #[test]
    fn what_can_not_be_read_is_refused() {
        for address in ["/v2/nodes", "/v1/job/a%2", "/v1/job/%zz", "/v1/job/%ff"] {
            assert!(read(address).is_err(), "{address}");
        }
        assert!(read("/v1/nodes?index=x").unwrap().number("index").is_err());
        assert!(read("/v1/nodes?wait=5m").unwrap().wait().is_err());
    }
}
