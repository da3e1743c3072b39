//! Certificates that a peer showed: whether their path leads to a trusted root, which names and which key they hold.
//!
//! Says what they prove, never whether that is enough: see [`crate::plan`].

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use mail::{Domain, Host, KeyPrint};
use rustls_pki_types::{CertificateDer, TrustAnchor, UnixTime};
use webpki::{ALL_VERIFICATION_ALGS, EndEntityCert, KeyUsage};
use x509_parser::certificate::X509Certificate;
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::FromDer;

/// The certificates of one handshake, as octets, the peer's own first. Cheap to clone.
#[derive(Clone, PartialEq, Eq, Default)]
pub struct Presented(Arc<[Box<[u8]>]>);

/// What the peer's own certificate says, and where its path leads.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Certificates {
    presented: Presented,
    path: Path,
    names: Arc<[Box<str>]>,
    key: Option<KeyPrint>,
    until: Option<SystemTime>,
}

/// The roots that paths may lead to. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct Roots(Arc<[TrustAnchor<'static>]>);

/// Where a path leads, whatever names it holds.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Path {
    /// To a trusted root, every certificate in date.
    Trusted,
    /// Nowhere that counts, and why.
    Flawed(Flaw, Box<str>),
    /// No root is trusted, or nothing was shown.
    Unchecked,
}

/// What is wrong with a path.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Flaw {
    /// A certificate is out of date, or not valid yet.
    Expired,
    /// No trusted root at its end; self-signed certificates too.
    Untrusted,
    /// It cannot be read, or breaks the rules in another way.
    Broken,
}

/// What is told of certificates in evidence: where the path leads, and whether the host's own name is among the names.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Chain {
    /// Where the path leads.
    pub path: Path,
    /// Whose names it holds.
    pub named: Named,
    /// The peer's key, if it showed a readable certificate.
    pub key: Option<KeyPrint>,
    /// The end of the certificate's time, if it is readable.
    pub until: Option<SystemTime>,
}

/// Whether a certificate names the host that was meant.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Named {
    /// The host is among its names.
    Host,
    /// It has other names, the first of which are told.
    Others(Box<str>),
    /// It has no DNS name at all.
    Nobody,
}

impl Presented {
    /// The certificates of a handshake, in its order; what is beyond a sensible number is left out.
    pub fn new<'a>(ders: impl IntoIterator<Item = &'a [u8]>) -> Presented {
        Presented(ders.into_iter().take(CHAIN_MAX).map(Box::from).collect())
    }

    /// The peer's own certificate.
    pub fn own(&self) -> Option<&[u8]> {
        self.0.first().map(|der| &**der)
    }

    /// All of them, the peer's own first.
    pub fn all(&self) -> impl Iterator<Item = &[u8]> {
        self.0.iter().map(|der| &**der)
    }

    /// The others as webpki wants them.
    pub fn others(&self) -> Vec<CertificateDer<'_>> {
        self.0
            .iter()
            .skip(1)
            .map(|der| CertificateDer::from(&**der))
            .collect()
    }
}

impl Roots {
    /// Trusts these.
    pub fn new(anchors: impl IntoIterator<Item = TrustAnchor<'static>>) -> Roots {
        Roots(anchors.into_iter().collect())
    }

    /// Whether none is trusted.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl Certificates {
    /// Reads what was shown and follows its path to the roots.
    pub fn examine(presented: Presented, roots: &Roots, now: SystemTime) -> Certificates {
        let path = follow(&presented, roots, now);
        let own = presented
            .own()
            .and_then(|der| X509Certificate::from_der(der).ok());
        let own = own.map(|(_, certificate)| certificate);
        Certificates {
            path,
            names: own.as_ref().map(names).unwrap_or_default().into(),
            key: own.as_ref().map(|own| key_print(own.public_key().raw)),
            until: own
                .as_ref()
                .and_then(|own| instant(own.validity().not_after.timestamp())),
            presented,
        }
    }

    /// As if they had been examined: for simulations and measurements, which have no time to sign certificates.
    pub fn stated(presented: Presented, path: Path, names: &[&str], key: KeyPrint) -> Certificates {
        Certificates {
            presented,
            path,
            names: names.iter().map(|name| Box::from(*name)).collect(),
            key: Some(key),
            until: None,
        }
    }

