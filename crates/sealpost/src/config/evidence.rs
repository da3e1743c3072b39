//! `[evidence]`: what is written down of each attempt.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::units;

/// `[evidence]`
#[derive(Clone, PartialEq, Eq, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct Evidence {
    /// How long records are kept.
    #[serde(with = "units::duration")]
    pub keep: Duration,
    /// A file is followed by another when it is this long, and each day.
    #[serde(with = "units::bytes")]
    pub file_bytes_max: u64,
    /// Most records in one answer of the control interface.
    pub page_max: usize,
}

impl Default for Evidence {
    fn default() -> Evidence {
        Evidence {
            keep: Duration::from_secs(90 * 86_400),
            file_bytes_max: 32 * 1024 * 1024,
            page_max: 1000,
        }
    }
}
