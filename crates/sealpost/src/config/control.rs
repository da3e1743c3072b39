//! `[control]`: where the commands reach the server.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::units;

/// `[control]`
#[derive(Clone, PartialEq, Eq, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct Control {
    /// A second Unix socket on which every user of this machine may hand in mail and do nothing else.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub submit_socket: Option<PathBuf>,
    /// Most messages or queue entries in one answer.
    pub list_max: usize,
    /// Largest message that is read for `mail list`, `show` and `save`.
    #[serde(with = "units::bytes")]
    pub read_bytes_max: u64,
}

impl Default for Control {
    fn default() -> Control {
        Control {
            submit_socket: None,
            list_max: 10_000,
            read_bytes_max: 256 * 1024 * 1024,
        }
    }
}
