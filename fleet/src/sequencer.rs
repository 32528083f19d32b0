//! One machine's way from an order to its result, without IO: inputs and time go in, one action comes out.
//!
//! The executor asks [`Sequencer::poll`] what to do, does it, and tells the result to [`Sequencer::handle`]; every
//! state carries its own deadline. Retries, dwell and escalation are decided here and nowhere else.

mod diagram;
mod state;
mod waking;

use std::time::Duration;

pub use self::state::{
    Action, Cut, Eligible, Input, Move, NodeSign, OnSoftOffTimeout, Paths, Phase, Record, Room,
    State, Step, Task, WakeStep,
};
pub use self::waking::{LIFE_DEADLINE, WAKE_BURST, WAKE_GAP, WAKE_PAUSE};
use crate::{Moment, PowerState, Verb};

/// How often an outlet is driven before it is given up. A lost frame or a bouncing USB adapter is over by then; a
/// board that did not obey five times will not obey the sixth time either.
pub const DRIVE_ATTEMPTS_MAX: u32 = 5;

/// The pause between two attempts: longer than any board's minimum gap between frames.
pub const RETRY_PAUSE: Duration = Duration::from_secs(1);

/// How long moving an outlet and reading it back may take with all attempts: five attempts of a driver's own
/// deadline of a few seconds, and their pauses.
pub const MOVE_DEADLINE: Duration = Duration::from_secs(60);

/// How long the first look at the outlets is tried: longer than a USB adapter needs to come back.
pub const LOOK_DEADLINE: Duration = Duration::from_secs(15);

/// How long cancelling a drain may take: one call to Nomad, with a second try.
pub const UNDRAIN_DEADLINE: Duration = Duration::from_secs(30);

/// How often Nomad is asked about the node while its state decides.
pub const NODE_POLL: Duration = Duration::from_secs(1);

/// How long a machine waits for room on its feeds: sixty others whose inrush lasts a minute each, one after the other.
pub const ROOM_DEADLINE: Duration = Duration::from_secs(3600);

/// How long a machine waits for a feed that what runs there fills: as long as somebody at the rack takes to take back a
/// button that he has pressed, or to switch off another machine. Then its place is given up and it is told why, so that
/// its pool counts it no more.
pub const ROOM_FULL_DEADLINE: Duration = Duration::from_secs(300);

/// How often feeds that have no room are asked again, beside the moments at which an inrush ends: a machine may have been
/// switched off meanwhile.
pub const ROOM_POLL: Duration = Duration::from_secs(1);

/// How long after the end of all its phases a half-done sequence is still finished: an agent's restart or upgrade.
/// Later the order is history, and is reported instead of run.
pub const RESTART_GRACE: Duration = Duration::from_secs(600);

/// The sequence of one order on one machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sequencer {
    record: Record,
}

impl Sequencer {
    /// Begins with a look at the outlets.
    #[must_use]
    pub fn begin(task: Task, now: Moment) -> Self {
        let record = Record {
            task,
            state: State::Looking { until: now + LOOK_DEADLINE, rest: None },
            began: now,
            moved: false,
            cut: None,
            lit: None,
            drained_from: None,
            reached: None,
            evidence: String::new(),
            stays_up: false,
            trouble: String::new(),
        };
        Self { record }
    }

    /// Goes on where another process of the same boot left off: reads before it drives, and asks again for a
    /// soft off that may have been lost. `None`: its time is over and it is only to be reported.
    #[must_use]
    pub fn resume(record: Record, now: Moment) -> Option<Self> {
        if now > record.deadline() {
            return None;
        }
        let mut record = moved_at_the_latest(record, now);
        record.state = diagram::resumed(record.state, now);
        Some(Self { record })
    }

    /// A sequence that another process left half done and that nobody finishes: it has failed, and says why.
    #[must_use]
    pub fn abandoned(record: Record, why: &str, now: Moment) -> Self {
        // It died between off and on, and what is history moves no relay: a person or a policy has to.
        let between = record.task.verb == Verb::Cycle
            && matches!(
                record.phase(),
                Phase::Cutting | Phase::Dwelling | Phase::Energizing | Phase::Waking
            );
        let mut record = moved_at_the_latest(record, now);
        record.state = State::Failed { untouched: false };
        record.add_evidence(why);
        if between {
            record.add_evidence("it may be off because of that: look at it, and order `on`");
        }
        Self { record }
    }

    /// What must be on disk before the next action is done.
    #[must_use]
    pub const fn record(&self) -> &Record {
        &self.record
    }

    /// Takes what happened.
    pub fn handle(&mut self, input: Input, now: Moment) {
        self.expire(now);
        diagram::step(&mut self.record, diagram::Event::Told(input), now);
    }

    /// What is to be done now. Asking twice changes nothing.
    pub fn poll(&mut self, now: Moment) -> Action {
        self.expire(now);
        diagram::action(&self.record)
    }

    /// Lets the deadlines that have passed act.
    fn expire(&mut self, now: Moment) {
        // Expiry leads from state to state only forwards, hence the diagram's length bounds this.
        for _ in 0..STATES_MAX {
            match self.record.state.until() {
                Some(until) if until <= now => {
                    diagram::step(&mut self.record, diagram::Event::Expired, now);
                }
                Some(_) | None => return,
            }
        }
    }
}

/// When exactly its outlets moved, the process before may not have lived to write down: not later than now.
fn moved_at_the_latest(record: Record, now: Moment) -> Record {
    let mut record = record;
    match record.phase() {
        Phase::Cutting => record.cut = Some(now),
        Phase::Energizing | Phase::Waking => record.lit = Some(now),
        _ => {}
    }
    record
}

/// More states than a sequence can pass through by deadlines alone.
const STATES_MAX: u32 = 16;

