//! How a machine stands towards its feeds: what it draws by what is known of it, and what is promised to it.

use crate::sequencer::{Record, State};
use crate::{Moment, PowerState, Verb};

/// How a machine stands. What is not known to be off counts as on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stand {
    /// It reads off, and nothing that runs will light it.
    Dark,
    /// It is on, or may be.
    Lit {
        /// Since when at the earliest that is on record: its inrush is counted from here.
        since: Moment,
    },
    /// A sequence that was taken will light it: it has its place in the sum.
    Promised {
        /// Since when it draws current all the same: it is not off yet, or nobody can tell. `None`: it reads off.
        drawing: Option<Moment>,
        /// Since when it waits for its moment.
        waits: Option<Moment>,
        /// Whether its power was taken for a cycle: it comes before those that were off anyway.
        returns: bool,
    },
    /// Its outlets are being closed: its inrush is now, until it is known when they were.
    Lighting,
}

/// How a machine stands. `off_read`: when its outlets were read, if all of them read off. `lit`: when it was lit
/// last, by sequences that have ended. `running`: the sequence that runs or is to be taken up again.
#[must_use]
pub fn stand(off_read: Option<Moment>, lit: Option<Moment>, running: Option<&Record>) -> Stand {
    let lit = running.and_then(|record| record.lit).max(lit);
    // A reading of before it was lit says nothing any more.
    let dark = off_read.is_some_and(|read| lit.is_none_or(|lit| read >= lit));
    let since = lit.unwrap_or(Moment::ZERO);
    let drawing = (!dark).then_some(since);
    let rests = drawing.map_or(Stand::Dark, |since| Stand::Lit { since });
    let Some(record) = running.filter(|record| record.task.verb != Verb::Off) else { return rests };
    match &record.state {
        State::Done | State::Failed { .. } => rests,
        State::Energizing(_) => Stand::Lighting,
        State::AwaitingRoom { to: PowerState::On, .. } => {
            let returns = record.task.verb == Verb::Cycle;
            Stand::Promised { drawing, waits: Some(record.began), returns }
        }
        _ => Stand::Promised { drawing, waits: None, returns: false },
    }
}
