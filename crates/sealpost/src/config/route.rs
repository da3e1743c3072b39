//! `[route]`: where mail goes that does not stay here.

use serde::{Deserialize, Serialize};

/// `[route]`
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Route {}
