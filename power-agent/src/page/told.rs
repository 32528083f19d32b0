//! Answers: what was done, and why something was not, in the agent's own words.

use axum::body::Body;
use fleet::{MachineName, Refusal, RefusalCode};
use http::header::{CONTENT_TYPE, WWW_AUTHENTICATE};
use http::{HeaderValue, Response, StatusCode};
use serde::Serialize;
use tonic::{Code, Status};

/// An answer, or why it is another than was wished for.
pub(crate) type Answered = Result<Response<Body>, Told>;

/// Why something is not done, as it is answered.
pub(crate) struct Told {
    pub(crate) status: StatusCode,
    pub(crate) code: String,
    pub(crate) text: String,
}

#[derive(Serialize)]
struct ToldJson<'a> {
    /// accepted, held, released or refused.
    outcome: &'a str,
    /// Refused: the class, as a word.
    #[serde(skip_serializing_if = "Option::is_none")]
    code: Option<&'a str>,
    text: &'a str,
}

impl Told {
    pub(crate) fn answer(&self) -> Response<Body> {
        let Self { status, code, text: said } = self;
        let told = ToldJson { outcome: "refused", code: Some(code), text: said };
        let mut answer = as_json(*status, &told).unwrap_or_default();
        if *status == StatusCode::UNAUTHORIZED {
            let how = HeaderValue::from_static("Bearer realm=\"lamplighter\"");
            answer.headers_mut().insert(WWW_AUTHENTICATE, how);
        }
        answer
    }

    pub(crate) fn unknown(text: &str) -> Self {
        let text = text.to_owned();
        Self { status: StatusCode::UNAUTHORIZED, code: "unproven".to_owned(), text }
    }

    pub(crate) fn malformed(text: String) -> Self {
        Self { status: StatusCode::BAD_REQUEST, code: "malformed".to_owned(), text }
    }

    pub(crate) fn missing(name: &MachineName) -> Self {
        let text = format!("there is no machine {name} here that you may see");
        Self { status: StatusCode::NOT_FOUND, code: "unknown-machine".to_owned(), text }
    }

    pub(crate) fn internal() -> Self {
        Self::from(&Status::internal("a request came past the door"))
    }

    pub(crate) fn odd(error: &dyn std::error::Error) -> Self {
        Self::from(&Status::internal(error.to_string()))
    }
}

impl From<&Status> for Told {
    fn from(status: &Status) -> Self {
        let (http, code) = match status.code() {
            Code::Unauthenticated => (StatusCode::UNAUTHORIZED, "unproven"),
            Code::PermissionDenied => (StatusCode::FORBIDDEN, RefusalCode::Forbidden.as_str()),
            Code::ResourceExhausted => (StatusCode::TOO_MANY_REQUESTS, "over-quota"),
            Code::InvalidArgument => (StatusCode::BAD_REQUEST, "malformed"),
            Code::NotFound => (StatusCode::NOT_FOUND, "unknown-machine"),
            Code::AlreadyExists | Code::FailedPrecondition => (StatusCode::CONFLICT, "conflict"),
            Code::Unavailable => (StatusCode::SERVICE_UNAVAILABLE, "stopping"),
            _ => (StatusCode::INTERNAL_SERVER_ERROR, "internal"),
        };
        Self { status: http, code: code.to_owned(), text: status.message().to_owned() }
    }
}

impl From<&Refusal> for Told {
    fn from(refusal: &Refusal) -> Self {
        let status = match refusal.code {
            RefusalCode::Forbidden => StatusCode::FORBIDDEN,
            _ => StatusCode::CONFLICT,
        };
        Self { status, code: refusal.code.as_str().to_owned(), text: refusal.text.clone() }
    }
}

pub(crate) fn nothing_here() -> Told {
    let text = "there is nothing here; the page is at /".to_owned();
    Told { status: StatusCode::NOT_FOUND, code: "nothing".to_owned(), text }
}

pub(crate) fn done(status: StatusCode, outcome: &str, text: &str) -> Answered {
    as_json(status, &ToldJson { outcome, code: None, text })
}

pub(crate) fn as_json(status: StatusCode, value: &impl Serialize) -> Answered {
    let json = serde_json::to_string(value).map_err(|error| Told::odd(&error))?;
    Ok(text(status, "application/json", json))
}

pub(crate) fn text(
    status: StatusCode,
    kind: &'static str,
    body: impl Into<Body>,
) -> Response<Body> {
    let mut answer = Response::new(body.into());
    *answer.status_mut() = status;
    answer.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    answer
}
