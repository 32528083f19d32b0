//! What a sequence is made of: its task, its states, what is told to it and what it asks for. Plain data.

use std::time::Duration;

use super::MOVE_DEADLINE;
use crate::{Fault, LinesSeen, Moment, PowerState, Verb};

/// What is to be done to a machine, and how long its steps take.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Task {
    /// What was ordered.
    pub verb: Verb,
    /// What happens when the machine does not go down by itself.
    pub on_soft_off_timeout: OnSoftOffTimeout,
    /// Drain the node first, and how long that may take. `None`: no drain.
    pub drain: Option<Duration>,
    /// How long the machine may take to go down once asked. `None`: it can not be asked.
    pub soft_off: Option<Duration>,
    /// How long the signs that it is down must hold before it is cut.
    pub settle: Duration,
    /// How long a cycle leaves it off.
    pub off_dwell: Duration,
    /// It is not asked to shut down and not cut sooner: it was lit a short while ago.
    pub may_cut_at: Moment,
    /// It may still wake by packets that were sent, and nothing but asking it can switch it off: until then it is asked only
    /// once it answers.
    pub may_wake_until: Moment,
    /// It is not lit sooner: it was cut a short while ago.
    pub may_light_at: Moment,
    /// Whether it hangs on feeds with a budget: then it is lit only once they have room.
    pub fed: bool,
    /// By which ways its power is given and taken.
    pub paths: Paths,
}

/// By which ways a machine is switched, beside the soft off.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Paths {
    /// When its outlets open.
    pub cut: Cut,
    /// It starts only when woken, and how long that may take. `None`: power is enough.
    pub wake: Option<Duration>,
}

impl Default for Paths {
    /// Outlets alone.
    fn default() -> Self {
        Self { cut: Cut::After, wake: None }
    }
}

/// When a machine's outlets open.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Cut {
    /// Whenever it goes, after the signs that it is down.
    #[default]
    After,
    /// Only when it does not go down by itself; else they stay closed.
    LastResort,
    /// Never: it has none.
    Never,
}

/// What Nomad says of the machine's node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NodeSign {
    /// It is down, or has been removed.
    Down,
    /// It is not down.
    Up,
    /// There is no such node, or no Nomad: it can be no sign.
    NotKnown,
    /// Nomad did not answer: no sign this time.
    Silent,
}

/// Whether a node took new work before we drained it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Eligible {
    /// It did: what we took away we give back.
    Yes,
    /// It did not: others wanted it so, and so it stays.
    No,
}

/// What the executor tells.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Input {
    /// The outlets were read, or could not be.
    Seen(Result<LinesSeen, Fault>),
    /// The outlets were driven, or could not be.
    Driven(Result<(), Fault>),
    /// The drain was ordered, and whether the node was eligible before; or it could not be.
    DrainOrdered(Result<Eligible, String>),
    /// What still runs on the node, as a sentence; `None`: it is empty.
    DrainSeen(Option<String>),
    /// The node is as it was before the drain, or could not be made so.
    Undrained(Result<(), String>),
    /// The soft off ended, well or not.
    SoftOffEnded(Result<(), String>),
    /// What Nomad says of the node; [`NodeSign::Up`] also where the machine itself gives a sign of life.
    NodeSeen(NodeSign),
    /// A wake packet went out, or could not.
    WakeSent(Result<(), Fault>),
    /// The sign of life that the machine gives; or what was looked for and not seen.
    LifeSeen(Result<String, String>),
    /// What the feeds have room for. Where that is [`Room::Free`] and the outlets are to close next, the machine takes
    /// the room with this: to ask and to tell is one step.
    Room(Room),
    /// A person wants it otherwise. Obeyed only before the point of no return, and while a machine is being woken.
    CalledOff(String),
    /// What is to be done next could not be written down, for this reason. Before anything was done to the machine the
    /// sequence ends; later it goes on, because to stop half way would be worse.
    Unwritten(String),
}

