//! `[retry]`: when mail is tried again and when it is given up.

use serde::{Deserialize, Serialize};

/// `[retry]`
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Retry {}
