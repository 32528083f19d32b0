//! What a browser sends: who it speaks for, whether the page itself has sent it, and what is wanted of a machine.

use axum::body::{Body, to_bytes};
use fleet::{MachineName, OnSoftOffTimeout, OperationId, Order, Origin, Reason, Verb};
use http::header::{AUTHORIZATION, COOKIE, HOST, ORIGIN};
use http::request::Parts;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use std::time::Duration;
use tokio::time::timeout;

/// The cookie that holds a token.
pub(crate) const COOKIE_NAME: &str = "lamplighter";

/// The header that only the page's own script sets: a form of another site can not.
pub(crate) const OWN_HEADER: &str = "x-lamplighter";

/// The largest body, in bytes: a reason is a sentence.
const BODY_BYTES_MAX: usize = 8 << 10;

/// How long a body may take to arrive.
const BODY_DEADLINE: Duration = Duration::from_secs(10);

/// How long an order stays valid: one that arrives later than the person would expect is void.
const ORDER_VALID: Duration = Duration::from_secs(60);

/// What is kept of an order to switch on where no reason was given: as the command line has it.
const ON_REASON: &str = "switched on by hand";

/// The token that came with a request: as a bearer's, else in the page's own cookie.
pub(crate) fn token(head: &Parts) -> Option<&str> {
    let bearer = head.headers.get(AUTHORIZATION).and_then(|value| value.to_str().ok());
    if let Some(token) = bearer.and_then(|value| value.strip_prefix("Bearer ")) {
        return Some(token.trim());
    }
    let cookies = head.headers.get_all(COOKIE).iter().filter_map(|value| value.to_str().ok());
    let mut pairs = cookies.flat_map(|cookies| cookies.split(';'));
    pairs.find_map(|pair| pair.trim().strip_prefix(COOKIE_NAME)?.strip_prefix('='))
}

/// Whether the page has sent this, or a program with a header of its own; else why it may be somebody else's doing.
pub(crate) fn from_the_page(head: &Parts) -> Result<(), &'static str> {
    let text = |name: &str| head.headers.get(name).and_then(|value| value.to_str().ok());
    if head.headers.get(OWN_HEADER).is_none() {
        return Err("the page's own header x-lamplighter is missing");
    }
    if text("sec-fetch-site").is_some_and(|site| site != "same-origin" && site != "none") {
        return Err("another site has sent it");
    }
    if head.headers.get(ORIGIN).is_some() {
        let origin = text(ORIGIN.as_str()).and_then(|origin| origin.split_once("://"));
        if origin.map(|(_, host)| host) != text(HOST.as_str()) {
            return Err("the page of another host has sent it");
        }
    }
    Ok(())
}

/// A body of JSON.
///
/// # Errors
/// What is wrong with it, for a person.
pub(crate) async fn json<T: DeserializeOwned>(body: Body) -> Result<T, String> {
    let read = timeout(BODY_DEADLINE, to_bytes(body, BODY_BYTES_MAX)).await;
    let bytes = read
        .map_err(|_elapsed| format!("no body within {} s", BODY_DEADLINE.as_secs()))?
        .map_err(|_| format!("no body of at most {BODY_BYTES_MAX} bytes came"))?;
    serde_json::from_slice(&bytes)
        .map_err(|error| format!("the body is not what is expected: {error}"))
}

/// Somebody shows a token.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Login {
    pub(crate) token: String,
}

/// What is wanted of a machine.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Wanted {
    #[serde(default)]
    reason: String,
    /// Switching: the order's own id, so that one that is sent twice is one.
    #[serde(default)]
    operation: String,
    #[serde(default)]
    drain: bool,
    #[serde(default)]
    pub(crate) force: bool,
}

impl Wanted {
    /// Why it is wanted; others read it.
    ///
    /// # Errors
    /// There is none.
    pub(crate) fn reason(&self) -> Result<Reason, String> {
        let said = self.reason.trim();
        if said.is_empty() {
            return Err("say why: others will read it".to_owned());
        }
        Ok(Reason::new(said))
    }

    /// The order in a person's own name.
    ///
    /// # Errors
    /// What it lacks.
    pub(crate) fn order(
        &self,
        machine: MachineName,
        verb: Verb,
        who: &str,
    ) -> Result<Order, String> {
        let reason = match (self.reason(), verb) {
            (Err(_), Verb::On) => Reason::new(ON_REASON),
            (reason, _) => reason?,
        };
        let operation = OperationId::new(self.operation.clone());
        Ok(Order {
            operation: operation.map_err(|error| format!("operation: {error}"))?,
            machine,
            verb,
            reason,
            origin: Origin::Person(who.to_owned()),
            valid_for: ORDER_VALID,
            on_soft_off_timeout: OnSoftOffTimeout::Cut,
            force: self.force,
            drain: self.drain,
            plan: None,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::Request;

    fn head(headers: &[(&str, &str)]) -> Parts {
        let mut request = Request::builder().uri("/");
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        request.body(()).unwrap().into_parts().0
    }

    #[test]
    fn a_token_comes_as_a_bearers_or_in_the_pages_cookie_and_from_nowhere_else() {
        for (headers, expected) in [
            (&[("authorization", "Bearer lamp_1")][..], Some("lamp_1")),
            (&[("cookie", "a=b; lamplighter=lamp_2; c=d")], Some("lamp_2")),
            (&[("cookie", "a=b"), ("cookie", "lamplighter=lamp_3")], Some("lamp_3")),
            (
                &[("authorization", "Bearer lamp_1"), ("cookie", "lamplighter=lamp_2")],
                Some("lamp_1"),
            ),
            (&[("cookie", "lamplighters=lamp_2; xlamplighter=lamp_2")], None),
            (&[("authorization", "Basic lamp_1")], None),
            (&[], None),
        ] {
            assert_eq!(token(&head(headers)), expected, "{headers:?}");
        }
    }

    #[test]
    fn what_another_site_sends_is_not_the_pages() {
        let own = ("x-lamplighter", "1");
        let host = ("host", "rack:7480");
        assert!(from_the_page(&head(&[own])).is_ok());
        assert!(from_the_page(&head(&[own, host, ("origin", "https://rack:7480")])).is_ok());
        for headers in [
            &[host, ("origin", "https://rack:7480")][..],
            &[own, host, ("origin", "https://rack:7481")],
            &[own, host, ("origin", "https://evil.example")],
            &[own, host, ("origin", "null")],
            &[own, host, ("sec-fetch-site", "cross-site")],
            &[own, host, ("sec-fetch-site", "same-site")],
            &[own, ("origin", "https://rack:7480")],
        ] {
            assert!(from_the_page(&head(headers)).is_err(), "{headers:?}");
        }
    }
}
