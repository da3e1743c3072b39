//! Addresses: RFC 5321 §4.1.2 and §4.1.3, widened by RFC 6531 §3.3 to UTF-8 local parts and U-labels.
//!
//! A value of these types is well-formed; `parse` is the only way to make one. What a peer wrote is kept beside
//! what it means, because a relay passes addresses on as they came (RFC 5321 §2.3.11).

use std::fmt;
use std::net::IpAddr;

/// A domain name: lower-case A-labels, no final dot, at most 253 octets (RFC 1035 §2.3.4, RFC 5890).
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Domain(Box<str>);

/// The part of an address before the `@`, unquoted, its letter case kept (RFC 5321 §2.4).
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct LocalPart(Box<str>);

/// A host as SMTP names it: a domain, or an address literal (RFC 5321 §4.1.3).
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Host {
    /// A name to look up.
    Name(Domain),
    /// An address to connect to as it stands.
    Literal(IpAddr),
}

/// `local-part@host`. Equality, order and hash look at the meaning (local part and host); printing gives the
/// spelling in which the address was received.
#[derive(Clone, Debug)]
pub struct Mailbox {
    written: Box<str>,
    local: LocalPart,
    host: Host,
}

/// Where failure reports go (RFC 5321 §4.5.5): nowhere, or to a mailbox.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum ReversePath {
    /// `<>`: reports and other mail that must not be answered.
    Null,
    /// An ordinary sender.
    Mailbox(Mailbox),
}

/// Why a text is not the address, domain or literal it was taken for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum BadAddress {
    /// Nothing where something must stand.
    Empty,
    /// Longer than RFC 5321 §4.5.3.1 allows (local part 64, domain 253, path 254 octets).
    TooLong,
    /// An octet or sequence that the grammar does not have at this place.
    Syntax,
    /// A label that is no valid A-label or U-label (RFC 5891), or holds an underscore or the like.
    Label,
    /// An address literal that is no IPv4 or IPv6 address.
    Literal,
    /// No `@` and thus no host.
    NoHost,
}

impl Domain {
    /// Reads a domain in A-labels or U-labels, with or without a final dot, in any letter case.
    pub fn parse(text: &str) -> Result<Domain, BadAddress> {
        let _ = text;
        todo!()
    }

    /// The name in lower-case A-labels.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The name with U-labels where it has any, for people and for SMTPUTF8 trace fields.
    pub fn to_unicode(&self) -> String {
        todo!()
    }

    /// Whether this is `other` or a name below it.
    pub fn is_within(&self, other: &Domain) -> bool {
        let _ = other;
        todo!()
    }
}

impl LocalPart {
    /// Reads a dot-string or quoted string, in ASCII or UTF-8 (RFC 6531 §3.3). Quotes that are not needed vanish.
    pub fn parse(text: &str) -> Result<LocalPart, BadAddress> {
        let _ = text;
        todo!()
    }

    /// The local part without quotes or escapes.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Host {
    /// Reads a domain or `[192.0.2.1]`, `[IPv6:2001:db8::1]`.
    pub fn parse(text: &str) -> Result<Host, BadAddress> {
        let _ = text;
        todo!()
    }

    /// The domain, if this host has a name.
    pub fn name(&self) -> Option<&Domain> {
        match self {
            Host::Name(domain) => Some(domain),
            Host::Literal(_) => None,
        }
    }
}

impl Mailbox {
    /// Reads `local-part@host` without angle brackets or a source route.
    pub fn parse(text: &str) -> Result<Mailbox, BadAddress> {
        let _ = text;
        todo!()
    }

    /// Puts an address together from its parts, spelled canonically.
    pub fn new(local: LocalPart, host: Host) -> Mailbox {
        let _ = (local, host);
        todo!()
    }

    /// The part before the `@`.
    pub fn local(&self) -> &LocalPart {
        &self.local
    }

    /// The part behind the `@`.
    pub fn host(&self) -> &Host {
        &self.host
    }

    /// The address as it was received.
    pub fn as_str(&self) -> &str {
        &self.written
    }

    /// Whether the address cannot be spelled in ASCII, so that only an SMTPUTF8 peer can take it: its local part
    /// has UTF-8. A U-label domain alone does not count, since it has an A-label form.
    pub fn needs_utf8(&self) -> bool {
        todo!()
    }

    /// The address in ASCII (A-labels), unless its local part forbids that.
    pub fn to_ascii(&self) -> Option<String> {
        todo!()
    }
}

impl PartialEq for Mailbox {
    fn eq(&self, other: &Self) -> bool {
        (&self.local, &self.host) == (&other.local, &other.host)
    }
}

impl Eq for Mailbox {}

impl PartialOrd for Mailbox {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Mailbox {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        (&self.local, &self.host).cmp(&(&other.local, &other.host))
    }
}

impl std::hash::Hash for Mailbox {
    fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
        (&self.local, &self.host).hash(state);
    }
}

impl fmt::Display for Domain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Display for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Host::Name(domain) => domain.fmt(f),
            Host::Literal(IpAddr::V4(address)) => write!(f, "[{address}]"),
            Host::Literal(IpAddr::V6(address)) => write!(f, "[IPv6:{address}]"),
        }
    }
}

impl fmt::Display for Mailbox {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.written)
    }
}

/// Without angle brackets: empty for the null path.
impl fmt::Display for ReversePath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ReversePath::Null => Ok(()),
            ReversePath::Mailbox(mailbox) => mailbox.fmt(f),
        }
    }
}

impl fmt::Display for BadAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            BadAddress::Empty => "it is empty",
            BadAddress::TooLong => "it is too long",
            BadAddress::Syntax => "a character stands where it may not",
            BadAddress::Label => "a label of the domain is not valid",
            BadAddress::Literal => "the address literal is not valid",
            BadAddress::NoHost => "the part behind @ is missing",
        })
    }
}

impl std::error::Error for BadAddress {}
