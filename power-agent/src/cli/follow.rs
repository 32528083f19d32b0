//! What has become of each ordered machine so far: answers and events in, progress and outcomes out. No IO; time is an argument.

use std::time::Duration;

use agent_api::{AgentError, Answer, Machine, Operation};
use fleet::{MachineName, Observed, OperationId, Phase, PowerState, Verb};
use tokio::time::Instant;

use super::exit::Exit;
use super::json::{OperationJson, OutcomeJson};
use super::words;

/// How long a phase may overrun its own deadline before this command stops to wait: the agent reports the end of a phase
/// when it has read the device once more, and a sick device may take its time.
const GRACE: Duration = Duration::from_secs(30);

/// How it ended for one machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum End {
    Done,
    Unverified,
    Refused,
    Failed,
    Pending,
    Unreachable,
}

impl End {
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            End::Done => "done",
            End::Unverified => "unverified",
            End::Refused => "refused",
            End::Failed => "failed",
            End::Pending => "pending",
            End::Unreachable => "unreachable",
        }
    }

    pub(crate) const fn exit(self) -> Exit {
        match self {
            End::Done => Exit::Ok,
            End::Unverified => Exit::Unverified,
            End::Refused => Exit::Refused,
            End::Failed => Exit::Partial,
            End::Pending => Exit::Pending,
            End::Unreachable => Exit::Unreachable,
        }
    }
}

/// Where it is.
#[derive(Debug, Clone)]
enum State {
    /// The order is on its way.
    Asked,
    /// The agent has it.
    Running { operation: Operation, seen_at: Instant },
    /// It has ended, or nobody waits for it any more.
    Ended { end: End, text: String, operation: Option<Operation> },
}

/// One ordered machine.
#[derive(Debug, Clone)]
pub(crate) struct Followed {
    pub(crate) machine: MachineName,
    pub(crate) id: OperationId,
    verb: Verb,
    state: State,
    power: Option<Observed>,
    /// Every outlet was read, and reads as ordered.
    is_confirmed: bool,
}

/// What an event asks the caller to do.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Then {
    /// Nothing.
    Nothing,
    /// Tell this line: the phase has changed.
    Tell(String),
    /// Ask again by the operation id: the machine has moved on to another operation.
    AskAgain,
}

impl Followed {
    pub(crate) fn new(machine: MachineName, id: OperationId, verb: Verb) -> Self {
        Self { machine, id, verb, state: State::Asked, power: None, is_confirmed: false }
    }

    pub(crate) fn is_ended(&self) -> bool {
        matches!(self.state, State::Ended { .. })
    }

    /// The answer to the order.
    pub(crate) fn answered(&mut self, answer: Result<Answer, AgentError>, now: Instant) -> Then {
        if self.is_ended() {
            return Then::Nothing;
        }
        match answer {
            Ok(Answer::Accepted { operation, .. }) => self.at(operation, now),
            Ok(Answer::Refused(refusal)) => self.end(End::Refused, refusal.text, None),
            Err(error @ AgentError::Refused { .. }) => {
                self.end(End::Refused, error.to_string(), None)
            }
            Err(error) => {
                let text = format!("whether it was ordered is not known: {error}");
                self.end(End::Unreachable, text, None)
            }
        }
    }

    /// The machine as it is now.
    pub(crate) fn saw(&mut self, machine: &Machine, now: Instant) -> Then {
        let State::Running { .. } = self.state else {
            // Ours may have ended already; what is read after that is still the better answer.
            if self.is_ended() && self.is_about(machine) {
                self.observed(machine);
            }
            return Then::Nothing;
        };
        match &machine.operation {
            Some(operation) if operation.id == self.id => {
                self.note(machine);
                self.at(operation.clone(), now)
            }
            _ => Then::AskAgain,
        }
    }

    fn is_about(&self, machine: &Machine) -> bool {
        machine.operation.as_ref().is_some_and(|operation| operation.id == self.id)
    }

    fn note(&mut self, machine: &Machine) {
        self.power = Some(machine.observed());
        self.is_confirmed = words::confirms(machine, self.verb.leaves());
    }

    /// How the machine stands after the end: without a reading of every outlet, done is not proven.
    pub(crate) fn observed(&mut self, machine: &Machine) {
        self.note(machine);
        self.weigh();
    }

    fn weigh(&mut self) {
        let proven = self.is_confirmed && self.power == Some(Observed::Read(self.verb.leaves()));
        if let State::Ended { end: end @ (End::Done | End::Unverified), .. } = &mut self.state {
            *end = if proven { End::Done } else { End::Unverified };
        }
    }

    /// Whether it has ended well and nothing is known of how the machine stands.
    pub(crate) fn wants_reading(&self) -> bool {
        self.power.is_none()
    }