    /// The octets.
    pub fn presented(&self) -> &Presented {
        &self.presented
    }

    /// Where the path leads.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The peer's key.
    pub fn key(&self) -> Option<KeyPrint> {
        self.key
    }

    /// Whether one of its DNS names stands for this one (RFC 6125 §6.4; common names do not count).
    pub fn covers(&self, name: &Domain) -> bool {
        self.names.iter().any(|known| stands_for(known, name))
    }

    /// What is told of them.
    pub fn told(&self, host: &Host) -> Chain {
        let named = match host.name() {
            Some(name) if self.covers(name) => Named::Host,
            Some(_) | None if self.names.is_empty() => Named::Nobody,
            Some(_) | None => {
                let mut told = self
                    .names
                    .iter()
                    .take(NAMES_TOLD_MAX)
                    .cloned()
                    .collect::<Vec<_>>()
                    .join(", ");
                if self.names.len() > NAMES_TOLD_MAX {
                    told.push_str(", …");
                }
                Named::Others(told.into())
            }
        };
        Chain {
            path: self.path.clone(),
            named,
            key: self.key,
            until: self.until,
        }
    }
}

impl Chain {
    /// Whether it proves the host by its name.
    pub fn proves_host(&self) -> bool {
        self.path == Path::Trusted && self.named == Named::Host
    }
}

/// The SHA-256 of a SubjectPublicKeyInfo.
pub fn key_print(spki: &[u8]) -> KeyPrint {
    let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, spki);
    let mut print = [0; 32];
    print.copy_from_slice(digest.as_ref());
    KeyPrint(print)
}

fn follow(presented: &Presented, roots: &Roots, now: SystemTime) -> Path {
    let (Some(own), false) = (presented.own(), roots.is_empty()) else {
        return Path::Unchecked;
    };
    let own = CertificateDer::from(own);
    let since = now
        .duration_since(SystemTime::UNIX_EPOCH)
        .unwrap_or(Duration::ZERO);
    let checked = EndEntityCert::try_from(&own).and_then(|end| {
        end.verify_for_usage(
            ALL_VERIFICATION_ALGS,
            &roots.0,
            &presented.others(),
            UnixTime::since_unix_epoch(since),
            KeyUsage::server_auth(),
            None,
            None,
        )
        .map(drop)
    });
    match checked {
        Ok(()) => Path::Trusted,
        Err(error) => Path::Flawed(flaw(&error), told(&error).into()),
    }
}

fn flaw(error: &webpki::Error) -> Flaw {
    match error {
        webpki::Error::CertExpired { .. } | webpki::Error::CertNotValidYet { .. } => Flaw::Expired,
        webpki::Error::UnknownIssuer
        | webpki::Error::CaUsedAsEndEntity
        | webpki::Error::InvalidSignatureForPublicKey => Flaw::Untrusted,
        _ => Flaw::Broken,
    }
}

pub(crate) fn told(error: &webpki::Error) -> String {
    match error {
        webpki::Error::CertExpired { .. } => "a certificate is out of date".to_owned(),
        webpki::Error::CertNotValidYet { .. } => "a certificate is not valid yet".to_owned(),
        webpki::Error::UnknownIssuer => "no trusted root signed it".to_owned(),
        webpki::Error::InvalidSignatureForPublicKey => {
            "a trusted root's name, signed by another key".to_owned()
        }
        webpki::Error::CaUsedAsEndEntity => "it is a root of its own, not a host's".to_owned(),
        other => format!("it cannot be used: {other:?}"),
    }
}

/// DNS names only, in lower case, without what could break a line.
pub(crate) fn names(certificate: &X509Certificate<'_>) -> Vec<Box<str>> {
    let Ok(Some(extension)) = certificate.subject_alternative_name() else {
        return Vec::new();
    };
    let names = extension.value.general_names.iter().take(NAMES_MAX);
    let dns = names.filter_map(|name| match name {
        GeneralName::DNSName(name) if is_printable(name) => Some(name.to_ascii_lowercase().into()),
        _ => None,
    });
    dns.collect()
}

