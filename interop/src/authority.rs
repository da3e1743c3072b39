//! A private certificate authority, and identities of every kind: honest, expired, for another name, signed by nobody.

use std::fmt::Write;
use std::path::Path;
use std::sync::Arc;

use aws_lc_rs::digest::{SHA256, SHA512, digest};
use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair, PublicKeyData, date_time_ymd,
};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use rustls::{ServerConfig, SupportedProtocolVersion};

use crate::certificate::Certificate;
use crate::place::{make_folder, set_mode, write};

/// An authority with a root of its own.
pub struct Authority {
    issuer: CertifiedIssuer<'static, KeyPair>,
}

/// A key with the chain that its host shows.
pub struct Identity {
    chain: Vec<CertificateDer<'static>>,
    /// What signed the first certificate, for DANE-TA.
    root: Option<CertificateDer<'static>>,
    key: KeyPair,
}

/// How long a certificate holds.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Validity {
    /// Decades.
    Valid,
    /// Until the year 2020.
    Expired,
}

impl Authority {
    /// A new root.
    pub fn new(name: &str) -> Authority {
        let mut params = params(&[], Validity::Valid);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name.push(DnType::CommonName, name);
        let issuer = CertifiedIssuer::self_signed(params, new_key())
            .unwrap_or_else(|error| panic!("cannot make the authority {name}: {error}"));
        Authority { issuer }
    }

    /// The root's certificate, for those who trust it.
    pub fn pem(&self) -> String {
        self.issuer.pem()
    }

    /// An identity for these names. Its chain ends with the root itself, which DANE-TA wants and others ignore.
    pub fn issue(&self, names: &[&str], validity: Validity) -> Arc<Identity> {
        self.issue_for(names, validity, new_key())
    }

    /// The same for a key made before.
    pub fn issue_for(&self, names: &[&str], validity: Validity, key: KeyPair) -> Arc<Identity> {
        let own = params(names, validity)
            .signed_by(&key, &self.issuer)
            .unwrap_or_else(|error| panic!("cannot issue for {names:?}: {error}"));
        let root = self.issuer.der().clone();
        Arc::new(Identity {
            chain: vec![own.der().clone(), root.clone()],
            root: Some(root),
            key,
        })
    }
}

impl Identity {
    /// Signed by its own key alone.
    pub fn self_signed(names: &[&str], validity: Validity) -> Arc<Identity> {
        let key = new_key();
        let own = params(names, validity)
            .self_signed(&key)
            .unwrap_or_else(|error| panic!("cannot make a certificate for {names:?}: {error}"));
        Arc::new(Identity {
            chain: vec![own.der().clone()],
            root: None,
            key,
        })
    }

    /// A certificate over the same key that has run out, signed by that key.
    pub fn expired_over(identity: &Identity, names: &[&str]) -> Arc<Identity> {
        let key = identity.key();
        let own = params(names, Validity::Expired)
            .self_signed(&key)
            .unwrap_or_else(|error| panic!("cannot make a certificate for {names:?}: {error}"));
        Arc::new(Identity {
            chain: vec![own.der().clone()],
            root: None,
            key,
        })
    }

    /// A TLSA record's data for this identity: usage 2 speaks of the root, all others of the host's own certificate; selector 0 of the
    /// certificate, 1 of the key; matching type 0 is the octets themselves, 1 their SHA-256, 2 their SHA-512, any
    /// other a digest that nobody knows.
    pub fn tlsa(&self, usage: u8, selector: u8, matching: u8) -> String {
        let certificate = match (usage, &self.root) {
            (2, Some(root)) => root,
            (2, None) => panic!("a self-signed certificate has no trust anchor above it"),
            _ => &self.chain[0],
        };
        let selected = match selector {
            0 => certificate.to_vec(),
            _ if usage == 2 => panic!("the key of a trust anchor is not published here"),
            _ => self.key.subject_public_key_info(),
        };
        let data = match matching {
            0 => hex(&selected),
            2 => hex(digest(&SHA512, &selected).as_ref()),
            _ => hex(digest(&SHA256, &selected).as_ref()),
        };
        format!("{usage} {selector} {matching} {data}")
    }

    /// The SHA-256 of its public key, in hexadecimal.
    pub fn key_print(&self) -> String {
        hex(digest(&SHA256, &self.key.subject_public_key_info()).as_ref())
    }

    /// A copy of its key, for another certificate over it.
    pub fn key(&self) -> KeyPair {
        KeyPair::try_from(self.key.serialized_der()).expect("a key of our own making")
    }

    /// Its chain and key as files, for servers that read such.
    pub fn files(&self, folder: &Path) -> Certificate {
        make_folder(folder);
        let files = Certificate {
            chain: folder.join("fullchain.pem"),
            key: folder.join("privkey.pem"),
        };
        let chain: String = self.chain.iter().map(|der| pem(der)).collect();
        write(&files.chain, chain);
        write(&files.key, self.key.serialize_pem());
        set_mode(&files.key, 0o600);
        files
    }

    /// A TLS server that shows it.
    pub fn server(&self, versions: &[&'static SupportedProtocolVersion]) -> Arc<ServerConfig> {
        let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(self.key.serialize_der()));
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let server = ServerConfig::builder_with_provider(provider)
            .with_protocol_versions(versions)
            .and_then(|builder| {
                builder
                    .with_no_client_auth()
                    .with_single_cert(self.chain.clone(), key)
            })
            .unwrap_or_else(|error| panic!("cannot serve TLS: {error}"));
        Arc::new(server)
    }
}

/// A key of the kind that all peers accept.
pub fn new_key() -> KeyPair {
    KeyPair::generate().unwrap_or_else(|error| panic!("cannot make a key: {error}"))
}

fn params(names: &[&str], validity: Validity) -> CertificateParams {
    let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
    let mut params = CertificateParams::new(names).unwrap_or_else(|error| panic!("no such names: {error}"));
    params.distinguished_name = rcgen::DistinguishedName::new();
    params.not_before = date_time_ymd(2010, 1, 1);
    params.not_after = match validity {
        Validity::Valid => date_time_ymd(2060, 1, 1),
        Validity::Expired => date_time_ymd(2020, 1, 1),
    };
    params
}

fn pem(der: &[u8]) -> String {
    let mut text = "-----BEGIN CERTIFICATE-----\n".to_owned();
    for line in base64(der).as_bytes().chunks(64) {
        text += &String::from_utf8_lossy(line);
        text.push('\n');
    }
    text + "-----END CERTIFICATE-----\n"
}

fn base64(bytes: &[u8]) -> String {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::new();
    for group in bytes.chunks(3) {
        let word = group.iter().fold(0, |word, byte| word << 8 | u32::from(*byte)) << (8 * (3 - group.len()));
        for place in 0..4 {
            let digit = ALPHABET[(word >> (18 - 6 * place) & 63) as usize];
            text.push(if place <= group.len() {
                char::from(digit)
            } else {
                '='
            });
        }
    }
    text
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        write!(text, "{byte:02x}").expect("a String takes all");
        text
    })
}
