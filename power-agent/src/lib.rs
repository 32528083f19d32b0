//! The edge power controller.