/// What a machine's feeds have room for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Room {
    /// They have room.
    Free,
    /// Not now, for this reason; to be asked again then at the latest.
    Taken {
        /// Asked again then.
        ask_at: Moment,
        /// What stands in the way, as a sentence.
        why: String,
    },
    /// What runs fills one, whatever was promised: somebody has lit more by hand. Waiting alone brings no room; to be asked
    /// again then.
    Full {
        /// Asked again then.
        ask_at: Moment,
        /// What fills it, as a sentence.
        why: String,
    },
}

/// What the executor has to do now. Each is bounded by its moment: later than that, ask again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// Read the outlets; answer with [`Input::Seen`].
    ReadBack {
        /// Given up then.
        until: Moment,
    },
    /// Set all outlets of the machine; answer with [`Input::Driven`].
    Drive {
        /// The state.
        state: PowerState,
        /// Given up then.
        until: Moment,
    },
    /// Order the drain; answer with [`Input::DrainOrdered`].
    OrderDrain {
        /// Given up then.
        until: Moment,
    },
    /// Wait a [`crate::sequencer::NODE_POLL`], then look what runs on the node; answer with [`Input::DrainSeen`] if that could be told.
    WatchDrain {
        /// Given up then.
        until: Moment,
    },
    /// End the drain and leave the node as it was before; answer with [`Input::Undrained`].
    CancelDrain {
        /// Given up then.
        until: Moment,
    },
    /// Ask the machine to shut down; answer with [`Input::SoftOffEnded`].
    SoftOff {
        /// Given up then.
        until: Moment,
    },
    /// Ask Nomad about the node, answer with [`Input::NodeSeen`], and look again a [`crate::sequencer::NODE_POLL`] later at the latest.
    WatchNode {
        /// Something is decided then.
        until: Moment,
    },
    /// Ask the feeds, not before `ask_at`, and answer with [`Input::Room`].
    AskRoom {
        /// What is to come next: [`PowerState::On`] its outlets are to close now, [`PowerState::Off`] it is to go down
        /// for a cycle, and needs to be sure of a place for its return.
        to: PowerState,
        /// Asked then.
        ask_at: Moment,
        /// Given up then.
        until: Moment,
    },
    /// Send one wake packet; answer with [`Input::WakeSent`].
    Wake {
        /// Given up then.
        until: Moment,
    },
    /// Look for a sign of life before anything is sent; answer with [`Input::LifeSeen`].
    LookForLife {
        /// Given up then.
        until: Moment,
    },
    /// The same, as often as a [`crate::sequencer::NODE_POLL`] allows, because packets were sent.
    WatchLife {
        /// The next packet is sent then.
        again_at: Moment,
        /// Given up then.
        until: Moment,
    },
    /// Nothing until then.
    Wait {
        /// Something is decided then.
        until: Moment,
    },
    /// Nothing any more.
    Finished,
}

/// Where the sequence is. Plain data, so that it can be kept on disk.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum State {
    /// Looks how the outlets stand before anything is decided.
    Looking {
        /// The device counts as unreachable then.
        until: Moment,
        /// Looks again then, after a look that went wrong.
        rest: Option<Moment>,
    },
    /// Empties the node.
    Draining {
        /// Given up then.
        until: Moment,
        /// Whether Nomad has the order.
        ordered: bool,
        /// What still runs there.
        left: String,
    },
    /// Takes the drain back, then fails.
    Undraining {
        /// Fails without it then.
        until: Moment,
        /// Why.
        why: String,
    },
    /// Waits until the hardware may be switched.
    Waiting {
        /// Goes on then.
        until: Moment,
        /// What is to come.
        to: PowerState,
    },
    /// Waits until its feeds have room.
    AwaitingRoom {
        /// Given up then.
        until: Moment,
        /// What is to come: its outlets close, or it goes down for a cycle.
        to: PowerState,
        /// Asked again then.
        ask_at: Moment,
        /// What stood in the way when it was asked last; empty before.
        why: String,
    },
    /// Asks the machine to shut down.
    SoftOff {
        /// Escalates then.
        until: Moment,
    },
    /// Waits for the signs that it is down.
    Settling {
        /// Escalates then without the signs, cuts then with them.
        until: Moment,
        /// The soft off's error; `None`: it went well.
        soft_off_error: Option<String>,
        /// Since when the signs hold.
        quiet_since: Option<Moment>,
        /// When the machine's time to go down is over.
        patience: Moment,
        /// Whether it was seen to be up after it was asked.
        up: bool,
    },
    /// Opens the outlets.
    Cutting(Move),
    /// Makes the drained node eligible again for the time when it comes back: the drain was ours.
    Restoring {
        /// Goes on without it then.
        until: Moment,
    },
    /// Leaves them open.
    Dwelling {
        /// Closes them then.
        until: Moment,
    },
    /// Closes the outlets.
    Energizing(Move),
    /// Wakes it, until it gives a sign of life.
    Waking {
        /// Given up then.
        until: Moment,
        /// What comes next.
        step: WakeStep,
        /// How many packets were sent.
        sent: u32,
        /// What was looked for last and not seen.
        seen: String,
    },
    /// Ended as ordered.
    Done,
    /// Ended otherwise.
    Failed {
        /// Nothing was done to the machine: a hold that came with the order ends with it.
        untouched: bool,
    },
}

