//! The binary `power-agent`.
fn main() {}
