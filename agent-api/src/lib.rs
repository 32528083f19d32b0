//! The wire between plugin or CLI and power agent.
//!
//! [`wire`] is generated and stays at the edge; everybody else speaks the types of [`inventory`] and [`order`].

pub mod inventory;
pub mod order;

/// The generated messages, client and server.
#[expect(
    missing_docs,
    unused_qualifications,
    reason = "generated from the proto, which documents each field"
)]
pub mod wire {
    tonic::include_proto!("lamplighter.agent.v1");
}

pub use inventory::{Hold, Inventory, Machine, Operation, Outlet, Phase, Plan, PlanLine};
pub use order::{Answer, OnSoftOffTimeout, Order, Refusal, RefusalCode};
