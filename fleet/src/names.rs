//! Names and numbers with a meaning: each is its own type, and each constructor validates.

use std::fmt;
use std::str::FromStr;

/// The longest name that is taken, in bytes: a DNS name is at most 253, Nomad's ids are shorter.
pub const NAME_BYTES_MAX: usize = 253;

/// The longest reason that is kept, in bytes: a sentence or two, not a log.
pub const REASON_BYTES_MAX: usize = 512;

/// Why a text is no name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NameError {
    /// The text is empty.
    #[error("{what} is empty; give it a name of letters, digits, '.', '_' or '-'")]
    Empty {
        /// Which kind of name was wanted.
        what: &'static str,
    },
    /// The text is longer than [`NAME_BYTES_MAX`].
    #[error("{what} is {bytes} bytes long; at most {NAME_BYTES_MAX} are taken")]
    TooLong {
        /// Which kind of name was wanted.
        what: &'static str,
        /// The length that was found.
        bytes: usize,
    },
    /// The text holds a character that names do not have.
    #[error("{what} {found:?} holds {character:?}; names are of letters, digits, '.', '_' and '-'")]
    Character {
        /// Which kind of name was wanted.
        what: &'static str,
        /// The text that was found.
        found: String,
        /// The first character that is not taken.
        character: char,
    },
}

fn validate(what: &'static str, text: &str) -> Result<(), NameError> {
    if text.is_empty() {
        return Err(NameError::Empty { what });
    }
    if text.len() > NAME_BYTES_MAX {
        return Err(NameError::TooLong { what, bytes: text.len() });
    }
    match text.chars().find(|c| !(c.is_ascii_alphanumeric() || ".-_".contains(*c))) {
        Some(character) => Err(NameError::Character { what, found: text.to_owned(), character }),
        None => Ok(()),
    }
}

macro_rules! names {
    ($($(#[$doc:meta])* $name:ident = $what:literal;)*) => {$(
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(String);

        impl $name {
            /// Takes a validated name.
            ///
            /// # Errors
            /// Where the text is empty, too long, or holds other characters than letters, digits, `.`, `_`, `-`.
            pub fn new(text: impl Into<String>) -> Result<Self, NameError> {
                let text = text.into();
                validate($what, &text)?;
                Ok(Self(text))
            }

            /// The name as text.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl FromStr for $name {
            type Err = NameError;
            fn from_str(text: &str) -> Result<Self, NameError> {
                Self::new(text)
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(&self.0)
            }
        }
    )*};
}

names! {
    /// A computer that can run a Nomad client; by default also the name of its node.
    MachineName = "machine";
    /// The machines that a policy scales.
    PoolName = "pool";
    /// What switches: a relay board, a PDU, a BMC.
    DeviceName = "device";
    /// An electrical supply with an ampere budget.
    FeedName = "feed";
    /// The id of a node in Nomad.
    NodeId = "node id";
    /// The id of an allocation in Nomad.
    AllocId = "allocation id";
    /// The id that a client gives to one order; repeating it returns the first answer.
    OperationId = "operation id";
    /// Which Nomad cluster gives orders (its region and name, as the plugin was told).
    ClusterId = "cluster id";
    /// Which process holds a pool's lease.
    HolderId = "holder id";
    /// What a policy calls its demand on a pool that it shares.
    DemandName = "demand";
    /// One plan of one pool.
    PlanId = "plan id";
}

/// Why something was ordered: free text, shortened to [`REASON_BYTES_MAX`], control characters replaced.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Reason(String);

impl Reason {
    /// Takes any text; never fails, because a reason must not stop what it explains.
    #[must_use]
    pub fn new(text: &str) -> Self {
        let clean = text.chars().map(|c| if c.is_control() { ' ' } else { c });
        let mut kept = String::new();
        for character in clean {
            if kept.len() + character.len_utf8() > REASON_BYTES_MAX {
                break;
            }
            kept.push(character);
        }
        Self(kept)
    }

    /// The reason as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

/// How many machines: a count, never an index.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct NodeCount(pub u32);

impl fmt::Display for NodeCount {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// The number of a fence: it only grows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct FenceNumber(pub u64);

/// (cluster id, pool, number): an agent refuses orders of the same cluster and pool that carry an older number.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Fence {
    /// The cluster that orders.
    pub cluster: ClusterId,
    /// The pool that is ordered about.
    pub pool: PoolName,
    /// The lease's number.
    pub number: FenceNumber,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_with_a_slash_is_refused_with_its_remedy() {
        let error = MachineName::new("rack/1").unwrap_err();
        assert_eq!(
            error.to_string(),
            "machine \"rack/1\" holds '/'; names are of letters, digits, '.', '_' and '-'"
        );
    }

    #[test]
    fn a_reason_is_cut_at_a_character_and_holds_no_line_break() {
        let reason = Reason::new(&format!("a\nb{}", "é".repeat(REASON_BYTES_MAX)));
        assert!(reason.as_str().len() <= REASON_BYTES_MAX);
        assert!(reason.as_str().starts_with("a b"));
    }
}
