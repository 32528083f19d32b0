//! Versions of the messages. Version 1 switches; version 2 measures too, and replaces the firmware.

use serde::{Deserialize, Serialize};

/// A set of messages. Each contains those before it; what is added is appended, and nothing is ever changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Version(pub u8);

impl Version {
    /// The frame of a greeting: what every version reads, and what never changes but by bytes at its end.
    pub const GREETING: Version = Version(0);
    /// Switches, cycles, lease, events.
    pub const SWITCHES: Version = Version(1);
    /// Measures and is updated too.
    pub const MEASURES: Version = Version(2);
    /// The newest that these lines speak.
    pub const NEWEST: Version = Version::MEASURES;
}

/// The versions that somebody speaks, from the first to the last.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Versions {
    /// The oldest.
    pub lowest: Version,
    /// The newest.
    pub highest: Version,
}

impl Versions {
    /// All that these lines speak.
    pub const ALL: Versions = Versions { lowest: Version::SWITCHES, highest: Version::NEWEST };

    /// Only one.
    #[must_use]
    pub const fn only(version: Version) -> Versions {
        Versions { lowest: version, highest: version }
    }

    /// The newest that both speak; `None`: they can not speak.
    #[must_use]
    pub fn common(self, theirs: Versions) -> Option<Version> {
        let highest = self.highest.min(theirs.highest);
        (highest >= self.lowest.max(theirs.lowest)).then_some(highest)
    }

    /// Whether a version is among them.
    #[must_use]
    pub fn has(self, version: Version) -> bool {
        (self.lowest..=self.highest).contains(&version)
    }
}
