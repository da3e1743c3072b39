//! TLS by rustls, on both sides: what a handshake reached, in the nouns of `mail`.
//!
//! Owns keys, certificates and handshakes. Records what peers show and judges nobody: that is `trust`'s work.

pub mod keys;
pub mod own;
pub mod server;
pub mod client;
pub mod prints;
pub mod web;
mod version;

use std::sync::Arc;

use mail::{Fingerprint, TlsFacts, TlsVersion};
use rustls::crypto::hash::Hash;
use rustls::crypto::{CryptoProvider, WebPkiSupportedAlgorithms, aws_lc_rs};
use rustls::pki_types::SubjectPublicKeyInfoDer;
use rustls::{CommonState, DigitallySignedStruct, ProtocolVersion};
use x509_parser::asn1_rs::Any;
use x509_parser::certificate::X509Certificate;
use x509_parser::prelude::FromDer;

pub use client::{Ask, ClientTls, Encrypted};
pub use keys::{BadKey, Keyring, Keys};
pub use server::ServerTls;

/// Why a handshake came to nothing.
#[derive(Debug)]
pub enum HandshakeError {
    /// Our own configuration does not allow one.
    Ours(rustls::Error),
    /// The peer broke it off or broke the protocol, or the connection was lost.
    Peer(std::io::Error),
    /// It took too long.
    TimedOut,
}

/// The cryptography of both sides: X25519MLKEM768 is offered and chosen first.
pub fn provider() -> Arc<CryptoProvider> {
    Arc::new(aws_lc_rs::default_provider())
}

/// The key exchange groups that can be offered, in IANA's spelling.
pub fn groups() -> Vec<Box<str>> {
    let known = aws_lc_rs::ALL_KX_GROUPS.iter();
    known
        .map(|group| registered_group(&format!("{:?}", group.name())))
        .collect()
}

/// What a finished handshake reached; `server_name` is what was asked for by SNI. None before the end of the handshake.
pub fn facts(connection: &CommonState, server_name: Option<&str>) -> Option<TlsFacts> {
    let version = match connection.protocol_version()? {
        ProtocolVersion::TLSv1_2 => TlsVersion::V1_2,
        ProtocolVersion::TLSv1_3 => TlsVersion::V1_3,
        _ => return None,
    };
    let suite = connection.negotiated_cipher_suite()?.suite();
    let chain = connection.peer_certificates().unwrap_or_default();
    Some(TlsFacts {
        version,
        cipher: registered_suite(suite.as_str(), suite.into()),
        group: connection
            .negotiated_key_exchange_group()
            .map(|group| registered_group(&format!("{:?}", group.name()))),
        chain: chain
            .iter()
            .take(CHAIN_MAX)
            .map(|certificate| fingerprint(certificate))
            .collect(),
        subject: chain.first().and_then(|certificate| subject(certificate)),
        server_name: server_name.map(Box::from),
    })
}

/// The SHA-256 of a certificate.
pub fn fingerprint(der: &[u8]) -> Fingerprint {
    let mut bytes = [0; 32];
    bytes.copy_from_slice(sha256().hash(der).as_ref());
    Fingerprint(bytes)
}

/// The subject, shortened and without anything that could break a line or a comment.
fn subject(der: &[u8]) -> Option<Box<str>> {
    let (_, certificate) = X509Certificate::from_der(der).ok()?;
    let text: String = certificate
        .subject()
        .to_string()
        .chars()
        .map(|c| if c.is_control() { '?' } else { c })
        .take(SUBJECT_CHARS_MAX)
        .collect();
    (!text.is_empty()).then(|| text.into())
}

/// IANA's spelling of a suite (RFC 8314 §4.3 wants that): rustls writes `TLS13_…` where the registry has `TLS_…`.
fn registered_suite(name: Option<&str>, code: u16) -> Box<str> {
    match name {
        Some(name) => match name.strip_prefix("TLS13_") {
            Some(rest) => format!("TLS_{rest}").into(),
            None => name.into(),
        },
        None => format!("0x{code:04x}").into(),
    }
}

/// IANA's spelling of a group.
fn registered_group(name: &str) -> Box<str> {
    match name {
        "X25519" | "X448" | "FFDHE2048" | "FFDHE3072" | "FFDHE4096" | "FFDHE6144" | "FFDHE8192" => {
            name.to_ascii_lowercase().into()
        }
        "secp256r1MLKEM768" => "SecP256r1MLKEM768".into(),
        other => other.into(),
    }
}