fn is_printable(name: &str) -> bool {
    name.len() <= 255 && name.bytes().all(|octet| octet.is_ascii_graphic())
}

/// RFC 6125 §6.4.3: a wildcard is a whole left-most label and stands for exactly one; none stands right below the root.
pub(crate) fn stands_for(known: &str, name: &Domain) -> bool {
    match known.strip_prefix("*.") {
        Some(parent) => {
            let rest = name.as_str().split_once('.').map(|(_, rest)| rest);
            parent.contains('.') && rest == Some(parent)
        }
        None => known == name.as_str(),
    }
}

fn instant(seconds: i64) -> Option<SystemTime> {
    let seconds = u64::try_from(seconds).ok()?;
    SystemTime::UNIX_EPOCH.checked_add(Duration::from_secs(seconds))
}

impl fmt::Debug for Presented {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} certificates", self.0.len())
    }
}

impl fmt::Display for Chain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (&self.path, &self.named) {
            (Path::Trusted, Named::Host) => f.write_str("trusted"),
            (Path::Trusted, Named::Others(names)) => write!(f, "trusted, but for {names}"),
            (Path::Trusted, Named::Nobody) => f.write_str("trusted, but for no DNS name"),
            (Path::Flawed(_, why), _) => f.write_str(why),
            (Path::Unchecked, _) => f.write_str("unchecked"),
        }
    }
}

/// Certificates of a chain that are looked at.
pub const CHAIN_MAX: usize = 16;
/// Names of a certificate that are looked at.
const NAMES_MAX: usize = 1000;
/// Names that are told where none is the host's.
const NAMES_TOLD_MAX: usize = 3;

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// Certificates as if they had been examined.
    pub(crate) fn pretend(path: Path, names: &[&str], key: u8) -> Certificates {
        Certificates {
            presented: Presented::default(),
            path,
            names: names.iter().map(|name| Box::from(*name)).collect(),
            key: Some(KeyPrint([key; 32])),
            until: None,
        }
    }

    #[test]
    fn a_wildcard_stands_for_one_label() {
        let covers = |known: &str, name: &str| {
            pretend(Path::Trusted, &[known], 0).covers(&Domain::parse(name).unwrap())
        };
        assert!(covers("mx.a.example", "mx.a.example"));
        assert!(covers("*.a.example", "mx.a.example"));
        assert!(!covers("*.a.example", "a.example"));
        assert!(!covers("*.a.example", "x.mx.a.example"));
        assert!(!covers("*.example", "a.example"), "too wide");
        assert!(
            !covers("m*.a.example", "mx.a.example"),
            "a part of a label is no wildcard"
        );
        assert!(!covers("mx.a.example", "mx.b.example"));
        assert!(!covers("*", "example"));
    }

    // A common name is not looked at: certificates without DNS names have not been issued for long.
    // proves: 7817-3-5 7817-3-6 7817-3-7 7817-3-8
    #[test]
    fn dns_names_alone_identify_a_host() {
        let covers = |common: &str, names: &[rcgen::SanType]| {
            let mut params = rcgen::CertificateParams::default();
            params.distinguished_name.push(rcgen::DnType::CommonName, common);
            params.subject_alt_names = names.to_vec();
            let key = rcgen::KeyPair::generate().unwrap();
            let der = params.self_signed(&key).unwrap().der().to_vec();
            let shown = Presented::new([&der[..]]);
            let certificates = Certificates::examine(shown, &Roots::default(), SystemTime::UNIX_EPOCH);
            certificates.covers(&Domain::parse("foo.example.com").unwrap())
        };
        let dns = |name: &str| rcgen::SanType::DnsName(name.try_into().unwrap());
        let uri = |name: &str| rcgen::SanType::URI(name.try_into().unwrap());
        assert!(covers("x", &[dns("foo.example.com")]));
        assert!(covers("x", &[dns("*.example.com")]));
        assert!(!covers("x", &[dns("f*.example.com")]));
        assert!(!covers("x", &[uri("smtp://foo.example.com")]));
        assert!(!covers("foo.example.com", &[]));
        assert!(!covers("foo.example.com", &[dns("bar.example.com")]));
    }
}
