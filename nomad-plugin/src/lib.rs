//! The external plugin.
