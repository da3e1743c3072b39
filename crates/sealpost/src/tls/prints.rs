//! The prints of this server's own keys, for the records that publish them.

use std::path::Path;
use std::time::SystemTime;

use mail::{Domain, KeyPrint};
use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use trust::{Certificates, Presented, Roots};

use super::keys::{BadKey, pem_words};
use crate::config::tls::Certificate;

/// The keys that a host's certificates hold, and those that come next.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Prints {
    /// In use.
    pub current: Vec<KeyPrint>,
    /// Staged.
    pub next: Vec<KeyPrint>,
}

/// The keys of the certificates that are shown for a name: those that hold it, else the first. Blocks.
pub fn of_host(files: &[Certificate], host: &Domain, provider: &CryptoProvider) -> Result<Prints, BadKey> {
    let mut read = Vec::with_capacity(files.len());
    for file in files {
        read.push((file, certificate(&file.chain)?));
    }
    let fitting = read.iter().filter(|(_, certificate)| certificate.covers(host));
    let mut shown: Vec<&(&Certificate, Certificates)> = fitting.collect();
    if shown.is_empty() {
        shown.extend(read.first());
    }
    let mut prints = Prints::default();
    for (file, certificate) in shown {
        let print = certificate
            .key()
            .ok_or_else(|| BadKey::at(&file.chain, "the first certificate cannot be read"))?;
        prints.current.push(print);
        if let Some(next) = &file.next_key {
            prints.next.push(of_key(next, provider)?);
        }
    }
    prints.current.dedup();
    prints.next.dedup();
    Ok(prints)
}

fn certificate(chain: &Path) -> Result<Certificates, BadKey> {
    let own = CertificateDer::from_pem_file(chain)
        .map_err(|error| BadKey::at(chain, pem_words(error, "certificate")))?;
    // Nothing is proven here, so that the hour and the roots are no matter.
    let presented = Presented::new([own.as_ref()]);
    Ok(Certificates::examine(
        presented,
        &Roots::default(),
        SystemTime::UNIX_EPOCH,
    ))
}

/// The print of a private key's public half.
fn of_key(file: &Path, provider: &CryptoProvider) -> Result<KeyPrint, BadKey> {
    let private = PrivateKeyDer::from_pem_file(file)
        .map_err(|error| BadKey::at(file, pem_words(error, "private key")))?;
    let signing = provider
        .key_provider
        .load_private_key(private)
        .map_err(|error| BadKey::at(file, format!("this private key cannot be used: {error}")))?;
    let public = signing
        .public_key()
        .ok_or_else(|| BadKey::at(file, "this kind of key does not tell its public half"))?;
    Ok(trust::chain::key_print(public.as_ref()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tls::own;

    #[test]
    fn a_staged_key_has_the_print_that_its_certificate_will_have() {
        let folder = tempfile::tempdir().unwrap();
        let made = |label: &str, name: &str| {
            let at = folder.path().join(label);
            own::ensure(&at, &[name.to_owned()], SystemTime::now()).unwrap()
        };
        let (mut now, next, other) = (
            made("a", "mx.a.example"),
            made("b", "mx.a.example"),
            made("c", "c.example"),
        );
        now.next_key = Some(next.key.clone());
        let provider = crate::tls::provider();
        let host = Domain::parse("mx.a.example").unwrap();
        let prints = of_host(&[other.clone(), now], &host, &provider).unwrap();
        let then = of_host(std::slice::from_ref(&next), &host, &provider).unwrap();
        assert_eq!(prints.next, then.current);
        assert_ne!(prints.current, then.current);
        let unknown = Domain::parse("d.example").unwrap();
        let first = of_host(std::slice::from_ref(&other), &unknown, &provider).unwrap();
        assert_eq!((first.current.len(), first.next.len()), (1, 0));
    }
}
