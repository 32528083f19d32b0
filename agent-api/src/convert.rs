//! Wire messages to typed values and back: total, and where a message is wrong the error names the field.

mod boots;
mod drift;
mod dwell;
mod feeds;
mod forecast;
mod hold;
mod inventory;
mod order;
mod plan;

use std::time::Duration;

use fleet::{NameError, PowerState, Verb};

use crate::wire;

/// A message that can not be taken: which field, what was found, what was expected.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("field {field}: {problem}")]
pub struct FieldError {
    /// The path of the field from the message's root: `machines[2].outlets[0].device`.
    pub field: String,
    /// What is wrong with it.
    pub problem: FieldProblem,
}

/// What is wrong with a field.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FieldProblem {
    /// The field is needed and is not there.
    #[error("missing")]
    Missing,
    /// The number is none of the enumeration's.
    #[error("found {found}, which is no {expected}; the other side may be newer")]
    Unknown {
        /// The number on the wire.
        found: i32,
        /// The enumeration that it should be of.
        expected: &'static str,
    },
    /// The text is no name.
    #[error("{0}")]
    Name(NameError),
}

impl FieldError {
    pub(crate) fn missing(field: &str) -> Self {
        Self { field: field.to_owned(), problem: FieldProblem::Missing }
    }

    fn unknown(field: &str, found: i32, expected: &'static str) -> Self {
        Self { field: field.to_owned(), problem: FieldProblem::Unknown { found, expected } }
    }

    /// The same error, told by the message that holds this one in `parent`.
    fn within(self, parent: &str) -> Self {
        Self { field: format!("{parent}.{}", self.field), ..self }
    }
}

/// A name out of a text field.
fn name<T>(field: &str, text: String, new: fn(String) -> Result<T, NameError>) -> NameResult<T> {
    new(text)
        .map_err(|error| FieldError { field: field.to_owned(), problem: FieldProblem::Name(error) })
}

type NameResult<T> = Result<T, FieldError>;

/// A name out of a text field in which empty means none.
fn optional_name<T>(
    field: &str,
    text: String,
    new: fn(String) -> Result<T, NameError>,
) -> Result<Option<T>, FieldError> {
    if text.is_empty() { Ok(None) } else { name(field, text, new).map(Some) }
}

/// A message that must be there.
fn required<W, T>(field: &str, message: Option<W>) -> Result<T, FieldError>
where
    T: TryFrom<W, Error = FieldError>,
{
    let message = message.ok_or_else(|| FieldError::missing(field))?;
    T::try_from(message).map_err(|error| error.within(field))
}

/// A message that may be there.
fn optional<W, T>(field: &str, message: Option<W>) -> Result<Option<T>, FieldError>
where
    T: TryFrom<W, Error = FieldError>,
{
    message.map(|message| T::try_from(message).map_err(|error| error.within(field))).transpose()
}

/// Each message of a list.
fn each<W, T>(field: &str, messages: Vec<W>) -> Result<Vec<T>, FieldError>
where
    T: TryFrom<W, Error = FieldError>,
{
    let one = |(index, message)| {
        T::try_from(message).map_err(|error: FieldError| error.within(&format!("{field}[{index}]")))
    };
    messages.into_iter().enumerate().map(one).collect()
}

const fn span(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

fn state(field: &str, number: i32) -> Result<PowerState, FieldError> {
    match wire::PowerState::try_from(number) {
        Ok(wire::PowerState::On) => Ok(PowerState::On),
        Ok(wire::PowerState::Off) => Ok(PowerState::Off),
        Ok(wire::PowerState::Unspecified) | Err(_) => {
            Err(FieldError::unknown(field, number, "power state"))
        }
    }
}

fn state_number(state: PowerState) -> i32 {
    match state {
        PowerState::On => wire::PowerState::On,
        PowerState::Off => wire::PowerState::Off,
    }
    .into()
}

fn verb(field: &str, number: i32) -> Result<Verb, FieldError> {
    match wire::Verb::try_from(number) {
        Ok(wire::Verb::On) => Ok(Verb::On),
        Ok(wire::Verb::Off) => Ok(Verb::Off),
        Ok(wire::Verb::Cycle) => Ok(Verb::Cycle),
        Ok(wire::Verb::Unspecified) | Err(_) => Err(FieldError::unknown(field, number, "verb")),
    }
}

fn verb_number(verb: Verb) -> i32 {
    match verb {
        Verb::On => wire::Verb::On,
        Verb::Off => wire::Verb::Off,
        Verb::Cycle => wire::Verb::Cycle,
    }
    .into()
}

/// What the wire's `quarantine_on_timeout` says.
const fn on_timeout(quarantine: bool) -> fleet::OnSoftOffTimeout {
    if quarantine { fleet::OnSoftOffTimeout::Quarantine } else { fleet::OnSoftOffTimeout::Cut }
}

fn quarantines(on_timeout: fleet::OnSoftOffTimeout) -> bool {
    on_timeout == fleet::OnSoftOffTimeout::Quarantine
}
