//! A thin client of Nomad's HTTP API, as far as Lamplighter needs it.
//!
//! It asks, decodes and says clearly what went wrong. It retries nothing (but for a rotated token
//! file), reads no clock but for deadlines, and decides nothing: the caller paces and judges.

mod agent;
mod allocations;
mod client;
mod config;
mod connect;
mod error;
mod evaluations;
mod events;
mod jobs;
mod nodes;
mod sight;
mod token;
mod variables;
mod wire;

pub use allocations::{
    AllocatedCpu, AllocatedMemory, AllocatedResources, AllocatedShared, AllocatedTask, Allocation,
    AllocationStub, ClientStatus, DesiredStatus, DesiredTransition,
};
pub use client::{Client, QueryMeta, QueryOptions, REQUEST_DEADLINE, WAIT_MAX};
pub use config::{Config, Secret, TokenSource};
pub use error::Error;
pub use evaluations::{EvalStatus, Evaluation, PlacementFailure};
pub use events::{Event, EventBatch, EventStream, Payload, StreamItem, Topic};
pub use jobs::{
    Constraint, DeviceAsk, EphemeralDisk, GroupSummary, Job, JobEvaluated, JobStub, JobSummary,
    JobType, Lifecycle, NetworkAsk, PortAsk, Task, TaskGroup, TaskResources, VolumeAsk,
};
pub use nodes::{
    DrainDeadline, DrainSpec, DrainStatus, DrainStrategy, Eligibility, LastDrain, Node, NodeChange,
    NodeCpu, NodeDisk, NodeEvent, NodeMemory, NodeResources, NodeStatus, NodeStub,
};
pub use variables::{PutOutcome, VARIABLE_BYTES_MAX, Variable};
