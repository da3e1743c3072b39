//! The server's keys and certificates: read from files, chosen by the name a client asks for, swapped at a reload.

use std::collections::HashMap;
use std::path::Path;
use std::sync::{Arc, PoisonError, RwLock};

use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::{Error as PemError, PemObject};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use x509_parser::certificate::X509Certificate;
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::FromDer;

use crate::config::tls::Certificate;

/// Usable certificates with their keys, at least one.
#[derive(Debug)]
pub struct Keys {
    in_order: Vec<Arc<CertifiedKey>>,
    by_name: HashMap<Box<str>, Vec<Arc<CertifiedKey>>>,
}

/// The keys of now. Sessions keep what they began with; later handshakes take what was put here last.
#[derive(Debug, Default)]
pub struct Keyring(RwLock<Option<Arc<Keys>>>);

/// A key or certificate that cannot be used. `Display` is one line for the operator.
#[derive(Debug)]
pub struct BadKey {
    file: String,
    what: String,
}

impl Keys {
    /// Reads certificates and keys. Fails at the first that cannot be used. Blocks.
    pub fn load(files: &[Certificate], provider: &CryptoProvider) -> Result<Keys, BadKey> {
        let mut keys = Keys {
            in_order: Vec::new(),
            by_name: HashMap::new(),
        };
        for file in files {
            let key = Arc::new(read_pair(&file.chain, &file.key, provider)?);
            for name in names(&key) {
                keys.by_name.entry(name).or_default().push(key.clone());
            }
            keys.in_order.push(key);
        }
        Ok(keys)
    }

    /// The certificates for a name: its own, or a wildcard's.
    fn named(&self, name: &str) -> Option<&[Arc<CertifiedKey>]> {
        let name = name.to_ascii_lowercase();
        let wildcard = || {
            self.by_name
                .get(format!("*.{}", name.split_once('.')?.1).as_str())
        };
        self.by_name
            .get(name.as_str())
            .or_else(wildcard)
            .map(Vec::as_slice)
    }

    /// The certificates for a name or, as RFC 7672 §8.1 and RFC 8461 §7.1 want of mail hosts for names that we do not
    /// know, the first of all.
    fn for_name(&self, name: Option<&str>) -> &[Arc<CertifiedKey>] {
        name.and_then(|name| self.named(name)).unwrap_or(&self.in_order)
    }
}

impl Keyring {
    /// Puts other keys in place, for handshakes from now on.
    pub fn replace(&self, keys: Keys) {
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = Some(Arc::new(keys));
    }

    /// Whether a handshake could succeed now (RFC 3207 §3: only then STARTTLS is listed).
    pub fn is_usable(&self) -> bool {
        self.current().is_some_and(|keys| !keys.in_order.is_empty())
    }

    /// The key for the name that a client asks for, without any fallback.
    pub(super) fn exactly(&self, hello: &ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let keys = self.current()?;
        choose(keys.named(hello.server_name()?)?, hello)
    }

