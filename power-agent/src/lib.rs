//! The edge power controller: config, devices and their drivers, soft off, and the CLI.

pub mod config;
pub mod device;
pub mod drivers;
pub mod soft_off;
