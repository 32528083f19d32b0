//! The wire between plugin or CLI and power agent.
//!
//! [`wire`] is generated and stays at the edge; everybody else speaks the types of [`inventory`] and [`order`].

pub mod address;
mod channel;
pub mod client;
pub mod convert;
pub mod credentials;
pub mod forecast;
pub mod hold;
pub mod inventory;
pub mod order;
pub mod story;
pub mod told;
pub mod words;

/// The generated messages, client and server.
#[allow(
    missing_docs,
    unused_qualifications,
    clippy::all,
    clippy::allow_attributes_without_reason,
    clippy::too_many_lines,
    clippy::wildcard_imports,
    reason = "generated from the proto, which documents each field; which lints fire depends on the generator"
)]
pub mod wire {
    tonic::include_proto!("lamplighter.agent.v1");
}

pub use address::{AddressError, AgentAddress};
pub use client::{AgentError, Client, Watch};
pub use convert::FieldError;
pub use credentials::Credentials;
pub use fleet::arbiter::Dwell;
pub use fleet::{OnSoftOffTimeout, Order, Phase, Refusal, RefusalCode};
pub use forecast::{DryRun, Forecast, ForecastStep, Foretold, Pending};
pub use hold::{Hold, HoldEnds, Locks, Release, Released, TakeHold, Taken};
pub use inventory::{
    Boot, CommandedAge, Drift, Event, Fed, Inventory, Life, Machine, Operation, Outlet, Paths,
    Plan, PlanLine, Quarantine, WakePath,
};
pub use order::{Answer, Service};
pub use story::{Told, When, story};
pub use told::{AuditHead, History, HistoryAsked, HistoryEntry};
