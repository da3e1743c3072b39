//! The checks that keep the repository as ARCHITECTURE.md and CONTRIBUTING.md describe it.
//!
//! Reads the repository as text. Never changes a source file; the one file it writes is `docs/requirements.md`.

pub mod tree;
pub mod source;
pub mod requirements;
pub mod tidy;
pub mod dependencies;
pub mod steps;
pub mod fuzz;
pub mod picture;
