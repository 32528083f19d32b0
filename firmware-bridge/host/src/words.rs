//! What the protocol's numbers are called for people.

use bridge_protocol::link::Lost;
use bridge_protocol::{Identity, ResetCause, Versions};

/// A board's identity: sixteen hexadecimal digits.
#[must_use]
pub fn identity(identity: Identity) -> String {
    identity.0.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Reads [`identity`]; `None`: it is none.
#[must_use]
pub fn read_identity(text: &str) -> Option<Identity> {
    let whole = text.len() == 16 && text.bytes().all(|byte| byte.is_ascii_hexdigit());
    let number = whole.then(|| u64::from_str_radix(text, 16).ok()).flatten()?;
    Some(Identity(number.to_be_bytes()))
}

/// Why nothing is known of a device any more.
#[must_use]
pub fn lost(why: Lost) -> String {
    match why {
        Lost::Closed => "its line was closed".to_owned(),
        Lost::Silent => "it does not answer".to_owned(),
        Lost::Reset(from, to) => {
            format!("it started anew (its start {}, before {})", to.0, from.0)
        }
    }
}

/// Both speak, but nothing in common.
#[must_use]
pub fn can_not_speak(ours: Versions, theirs: Versions) -> String {
    let (older, remedy) = if theirs.highest < ours.lowest {
        ("older", "update its firmware")
    } else {
        ("newer", "update this program")
    };
    format!(
        "its firmware is {older}: it speaks versions {} to {} of the protocol, and this program {} to {}; {remedy}",
        theirs.lowest.0, theirs.highest.0, ours.lowest.0, ours.highest.0
    )
}

/// Why a device started.
#[must_use]
pub fn reset_cause(cause: ResetCause) -> String {
    match cause {
        ResetCause::PowerUp => "its supply came".to_owned(),
        ResetCause::BrownOut => "its supply sagged".to_owned(),
        ResetCause::Watchdog => "its watchdog was not fed".to_owned(),
        ResetCause::Software => "it was told to".to_owned(),
        ResetCause::Other(code) => format!("a cause that only newer programs know ({code})"),
    }
}
