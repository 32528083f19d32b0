//! The generated messages, servers and clients of the host's protocol.
//!
//! For the host's own files, for tests and for benchmarks that stand in the autoscaler's place.
#![expect(
    missing_docs,
    unused_qualifications,
    clippy::allow_attributes_without_reason,
    clippy::too_many_lines,
    reason = "generated from the protos, which say what each message is for"
)]

include!(concat!(env!("OUT_DIR"), "/wire.rs"));

/// The protos and what they import, encoded, for the reflection service.
pub const DESCRIPTORS: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/descriptors.bin"));
