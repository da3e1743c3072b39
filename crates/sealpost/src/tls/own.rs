//! The self-made key and certificate, so that the first start already speaks TLS. Between mail servers it protects
//! against listeners just as well as a bought one (RFC 3207 §4.1); it proves no name.

use std::fs;
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::Path;
use std::time::{Duration, SystemTime};

use rcgen::{CertificateParams, DistinguishedName, DnType, KeyPair, PKCS_ECDSA_P256_SHA256};

use super::keys::BadKey;
use crate::config::tls::Certificate;

/// The key and certificate in a folder, made for `names` if they are not there yet. The key can be read by its owner
/// only. Blocks.
pub fn ensure(folder: &Path, names: &[String], now: SystemTime) -> Result<Certificate, BadKey> {
    let files = files(folder);
    if files.chain.exists() && files.key.exists() {
        return Ok(files);
    }
    let (certificate, key) = make(names, now)
        .map_err(|error| BadKey::at(folder, format!("cannot make a certificate: {error}")))?;
    let written = fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(folder)
        .and_then(|()| write(&files.key, &key, 0o600))
        .and_then(|()| write(&files.chain, &certificate, 0o644))
        .and_then(|()| fs::File::open(folder)?.sync_all());
    match written {
        Ok(()) => Ok(files),
        Err(error) => Err(BadKey::at(
            folder,
            format!("cannot write the self-made key and certificate: {error}"),
        )),
    }
}

/// The key and certificate in a folder, if they were made already. Blocks.
pub fn existing(folder: &Path) -> Option<Certificate> {
    let files = files(folder);
    (files.chain.exists() && files.key.exists()).then_some(files)
}

fn files(folder: &Path) -> Certificate {
    Certificate {
        chain: folder.join("certificate.pem"),
        key: folder.join("key.pem"),
        next_key: None,
    }
}

/// A certificate that proves nothing to anybody, with a key made for it alone, in DER: to see what a plan makes of a
/// stranger's. None if none can be made.
pub fn of_a_stranger(now: SystemTime) -> Option<Vec<u8>> {
    let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).ok()?;
    let mut params = CertificateParams::new(["stranger.invalid".to_owned()]).ok()?;
    params.not_before = (now - BACKDATED).into();
    params.not_after = (now + LIFE).into();
    Some(params.self_signed(&key).ok()?.der().to_vec())
}

/// PEM of a certificate and of its key.
fn make(names: &[String], now: SystemTime) -> Result<(String, String), rcgen::Error> {
    let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256)?;
    let mut params = CertificateParams::new(names)?;
    params.distinguished_name = DistinguishedName::new();
    if let Some(name) = names.first() {
        params.distinguished_name.push(DnType::CommonName, name.as_str());
    }
    params.not_before = (now - BACKDATED).into();
    params.not_after = (now + LIFE).into();
    Ok((params.self_signed(&key)?.pem(), key.serialize_pem()))
}

/// Whole or not at all.
fn write(path: &Path, text: &str, mode: u32) -> io::Result<()> {
    let part = path.with_extension("part");
    let mut file = fs::OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(mode)
        .open(&part)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()?;
    fs::rename(&part, path)
}

/// For peers whose clocks are slow.
const BACKDATED: Duration = Duration::from_secs(24 * 3600);
/// It proves nothing that could grow old; 20 years.
const LIFE: Duration = Duration::from_secs(20 * 365 * 24 * 3600);

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn the_key_is_made_once_and_private() {
        let folder = tempfile::tempdir().unwrap();
        let at = folder.path().join("tls");
        let names = ["mx.a.example".to_owned(), "localhost".to_owned()];
        let files = ensure(&at, &names, SystemTime::now()).unwrap();
        let first = fs::read(&files.key).unwrap();
        assert_eq!(
            fs::metadata(&files.key).unwrap().permissions().mode() & 0o777,
            0o600
        );
        assert_eq!(ensure(&at, &names, SystemTime::now()).unwrap(), files);
        assert_eq!(fs::read(&files.key).unwrap(), first);
    }

    #[test]
    fn a_folder_that_cannot_be_written_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("file");
        fs::write(&file, "").unwrap();
        let error = ensure(&file.join("tls"), &["a.example".to_owned()], SystemTime::now()).unwrap_err();
        assert!(
            error.to_string().contains("cannot write the self-made key"),
            "{error}"
        );
    }
}
