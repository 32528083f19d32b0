//! What would happen, as an agent foretells it: of an order that nobody has given, and of what runs. Times are spans
//! from now.

use std::time::Duration;

use fleet::duration::show_duration;
use fleet::forecast::Doing;
use fleet::{DeviceName, MachineName, OnSoftOffTimeout, OperationId, PowerState, Refusal, Verb};

use crate::Hold;

/// What a sequence would do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Forecast {
    /// The order.
    pub operation: OperationId,
    /// What it orders.
    pub verb: Verb,
    /// Its steps, in their order.
    pub steps: Vec<ForecastStep>,
    /// When it ends at the earliest.
    pub from: Duration,
    /// When it ends at the latest, where nothing fails.
    pub by: Duration,
    /// Whether it ends as ordered.
    pub well: bool,
    /// On what the result will rest, or what stands against it.
    pub evidence: String,
    /// What is done if it does not shut down in time.
    pub on_soft_off_timeout: OnSoftOffTimeout,
}

/// One step.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ForecastStep {
    /// What is done.
    pub doing: Doing,
    /// When it begins at the earliest.
    pub from: Duration,
    /// When it begins at the latest.
    pub by: Duration,
    /// How long it may take; of a wait and a dwell, how long it takes if it begins at the earliest.
    pub lasts: Duration,
    /// The outlets that move, in their order: device and number. One that reads so already does not.
    pub outlets: Vec<(DeviceName, u32)>,
}

/// What would become of an order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DryRun {
    /// What would be answered.
    pub answer: Foretold,
    /// What runs on the machine and would be called off first.
    pub called_off: Option<Forecast>,
    /// The lock that would come with it.
    pub hold: Option<Hold>,
    /// What runs on the node and would be moved or lost, as a sentence; or why that can not be told.
    pub work: Option<String>,
}

impl DryRun {
    /// A refusal, with nothing to add.
    #[must_use]
    pub const fn refused(refusal: Refusal) -> Self {
        Self { answer: Foretold::Refused(refusal), called_off: None, hold: None, work: None }
    }
}

/// What would be answered to an order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Foretold {
    /// It would be refused.
    Refused(Refusal),
    /// It would begin.
    Begins(Forecast),
    /// The same runs already, and goes on so.
    Joins(Forecast),
    /// Its id was answered before: that answer again.
    Known,
}

/// What is under way on one machine, or owed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pending {
    /// The machine.
    pub machine: MachineName,
    /// What runs, and what it is to do yet.
    pub forecast: Option<Forecast>,
    /// An operation whose drain of the node could not be taken back yet.
    pub owed: Option<OperationId>,
    /// It reads otherwise than ordered, and is lit again then unless it reads as ordered before.
    pub relit_in: Option<Duration>,
}

impl ForecastStep {
    /// When it begins: `+8s`, or between which moments: `+8s to +1m10s`.
    #[must_use]
    pub fn when(&self) -> String {
        between(self.from, self.by)
    }

    /// What is done, a line for each outlet that moves. A machine may not shut down in time: then it goes as
    /// `on_timeout` says.
    #[must_use]
    pub fn texts(&self, on_timeout: OnSoftOffTimeout) -> Vec<String> {
        let lasts = shown(self.lasts);
        let text = match self.doing {
            Doing::Drain => format!("its node is drained (up to {lasts})"),
            Doing::Undrain => format!("the drain is taken back (up to {lasts})"),
            Doing::Wait(PowerState::Off) => {
                format!("waits {lasts}: it was lit too short ago (min_on)")
            }
            Doing::Wait(PowerState::On) => {
                format!("waits {lasts}: it was cut too short ago (min_off)")
            }
            Doing::AwaitRoom(PowerState::Off) => {
                "is sure of room on its feeds before it goes down".to_owned()
            }
            Doing::AwaitRoom(PowerState::On) => {
                "waits until its feeds have room for its inrush".to_owned()
            }
            Doing::SoftOff => {
                let otherwise = match on_timeout {
                    OnSoftOffTimeout::Cut => "is cut all the same",
                    OnSoftOffTimeout::Quarantine => "keeps its power and is quarantined",
                };
                format!(
                    "is asked to shut down (up to {lasts}); if it does not go down, it {otherwise}"
                )
            }
            Doing::Settle => format!("the signs that it is down must hold (up to {lasts})"),
            Doing::Restore => "its node may take work again once it is back".to_owned(),
            Doing::Dwell => format!("dwells {lasts}"),
            Doing::Wake => format!("is woken, until it gives a sign of life (up to {lasts})"),
            Doing::Drive(state) if self.outlets.is_empty() => {
                format!("its outlets are driven {state}, as they read already")
            }
            Doing::Drive(state) => {
                let moves = if state == PowerState::On { "closes" } else { "opens" };
                let outlets = self.outlets.iter();
                return outlets
                    .map(|(device, outlet)| format!("relay {device}/{outlet} {moves}"))
                    .collect();
            }
        };
        vec![text]
    }
}

impl Forecast {
    /// Its steps and its end as lines of when and what.
    #[must_use]
    pub fn lines(&self) -> Vec<(String, String)> {
        let steps = self.steps.iter();
        let mut lines: Vec<_> = steps
            .flat_map(|step| {
                step.texts(self.on_soft_off_timeout).into_iter().map(|text| (step.when(), text))
            })
            .collect();
        let ends = if self.well { "done" } else { "ends otherwise" };
        let why =
            if self.evidence.is_empty() { String::new() } else { format!(": {}", self.evidence) };
        lines.push((between(self.from, self.by), format!("{ends}{why}")));
        lines
    }
}

fn between(from: Duration, by: Duration) -> String {
    let (from, by) = (format!("+{}", shown(from)), format!("+{}", shown(by)));
    if from == by { from } else { format!("{from} to {by}") }
}

/// A span to the second from a minute on; what ends a millisecond before its deadline is told with it.
fn shown(span: Duration) -> String {
    let millis = fleet::moment::millis(span);
    let millis = if millis % 1000 == 999 { millis + 1 } else { millis };
    let millis = if millis < 60_000 { millis } else { millis - millis % 1000 };
    show_duration(Duration::from_millis(millis))
}
