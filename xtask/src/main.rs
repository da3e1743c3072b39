//! The commands that build, check and measure Sealpost.
fn main() {}
