//! What a channel must prove, and whether it did.
//!
//! Judges a channel against what was planned for its host. Never dials, waits, logs or reads a clock; it cannot bounce a
//! message: a verdict sends or holds.

pub mod plan;
pub mod shown;
pub mod evidence;

pub use evidence::{Basis, Evidence, Judged};
pub use plan::{Demand, Judgement, Opening, Plan, Source, Tried, Unmet, Verdict};
pub use shown::{Chain, Seen, Shown, TlsTrouble, WhyClear};
