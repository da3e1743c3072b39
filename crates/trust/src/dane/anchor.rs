//! DANE-TA: whether the path from a peer's certificate leads to a trust anchor that a TLSA record names (RFC 7671 §5.2,
//! RFC 7672 §3.1.2), for one of the names that were meant (RFC 7672 §3.2.2).

use std::time::{Duration, SystemTime};

use mail::Domain;
use rustls_pki_types::{CertificateDer, Der, TrustAnchor, UnixTime};
use webpki::{ALL_VERIFICATION_ALGS, EndEntityCert, Error, KeyUsage, VerifiedPath, anchor_from_trusted_cert};
use x509_parser::asn1_rs::Any;
use x509_parser::certificate::X509Certificate;
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::FromDer;

use super::{Match, Tlsa};
use crate::chain::{self, Presented};

/// The first of these records of usage 2 whose trust anchor the peer's path leads to, if its certificate holds one of
/// the names.
pub(super) fn prove(
    records: &[&Tlsa],
    presented: &Presented,
    names: &[&Domain],
    now: SystemTime,
) -> Result<Match, String> {
    let own = presented.own().ok_or("no certificate was shown")?;
    let (_, certificate) = X509Certificate::from_der(own).map_err(|_| "the certificate cannot be read")?;
    let found = anchored(records, own, &certificate, presented, now)?;
    // Unlike the host itself, an authority has signed for others, too.
    match names.iter().any(|name| holds(&certificate, name)) {
        true => Ok(found),
        false => Err(format!("the certificate is not for {}", told(names))),
    }
}

fn anchored(
    records: &[&Tlsa],
    own: &[u8],
    certificate: &X509Certificate<'_>,
    presented: &Presented,
    now: SystemTime,
) -> Result<Match, String> {
    // A certificate that signed itself is its own anchor: there is no path to build, but its dates count.
    if certificate.subject() == certificate.issuer()
        && let Some(record) = records.iter().find(|record| record.fits(own))
    {
        return in_date(certificate, now).map(|()| record.kind());
    }
    let own = CertificateDer::from(own);
    let end = EndEntityCert::try_from(&own).map_err(|error| chain::told(&error))?;
    let others = presented.others();
    let mut why = "no certificate of its chain is the one named".to_owned();
    for record in records {
        let shown = presented.all().skip(1).filter(|der| record.fits(der));
        // RFC 7671 §5.2.2: a certificate that stands in the record need not be sent.
        let published = (record.selector == 0 && record.matching == 0).then_some(&*record.association);
        for anchor in shown.chain(published) {
            match leads_to_certificate(record, anchor, &end, &others, now) {
                Ok(()) => return Ok(record.kind()),
                Err(reason) => why = reason,
            }
        }
    }
    // RFC 7671 §5.2.3: a key that stands in the record may have signed the topmost certificate that was sent.
    for record in records
        .iter()
        .filter(|record| record.selector == 1 && record.matching == 0)
    {
        for issued in presented.all() {
            if leads_to_key(&record.association, issued, &end, &others, now) {
                return Ok(record.kind());
            }
        }
    }
    Err(why)
}

