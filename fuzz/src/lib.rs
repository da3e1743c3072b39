//! What must hold for any octets, one module a parser. Each `check` panics if it does not.

pub mod cuts;
pub mod address;
pub mod command;
pub mod reply;
pub mod bdat_framing;
pub mod mime_walk;
pub mod record;
pub mod sts;
pub mod tlsa;
