//! `[dns]`: how names are looked up.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::units;

/// `[dns]`
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Dns {
    /// Resolvers to ask, `"127.0.0.1:53"`; the system's own (`/etc/resolv.conf`) if none is named.
    pub servers: Vec<SocketAddr>,
    /// Whether answers are validated here.
    pub dnssec: Dnssec,
    /// A file of DNSKEY records to trust instead of the root's own keys: for a private root.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub trust_anchor_file: Option<PathBuf>,
    /// Wait for one answer before the question is asked again.
    #[serde(with = "units::duration")]
    pub timeout: Duration,
    /// Times a question is asked.
    pub attempts: usize,
    /// Answers that are remembered.
    pub cache_entries_max: u32,
    /// How long "there is no such name" or "no such record" is remembered at most.
    #[serde(with = "units::duration")]
    pub denial_time_max: Duration,
}

/// Whether answers are validated by DNSSEC.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Dnssec {
    /// Every answer is validated here; a forged one is a failed look-up.
    #[default]
    Validate,
    /// No answer is validated and none counts as proven. For resolvers that strip signatures, and for laboratories.
    Off,
}

impl Default for Dns {
    fn default() -> Dns {
        Dns {
            servers: Vec::new(),
            dnssec: Dnssec::Validate,
            trust_anchor_file: None,
            timeout: Duration::from_secs(5),
            attempts: 2,
            cache_entries_max: 16_384,
            denial_time_max: Duration::from_secs(3600),
        }
    }
}
