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

impl Table {
    /// Rules that can never count, each with the one before it that fits all it fits, by their places.
    pub fn shadowed(&self) -> Vec<(usize, usize)> {
        let first = |(place, rule): (usize, &Rule)| {
            let by = self.0[..place]
                .iter()
                .position(|before| before.of.covers(&rule.of))?;
            Some((place, by))
        };
        self.0.iter().enumerate().filter_map(first).collect()
    }
}

impl Of {
    /// Whether it fits everything that the other fits. A pattern for all is for every destination, however it is meant.
    fn covers(&self, other: &Of) -> bool {
        match (self, other) {
            (Of::Domain(Pattern::All) | Of::Host(Pattern::All), _) => true,
            (Of::Domain(wide), Of::Domain(narrow)) | (Of::Host(wide), Of::Host(narrow)) => {
                wide.covers(narrow)
            }
            (Of::Domain(_), Of::Host(_)) | (Of::Host(_), Of::Domain(_)) => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rule(name: &str, of: Of) -> Rule {
        Rule {
            name: name.into(),
            of,
            demand: Demand::Encrypted,
            proofs: Proofs::Any { names: Vec::new() },
            version_min: None,
            groups: Vec::new(),
            certificate: None,
        }
    }

    fn domain(pattern: &str) -> Of {
        Of::Domain(Pattern::parse(pattern).unwrap())
    }

    fn host(pattern: &str) -> Of {
        Of::Host(Pattern::parse(pattern).unwrap())
    }

    fn table(rules: &[Of]) -> Table {
        let named = rules.iter().enumerate();
        Table(
            named
                .map(|(place, of)| rule(&place.to_string(), of.clone()))
                .collect(),
        )
    }

    #[test]
    fn the_first_rule_that_fits_counts() {
        let table = table(&[
            domain("a.example"),
            host("*.mx.example"),
            domain("*.example"),
            domain("*"),
        ]);
        let rows = [
            (Some("a.example"), "x.mx.example", "0"),
            (Some("b.example"), "x.mx.example", "1"),
            (Some("b.example"), "mx.example", "2"),
            (Some("b.test"), "mx.test", "3"),
            (None, "[192.0.2.1]", "3"),
        ];
        for (to, over, expected) in rows {
            let to = to.map(|name| Domain::parse(name).unwrap());
            let found = table.rule_for(to.as_ref(), &Host::parse(over).unwrap());
            assert_eq!(found.map(|rule| &*rule.name), Some(expected), "{to:?} {over}");
        }
    }

    #[test]
    fn rules_that_never_count_are_found() {
        let shadowed = |rules: &[Of]| table(rules).shadowed();
        assert_eq!(shadowed(&[domain("*"), host("mx.example")]), [(1, 0)]);
        assert_eq!(
            shadowed(&[domain("*.example"), domain("b.a.example"), domain("example")]),
            [(1, 0)]
        );
        assert_eq!(shadowed(&[domain("a.example"), domain("a.example")]), [(1, 0)]);
        assert_eq!(
            shadowed(&[domain("*.a.example"), domain("*.b.a.example")]),
            [(1, 0)]
        );
        assert_eq!(
            shadowed(&[
                domain("a.example"),
                domain("*.a.example"),
                host("a.example"),
                domain("*")
            ]),
            []
        );
    }
}
