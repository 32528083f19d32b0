//! The binary `lamplighter`.
fn main() {}
