//! The virtual rack: a process that stands in for the hardware, so that the power agent uses its
//! real drivers and never knows. The models (`lcus`, `relay`, `board`, `machine`, `rack`) are pure,
//! with the time as an argument; `wiring` and the files it uses own ports, processes and sockets.
//! Where the faults to come will be consulted is said at `Relay::drive`, `Board::receive`'s answer,
//! `Machine::current`, `Machine::soft_off` and `Machine::deadline`.

pub mod board;
mod clock;
pub mod config;
pub mod control;
pub mod ctl;
pub mod edges;
pub mod lcus;
pub mod machine;
pub mod moment;
mod port;
mod programs;
pub mod rack;
pub mod relay;
pub mod script;
mod server;
pub mod wiring;
