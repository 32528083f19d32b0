//! What a plugin answers instead of a result, and how it is made safe for the host to read.

use std::error::Error;

/// The longest text that leaves in an error, in bytes: a screenful, and far below the 16 MiB of
/// headers that a Go client accepts.
const TEXT_MAX: usize = 4096;

/// The longest chain of causes that is told; ours are at most five deep.
const CAUSES_MAX: usize = 16;

/// Texts that the host takes for "everything is lost": it then stops all handlers of all policies
/// for ten seconds, whoever sent them.
const FATAL_TO_THE_HOST: [(&str, &str); 2] =
    [("EOF", "end of file"), ("connection refused", "connection was refused")];

/// What the host is to make of a fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FaultClass {
    /// It failed; the host logs it and asks again at its next tick. gRPC UNKNOWN, as Go's errors.
    Failed,
    /// Nothing had to be done; hosts from 0.5.0 on then skip the cooldown. gRPC ABORTED.
    NoOp,
    /// The plugin's own code panicked. gRPC INTERNAL.
    Panicked,
}

/// An answer that is not a result. Its text is always safe for the host: bounded, and free of what
/// the host takes for fatal.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{text}")]
pub struct Fault {
    class: FaultClass,
    text: String,
}

impl Fault {
    /// It failed, and a person should read `text`: what, found, expected, remedy.
    #[must_use]
    pub fn failed(text: impl Into<String>) -> Self {
        Self::of(FaultClass::Failed, text.into())
    }

    /// It failed because of `error`, told with its causes.
    #[must_use]
    pub fn caused(what: &str, error: &dyn Error) -> Self {
        let mut text = format!("{what}: {error}");
        let mut cause = error.source();
        for _ in 0..CAUSES_MAX {
            let Some(error) = cause else { break };
            text.push_str(": ");
            text.push_str(&error.to_string());
            cause = error.source();
        }
        Self::of(FaultClass::Failed, text)
    }

    /// Nothing had to be done. Hosts before 0.5.0 take it for an error: only where asked for.
    #[must_use]
    pub fn no_op(reason: impl Into<String>) -> Self {
        Self::of(FaultClass::NoOp, reason.into())
    }

    pub(super) fn panicked(text: &str) -> Self {
        Self::of(FaultClass::Panicked, format!("the plugin panicked (a bug of ours): {text}"))
    }

    fn of(class: FaultClass, text: String) -> Self {
        Self { class, text: bounded(scrubbed(text)) }
    }

    /// What the host is to make of it.
    #[must_use]
    pub fn class(&self) -> FaultClass {
        self.class
    }
}

fn scrubbed(text: String) -> String {
    FATAL_TO_THE_HOST.iter().fold(text, |text, (fatal, plain)| {
        if text.contains(fatal) { text.replace(fatal, plain) } else { text }
    })
}

fn bounded(mut text: String) -> String {
    if text.len() > TEXT_MAX {
        let cut = text.floor_char_boundary(TEXT_MAX);
        text.truncate(cut);
        text.push_str(" ... (cut)");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn item_29_no_text_carries_what_the_host_takes_for_fatal() {
        let text = "dial: connection refused; read: unexpected EOF; EEOFOF";
        for fault in [
            Fault::failed(text),
            Fault::no_op(text),
            Fault::panicked(text),
            Fault::caused("asking", &std::io::Error::other(text)),
        ] {
            let text = fault.to_string();
            assert!(!text.contains("EOF") && !text.contains("connection refused"), "{text}");
            assert!(text.contains("end of file") && text.contains("connection was refused"));
        }
    }

    #[test]
    fn a_text_is_cut_at_a_character_and_says_so() {
        let text = Fault::failed("ü".repeat(TEXT_MAX)).to_string();
        assert!(text.ends_with("(cut)"));
        assert!(text.len() < TEXT_MAX + 20);
    }

    #[test]
    fn the_chain_of_causes_is_told() {
        #[derive(Debug, thiserror::Error)]
        #[error("asking the agent")]
        struct Outer(#[source] std::io::Error);
        let fault = Fault::caused("status", &Outer(std::io::Error::other("no route")));
        assert_eq!(fault.to_string(), "status: asking the agent: no route");
    }
}
