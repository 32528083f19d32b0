//! One machine's way from an order to its result, without IO: inputs and time go in, one action comes out.

/// What happens when a machine does not go down by itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum OnSoftOffTimeout {
    /// Cut its power.
    #[default]
    Cut,
    /// Leave it as it is and report it.
    Quarantine,
}

/// Where an operation is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Phase {
    /// The intent is on disk.
    Accepted,
    /// Its node is being emptied, before it is asked to shut down.
    Draining,
    /// Asked to shut down.
    SoftOff,
    /// Waits for the signs that it is down.
    Settling,
    /// Opening its outlets.
    Cutting,
    /// Off for the time that a cycle needs.
    Dwelling,
    /// Closing its outlets.
    Energizing,
    /// Finished as ordered.
    Done,
    /// Finished otherwise.
    Failed,
}

impl Phase {
    /// Whether the operation has ended.
    #[must_use]
    pub const fn is_finished(self) -> bool {
        matches!(self, Phase::Done | Phase::Failed)
    }

    /// The phase as a word for a person.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Phase::Accepted => "accepted",
            Phase::Draining => "draining",
            Phase::SoftOff => "shutting down",
            Phase::Settling => "settling",
            Phase::Cutting => "cutting",
            Phase::Dwelling => "dwelling",
            Phase::Energizing => "energizing",
            Phase::Done => "done",
            Phase::Failed => "failed",
        }
    }
}

impl std::fmt::Display for Phase {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(self.as_str())
    }
}
