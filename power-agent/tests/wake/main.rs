//! Machines that are woken by magic packets, in network namespaces of a test's own. `packets`: what the real agent sends,
//! and what it tells of a machine that is a namespace. `closet`: a real virtual machine that boots by them. `tools`: the packets of other programs.

#![expect(
    clippy::panic,
    clippy::unwrap_used,
    reason = "helpers of tests fail by panic as the tests do"
)]

mod closet;
mod packets;
mod tools;
