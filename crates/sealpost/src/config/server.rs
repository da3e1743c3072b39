//! `[server]`: who this server is, where it keeps its files, and who may relay.

use std::path::{Path, PathBuf};

use mail::{Domain, Fingerprint};
use serde::{Deserialize, Serialize};
use std::net::IpAddr;

use super::units::{self, Network};

/// `[server]`
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Server {
    /// The name said in the greeting and in EHLO; the machine's own name if it is left out.
    #[serde(with = "units::optional_domain", skip_serializing_if = "Option::is_none")]
    pub host: Option<Domain>,
    /// Whether the greeting names the software (RFC 5321 §3.1).
    pub announce_software: bool,
    /// Where everything is kept that must last.
    pub data_dir: DataDir,
    /// The user to become once the listeners are bound; needed when started as root.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub user: Option<String>,
    /// Stay root after binding. Not wise.
    pub run_as_root: bool,
    /// Networks whose clients may send to any domain.
    pub relay_from: Vec<Network>,
    /// Clients that show one of these certificates may send to any domain: SHA-256 of the certificate, in hex.
    #[serde(with = "fingerprints")]
    pub relay_certificates: Vec<Fingerprint>,
    /// Addresses by which the world reaches this server and that its interfaces do not know, behind NAT for example.
    pub addresses: Vec<IpAddr>,
    /// Refuse senders whose domain does not exist or takes no mail (RFC 7505 §4.2).
    pub check_sender_domain: bool,
    /// Answer VRFY and EXPN instead of 252 (RFC 5321 §7.3).
    pub verify: bool,
    /// How the log is written.
    pub log: Log,
}

/// How the log is written.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Log {
    /// Lines for people and journald.
    #[default]
    Text,
    /// One JSON object a line.
    Json,
}

/// The data folder and what lies where in it.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(transparent)]
pub struct DataDir(PathBuf);

impl DataDir {
    /// A data folder at `path`, made when the server first starts.
    pub fn new(path: impl Into<PathBuf>) -> DataDir {
        DataDir(path.into())
    }

    /// The folder itself.
    pub fn path(&self) -> &Path {
        &self.0
    }

    /// Messages that wait.
    pub fn spool(&self) -> PathBuf {
        self.0.join("spool")
    }

    /// Maildirs of local users.
    pub fn mail(&self) -> PathBuf {
        self.0.join("mail")
    }

    /// The self-made key and certificate.
    pub fn tls(&self) -> PathBuf {
        self.0.join("tls")
    }

    /// What is remembered of peers.
    pub fn evidence(&self) -> PathBuf {
        self.0.join("evidence")
    }

    /// What is remembered of peers.
    pub fn memory(&self) -> PathBuf {
        self.0.join("memory.redb")
    }

    /// The control interface's Unix socket.
    pub fn control_socket(&self) -> PathBuf {
        self.0.join("control.sock")
    }

    pub(super) fn settle(&mut self, base: &Path) {
        self.0 = base.join(&self.0);
    }
}

impl Server {
    pub(super) fn check(&self) -> Result<(), String> {
        if self.run_as_root && self.user.is_some() {
            return Err("[server] names a user and says run_as_root: keep one of them".to_owned());
        }
        if self.user.as_deref() == Some("root") {
            return Err("[server] user = \"root\": to stay root, say run_as_root = true instead".to_owned());
        }
        Ok(())
    }
}

impl Default for Server {
    fn default() -> Server {
        Server {
            host: None,
            announce_software: true,
            data_dir: DataDir::new("sealpost-data"),
            user: None,
            run_as_root: false,
            relay_from: Vec::new(),
            relay_certificates: Vec::new(),
            addresses: Vec::new(),
            check_sender_domain: true,
            verify: false,
            log: Log::Text,
        }
    }
}

mod fingerprints {
    use mail::Fingerprint;
    use serde::{Deserialize, Deserializer, Serializer, de::Error};

    pub(super) fn serialize<S: Serializer>(list: &[Fingerprint], serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(list.iter().map(Fingerprint::to_string))
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Vec<Fingerprint>, D::Error> {
        let texts = Vec::<String>::deserialize(deserializer)?;
        texts
            .iter()
            .map(|text| {
                parse(text).ok_or_else(|| {
                    D::Error::custom(format_args!(
                        "\"{text}\" is no SHA-256 fingerprint; it has 64 hex digits"
                    ))
                })
            })
            .collect()
    }

    /// 64 hex digits, with or without colons between the pairs.
    fn parse(text: &str) -> Option<Fingerprint> {
        let digits: Vec<u8> = text
            .chars()
            .filter(|c| *c != ':')
            .map(|c| c.to_digit(16).map(|d| d as u8))
            .collect::<Option<_>>()?;
        let bytes: Vec<u8> = digits
            .chunks_exact(2)
            .map(|pair| pair[0] << 4 | pair[1])
            .collect();
        (digits.len() == 64).then(|| bytes.try_into().ok().map(Fingerprint))?
    }
}
