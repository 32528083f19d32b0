//! The edge power controller: config, devices and their drivers, soft off, the agent itself, and the CLI.

pub mod agent;
pub mod audit;
mod book;
pub mod certs;
pub mod cli;
pub mod clock;
pub mod config;
pub mod descriptors;
pub mod device;
pub mod drivers;
pub mod identity;
mod machine;
mod memory;
pub mod metrics;
mod node;
mod notify;
mod page;
pub mod presence;
pub mod quota;
mod rack;
mod reload;
pub mod roles;
mod sequence;
mod server;
pub mod soft_off;
mod store;
pub mod tls;
pub mod wiring;

pub use store::StoreError;
