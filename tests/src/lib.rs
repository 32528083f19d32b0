//! The test kit: the real hosts, programs that die with their owner, waiting with a bound, a Nomad cluster on
//! loopback, the agent's bench, kernels of their own for what needs GPIO, and a machine that wakes by LAN.

pub mod access;
mod archive;
pub mod bench;
pub mod booted;
pub mod browser;
pub mod closet;
pub mod cluster;
pub mod diary;
pub mod evidence;
pub mod gpio_sim;
pub mod hosts;
pub mod machine;
pub mod network;
pub mod pi;
pub mod ports;
pub mod process;
pub mod programs;
pub mod rig;
pub mod said;
pub mod several;
pub mod skip;
pub mod uml;
pub mod wait;
pub mod walk;
pub mod work;
