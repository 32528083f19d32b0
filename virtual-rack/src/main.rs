//! The binary `virtual-rack`.
fn main() {}
