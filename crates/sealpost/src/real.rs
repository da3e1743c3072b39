//! The real bodies of the ports.

pub mod net;
pub mod clock;
