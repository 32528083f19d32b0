//! The host's only look at the wall clock: the time stamps of log lines.

use std::time::SystemTime;

#[expect(
    clippy::disallowed_methods,
    reason = "log lines carry the wall clock; nothing decides by it"
)]
pub(super) fn wall() -> SystemTime {
    SystemTime::now()
}
