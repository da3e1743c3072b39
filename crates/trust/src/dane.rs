//! DANE (RFC 6698, RFC 7671, RFC 7672): what TLSA records demand of a host, and whether its certificates keep to it.
//!
//! Usages 2 (DANE-TA) and 3 (DANE-EE) count; 0 and 1 mean nothing to SMTP (RFC 7672 §3.1.3). The web's roots play no part.

mod anchor;
mod record;

use std::sync::Arc;
use std::time::SystemTime;

use mail::Domain;
use x509_parser::certificate::X509Certificate;
use x509_parser::prelude::FromDer;

pub use self::record::{BadTlsa, Tlsa};
use crate::chain::Presented;

/// The records of one host, validated by DNSSEC. At least one.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Records {
    /// Under which name they stand, without `_25._tcp.` (RFC 7672 §2.2.2).
    pub base: Domain,
    /// The records.
    pub all: Vec<Tlsa>,
    /// The names, besides the base, that a certificate below a DANE-TA record may hold (RFC 7672 §3.2.2).
    pub references: Vec<Domain>,
}

/// What the look-up of a host's TLSA records came to.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Finding {
    /// They were not asked for, and why: an address literal, or a name that is not proven.
    Unasked(Box<str>),
    /// It is proven that there are none.
    Absent,
    /// There are some.
    Published(Arc<Records>),
    /// Not found out: the host must not be used now (RFC 7672 §2.1).
    Failed(Box<str>),
}

/// Which record fits what was shown.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Match {
    /// 2 or 3.
    pub usage: u8,
    /// 0 or 1.
    pub selector: u8,
    /// 0, 1 or 2.
    pub matching: u8,
}

/// Why none fits, in plain words.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Mismatch(pub Box<str>);

impl Records {
    /// The records under a base domain; what is beyond a sensible number is left out.
    pub fn new(base: Domain, all: impl IntoIterator<Item = Tlsa>, references: Vec<Domain>) -> Records {
        Records {
            base,
            all: all.into_iter().take(RECORDS_MAX).collect(),
            references,
        }
    }

    /// Whether any of them can be used; if not, encryption is still owed (RFC 7672 §2.2).
    pub fn has_usable(&self) -> bool {
        self.all.iter().any(Tlsa::is_usable)
    }

    /// Whether one of them fits. Any that does is enough, whatever the others are (RFC 7671 §8.1).
    pub fn prove(&self, presented: &Presented, now: SystemTime) -> Result<Match, Mismatch> {
        let own = presented
            .own()
            .ok_or_else(|| Mismatch("no certificate was shown".into()))?;
        let chosen = self.chosen();
        // RFC 7671 §5.1: neither names nor dates count, nor who signed it.
        if let Some(record) = chosen.iter().find(|record| record.usage == 3 && record.fits(own)) {
            return Ok(record.kind());
        }
        let anchors: Vec<&Tlsa> = chosen
            .iter()
            .filter(|record| record.usage == 2)
            .copied()
            .collect();
        let why = match anchors.is_empty() {
            true => "the certificate is another one".to_owned(),
            false => match anchor::prove(&anchors, presented, &self.names(), now) {
                Ok(found) => return Ok(found),
                Err(why) => why,
            },
        };
        Err(Mismatch(format!("none of {} fits: {why}", self.told()).into()))
    }

    /// The records that count (RFC 7671 §9): the usable ones; where a usage and selector come with several digests, only
    /// those with the strongest, and those in full.
    pub fn chosen(&self) -> Vec<&Tlsa> {
        let usable = || self.all.iter().filter(|record| record.is_usable());
        let strongest = |of: &Tlsa| {
            let same = usable().filter(|record| (record.usage, record.selector) == (of.usage, of.selector));
            same.map(|record| record.matching).max()
        };
        usable()
            .filter(|record| record.matching == 0 || Some(record.matching) == strongest(record))
            .collect()
    }

    /// The names that a certificate below a DANE-TA record may hold.
    fn names(&self) -> Vec<&Domain> {
        std::iter::once(&self.base).chain(&self.references).collect()
    }

    /// In a few words.
    pub fn told(&self) -> String {
        match self.all.len() {
            1 => format!("1 TLSA record at {}", self.base),
            count => format!("{count} TLSA records at {}", self.base),
        }
    }
}

/// What a selector selects of a certificate: all of it, or its public key. None if it cannot be read.
fn selected(selector: u8, der: &[u8]) -> Option<&[u8]> {
    match selector {
        0 => Some(der),
        _ => X509Certificate::from_der(der)
            .ok()
            .map(|(_, certificate)| certificate.tbs_certificate.subject_pki.raw),
    }
}

/// Records of one host that are looked at.
pub const RECORDS_MAX: usize = 64;

#[cfg(test)]
mod tests;
