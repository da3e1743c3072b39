//! `[dns]`: how names are looked up.

use serde::{Deserialize, Serialize};

/// `[dns]`
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Dns {}
