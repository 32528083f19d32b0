//! What is asked of a device and what it says. Variants and fields are appended only: postcard numbers them by their place.

use heapless::Vec;
use serde::{Deserialize, Serialize};

use crate::image::CHUNK_MAX;
use crate::reading::SAMPLES_MAX;
use crate::{
    DeviceTime, Event, EventNumber, Generation, ImageFacts, OUTLETS_MAX, OutletNumber, OutletSeen,
    PowerState, SafeState, Sample, Version,
};

/// The most events of one message, so that it fits into a frame at its worst (`tests/bounds.rs`).
pub const EVENTS_AT_ONCE_MAX: usize = 8;

/// What makes a request an order: the device obeys it once, in its turn, and not late.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Order {
    /// Larger than that of every order before.
    pub generation: Generation,
    /// On the device's clock: later it is refused.
    pub until: DeviceTime,
}

/// A state for an outlet.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Switch {
    /// Which outlet.
    pub outlet: OutletNumber,
    /// What it is to be.
    pub state: PowerState,
}

/// What is asked of a device.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Request {
    /// The host lives. Any request says so; this one says nothing else.
    Beat,
    /// How the outlets are.
    Read,
    /// Outlets are to be so. Answered for each by [`Outcome`].
    Set(Order, Vec<Switch, OUTLETS_MAX>),
    /// Off, and on again after so many milliseconds, whether or not the host still lives.
    Cycle(Order, OutletNumber, u32),
    /// The first half of "all off": answered by a token.
    ArmAllOff(Order),
    /// The second half: everything loses its power at once.
    AllOff(Order, u32),
    /// If no request comes for so many milliseconds, the outlets take these safe states; `None`: no lease. Who is not named
    /// keeps its state. The safe states stay with the device, for when its supply comes back.
    Lease(Order, Option<u32>, Vec<(OutletNumber, SafeState), OUTLETS_MAX>),
    /// Events after this one.
    Log(EventNumber),
    /// Since version 2: what was measured last, from this outlet on.
    Measure(OutletNumber),
    /// Since version 2: measurements are told every so many milliseconds, buttons and LEDs when they change; `None`: not.
    Watch(Option<u32>),
    /// Since version 2: an image is to come; the present firmware stays until it was verified.
    UpdateBegin(Order, ImageFacts),
    /// Since version 2: bytes of it from an offset on.
    UpdateBytes(u32, Vec<u8, CHUNK_MAX>),
    /// Since version 2: all bytes were sent. It is verified, and started on trial.
    UpdateEnd(Order),
    /// Since version 2: the firmware on trial works, and stays.
    UpdateKeep(Order),
}

impl Request {
    /// The first version that has it.
    #[must_use]
    pub const fn since(&self) -> Version {
        match self {
            Request::Beat
            | Request::Read
            | Request::Set(..)
            | Request::Cycle(..)
            | Request::ArmAllOff(_)
            | Request::AllOff(..)
            | Request::Lease(..)
            | Request::Log(_) => Version::SWITCHES,
            Request::Measure(_)
            | Request::Watch(_)
            | Request::UpdateBegin(..)
            | Request::UpdateBytes(..)
            | Request::UpdateEnd(_)
            | Request::UpdateKeep(_) => Version::MEASURES,
        }
    }

    /// What makes it an order, where it is one.
    #[must_use]
    pub const fn order(&self) -> Option<Order> {
        match self {
            Request::Set(order, _)
            | Request::Cycle(order, ..)
            | Request::ArmAllOff(order)
            | Request::AllOff(order, _)
            | Request::Lease(order, ..)
            | Request::UpdateBegin(order, _)
            | Request::UpdateEnd(order)
            | Request::UpdateKeep(order) => Some(*order),
            Request::Beat
            | Request::Read
            | Request::Log(_)
            | Request::Measure(_)
            | Request::Watch(_)
            | Request::UpdateBytes(..) => None,
        }
    }
}

/// The answer to a request.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Answer {
    /// The device's clock.
    pub at: DeviceTime,
    /// What it says.
    pub said: Said,
}

/// What a device answers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Said {
    /// To a beat.
    Alive,
    /// To a read.
    Outlets(Vec<OutletSeen, OUTLETS_MAX>),
    /// To a set: an outcome for each switch, in its order.
    Set(Generation, Vec<Outcome, OUTLETS_MAX>),
    /// An order was obeyed, or a cycle has begun.
    Done(Generation),
    /// To the first half of "all off": the token for the second, and until when it holds.
    Armed(Generation, u32, DeviceTime),
    /// To a log: events in order, and the newest that there is.
    Events(Vec<Event, EVENTS_AT_ONCE_MAX>, EventNumber),
    /// Nothing was done.
    Refused(Refusal),
    /// Since version 2: to a measure; the outlet to go on with, where there is more.
    Measured(Vec<Sample, SAMPLES_MAX>, Option<OutletNumber>),
    /// Since version 2: all bytes of the image before this offset have arrived.
    ImageUpTo(u32),
}

/// What became of one switch.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Outcome {
    /// It was driven now.
    Changed,
    /// It is so already and stays so: an on that it waited for is withdrawn.
    Unchanged,
    /// It will be driven by the device in so many milliseconds, when its start has room beside the others'.
    Scheduled(u32),
    /// Nothing was done.
    Refused(Refusal),
}

/// Why nothing was done. Only appended to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Refusal {
    /// The request can not be read, or contradicts itself.
    Malformed,
    /// The request is newer than the version that is spoken.
    NotInVersion,
    /// It is meant for an earlier start of the device.
    OtherEpoch,
    /// An order with this generation, or a newer one, was heard before.
    Stale(Generation),
    /// It came after its deadline.
    TooLate,
    /// The device has no such outlet.
    NoSuchOutlet,
    /// The outlet's minimum on or off time lasts for so many milliseconds more.
    Dwell(u32),
    /// The outlet is in a cycle, for so many milliseconds more.
    InCycle(u32),
    /// A cycle is of an outlet that is on.
    NotOn,
    /// A time in it is shorter than this many milliseconds.
    TooShort(u32),
    /// A time in it is longer than this many milliseconds.
    TooLong(u32),
    /// "All off" was not armed, or by another token, or too long ago.
    NotArmed,
    /// The device can not remember what it would do.
    StorageFailed,
    /// The device has nothing of the kind.
    Unable,
    /// The image is for another kind of board: this one.
    OtherBoard(u16),
    /// The image is longer than this many bytes.
    ImageTooLong(u32),
    /// The next bytes of the image begin here.
    OutOfOrder(u32),
    /// No image was announced, or none is on trial.
    NoImage,
    /// The image's bytes have this CRC-32.
    DoesNotVerify(u32),
    /// An outlet is on, or about to be, and would not stay so over the start of the new firmware.
    OutletsOn,
    /// A firmware is on trial, or about to start: nothing gets power before it was kept.
    OnTrial,
}

/// What a device tells unasked.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Told {
    /// Its clock.
    pub at: DeviceTime,
    /// What it tells.
    pub news: News,
}

/// What a device may tell unasked. A lost one is not told again: events are in the log, measurements come anew.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum News {
    /// Something happened.
    Event(Event),
    /// Since version 2: measurements.
    Measured(Vec<Sample, SAMPLES_MAX>),
}

impl News {
    /// The first version that has it.
    #[must_use]
    pub const fn since(&self) -> Version {
        match self {
            News::Event(_) => Version::SWITCHES,
            News::Measured(_) => Version::MEASURES,
        }
    }
}
