//! What a sequence would do from here on: the shipped sequencer itself, run in assumed time with assumed answers. Pure.
//!
//! It runs twice. Once every answer comes at once, once at the last moment that its deadline allows; between the two
//! lies what will happen where nothing fails. How it goes where something does, nobody foretells.

use std::time::Duration;

use crate::sequencer::{
    Action, Eligible, Input, NODE_POLL, NodeSign, Record, Room, State, WakeStep,
};
use crate::{Fault, FaultClass, LinesSeen, Moment, PowerState, Sequencer};

/// More actions than a sequence can ask for: its states, and within the first look, which alone repeats itself while
/// a board does not answer, two actions for each of its tries.
const ACTIONS_MAX: u32 = 128;

/// The last moment before a deadline.
const INSTANT: Duration = Duration::from_millis(1);

/// What is assumed of the world, as it is seen now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Assumed {
    /// The machine's outlets, in the order in which they are driven.
    pub outlets: Vec<OutletNow>,
    /// Why the outlets can not be read, where they can not.
    pub trouble: Option<String>,
    /// When its feeds have room, as `feeds::Ledger::forecast` knows it where only the inrush of others stands in the
    /// way; `None`: at once.
    pub room_at: Option<Moment>,
    /// What Nomad will say of the node once it was asked to shut down.
    pub node: NodeSign,
    /// The sign of life that the machine gives now; `None`: none that is seen.
    pub life: Option<String>,
}

/// How one outlet stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OutletNow {
    /// Whether its board can tell.
    pub can_read_back: bool,
    /// What it told last.
    pub reading: Option<PowerState>,
}

/// What a sequence does in a step.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Doing {
    /// Its node is emptied.
    Drain,
    /// The drain is taken back.
    Undrain,
    /// It waits until the hardware may be switched so.
    Wait(PowerState),
    /// It waits until its feeds have room: to go down for a cycle, sure of its place, or to be lit.
    AwaitRoom(PowerState),
    /// The machine is asked to shut down.
    SoftOff,
    /// The signs that it is down must hold.
    Settle,
    /// Outlets are driven.
    Drive(PowerState),
    /// Its node is made eligible again.
    Restore,
    /// The outlets are left open.
    Dwell,
    /// It is woken.
    Wake,
}

impl Doing {
    /// The word for a program.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Doing::Drain => "drain",
            Doing::Undrain => "undrain",
            Doing::Wait(PowerState::Off) => "wait-min-on",
            Doing::Wait(PowerState::On) => "wait-min-off",
            Doing::AwaitRoom(PowerState::Off) => "await-room-to-return",
            Doing::AwaitRoom(PowerState::On) => "await-room",
            Doing::SoftOff => "soft-off",
            Doing::Settle => "settle",
            Doing::Drive(PowerState::Off) => "open",
            Doing::Drive(PowerState::On) => "close",
            Doing::Restore => "restore",
            Doing::Dwell => "dwell",
            Doing::Wake => "wake",
        }
    }
}

/// One step.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Step {
    /// What is done.
    pub doing: Doing,
    /// When it begins at the earliest, from now.
    pub from: Duration,
    /// When it begins at the latest.
    pub by: Duration,
    /// How long it may take; of a wait and a dwell, how long it takes if it begins at the earliest.
    pub lasts: Duration,
    /// The outlets that move, by their place in [`Assumed::outlets`]. One that reads so already does not.
    pub outlets: Vec<usize>,
}

/// What a sequence would do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Forecast {
    /// Its steps, in their order.
    pub steps: Vec<Step>,
    /// When it ends at the earliest, from now.
    pub from: Duration,
    /// When it ends at the latest.
    pub by: Duration,
    /// Whether it ends as ordered.
    pub well: bool,
    /// On what the result will rest, or what will stand against it.
    pub evidence: String,
}

/// Tells what a sequence would do from now on.
#[must_use]
pub fn foretell(sequencer: &Sequencer, assumed: &Assumed, now: Moment) -> Forecast {
    let early = Course::run(sequencer, assumed, Pace::AtOnce, now);
    let late = Course::run(sequencer, assumed, Pace::AtLast, now);
    let ends_by = late.now.since(now);
    let mut steps: Vec<Step> = Vec::with_capacity(early.steps.len());
    for (doing, at, lasts, outlets) in early.steps.into_iter().rev() {
        let then = late.steps.iter().find(|(other, ..)| *other == doing);
        // Who is late enough need not wait any more: then what follows begins.
        let after = || steps.last().map_or(ends_by, |next| next.by);
        let by = then.map_or_else(after, |(_, at, ..)| at.since(now));
        let from = at.since(now);
        steps.push(Step { doing, from, by: by.max(from), lasts, outlets });
    }
    steps.reverse();
    Forecast {
        steps,
        from: early.now.since(now),
        by: ends_by.max(early.now.since(now)),
        well: early.record.state == State::Done,
        evidence: early.record.evidence,
    }
}

/// When an answer comes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Pace {
    AtOnce,
    AtLast,
}

/// One run: the steps with their beginning, how long they may last, and the outlets that move.
struct Course {
    steps: Vec<(Doing, Moment, Duration, Vec<usize>)>,
    now: Moment,
    record: Record,
}

