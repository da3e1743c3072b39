//! Real peers for Sealpost to talk to: other people's mail servers, clients and a name server, from Debian's packages.
//!
//! Nothing here judges Sealpost; the tests in `tests/` do. A test asks `packages` for what it needs, takes a `Place` (a folder and
//! loopback addresses of its own), starts peers in `Enclosure`s, and hands `Letter`s around. Whatever cannot work panics with
//! words: a laboratory that is not set up must fail the test, never pass it. Every wait is bounded; nothing outlives its owner.

pub mod packages;
pub mod place;
pub mod patience;
pub mod enclosure;
pub mod certificate;
pub mod authority;
pub mod letter;
pub mod mailbox;
pub mod dialogue;
pub mod meddler;
pub mod lookup;
pub mod policy_host;
pub mod hostile;
pub mod peers;
pub mod sealpost;
pub mod laboratory;
pub mod fate;
