//! Certificates for peers: self-made, like most on port 25.

use std::path::{Path, PathBuf};

use crate::place::{make_folder, set_mode, write};

/// A certificate and its key as PEM files.
pub struct Certificate {
    /// The chain, here one certificate.
    pub chain: PathBuf,
    /// The private key.
    pub key: PathBuf,
}

impl Certificate {
    /// Makes a self-signed certificate for `name` in `folder` (ECDSA P-256, which all peers here accept).
    pub fn for_host(name: &str, folder: &Path) -> Certificate {
        make_folder(folder);
        let made = rcgen::generate_simple_self_signed(vec![name.to_owned()])
            .unwrap_or_else(|error| panic!("cannot make a certificate for {name}: {error}"));
        let certificate = Certificate {
            chain: folder.join("fullchain.pem"),
            key: folder.join("privkey.pem"),
        };
        write(&certificate.chain, made.cert.pem());
        write(&certificate.key, made.signing_key.serialize_pem());
        set_mode(&certificate.key, 0o600);
        certificate
    }
}
