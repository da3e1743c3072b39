//! One TLSA record: its octets, its text, whether it can be used, and what it fits.

use std::fmt;
use std::str::FromStr;

use aws_lc_rs::digest::{SHA256, SHA512, digest};
use x509_parser::certificate::X509Certificate;
use x509_parser::prelude::FromDer;
use x509_parser::x509::SubjectPublicKeyInfo;

use super::{Match, selected};

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

/// Why something is no TLSA record.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum BadTlsa {
    /// Shorter than its three numbers and one octet to match.
    Short,
    /// Longer than a record can be (RFC 1035 §3.2.1).
    Long,
    /// A number that is none, or above 255.
    Number,
    /// Something that is no hexadecimal octet.
    Hex,
}

impl Tlsa {
    /// Reads the octets of a record (RFC 6698 §2.1). Whether it can be used is another question.
    pub fn parse(octets: &[u8]) -> Result<Tlsa, BadTlsa> {
        match octets {
            _ if octets.len() > RECORD_BYTES_MAX => Err(BadTlsa::Long),
            [usage, selector, matching, association @ ..] if !association.is_empty() => Ok(Tlsa {
                usage: *usage,
                selector: *selector,
                matching: *matching,
                association: association.into(),
            }),
            _ => Err(BadTlsa::Short),
        }
    }

    /// The record that a certificate fits; none if it cannot be read, or for a selector or matching type that nobody knows.
    pub fn of(usage: u8, selector: u8, matching: u8, certificate: &[u8]) -> Option<Tlsa> {
        let selected = selected(selector, certificate).filter(|_| selector <= 1)?;
        let association = match matching {
            0 => selected.into(),
            1 => digest(&SHA256, selected).as_ref().into(),
            2 => digest(&SHA512, selected).as_ref().into(),
            _ => return None,
        };
        Some(Tlsa {
            usage,
            selector,
            matching,
            association,
        })
    }

    /// Whether it says something that can be followed (RFC 6698 §4.1, RFC 7671 §9): usages 0 and 1 mean nothing to SMTP
    /// (RFC 7672 §3.1.3), and what is malformed counts as if it were not understood.
    pub fn is_usable(&self) -> bool {
        let well_formed = match (self.matching, self.selector) {
            (1, _) => self.association.len() == 32,
            (2, _) => self.association.len() == 64,
            (0, 0) => X509Certificate::from_der(&self.association).is_ok_and(|(rest, _)| rest.is_empty()),
            (0, 1) => {
                SubjectPublicKeyInfo::from_der(&self.association).is_ok_and(|(rest, _)| rest.is_empty())
            }
            _ => false,
        };
        matches!((self.usage, self.selector), (2 | 3, 0 | 1)) && well_formed
    }

    /// Whether a certificate is the one that it names, or has the key that it names.
    pub(super) fn fits(&self, certificate: &[u8]) -> bool {
        let of = Tlsa::of(self.usage, self.selector, self.matching, certificate);
        of.is_some_and(|of| of.association == self.association)
    }

    pub(super) fn kind(&self) -> Match {
        Match {
            usage: self.usage,
            selector: self.selector,
            matching: self.matching,
        }
    }
}

/// The presentation form (RFC 6698 §2.2): three numbers and hexadecimal octets, which blanks may part.
impl FromStr for Tlsa {
    type Err = BadTlsa;

    fn from_str(text: &str) -> Result<Tlsa, BadTlsa> {
        let mut words = text.split_ascii_whitespace();
        let mut number = || -> Result<u8, BadTlsa> {
            let word = words.next().ok_or(BadTlsa::Short)?;
            match word.bytes().all(|octet| octet.is_ascii_digit()) {
                true => word.parse().map_err(|_| BadTlsa::Number),
                false => Err(BadTlsa::Number),
            }
        };
        let mut octets = vec![number()?, number()?, number()?];
        let digits: Vec<u8> = words.flat_map(str::bytes).take(2 * RECORD_BYTES_MAX).collect();
        let nibble = |digit: u8| {
            char::from(digit)
                .to_digit(16)
                .and_then(|value| u8::try_from(value).ok())
        };
        for pair in digits.chunks(2) {
            match pair {
                [high, low] => match (nibble(*high), nibble(*low)) {
                    (Some(high), Some(low)) => octets.push(high << 4 | low),
                    _ => return Err(BadTlsa::Hex),
                },
                _ => return Err(BadTlsa::Hex),
            }
        }
        Tlsa::parse(&octets)
    }
}

impl fmt::Display for Tlsa {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {} {} ", self.usage, self.selector, self.matching)?;
        self.association
            .iter()
            .try_for_each(|octet| write!(f, "{octet:02x}"))
    }
}

impl fmt::Display for BadTlsa {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            BadTlsa::Short => "a TLSA record has three numbers and octets behind them",
            BadTlsa::Long => "longer than a record can be",
            BadTlsa::Number => "usage, selector and matching type are numbers from 0 to 255",
            BadTlsa::Hex => "what is to be matched is written in pairs of hexadecimal digits",
        })
    }
}

impl std::error::Error for BadTlsa {}

/// Octets of one record.
const RECORD_BYTES_MAX: usize = 65_535;
