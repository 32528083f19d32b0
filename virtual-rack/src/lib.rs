//! The virtual rack: a process that stands in for the hardware, so that the power agent uses its
//! real drivers and never knows. The models (`lcus`, `relay`, `board`, `machine`, `rack`) are pure,
//! with the time as an argument; `wiring` and the files it uses own ports, processes and sockets.
//! What can go wrong is in `fault`, what does by chance in `storm`; each model asks its own faults.
//! A machine that is woken by its network card has the card (`card`, `standby`) as its command.

pub mod board;
pub mod card;
pub mod chance;
mod clock;
mod closes;
pub mod config;
pub mod control;
pub mod ctl;
pub mod edges;
pub mod fault;
pub mod lcus;
pub mod machine;
pub mod moment;
mod port;
mod programs;
pub mod rack;
pub mod relay;
pub mod script;
mod server;
pub mod standby;
pub mod storm;
pub mod sys;
pub mod wiring;
