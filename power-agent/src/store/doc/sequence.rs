//! How a half-done sequence looks on the disk.

use std::time::Duration;

use fleet::Moment;
use fleet::moment::millis;
use fleet::sequencer::{
    Cut, Eligible, Move, OnSoftOffTimeout, Paths, Record, State, Step, Task, WakeStep,
};
use serde::{Deserialize, Serialize};

use super::{Epoch, StateDoc, VerbDoc};

#[derive(Serialize, Deserialize)]
pub(super) struct RecordDoc {
    task: TaskDoc,
    at: PlaceDoc,
    began_ms: u64,
    moved: bool,
    #[serde(default)]
    cut_ms: Option<u64>,
    #[serde(default)]
    lit_ms: Option<u64>,
    /// Whether the node was eligible before our drain.
    drained_from_eligible: Option<bool>,
    reached: Option<(StateDoc, u64)>,
    evidence: String,
    #[serde(default)]
    stays_up: bool,
}

#[derive(Serialize, Deserialize)]
struct TaskDoc {
    verb: VerbDoc,
    quarantine_on_timeout: bool,
    drain_ms: Option<u64>,
    soft_off_ms: Option<u64>,
    settle_ms: u64,
    off_dwell_ms: u64,
    #[serde(default)]
    may_cut_at_ms: u64,
    #[serde(default)]
    may_wake_until_ms: u64,
    #[serde(default)]
    may_light_at_ms: u64,
    #[serde(default)]
    fed: bool,
    #[serde(default)]
    cut: CutDoc,
    #[serde(default)]
    wake_ms: Option<u64>,
}

/// When outlets open; what an older agent wrote says nothing of it, and it knew one way.
#[derive(Serialize, Deserialize, Default, Clone, Copy)]
#[serde(rename_all = "snake_case")]
enum CutDoc {
    #[default]
    After,
    LastResort,
    Never,
}

impl From<Cut> for CutDoc {
    fn from(cut: Cut) -> Self {
        match cut {
            Cut::After => Self::After,
            Cut::LastResort => Self::LastResort,
            Cut::Never => Self::Never,
        }
    }
}

impl From<CutDoc> for Cut {
    fn from(cut: CutDoc) -> Self {
        match cut {
            CutDoc::After => Self::After,
            CutDoc::LastResort => Self::LastResort,
            CutDoc::Never => Self::Never,
        }
    }
}

/// The state. A movement is begun anew with a look, so that its step needs no place here.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum PlaceDoc {
    Looking { until_ms: u64 },
    Draining { until_ms: u64, ordered: bool, left: String },
    Undraining { until_ms: u64, why: String },
    Waiting { until_ms: u64, to: StateDoc },
    AwaitingRoom { until_ms: u64, to: StateDoc, ask_at_ms: u64, why: String },
    SoftOff { until_ms: u64 },
    Settling { patience_ms: u64, soft_off_error: Option<String> },
    Cutting { until_ms: u64 },
    Restoring { until_ms: u64 },
    Dwelling { until_ms: u64 },
    Energizing { until_ms: u64 },
    Waking { until_ms: u64, sent: u32 },
    Done,
    Failed { untouched: bool },
}

impl RecordDoc {
    pub(super) fn of(record: &Record) -> Self {
        let task = &record.task;
        Self {
            task: TaskDoc {
                verb: task.verb.into(),
                quarantine_on_timeout: task.on_soft_off_timeout == OnSoftOffTimeout::Quarantine,
                drain_ms: task.drain.map(millis),
                soft_off_ms: task.soft_off.map(millis),
                settle_ms: millis(task.settle),
                off_dwell_ms: millis(task.off_dwell),
                may_cut_at_ms: task.may_cut_at.as_millis(),
                may_wake_until_ms: task.may_wake_until.as_millis(),
                may_light_at_ms: task.may_light_at.as_millis(),
                fed: task.fed,
                cut: task.paths.cut.into(),
                wake_ms: task.paths.wake.map(millis),
            },
            at: PlaceDoc::of(&record.state),
            began_ms: record.began.as_millis(),
            moved: record.moved,
            cut_ms: record.cut.map(Moment::as_millis),
            lit_ms: record.lit.map(Moment::as_millis),
            drained_from_eligible: record.drained_from.map(|before| before == Eligible::Yes),
            reached: record.reached.map(|(state, at)| (state.into(), at.as_millis())),
            evidence: record.evidence.clone(),
            stays_up: record.stays_up,
        }
    }