impl Record {
    /// Where the operation is, as it is told.
    #[must_use]
    pub const fn phase(&self) -> Phase {
        match &self.state {
            State::Looking { .. } => Phase::Accepted,
            State::Draining { .. } | State::Undraining { .. } => Phase::Draining,
            State::Waiting { .. } => Phase::Waiting,
            // Its power was taken, and comes back only with room: no place to stop or to think again.
            State::AwaitingRoom { to: PowerState::On, .. }
                if matches!(self.task.verb, Verb::Cycle) =>
            {
                Phase::Dwelling
            }
            State::AwaitingRoom { .. } => Phase::Waiting,
            State::SoftOff { .. } => Phase::SoftOff,
            State::Settling { .. } => Phase::Settling,
            State::Cutting(_) | State::Restoring { .. } => Phase::Cutting,
            State::Dwelling { .. } => Phase::Dwelling,
            State::Energizing(_) => Phase::Energizing,
            State::Waking { .. } => Phase::Waking,
            State::Done => Phase::Done,
            State::Failed { .. } => Phase::Failed,
        }
    }

    /// Until when it may still be finished by an agent that comes back: the end of all its phases and [`RESTART_GRACE`].
    #[must_use]
    pub fn deadline(&self) -> Moment {
        let task = &self.task;
        let phases = [
            task.asked_from().since(self.began),
            task.may_light_at.since(self.began),
            LOOK_DEADLINE,
            task.drain.unwrap_or_default(),
            UNDRAIN_DEADLINE,
            UNDRAIN_DEADLINE,
            task.soft_off.unwrap_or_default(),
            task.settle,
            MOVE_DEADLINE,
            task.off_dwell,
            MOVE_DEADLINE,
            task.paths.wake.unwrap_or_default(),
            if task.fed && task.verb != Verb::Off { ROOM_DEADLINE * 2 } else { Duration::ZERO },
            RESTART_GRACE,
        ];
        phases.into_iter().fold(self.began, |end, phase| end + phase)
    }

    /// Until when a cut that has begun is tried. `None`: none has.
    #[must_use]
    pub const fn cut_until(&self) -> Option<Moment> {
        match &self.state {
            State::Cutting(step) => Some(step.until),
            _ => None,
        }
    }

    /// Whether the result is that nothing was done to the machine and its node: a hold that came with the order ends too.
    #[must_use]
    pub const fn left_untouched(&self) -> bool {
        matches!(self.state, State::Failed { untouched: true })
    }

    /// What a running phase waits for, as a sentence; empty where its name says it all.
    #[must_use]
    pub fn progress(&self) -> String {
        match &self.state {
            State::Draining { left, .. } => left.clone(),
            State::Undraining { why, .. } => format!("taking the drain back: {why}"),
            State::Looking { rest: Some(_), .. } => format!("trying again: {}", self.trouble),
            State::Waiting { to: PowerState::Off, .. } if self.task.waits_for_life() => {
                "it may still wake by packets that were sent, and is asked once it answers"
                    .to_owned()
            }
            State::Waiting { to: PowerState::Off, .. } => {
                "it was lit too short ago (min_on); a person may say --force".to_owned()
            }
            State::Waiting { to: PowerState::On, .. } => {
                "it was cut too short ago (min_off)".to_owned()
            }
            State::AwaitingRoom { why, .. } => why.clone(),
            State::Restoring { .. } => "making its node eligible again".to_owned(),
            State::Settling { quiet_since: None, .. } => {
                "waiting for its node to be down".to_owned()
            }
            State::Cutting(step) | State::Energizing(step) if step.attempts > 0 => {
                format!("attempt {} of {DRIVE_ATTEMPTS_MAX}: {}", step.attempts + 1, self.trouble)
            }
            State::Waking { step: WakeStep::Look { .. }, .. } => {
                "looking for signs of life".to_owned()
            }
            State::Waking { sent, seen, .. } => [self.trouble.as_str(), seen]
                .into_iter()
                .filter(|text| !text.is_empty())
                .fold(format!("wake packets sent: {sent}"), |said, text| format!("{said}; {text}")),
            _ => String::new(),
        }
    }

    fn add_evidence(&mut self, text: &str) {
        if !self.evidence.is_empty() {
            self.evidence.push_str("; ");
        }
        self.evidence.push_str(text);
    }

    fn reach(&mut self, state: PowerState, now: Moment) {
        self.reached = Some((state, now));
    }
}

impl Task {
    /// From when it may be asked to shut down though it does not answer.
    fn asked_from(&self) -> Moment {
        self.may_cut_at.max(self.may_wake_until)
    }

    /// Whether an answer of the machine would let it go sooner.
    fn waits_for_life(&self) -> bool {
        self.may_wake_until > self.may_cut_at
    }
}

impl State {
    /// When the state ends by itself. `None`: it has ended.
    #[must_use]
    pub fn until(&self) -> Option<Moment> {
        match self {
            State::Looking { until, rest } => Some(rest.unwrap_or(*until).min(*until)),
            State::Draining { until, .. }
            | State::Undraining { until, .. }
            | State::Waiting { until, .. }
            | State::AwaitingRoom { until, .. }
            | State::SoftOff { until }
            | State::Settling { until, .. }
            | State::Restoring { until }
            | State::Dwelling { until } => Some(*until),
            State::Cutting(step) | State::Energizing(step) => Some(match step.step {
                Step::Rest { until } => until.min(step.until),
                Step::Look | Step::Drive | Step::Verify => step.until,
            }),
            State::Waking { until, step, .. } => Some(match step {
                WakeStep::Look { until: end } | WakeStep::Watch { again_at: end } => {
                    *until.min(end)
                }
                WakeStep::Send => *until,
            }),
            State::Done | State::Failed { .. } => None,
        }
    }
}
