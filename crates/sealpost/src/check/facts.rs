//! What an audit found out, before anything is made of it.

use std::net::SocketAddr;
use std::time::SystemTime;

use mail::{Domain, Host, TlsFacts};
use trust::{Certificates, Origin, dane, sts};

use super::published::{Reports, StsFacts};
use crate::resolver::Verdict;
use crate::route::NoWay;

/// Everything that was found out about a domain.
#[derive(Clone, Debug)]
pub struct Facts {
    /// The domain.
    pub domain: Domain,
    /// When.
    pub at: SystemTime,
    /// Its hosts in the order in which they are tried, or why there is none.
    pub hosts: Result<Vec<HostFacts>, NoWay>,
    /// What was odd about its mail exchangers.
    pub remarks: Vec<Box<str>>,
    /// What is to be thought of the resolver that all of this was asked.
    pub resolver: Verdict,
    /// Its MTA-STS policy.
    pub sts: StsFacts,
    /// Where TLS reports go.
    pub reports: Reports,
}

/// What was found out about one host.
#[derive(Clone, Debug)]
pub struct HostFacts {
    /// Its name.
    pub host: Host,
    /// The preference of the MX record that names it; none where the domain has no MX.
    pub preference: Option<u16>,
    /// How its name came to be known.
    pub origin: Origin,
    /// Whether DNSSEC vouches for its addresses.
    pub addresses: Believed,
    /// Its TLSA records.
    pub dane: dane::Finding,
    /// What the domain's MTA-STS policy says of it.
    pub sts: sts::Finding,
    /// What its addresses showed.
    pub doors: Vec<Door>,
}

/// How far an answer can be believed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Believed {
    /// Validated by DNSSEC.
    Proven,
    /// From an unsigned zone.
    Unproven,
}

/// What one address of a host showed.
#[derive(Clone, Debug)]
pub struct Door {
    /// The address and port.
    pub address: SocketAddr,
    /// What it showed.
    pub showed: Showed,
}

/// What an address showed.
#[derive(Clone, Debug)]
pub enum Showed {
    /// No connection.
    Unreached(Box<str>),
    /// A connection, and no mail server that can be talked to.
    Odd(Box<str>),
    /// A mail server whose reply to EHLO lists no STARTTLS.
    NoKeyword(NoKeyword),
    /// A mail server that offers STARTTLS.
    Offered(Box<Offered>),
}

/// What else was seen where STARTTLS is not listed. Each is a sign that it was taken out on the way.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct NoKeyword {
    /// A second EHLO listed it.
    pub listed_again: bool,
    /// The command itself was answered with 220.
    pub obeyed: bool,
    /// A keyword was written over with `X`, as some firewalls do.
    pub masked: bool,
}

/// Handshakes where STARTTLS is offered, each over a connection of its own.
#[derive(Clone, Debug)]
pub struct Offered {
    /// With TLS 1.3 alone.
    pub newest: Result<Shook, Box<str>>,
    /// With TLS 1.2 alone.
    pub older: Result<Shook, Box<str>>,
}

/// A handshake that came to its end.
#[derive(Clone, Debug)]
pub struct Shook {
    /// What it reached.
    pub facts: TlsFacts,
    /// What its certificates are.
    pub certificates: Certificates,
    /// Whether the server speaks on inside TLS, and what is wrong if not.
    pub inside: Result<Inside, Box<str>>,
}

/// What the server says inside TLS.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Inside {
    /// It offers REQUIRETLS (RFC 8689).
    pub requiretls: bool,
}

impl Offered {
    /// The handshake that another mail server would end with: the newest version that works.
    pub fn best(&self) -> Option<&Shook> {
        self.newest.as_ref().ok().or(self.older.as_ref().ok())
    }
}