/// Checks a TLS 1.3 signature by the bare public key, for certificates that webpki cannot read: version 1, or odd extensions.
fn check_by_raw_key(
    certificate: &[u8],
    message: &[u8],
    signed: &DigitallySignedStruct,
    algorithms: &WebPkiSupportedAlgorithms,
) -> Result<rustls::client::danger::HandshakeSignatureValid, rustls::Error> {
    let (_, parsed) = X509Certificate::from_der(certificate)
        .map_err(|_| rustls::Error::InvalidCertificate(rustls::CertificateError::BadEncoding))?;
    let key = SubjectPublicKeyInfoDer::from(parsed.public_key().raw);
    rustls::crypto::verify_tls13_signature_with_raw_key(message, &key, signed, algorithms)
}

/// As [`check_by_raw_key`] for TLS 1.2, whose signature schemes leave the curve open.
fn check_by_bare_key(
    certificate: &[u8],
    message: &[u8],
    signed: &DigitallySignedStruct,
    algorithms: &WebPkiSupportedAlgorithms,
) -> Result<rustls::client::danger::HandshakeSignatureValid, rustls::Error> {
    let unreadable = || rustls::Error::InvalidCertificate(rustls::CertificateError::BadEncoding);
    let (_, parsed) = X509Certificate::from_der(certificate).map_err(|_| unreadable())?;
    let key = parsed.public_key();
    let (_, info) = Any::from_der(key.raw).map_err(|_| unreadable())?;
    let (_, algorithm) = Any::from_der(info.data).map_err(|_| unreadable())?;
    let known = algorithms
        .mapping
        .iter()
        .find(|(scheme, _)| *scheme == signed.scheme);
    let mut known = known.into_iter().flat_map(|(_, all)| all.iter());
    let fits = known.any(|one| {
        one.public_key_alg_id().as_ref() == algorithm.data
            && one
                .verify_signature(&key.subject_public_key.data, message, signed.signature())
                .is_ok()
    });
    match fits {
        true => Ok(rustls::client::danger::HandshakeSignatureValid::assertion()),
        false => Err(rustls::Error::InvalidCertificate(
            rustls::CertificateError::BadSignature,
        )),
    }
}

fn sha256() -> &'static dyn Hash {
    match aws_lc_rs::cipher_suite::TLS13_AES_128_GCM_SHA256 {
        rustls::SupportedCipherSuite::Tls13(suite) => suite.common.hash_provider,
        rustls::SupportedCipherSuite::Tls12(suite) => suite.common.hash_provider,
    }
}

impl std::fmt::Display for HandshakeError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            HandshakeError::Ours(error) => write!(f, "TLS cannot be set up here: {error}"),
            HandshakeError::Peer(error) => write!(f, "TLS handshake failed: {error}"),
            HandshakeError::TimedOut => f.write_str("TLS handshake took too long"),
        }
    }
}

impl std::error::Error for HandshakeError {}

/// Certificates of a peer's chain that are recorded.
const CHAIN_MAX: usize = 16;
/// Characters of a certificate's subject that are recorded.
const SUBJECT_CHARS_MAX: usize = 200;

#[cfg(test)]
mod tests;

#[cfg(test)]
mod names {
    use super::*;

    #[test]
    fn names_are_those_of_the_registry() {
        assert_eq!(
            &*registered_suite(Some("TLS13_AES_256_GCM_SHA384"), 0x1302),
            "TLS_AES_256_GCM_SHA384"
        );
        let suite = "TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256";
        assert_eq!(&*registered_suite(Some(suite), 0xc02f), suite);
        assert_eq!(&*registered_suite(None, 0x00ff), "0x00ff");
        for (ours, theirs) in [
            ("X25519", "x25519"),
            ("X25519MLKEM768", "X25519MLKEM768"),
            ("secp256r1", "secp256r1"),
        ] {
            assert_eq!(&*registered_group(ours), theirs);
        }
    }

    #[test]
    fn a_fingerprint_is_the_sha256() {
        let expected = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        assert_eq!(fingerprint(b"abc").to_string(), expected);
    }

    #[test]
    fn the_post_quantum_group_comes_first() {
        let first = provider().kx_groups[0].name();
        assert_eq!(&*registered_group(&format!("{first:?}")), "X25519MLKEM768");
    }
}