/// How far a movement is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Move {
    /// What comes next.
    pub step: Step,
    /// How many attempts went wrong.
    pub attempts: u32,
    /// Given up then.
    pub until: Moment,
}

/// One step of a movement.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// Read before driving: after an attempt whose end is not known, and after a restart.
    Look,
    /// Drive.
    Drive,
    /// Read back.
    Verify,
    /// Let the device rest, then look.
    Rest {
        /// Looks then.
        until: Moment,
    },
}

/// One step of waking.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WakeStep {
    /// Look whether it is awake.
    Look {
        /// Sends then.
        until: Moment,
    },
    /// Send a packet.
    Send,
    /// Look for signs of life.
    Watch {
        /// Sends again then.
        again_at: Moment,
    },
}

impl Move {
    pub(super) fn first(step: Step, now: Moment) -> Self {
        Self { step, attempts: 0, until: now + MOVE_DEADLINE }
    }
}

/// All of a sequence that must survive the agent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    /// What is to be done.
    pub task: Task,
    /// Where it is.
    pub state: State,
    /// When it began.
    pub began: Moment,
    /// Whether an outlet was driven.
    pub moved: bool,
    /// When it was cut, if it may have been: when that began at the latest, and exactly once it is known.
    pub cut: Option<Moment>,
    /// The same for being lit.
    pub lit: Option<Moment>,
    /// How the node was before our drain, as far as is known. `None`: we have not drained it, or have given it back; a
    /// sequence that ends with this owes Nomad that much.
    pub drained_from: Option<Eligible>,
    /// The last state that was driven, or found to be so already, and when; whether it was seen to arrive is told by
    /// `state` and `evidence`.
    pub reached: Option<(PowerState, Moment)>,
    /// On what the result rests, as far as it goes.
    pub evidence: String,
    /// Whether it did not go down by itself and was left on for that, as its order wanted.
    pub stays_up: bool,
    /// What the last attempt met; empty where it went well.
    pub trouble: String,
}

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
    /// Waits until its hardware may be switched again.
    Waiting,
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
    /// Woken, until it gives a sign of life.
    Waking,
    /// Finished as ordered.
    Done,
    /// Finished otherwise.
    Failed,
    /// One that a newer agent told and this version does not know: taken for one that goes on. No sequence is in it.
    Unknown,
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
            Phase::Waiting => "waiting",
            Phase::SoftOff => "shutting down",
            Phase::Settling => "settling",
            Phase::Cutting => "cutting",
            Phase::Dwelling => "dwelling",
            Phase::Energizing => "energizing",
            Phase::Waking => "waking",
            Phase::Done => "done",
            Phase::Failed => "failed",
            Phase::Unknown => "in a phase that this version does not know",
        }
    }
}

impl std::fmt::Display for Phase {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(self.as_str())
    }
}
