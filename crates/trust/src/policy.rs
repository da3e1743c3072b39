//! The operator's table: what he demands of hosts and domains, by name. The first rule that fits counts.

use mail::{Domain, Host, KeyPrint, Pattern, TlsVersion};

use crate::plan::Demand;

/// The table.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Table(pub Vec<Rule>);

/// One rule.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Rule {
    /// Its name in evidence: the operator's, or its place in the table.
    pub name: Box<str>,
    /// Whom it is for.
    pub of: Of,
    /// What is demanded.
    pub demand: Demand,
    /// What counts as proof where the demand is [`Demand::Verified`]; each that is named must be had.
    pub proofs: Proofs,
    /// The oldest version of TLS.
    pub version_min: Option<TlsVersion>,
    /// The key exchange groups allowed; any if none is named.
    pub groups: Vec<Box<str>>,
    /// The certificate to show to the host, by its name in `[[tls.certificate]]`.
    pub certificate: Option<Box<str>>,
}

/// Whom a rule is for.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Of {
    /// Mail for these domains.
    Domain(Pattern),
    /// These hosts, whatever domain they take mail for.
    Host(Pattern),
}

/// How a host proves who it is.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Proofs {
    /// By DANE or by its chain, as it likes.
    Any {
        /// The names of a chain, as in [`Proofs::Chain`].
        names: Vec<Pattern>,
    },
    /// By DANE only.
    Dane,
    /// By a chain to a trusted root: for one of these names, or for the host's own where a pattern fits it. With none
    /// given, for the domain, or for the host's own name if that is proven or lies within the domain.
    Chain {
        /// The names.
        names: Vec<Pattern>,
    },
    /// By one of these keys.
    Pin(Vec<KeyPrint>),
}

impl Table {
    /// The rule for a host on the way to a domain.
    pub fn rule_for(&self, domain: Option<&Domain>, host: &Host) -> Option<&Rule> {
        let whole = domain.cloned().map(Host::Name);
        self.0.iter().find(|rule| match &rule.of {
            Of::Domain(pattern) => pattern.fits(whole.as_ref().unwrap_or(host)),
            Of::Host(pattern) => pattern.fits(host),
        })
    }
}
