//! `check`: a domain's transport security, looked at from outside.
//!
//! Finds out what is published and what the hosts show ([`facts`]), then judges that in plain functions ([`rows`],
//! [`level`]). Where it says what a mail server would do, it asks the plan that delivery makes. It never begins a message.

pub mod facts;
pub mod probe;
pub mod published;
pub mod rows;
pub mod level;
mod gather;

use std::time::SystemTime;

use mail::Domain;
use serde::{Deserialize, Serialize};
use trust::{Origin, dane};

use facts::{Door, Facts, HostFacts, Shook, Showed};
pub use gather::Auditor;
pub use level::{Level, Levels, Would};
pub use rows::{Mark, Row};

use crate::control::queue::rfc3339;

/// What an audit says. Text and JSON are written from it.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Audit {
    /// The domain.
    pub domain: String,
    /// When, RFC 3339.
    pub at: String,
    /// The worst of all rows.
    pub verdict: Mark,
    /// The verdict in a sentence.
    pub summary: String,
    /// What a host of the domain reaches at least; none if no host could be reached.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub level: Option<Level>,
    /// What was found, question by question.
    pub rows: Vec<Row>,
    /// Each host in the order in which it is tried.
    pub hosts: Vec<HostReport>,
}

/// What a host showed.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct HostReport {
    /// Its name.
    pub host: String,
    /// The preference of its MX record.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub preference: Option<u16>,
    /// How its name came to be known: `proven` by DNSSEC, or `unproven`.
    pub named: String,
    /// The level that all its addresses that answer reach.
    pub level: Level,
    /// Every level, reached or not.
    pub levels: Levels,
    /// Its TLSA records, as in a zone file.
    pub tlsa: Vec<String>,
    /// Each address.
    pub addresses: Vec<AddressReport>,
}

/// What an address showed.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct AddressReport {
    /// The address and port.
    pub address: String,
    /// Whether STARTTLS is offered; none if nobody answers.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub starttls: Option<bool>,
    /// The levels it reaches.
    pub levels: Levels,
    /// What delivery would do here; none if nobody answers.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub would: Option<Would>,
    /// Each version of TLS that was tried.
    pub tried: Vec<TriedReport>,
    /// The certificate of the newest version.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub certificate: Option<CertificateReport>,
}

/// A handshake.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct TriedReport {
    /// `TLSv1.3` or `TLSv1.2`.
    pub version: String,
    /// The cipher suite that was agreed on.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub cipher: Option<String>,
    /// The group of the key exchange.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub group: Option<String>,
    /// Whether that group withstands quantum computers.
    pub post_quantum: bool,
    /// Whether REQUIRETLS is offered inside.
    pub requiretls: bool,
    /// Why it came to nothing.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub error: Option<String>,
}

/// A certificate.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct CertificateReport {
    /// What it proves, in words.
    pub chain: String,
    /// Whether it leads to a trusted root and names the host.
    pub proves_host: bool,
    /// SHA-256 of its key: what a TLSA record 3 1 1 holds.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub key: Option<String>,
    /// Its end, RFC 3339.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub until: Option<String>,
    /// Whole days until then; 0 once it is past.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub days_left: Option<u64>,
}

/// Makes what is told of the facts.
pub fn audit(facts: &Facts) -> Audit {
    let rows = rows::rows(facts);
    let verdict = rows.iter().map(|row| row.mark).max().unwrap_or(Mark::Unknown);
    let hosts: Vec<HostReport> = facts
        .hosts
        .iter()
        .flatten()
        .map(|host| host.report(&facts.domain, facts.at))
        .collect();
    let reached = hosts.iter().filter(|host| host.level > Level::None);
    let level = reached.map(|host| host.level).min();
    Audit {
        domain: facts.domain.to_string(),
        at: rfc3339(facts.at),
        summary: summary(verdict, level, &rows),
        verdict,
        level,
        rows,
        hosts,
    }
}