    pub(super) fn into_record(self, epoch: Epoch) -> Record {
        let eligible = |eligible| if eligible { Eligible::Yes } else { Eligible::No };
        let quarantine = self.task.quarantine_on_timeout;
        Record {
            task: Task {
                verb: self.task.verb.into(),
                on_soft_off_timeout: if quarantine {
                    OnSoftOffTimeout::Quarantine
                } else {
                    OnSoftOffTimeout::Cut
                },
                drain: self.task.drain_ms.map(Duration::from_millis),
                soft_off: self.task.soft_off_ms.map(Duration::from_millis),
                settle: Duration::from_millis(self.task.settle_ms),
                off_dwell: Duration::from_millis(self.task.off_dwell_ms),
                may_cut_at: epoch.at(self.task.may_cut_at_ms),
                may_wake_until: epoch.at(self.task.may_wake_until_ms),
                may_light_at: epoch.at(self.task.may_light_at_ms),
                fed: self.task.fed,
                paths: Paths {
                    cut: self.task.cut.into(),
                    wake: self.task.wake_ms.map(Duration::from_millis),
                },
            },
            state: self.at.into_state(epoch),
            began: epoch.at(self.began_ms),
            moved: self.moved,
            cut: self.cut_ms.map(|at| epoch.at(at)),
            lit: self.lit_ms.map(|at| epoch.at(at)),
            drained_from: self.drained_from_eligible.map(eligible),
            reached: self.reached.map(|(state, at_ms)| (state.into(), epoch.at(at_ms))),
            evidence: self.evidence,
            stays_up: self.stays_up,
            trouble: String::new(),
        }
    }
}

impl PlaceDoc {
    fn of(state: &State) -> Self {
        match state {
            State::Looking { until, .. } => Self::Looking { until_ms: until.as_millis() },
            State::Draining { until, ordered, left } => Self::Draining {
                until_ms: until.as_millis(),
                ordered: *ordered,
                left: left.clone(),
            },
            State::Undraining { until, why } => {
                Self::Undraining { until_ms: until.as_millis(), why: why.clone() }
            }
            State::Waiting { until, to } => {
                Self::Waiting { until_ms: until.as_millis(), to: (*to).into() }
            }
            State::AwaitingRoom { until, to, ask_at, why } => Self::AwaitingRoom {
                until_ms: until.as_millis(),
                to: (*to).into(),
                ask_at_ms: ask_at.as_millis(),
                why: why.clone(),
            },
            State::SoftOff { until } => Self::SoftOff { until_ms: until.as_millis() },
            State::Settling { patience, soft_off_error, .. } => Self::Settling {
                patience_ms: patience.as_millis(),
                soft_off_error: soft_off_error.clone(),
            },
            State::Cutting(movement) => Self::Cutting { until_ms: movement.until.as_millis() },
            State::Restoring { until } => Self::Restoring { until_ms: until.as_millis() },
            State::Dwelling { until } => Self::Dwelling { until_ms: until.as_millis() },
            State::Energizing(movement) => {
                Self::Energizing { until_ms: movement.until.as_millis() }
            }
            State::Waking { until, sent, .. } => {
                Self::Waking { until_ms: until.as_millis(), sent: *sent }
            }
            State::Done => Self::Done,
            State::Failed { untouched } => Self::Failed { untouched: *untouched },
        }
    }

    fn into_state(self, epoch: Epoch) -> State {
        let look = |until_ms| Move { step: Step::Look, attempts: 0, until: epoch.at(until_ms) };
        match self {
            Self::Looking { until_ms } => State::Looking { until: epoch.at(until_ms), rest: None },
            Self::Draining { until_ms, ordered, left } => {
                State::Draining { until: epoch.at(until_ms), ordered, left }
            }
            Self::Undraining { until_ms, why } => {
                State::Undraining { until: epoch.at(until_ms), why }
            }
            Self::Waiting { until_ms, to } => {
                State::Waiting { until: epoch.at(until_ms), to: to.into() }
            }
            Self::AwaitingRoom { until_ms, to, ask_at_ms, why } => State::AwaitingRoom {
                until: epoch.at(until_ms),
                to: to.into(),
                ask_at: epoch.at(ask_at_ms),
                why,
            },
            Self::SoftOff { until_ms } => State::SoftOff { until: epoch.at(until_ms) },
            Self::Settling { patience_ms, soft_off_error } => {
                let patience = epoch.at(patience_ms);
                State::Settling {
                    until: patience,
                    patience,
                    soft_off_error,
                    quiet_since: None,
                    up: false,
                }
            }
            Self::Cutting { until_ms } => State::Cutting(look(until_ms)),
            Self::Restoring { until_ms } => State::Restoring { until: epoch.at(until_ms) },
            Self::Dwelling { until_ms } => State::Dwelling { until: epoch.at(until_ms) },
            Self::Energizing { until_ms } => State::Energizing(look(until_ms)),
            Self::Waking { until_ms, sent } => State::Waking {
                until: epoch.at(until_ms),
                step: WakeStep::Send,
                sent,
                seen: String::new(),
            },
            Self::Done => State::Done,
            Self::Failed { untouched } => State::Failed { untouched },
        }
    }
}
