//! The decisions of Lamplighter, pure: no clock, no IO, no async, no randomness that is not passed in.
//!
//! The plugin, the agent and the laboratory run this same code; they only observe and execute.

pub mod arbiter;
pub mod boots;
pub mod demand;
pub mod drift;
pub mod duration;
pub mod effect;
pub mod explain;
pub mod feeds;
pub mod forecast;
pub mod hostlist;
pub mod knobs;
pub mod lease;
pub mod lines;
pub mod marks;
pub mod measure;
pub mod moment;
pub mod names;
pub mod pending;
pub mod planner;
pub mod policies;
pub mod power;
pub mod reconciler;
pub mod scale_in;
pub mod sequencer;
pub mod shape;
pub mod spelling;
pub mod view;

pub use arbiter::{Fences, HoldKind, Order, Refusal, RefusalCode};
pub use boots::{BOOTS_MAX, Boot, BootEnd, BootTimes, Quarantine, QuarantineCause};
pub use drift::DriftPolicy;
pub use feeds::{Draw, FedView, FeedKey, FeedRoom, FeedRooms, Milliamps, NoRoom, Supply};
pub use knobs::{Knobs, NodeFilter, Selector, WhileStarting};
pub use lines::{Fault, FaultClass, LinesSeen, ReadSource};
pub use moment::Moment;
pub use names::{
    AllocId, ClusterId, DemandName, DeviceName, FeedName, Fence, FenceNumber, HolderId,
    MachineName, NameError, NodeCount, NodeId, OperationId, PlanId, PoolName, Reason,
};
pub use policies::{Discord, Policies, Terms};
pub use power::{Commanded, Observed, Origin, Power, PowerState, Verb};
pub use sequencer::{OnSoftOffTimeout, Phase, Sequencer};
pub use shape::{Resources, Shape};
pub use view::{
    AgentFacts, AllocView, FleetView, GroupView, JobKind, MachineView, NodeStatus, NodeView,
    OperationFacts, Progress, Touch, TouchKind,
};
