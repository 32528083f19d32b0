//! Messages to bytes and back, by postcard.

use heapless::Vec;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::frame::PAYLOAD_MAX;
use crate::{Frame, Header, Wire};

/// Why bytes are no message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MessageError {
    /// They are none of the kind that the frame says.
    Malformed,
    /// They go on after the message's end.
    Trailing,
    /// The message is longer than a frame.
    TooLong,
}

impl core::fmt::Display for MessageError {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str(match self {
            MessageError::Malformed => "the frame's payload is no message of its kind",
            MessageError::Trailing => "the frame's payload goes on after its message",
            MessageError::TooLong => "the message is longer than a frame",
        })
    }
}

impl core::error::Error for MessageError {}

/// A message in its frame, as it goes onto the line.
///
/// # Errors
///
/// Where it does not fit into a frame; the messages of this crate all do.
pub fn encode(header: Header, message: &impl Serialize) -> Result<Wire, MessageError> {
    let mut buffer = [0; PAYLOAD_MAX];
    let payload =
        postcard::to_slice(message, &mut buffer).map_err(|_full| MessageError::TooLong)?;
    header.frame(payload).ok_or(MessageError::TooLong)
}

/// The message of a frame, whole.
///
/// # Errors
///
/// Where it is none, or more than one.
pub fn decode<T: DeserializeOwned>(frame: &Frame) -> Result<T, MessageError> {
    match postcard::take_from_bytes(&frame.payload) {
        Ok((message, [])) => Ok(message),
        Ok(_) => Err(MessageError::Trailing),
        Err(_) => Err(MessageError::Malformed),
    }
}

/// The greeting of a frame: what a newer version has appended to it is left.
///
/// # Errors
///
/// Where it does not begin with one.
pub fn decode_greeting<T: DeserializeOwned>(frame: &Frame) -> Result<T, MessageError> {
    let begun = postcard::take_from_bytes(&frame.payload);
    begun.map(|(greeting, _newer)| greeting).map_err(|_| MessageError::Malformed)
}

/// Only the payload of a message, for golden bytes.
///
/// # Errors
///
/// Where it does not fit into a frame.
pub fn payload(message: &impl Serialize) -> Result<Vec<u8, PAYLOAD_MAX>, MessageError> {
    let mut buffer = [0; PAYLOAD_MAX];
    let used = postcard::to_slice(message, &mut buffer).map_err(|_full| MessageError::TooLong)?;
    Vec::from_slice(used).map_err(|_full| MessageError::TooLong)
}
