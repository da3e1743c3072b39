//! `[tls]`: certificates and versions.

use std::path::PathBuf;

use mail::Mailbox;
use serde::{Deserialize, Serialize};

/// `[tls]`
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Tls {
    /// `[[tls.certificate]]`: chosen by the name the client asks for; the first one answers for all other names.
    /// Without any, a self-made one in the data folder is used.
    pub certificate: Vec<Certificate>,
    /// The least version spoken with clients.
    pub version_min: VersionMin,
    /// Trusted roots for judging other servers, in PEM; the system's own if left out.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ca_file: Option<PathBuf>,
    /// The address to which others are to send their reports of failed handshakes (RFC 8460): `sealpost dns` lists the
    /// record that says so.
    #[serde(
        skip_serializing_if = "Option::is_none",
        with = "super::retry::optional_mailbox"
    )]
    pub reports_to: Option<Mailbox>,
}

/// One `[[tls.certificate]]`.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Certificate {
    /// PEM file: the server's certificate first, then its issuers.
    pub chain: PathBuf,
    /// PEM file: the private key.
    pub key: PathBuf,
    /// PEM file: the private key that comes after this one. It is not used; `sealpost dns` lists its TLSA record, so that
    /// it is published well before the change.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next_key: Option<PathBuf>,
}

/// A least version of TLS. Older ones than 1.2 do not exist here (RFC 8996).
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub enum VersionMin {
    /// TLS 1.2.
    #[default]
    #[serde(rename = "1.2")]
    V1_2,
    /// TLS 1.3.
    #[serde(rename = "1.3")]
    V1_3,
}

impl Tls {
    pub(super) fn check(&self) -> Result<(), String> {
        match self.certificate.len() {
            0..=CERTIFICATES_MAX => Ok(()),
            more => Err(format!(
                "{more} [[tls.certificate]] entries are more than {CERTIFICATES_MAX}"
            )),
        }
    }
}

const CERTIFICATES_MAX: usize = 10_000;
