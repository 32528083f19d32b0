//! Who the device speaks with: each request is obeyed once, whatever the line does to it.

use bridge_protocol::{Sequence, SessionId, Version, Wire};

/// What is to be done about a request's number.
#[derive(Debug, Clone, PartialEq, Eq)]
#[expect(clippy::large_enum_variant, reason = "there is no allocator to put the large one behind")]
pub enum Turn {
    /// It is new: it is obeyed.
    Obey,
    /// It is the last one again: its answer is sent again.
    Again(Wire),
    /// It is older than the last: its host does not wait for it any more.
    Late,
}

/// One host's opening of the line.
#[derive(Debug, Clone)]
pub struct Session {
    id: SessionId,
    version: Version,
    last: Sequence,
    answer: Option<Wire>,
}

impl Session {
    /// It begins with the number of its greeting.
    #[must_use]
    pub const fn new(id: SessionId, version: Version, greeting: Sequence) -> Session {
        Session { id, version, last: greeting, answer: None }
    }

    /// Which opening.
    #[must_use]
    pub const fn id(&self) -> SessionId {
        self.id
    }

    /// What is spoken.
    #[must_use]
    pub const fn version(&self) -> Version {
        self.version
    }

    /// What is to be done about a request with this number. One that is obeyed is the last from now on.
    pub fn turn(&mut self, sequence: Sequence) -> Turn {
        if sequence.is_after(self.last) {
            self.last = sequence;
            self.answer = None;
            return Turn::Obey;
        }
        match &self.answer {
            Some(answer) if sequence == self.last => Turn::Again(answer.clone()),
            _ => Turn::Late,
        }
    }

    /// The answer to the last request.
    pub fn answered(&mut self, answer: &Wire) {
        self.answer = Some(answer.clone());
    }
}
