//! `[control]`: the operator's interface.

use serde::{Deserialize, Serialize};

/// `[control]`
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Control {}
