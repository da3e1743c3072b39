//! Local mail: what stays here, who it is for, and how it gets into a mailbox (RFC 5321 §3.9, §4.4; RFC 3461 §5.2.7).
//!
//! Owns the look-up of local addresses and final delivery. Blocks on the disk: call it off the async threads.

pub mod aliases;
mod fields;
pub mod maildir;
mod tables;

pub use aliases::{Directory, Knows};
pub use tables::BadLocal;