fn summary(verdict: Mark, level: Option<Level>, rows: &[Row]) -> String {
    let faults = rows.iter().filter(|row| row.mark == Mark::Fault).count();
    let lock = match level {
        None => "no host was reached",
        Some(Level::None | Level::May) => "mail to it may travel in clear",
        Some(Level::Encrypt) => "mail to it is encrypted, without proof of who takes it",
        Some(Level::Verify) => "mail to it is encrypted, to hosts that DNS names without proof",
        Some(Level::Secure) => "mail to it is encrypted, to hosts with certificates for trusted names",
        Some(Level::Dane) => "mail to it is encrypted, to hosts proven by DANE",
    };
    match (verdict, faults) {
        (Mark::Good, _) => format!("nothing to mend: {lock}"),
        (Mark::Note, _) => format!("no fault: {lock}"),
        (Mark::Unknown, _) => format!("not all could be found out: {lock}"),
        (Mark::Fault, 1) => format!("1 fault: {lock}"),
        (Mark::Fault, more) => format!("{more} faults: {lock}"),
    }
}

impl HostFacts {
    fn report(&self, domain: &Domain, now: SystemTime) -> HostReport {
        let addresses: Vec<AddressReport> = self
            .doors
            .iter()
            .map(|door| self.address(domain, door, now))
            .collect();
        let levels = addresses
            .iter()
            .map(|address| address.levels)
            .filter(|levels| levels.may)
            .reduce(Levels::and)
            .unwrap_or_default();
        HostReport {
            host: self.host.to_string(),
            preference: self.preference,
            named: match self.origin {
                Origin::Proven => "proven",
                Origin::Configured => "configured",
                Origin::Unproven => "unproven",
            }
            .to_owned(),
            level: levels.strictest(),
            levels,
            tlsa: match &self.dane {
                dane::Finding::Published(records) => records.all.iter().map(ToString::to_string).collect(),
                dane::Finding::Unasked(_) | dane::Finding::Absent | dane::Finding::Failed(_) => Vec::new(),
            },
            addresses,
        }
    }

    fn address(&self, domain: &Domain, door: &Door, now: SystemTime) -> AddressReport {
        let (starttls, tried, best) = match &door.showed {
            Showed::Unreached(_) | Showed::Odd(_) => (None, Vec::new(), None),
            Showed::NoKeyword(_) => (Some(false), Vec::new(), None),
            Showed::Offered(offered) => (
                Some(true),
                vec![
                    tried("TLSv1.3", &offered.newest),
                    tried("TLSv1.2", &offered.older),
                ],
                offered.best(),
            ),
        };
        AddressReport {
            address: door.address.to_string(),
            starttls,
            levels: self.levels(domain, &door.showed, now),
            would: self.would(domain, &door.showed, now),
            tried,
            certificate: best.map(|shook| self.certificate(shook, now)),
        }
    }

    fn certificate(&self, shook: &Shook, now: SystemTime) -> CertificateReport {
        let told = shook.certificates.told(&self.host);
        CertificateReport {
            chain: told.to_string(),
            proves_host: told.proves_host(),
            key: told.key.map(|key| key.to_string()),
            until: told.until.map(rfc3339),
            days_left: told.until.map(|until| {
                let left = until.duration_since(now).unwrap_or_default();
                left.as_secs() / 86_400
            }),
        }
    }
}

fn tried(version: &str, shook: &Result<Shook, Box<str>>) -> TriedReport {
    let facts = shook.as_ref().ok().map(|shook| &shook.facts);
    let group = facts.and_then(|facts| facts.group.as_deref());
    TriedReport {
        version: version.to_owned(),
        cipher: facts.map(|facts| facts.cipher.to_string()),
        group: group.map(str::to_owned),
        post_quantum: group.is_some_and(rows::is_post_quantum),
        requiretls: shook
            .as_ref()
            .is_ok_and(|shook| shook.inside.as_ref().is_ok_and(|inside| inside.requiretls)),
        error: shook.as_ref().err().map(|why| why.to_string()),
    }
}
