//! What a channel must prove, and whether it did.
//!
//! Judges a channel against what was planned for its host. Never dials, waits, logs or reads a clock; it cannot bounce a
//! message: a verdict sends or holds.

pub mod policy;
pub mod dane;
pub mod sts;
pub mod ledger;
pub mod plan;
pub mod making;
pub mod chain;
pub mod shown;
pub mod judge;
pub mod evidence;
pub mod alarm;

pub use chain::{Certificates, Chain, Flaw, Named, Path, Presented, Roots};
pub use evidence::Evidence;
pub use judge::{Basis, Judged, Judgement, Lack, Unmet, Verdict};
pub use ledger::{Bound, Claim};
pub use making::{Inputs, Origin};
pub use plan::{Avoid, Demand, Opening, Plan, Reason, Source, Tried, WhyAvoid};
pub use shown::{Seen, Shown, TlsTrouble, WhyClear};