impl Course {
    fn run(sequencer: &Sequencer, assumed: &Assumed, pace: Pace, now: Moment) -> Self {
        let mut sequencer = sequencer.clone();
        let mut outlets = assumed.outlets.clone();
        let mut course = Self { steps: Vec::new(), now, record: sequencer.record().clone() };
        for _ in 0..ACTIONS_MAX {
            let action = sequencer.poll(course.now);
            let state = &sequencer.record().state;
            if let Some(doing) = doing(state) {
                let end = match state {
                    State::Waking { until, .. } => Some(*until),
                    other => other.until(),
                };
                let lasts = end.unwrap_or(course.now).since(course.now);
                course.note(doing, lasts, Vec::new());
            }
            if let Action::Drive { state, until } = action {
                let moved = drive(&mut outlets, state);
                course.note(Doing::Drive(state), until.since(course.now), moved);
            }
            if action == Action::Finished {
                break;
            }
            if let Some(input) = course.answer(action, pace, assumed, &outlets) {
                sequencer.handle(input, course.now);
            }
            if matches!(action, Action::WatchNode { .. }) {
                // Asked again and again, it says the same until something is decided.
                course.now = match &sequencer.record().state {
                    State::Settling { until, .. } => *until,
                    _ => course.now,
                };
            }
        }
        course.record = sequencer.record().clone();
        course
    }

    fn note(&mut self, doing: Doing, lasts: Duration, outlets: Vec<usize>) {
        if self.steps.last().is_none_or(|(last, ..)| *last != doing) {
            self.steps.push((doing, self.now, lasts, outlets));
        }
    }

    /// What is told to an action, once the time has come; `None`: nothing but that it has.
    fn answer(
        &mut self,
        action: Action,
        pace: Pace,
        assumed: &Assumed,
        outlets: &[OutletNow],
    ) -> Option<Input> {
        let (until, input, least) = match action {
            Action::ReadBack { until } => (until, read(assumed, outlets), Duration::ZERO),
            Action::Drive { until, .. } => (until, Input::Driven(Ok(())), Duration::ZERO),
            Action::OrderDrain { until } => {
                (until, Input::DrainOrdered(Ok(Eligible::Yes)), Duration::ZERO)
            }
            Action::WatchDrain { until } => (until, Input::DrainSeen(None), NODE_POLL),
            Action::CancelDrain { until } => (until, Input::Undrained(Ok(())), Duration::ZERO),
            Action::SoftOff { until } => (until, Input::SoftOffEnded(Ok(())), Duration::ZERO),
            Action::WatchNode { until } => (until, Input::NodeSeen(assumed.node), Duration::ZERO),
            Action::Wake { until } => (until, Input::WakeSent(Ok(())), Duration::ZERO),
            Action::LookForLife { until } => {
                let seen = assumed.life.clone().ok_or_else(String::new);
                (until, Input::LifeSeen(seen), Duration::ZERO)
            }
            Action::WatchLife { until, .. } => {
                (until, Input::LifeSeen(Ok("it answers".to_owned())), Duration::ZERO)
            }
            Action::AskRoom { ask_at, .. } => {
                self.now = self.now.max(ask_at);
                let Some(ask_at) = assumed.room_at.filter(|at| *at > self.now) else {
                    return Some(Input::Room(Room::Free));
                };
                return Some(Input::Room(Room::Taken { ask_at, why: String::new() }));
            }
            Action::Wait { until } => {
                self.now = self.now.max(until);
                return None;
            }
            Action::Finished => return None,
        };
        let last = until.ago(INSTANT).max(self.now);
        self.now = match pace {
            Pace::AtOnce => (self.now + least).min(last),
            Pace::AtLast => last,
        };
        Some(input)
    }
}

/// What a state is told as; a movement is told by its own action, and a look is nothing that anybody waits for.
const fn doing(state: &State) -> Option<Doing> {
    match state {
        State::Draining { .. } => Some(Doing::Drain),
        State::Undraining { .. } => Some(Doing::Undrain),
        State::Waiting { to, .. } => Some(Doing::Wait(*to)),
        State::AwaitingRoom { to, .. } => Some(Doing::AwaitRoom(*to)),
        State::SoftOff { .. } => Some(Doing::SoftOff),
        State::Settling { .. } => Some(Doing::Settle),
        State::Restoring { .. } => Some(Doing::Restore),
        State::Dwelling { .. } => Some(Doing::Dwell),
        State::Waking { step: WakeStep::Send | WakeStep::Watch { .. }, .. } => Some(Doing::Wake),
        State::Looking { .. }
        | State::Cutting(_)
        | State::Energizing(_)
        | State::Waking { .. }
        | State::Done
        | State::Failed { .. } => None,
    }
}

/// Sets all outlets; returns those that were not known to stand so.
fn drive(outlets: &mut [OutletNow], state: PowerState) -> Vec<usize> {
    let mut moved = Vec::new();
    for (index, outlet) in outlets.iter_mut().enumerate() {
        if outlet.reading != Some(state) {
            moved.push(index);
        }
        outlet.reading = outlet.can_read_back.then_some(state);
    }
    moved
}

fn read(assumed: &Assumed, outlets: &[OutletNow]) -> Input {
    Input::Seen(match &assumed.trouble {
        Some(text) => Err(Fault { class: FaultClass::Unreachable, text: text.clone() }),
        None => Ok(outlets
            .iter()
            .map(|outlet| outlet.reading)
            .fold(LinesSeen::default(), LinesSeen::and)),
    })
}
