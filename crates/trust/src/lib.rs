//! What a channel must prove, and whether it did.
//!
//! Judges a channel against what was planned for its host. Never dials, waits, logs or reads a clock; it cannot bounce a
//! message: a verdict sends or holds.

pub mod evidence;
