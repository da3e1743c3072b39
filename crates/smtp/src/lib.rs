//! Both ends of the SMTP conversation, as pure state machines: bytes and moments in, steps out.
//!
//! Owns the grammar of commands and replies and the order in which they may come. Never reads, writes, sleeps,
//! looks up or decides whether mail is welcome: it says what it wants done and when to wake it. However the bytes
//! are cut, the steps are the same.

pub mod limits;
pub mod wire;
pub mod command;
pub mod server;
pub mod hello;
pub mod client;

pub use limits::Limits;