fn leads_to_certificate(
    record: &Tlsa,
    anchor: &[u8],
    end: &EndEntityCert<'_>,
    others: &[CertificateDer<'_>],
    now: SystemTime,
) -> Result<(), String> {
    let (_, certificate) =
        X509Certificate::from_der(anchor).map_err(|_| "the trust anchor cannot be read")?;
    in_date(&certificate, now)?;
    let der = CertificateDer::from(anchor);
    let trusted = anchor_from_trusted_cert(&der).map_err(|error| chain::told(&error))?;
    // RFC 7671 §5.2.1: the limits that the certificate sets, where the certificate itself is what is trusted.
    let limits = match record.selector {
        0 => Limits::of(&certificate),
        _ => Limits::none(),
    };
    limits.keep(end, &trusted, others, now)
}

fn leads_to_key(
    key: &[u8],
    issued: &[u8],
    end: &EndEntityCert<'_>,
    others: &[CertificateDer<'_>],
    now: SystemTime,
) -> bool {
    let Ok((_, certificate)) = X509Certificate::from_der(issued) else {
        return false;
    };
    let (Some(subject), Some(key)) = (inside(certificate.issuer().as_raw()), inside(key)) else {
        return false;
    };
    let trusted = TrustAnchor {
        subject: Der::from(subject),
        subject_public_key_info: Der::from(key),
        name_constraints: None,
    };
    Limits::none().keep(end, &trusted, others, now).is_ok()
}

/// What a trust anchor's certificate allows it.
struct Limits {
    is_authority: bool,
    path_len: Option<u32>,
}

impl Limits {
    fn none() -> Limits {
        Limits {
            is_authority: true,
            path_len: None,
        }
    }

    fn of(certificate: &X509Certificate<'_>) -> Limits {
        match certificate.basic_constraints() {
            Ok(Some(constraints)) => Limits {
                is_authority: constraints.value.ca,
                path_len: constraints.value.path_len_constraint,
            },
            // Roots of the first versions have no such extension.
            Ok(None) => Limits::none(),
            Err(_) => Limits {
                is_authority: false,
                path_len: None,
            },
        }
    }

    /// Whether there is a path to the anchor within the limits.
    fn keep(
        &self,
        end: &EndEntityCert<'_>,
        anchor: &TrustAnchor<'_>,
        others: &[CertificateDer<'_>],
        now: SystemTime,
    ) -> Result<(), String> {
        if !self.is_authority {
            return Err("the certificate named is no authority's".to_owned());
        }
        let within = |path: &VerifiedPath<'_>| {
            let between = path.intermediate_certificates();
            let between = between.filter(|authority| authority.subject() != authority.issuer());
            match self.path_len {
                Some(most) if u32::try_from(between.count()).unwrap_or(u32::MAX) > most => {
                    Err(Error::PathLenConstraintViolated)
                }
                Some(_) | None => Ok(()),
            }
        };
        let since = now.duration_since(SystemTime::UNIX_EPOCH);
        end.verify_for_usage(
            ALL_VERIFICATION_ALGS,
            std::slice::from_ref(anchor),
            others,
            UnixTime::since_unix_epoch(since.unwrap_or(Duration::ZERO)),
            KeyUsage::server_auth(),
            None,
            Some(&within),
        )
        .map(drop)
        .map_err(|error| match error {
            Error::UnknownIssuer => "its path does not lead to the trust anchor named".to_owned(),
            Error::PathLenConstraintViolated => "its path is longer than the trust anchor allows".to_owned(),
            other => chain::told(&other),
        })
    }
}

/// The names of the certificate: its DNS names; its common name only if it has none (RFC 7672 §3.2.3, RFC 6125 §6.4.4).
fn holds(certificate: &X509Certificate<'_>, name: &Domain) -> bool {
    let has_dns_name = match certificate.subject_alternative_name() {
        Ok(Some(names)) => {
            let mut names = names.value.general_names.iter();
            names.any(|name| matches!(name, GeneralName::DNSName(_)))
        }
        Ok(None) => false,
        // It cannot be read, so that it may hold any.
        Err(_) => true,
    };
    if has_dns_name {
        let names = chain::names(certificate);
        return names.iter().any(|known| chain::stands_for(known, name));
    }
    let mut common = certificate.subject().iter_common_name();
    common.any(|common| {
        common
            .as_str()
            .is_ok_and(|known| chain::stands_for(&known.to_ascii_lowercase(), name))
    })
}

fn in_date(certificate: &X509Certificate<'_>, now: SystemTime) -> Result<(), String> {
    let now = now
        .duration_since(SystemTime::UNIX_EPOCH)
        .unwrap_or(Duration::ZERO);
    let now = i64::try_from(now.as_secs()).unwrap_or(i64::MAX);
    let validity = certificate.validity();
    match (
        validity.not_before.timestamp() <= now,
        now <= validity.not_after.timestamp(),
    ) {
        (true, true) => Ok(()),
        (false, _) => Err("a certificate is not valid yet".to_owned()),
        (_, false) => Err("a certificate is out of date".to_owned()),
    }
}

/// What stands inside the outermost tag.
fn inside(der: &[u8]) -> Option<&[u8]> {
    Any::from_der(der).ok().map(|(_, any)| any.data)
}

fn told(names: &[&Domain]) -> String {
    let names: Vec<&str> = names.iter().map(|name| name.as_str()).collect();
    names.join(" or ")
}
