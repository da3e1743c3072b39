//! What must hold for any octets, one module a parser. Each `check` panics if it does not.

pub mod address;
