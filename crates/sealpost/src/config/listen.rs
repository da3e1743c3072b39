//! `[[listen]]`: where clients can connect, and what they find there.

use std::net::SocketAddr;

use serde::{Deserialize, Serialize};

use crate::ports::Place;

/// One `[[listen]]`.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Listen {
    /// Address and port: `"0.0.0.0:25"`, `"[::]:25"` (which takes IPv4 as well).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub address: Option<SocketAddr>,
    /// Instead of an address: the name of a socket handed over by systemd (`FileDescriptorName=`).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub socket: Option<String>,
    /// Who is served here.
    pub role: Role,
    /// Whether STARTTLS is offered or demanded; left out, the role decides.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub starttls: Option<StartTls>,
    /// Whether clients are asked for a certificate.
    pub client_certificates: ClientCertificates,
}

/// Who is served at a listener.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// Other mail servers, for local domains: port 25. Never demands TLS by itself (RFC 3207 §4).
    #[default]
    Mx,
    /// Mail programs, with STARTTLS demanded: port 587 (RFC 6409).
    Submission,
    /// Mail programs, inside TLS from the first octet: port 465 (RFC 8314 §3.3).
    Submissions,
}

/// Whether STARTTLS is served at a listener.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum StartTls {
    /// Not offered.
    Absent,
    /// Offered while a usable certificate is loaded.
    Offered,
    /// Offered, and nothing else is done before it (RFC 3207 §4).
    Demanded,
}

/// Whether clients are asked for a certificate in the handshake.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ClientCertificates {
    /// Not asked for (RFC 8314 §4.2).
    #[default]
    Ignore,
    /// Asked for; any is taken and recorded, none is no fault.
    Request,
    /// Asked for; without one, 554 to everything but QUIT (RFC 3207 §4.1).
    Require,
}

impl Listen {
    /// A listener with the defaults of its role.
    pub fn at(address: SocketAddr, role: Role) -> Listen {
        Listen {
            address: Some(address),
            role,
            ..Listen::default()
        }
    }

    /// What is done about STARTTLS here.
    pub fn starttls(&self) -> StartTls {
        match (self.role, self.starttls) {
            (Role::Submissions, _) => StartTls::Absent,
            (_, Some(said)) => said,
            (Role::Mx, None) => StartTls::Offered,
            (Role::Submission, None) => StartTls::Demanded,
        }
    }

    /// Where to bind; none only before the configuration was checked. `others` are all listeners: beside one of its
    /// own for IPv4, `[::]` takes IPv6 alone.
    pub fn place(&self, others: &[Listen]) -> Option<Place> {
        let Some(at) = self.address else {
            return self.socket.as_deref().map(|name| Place::Socket(name.into()));
        };
        let has_v4 = others
            .iter()
            .filter_map(|other| other.address)
            .any(|other| other.is_ipv4() && other.port() == at.port());
        Some(if at.is_ipv6() && has_v4 && at.port() != 0 {
            Place::AddressV6Only(at)
        } else {
            Place::Address(at)
        })
    }

    pub(super) fn is_same_place(&self, other: &Listen) -> bool {
        let same_address = self.address.is_some_and(|at| at.port() != 0) && self.address == other.address;
        same_address || (self.socket.is_some() && self.socket == other.socket)
    }

    pub(super) fn check(&self) -> Result<(), &'static str> {
        match (&self.address, &self.socket) {
            (None, None) => return Err("it needs an address or the name of a socket"),
            (Some(_), Some(_)) => return Err("it has an address and the name of a socket: keep one of them"),
            (Some(_), None) | (None, Some(_)) => {}
        }
        match (self.role, self.starttls) {
            (Role::Submissions, Some(_)) => {
                Err("starttls has no meaning where TLS comes first: leave it out")
            }
            (Role::Submission, Some(StartTls::Absent | StartTls::Offered)) => Err(
                "submission demands STARTTLS (RFC 8314 section 4.1): leave starttls out, or use role = \"mx\"",
            ),
            _ => Ok(()),
        }
    }
}
