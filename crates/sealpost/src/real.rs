//! The real bodies of the ports.

pub mod dns;
pub mod net;
pub mod clock;
