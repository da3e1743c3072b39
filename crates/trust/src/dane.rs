//! DANE (RFC 6698, RFC 7671, RFC 7672): what TLSA records demand of a host, and whether its certificates keep to it.

use std::sync::Arc;
use std::time::SystemTime;

use aws_lc_rs::digest::{SHA256, SHA512, digest};
use mail::Domain;
use x509_parser::certificate::X509Certificate;
use x509_parser::prelude::FromDer;

use crate::chain::Presented;

/// One TLSA record (RFC 6698 §2.1).
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Tlsa {
    /// 0 PKIX-TA, 1 PKIX-EE, 2 DANE-TA, 3 DANE-EE.
    pub usage: u8,
    /// 0 the whole certificate, 1 its public key.
    pub selector: u8,
    /// 0 as it is, 1 SHA-256, 2 SHA-512.
    pub matching: u8,
    /// What is to be matched.
    pub association: Box<[u8]>,
}

/// The records of one host, validated by DNSSEC. At least one.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Records {
    /// Under which name they stand, without `_25._tcp.` (RFC 7672 §2.2.2).
    pub base: Domain,
    /// The records.
    pub all: Vec<Tlsa>,
    /// The names that a DANE-TA certificate may hold (RFC 7672 §3.2.2).
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
    /// Whether any of them can be used; if not, encryption is still owed (RFC 7672 §2.2).
    pub fn has_usable(&self) -> bool {
        self.all.iter().any(Tlsa::is_usable)
    }

    /// Whether one of them fits. Any that does is enough, whatever the others are (RFC 7671 §8.1).
    pub fn prove(&self, presented: &Presented, _now: SystemTime) -> Result<Match, Mismatch> {
        let own = presented
            .own()
            .ok_or_else(|| Mismatch("no certificate was shown".into()))?;
        let fits = self
            .all
            .iter()
            .find(|record| record.usage == 3 && record.is_usable() && record.fits(own));
        match fits {
            Some(record) => Ok(Match {
                usage: record.usage,
                selector: record.selector,
                matching: record.matching,
            }),
            None => Err(Mismatch(format!("none of {} fits", self.told()).into())),
        }
    }

    /// In a few words.
    pub fn told(&self) -> String {
        match self.all.len() {
            1 => format!("1 TLSA record at {}", self.base),
            count => format!("{count} TLSA records at {}", self.base),
        }
    }
}

impl Tlsa {
    /// Usages 0 and 1 mean nothing to SMTP (RFC 7672 §3.1.3).
    pub fn is_usable(&self) -> bool {
        matches!((self.usage, self.selector, self.matching), (2 | 3, 0 | 1, 0..=2))
    }

    /// Whether a certificate is the one that it names.
    fn fits(&self, der: &[u8]) -> bool {
        let Ok((_, certificate)) = X509Certificate::from_der(der) else {
            return false;
        };
        let selected = match self.selector {
            0 => der,
            _ => certificate.public_key().raw,
        };
        match self.matching {
            0 => *selected == *self.association,
            1 => *digest(&SHA256, selected).as_ref() == *self.association,
            _ => *digest(&SHA512, selected).as_ref() == *self.association,
        }
    }
}