    fn current(&self) -> Option<Arc<Keys>> {
        self.0.read().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl ResolvesServerCert for Keyring {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let keys = self.current()?;
        choose(keys.for_name(hello.server_name()), &hello)
    }
}

/// Beside an ECDSA key there may be an RSA one for clients that know nothing else.
fn choose(fitting: &[Arc<CertifiedKey>], hello: &ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
    fitting
        .iter()
        .find(|key| key.key.choose_scheme(hello.signature_schemes()).is_some())
        .or_else(|| fitting.first())
        .cloned()
}

pub(super) fn read_pair(chain: &Path, key: &Path, provider: &CryptoProvider) -> Result<CertifiedKey, BadKey> {
    let certificates = CertificateDer::pem_file_iter(chain)
        .and_then(|found| found.collect::<Result<Vec<_>, _>>())
        .map_err(|error| BadKey::at(chain, pem_words(error, "certificate")))?;
    if certificates.is_empty() {
        return Err(BadKey::at(
            chain,
            pem_words(PemError::NoItemsFound, "certificate"),
        ));
    }
    let private = PrivateKeyDer::from_pem_file(key)
        .map_err(|error| BadKey::at(key, pem_words(error, "private key")))?;
    let signing = provider
        .key_provider
        .load_private_key(private)
        .map_err(|error| BadKey::at(key, format!("this private key cannot be used: {error}")))?;
    let pair = CertifiedKey::new(certificates, signing);
    match pair.keys_match() {
        // Unknown: a kind of key that cannot tell its public half. It is not known to be wrong.
        Ok(()) | Err(rustls::Error::InconsistentKeys(rustls::InconsistentKeys::Unknown)) => Ok(pair),
        Err(rustls::Error::InconsistentKeys(_)) => Err(BadKey::at(
            key,
            format!(
                "this private key does not belong to the certificate in {}",
                chain.display()
            ),
        )),
        Err(error) => Err(BadKey::at(
            chain,
            format!("this certificate cannot be used: {error}"),
        )),
    }
}

/// The DNS names a certificate is for, in lower case.
fn names(key: &CertifiedKey) -> Vec<Box<str>> {
    let Some(Ok((_, certificate))) = key.cert.first().map(|der| X509Certificate::from_der(der)) else {
        return Vec::new();
    };
    let Ok(Some(alternatives)) = certificate.subject_alternative_name() else {
        return Vec::new();
    };
    let dns = alternatives
        .value
        .general_names
        .iter()
        .filter_map(|name| match name {
            GeneralName::DNSName(name) => Some(name.to_ascii_lowercase().into()),
            _ => None,
        });
    dns.collect()
}

pub(super) fn pem_words(error: PemError, wanted: &str) -> String {
    match error {
        PemError::Io(error) => format!("cannot read the {wanted}: {error}"),
        PemError::NoItemsFound => format!("there is no {wanted} in PEM form in it"),
        other => format!("broken PEM: {other}"),
    }
}

impl BadKey {
    pub(super) fn at(file: &Path, what: impl Into<String>) -> BadKey {
        BadKey {
            file: file.display().to_string(),
            what: what.into(),
        }
    }
}

impl std::fmt::Display for BadKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}: {}", self.file, self.what)
    }
}

impl std::error::Error for BadKey {}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tls::own;

    fn pair(folder: &Path, label: &str, names: &[&str]) -> Certificate {
        let at = folder.join(label);
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        own::ensure(&at, &names, std::time::SystemTime::now()).unwrap()
    }

    #[test]
    fn certificates_are_chosen_by_name_and_the_first_is_the_fallback() {
        let folder = tempfile::tempdir().unwrap();
        let files = [
            pair(folder.path(), "a", &["mx.a.example"]),
            pair(folder.path(), "b", &["*.b.example", "B.example"]),
        ];
        let keys = Keys::load(&files, &crate::tls::provider()).unwrap();
        let rows = [
            (None, 0),
            (Some("mx.a.example"), 0),
            (Some("MX.B.example"), 1),
            (Some("b.example"), 1),
            (Some("x.y.b.example"), 0),
            (Some("c.example"), 0),
        ];
        for (name, index) in rows {
            assert!(
                Arc::ptr_eq(&keys.for_name(name)[0], &keys.in_order[index]),
                "{name:?}"
            );
        }
    }

    #[test]
    fn what_is_wrong_is_said_on_one_line() {
        let folder = tempfile::tempdir().unwrap();
        let (a, b) = (
            pair(folder.path(), "a", &["a.example"]),
            pair(folder.path(), "b", &["b.example"]),
        );
        let junk = folder.path().join("junk.pem");
        std::fs::write(&junk, "nothing\n").unwrap();
        let rows = [
            (
                a.chain.clone(),
                b.key.clone(),
                "this private key does not belong to the certificate in",
            ),
            (
                a.chain.clone(),
                junk.clone(),
                "there is no private key in PEM form in it",
            ),
            (junk, a.key.clone(), "there is no certificate in PEM form in it"),
            (
                a.chain.clone(),
                folder.path().join("absent"),
                "cannot read the private key: No such file",
            ),
            (
                folder.path().join("absent"),
                a.key.clone(),
                "cannot read the certificate: No such file",
            ),
        ];
        for (chain, key, words) in rows {
            let error = Keys::load(
                &[Certificate {
                    chain,
                    key,
                    next_key: None,
                }],
                &crate::tls::provider(),
            )
            .unwrap_err()
            .to_string();
            assert!(error.contains(words) && !error.contains('\n'), "{error}");
        }
    }
}
