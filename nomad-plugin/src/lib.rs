//! The Nomad Autoscaler's external plugin, binary `lamplighter`.
//!
//! [`host`] is the whole contract with the autoscaler; everything else speaks its typed seam.

pub mod apm;
pub mod check;
pub mod cli;
pub mod host;
pub mod metrics;
pub mod observe;
pub mod pool;
pub mod settings;
pub mod target;
