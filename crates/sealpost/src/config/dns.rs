//! `[dns]`: how names are looked up.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use mail::Domain;
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
    /// A file of DNSKEY records to trust instead of the root's own keys, for a private root: lines with their owner, time to
    /// live and class, `. 3600 IN DNSKEY 257 3 13 …`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub trust_anchor_file: Option<PathBuf>,
    /// Names that are known to be signed. They are looked up at the start and every hour, to tell a resolver that loses
    /// signatures from a zone that is broken. Below a private root, none unless they are named here.
    #[serde(with = "units::optional_domains", skip_serializing_if = "Option::is_none")]
    pub signed_names: Option<Vec<Domain>>,
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
#[serde(rename_all = "kebab-case")]
pub enum Dnssec {
    /// Every answer is validated here; a forged one is a failed look-up.
    #[default]
    Validate,
    /// The resolver validates, and what it says of its answers (the AD bit) is believed. Only for resolvers on this machine:
    /// on the way to any other, anyone could say it.
    UpstreamAd,
    /// No answer is validated and none counts as proven. For resolvers that strip signatures, and for laboratories.
    Off,
}

impl Dns {
    /// The names that are known to be signed.
    pub fn known_signed(&self) -> Vec<Domain> {
        match (&self.signed_names, &self.trust_anchor_file) {
            (Some(names), _) => names.clone(),
            (None, Some(_)) => Vec::new(),
            (None, None) => SIGNED_NAMES
                .iter()
                .filter_map(|name| Domain::parse(name).ok())
                .collect(),
        }
    }

    pub(super) fn check(&self) -> Result<(), String> {
        let remote = self
            .servers
            .iter()
            .find(|at| !at.ip().to_canonical().is_loopback());
        match (self.dnssec, remote) {
            (Dnssec::UpstreamAd, Some(at)) => Err(format!(
                "[dns] dnssec = \"upstream-ad\" believes what the resolver says, and anyone on the way to {at} could say it: \
                 name a resolver on this machine in servers, or set dnssec = \"validate\""
            )),
            _ => Ok(()),
        }
    }
}

/// Zones that have been signed for a long time.
const SIGNED_NAMES: [&str; 3] = ["iana.org", "ietf.org", "isc.org"];

impl Default for Dns {
    fn default() -> Dns {
        Dns {
            servers: Vec::new(),
            dnssec: Dnssec::Validate,
            trust_anchor_file: None,
            signed_names: None,
            timeout: Duration::from_secs(5),
            attempts: 2,
            cache_entries_max: 16_384,
            denial_time_max: Duration::from_secs(3600),
        }
    }
}
