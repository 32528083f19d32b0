//! Stand-in for hardware.