    fn at(&mut self, operation: Operation, now: Instant) -> Then {
        let before = match &self.state {
            State::Running { operation, .. } => Some(operation.phase),
            State::Asked | State::Ended { .. } => None,
        };
        if operation.phase.is_finished() {
            return self.finished(operation);
        }
        let line = format!("{}: {}", self.machine, words::running(&operation));
        let changed = before != Some(operation.phase);
        self.state = State::Running { operation, seen_at: now };
        if changed { Then::Tell(line) } else { Then::Nothing }
    }

    fn finished(&mut self, operation: Operation) -> Then {
        let took = words::span(operation.took);
        let evidence = &operation.evidence;
        if operation.phase == Phase::Failed {
            let text = format!("{} failed after {took}: {evidence}", self.verb.as_str());
            return self.end(End::Failed, text, Some(operation));
        }
        let text = match (operation.changed, self.verb) {
            (true, Verb::On) => format!("switched on in {took}: {evidence}"),
            (true, Verb::Off) => format!("switched off in {took}: {evidence}"),
            (true, Verb::Cycle) => format!("cycled in {took}: {evidence}"),
            (false, verb) => format!("was {} already: {evidence}", state_of(verb)),
        };
        let then = self.end(End::Done, text, Some(operation));
        if self.power.is_some() {
            self.weigh();
        }
        then
    }

    fn end(&mut self, end: End, text: String, operation: Option<Operation>) -> Then {
        self.state = State::Ended { end, text, operation };
        Then::Nothing
    }

    /// Nobody waits any longer, because of `why`.
    pub(crate) fn give_up(&mut self, why: &str) {
        let (text, operation) = match &self.state {
            State::Ended { .. } => return,
            State::Asked => (format!("{why} before the agent had answered the order"), None),
            State::Running { operation, .. } => (
                format!(
                    "{why} while it was {}; the agent goes on, `power-agent watch {}` follows it",
                    operation.phase, self.machine
                ),
                Some(operation.clone()),
            ),
        };
        self.state = State::Ended { end: End::Pending, text, operation };
    }

    /// Whether the phase has overrun its own deadline by more than the grace.
    pub(crate) fn is_overdue(&self, now: Instant) -> bool {
        match &self.state {
            State::Running { operation, seen_at } => {
                operation.deadline_in.is_some_and(|left| now > *seen_at + left + GRACE)
            }
            State::Asked | State::Ended { .. } => false,
        }
    }

    /// For the live progress: where it is, in words that are the same for machines that are equally far.
    pub(crate) fn stage(&self) -> String {
        match &self.state {
            State::Asked => "ordering".to_owned(),
            State::Running { operation, .. } => operation.phase.to_string(),
            State::Ended { end, .. } => end.as_str().to_owned(),
        }
    }

    /// For the live progress: how long the phase may still take.
    pub(crate) fn left(&self, now: Instant) -> Option<Duration> {
        match &self.state {
            State::Running { operation, seen_at } => {
                operation.deadline_in.map(|left| (*seen_at + left).saturating_duration_since(now))
            }
            State::Asked | State::Ended { .. } => None,
        }
    }

    /// How it ended; pending where it has not.
    pub(crate) fn outcome(&self) -> (End, &str) {
        match &self.state {
            State::Ended { end, text, .. } => (*end, text),
            State::Asked | State::Running { .. } => (End::Pending, "not ended"),
        }
    }

    /// The answer's line for a person.
    pub(crate) fn line(&self) -> String {
        let (end, text) = self.outcome();
        let machine = &self.machine;
        match (end, self.power) {
            (End::Done | End::Failed, _) => format!("{machine}: {text}"),
            // Assumed is in the evidence already; anything else the hardware has said against it.
            (End::Unverified, Some(power))
                if !matches!(power, Observed::Assumed(_))
                    && power != Observed::Read(self.verb.leaves()) =>
            {
                format!("{machine}: unverified: {text}; now it is {power}")
            }
            _ => format!("{machine}: {}: {text}", end.as_str()),
        }
    }

    pub(crate) fn json(&self) -> OutcomeJson {
        let (end, text) = self.outcome();
        let operation = match &self.state {
            State::Ended { operation, .. } => operation.as_ref(),
            State::Running { operation, .. } => Some(operation),
            State::Asked => None,
        };
        OutcomeJson {
            machine: self.machine.to_string(),
            outcome: end.as_str(),
            power: self.power.map(|power| power.to_string()),
            text: text.to_owned(),
            operation: operation.map(OperationJson::from),
        }
    }
}

fn state_of(verb: Verb) -> PowerState {
    verb.leaves()
}
