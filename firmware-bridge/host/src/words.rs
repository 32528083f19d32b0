//! What the protocol's numbers are called for people.

use bridge_protocol::link::Lost;
use bridge_protocol::{Identity, Refusal, ResetCause, Versions};

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

/// Why a device did nothing.
#[must_use]
pub fn refusal(why: Refusal) -> String {
    match why {
        Refusal::Malformed => "it could not read the request".to_owned(),
        Refusal::NotInVersion => "its version of the protocol has no such request".to_owned(),
        Refusal::OtherEpoch => "it started anew meanwhile".to_owned(),
        Refusal::Stale(newest) => {
            format!("it has heard a newer order (generation {})", newest.0)
        }
        Refusal::TooLate => "it heard the order too late, and did not obey it".to_owned(),
        Refusal::NoSuchOutlet => "it has no such outlet".to_owned(),
        Refusal::Dwell(left) => {
            format!("the shortest time between two switches lasts for {left} ms more")
        }
        Refusal::InCycle(left) => format!("it is in a cycle for {left} ms more"),
        Refusal::NotOn => "only what is on can be cycled".to_owned(),
        Refusal::TooShort(least) => format!("shorter than {least} ms is not to be had"),
        Refusal::TooLong(most) => format!("longer than {most} ms is not to be had"),
        Refusal::NotArmed => "\"all off\" is not armed any more".to_owned(),
        Refusal::StorageFailed => {
            "its storage failed, and it switches on nothing that it could not remember".to_owned()
        }
        Refusal::Unable => "it has nothing of the kind".to_owned(),
        Refusal::OtherBoard(board) => {
            format!("the image is for another kind of board than {board:#06x}")
        }
        Refusal::ImageTooLong(most) => format!("an image has at most {most} bytes here"),
        Refusal::OutOfOrder(next) => format!("the next bytes of the image begin at {next}"),
        Refusal::NoImage => "no image was announced, or none is on trial".to_owned(),
        Refusal::DoesNotVerify(found) => {
            format!("the image arrived damaged: its CRC-32 is {found:08x}")
        }
        Refusal::OutletsOn => "an outlet is on and would lose its power over the start".to_owned(),
        Refusal::OnTrial => {
            "a firmware is on trial: nothing gets power before it was kept".to_owned()
        }
    }
}
