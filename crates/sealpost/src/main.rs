//! The `sealpost` program: see `cli`.
fn main() {}
