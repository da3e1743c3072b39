//! Names in groups: what a rule is for.

use std::fmt;

use crate::address::{Domain, Host};

/// Names that a rule is for.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Pattern {
    /// Every destination, literals included.
    All,
    /// The names below this one, not the name itself.
    Below(Domain),
    /// This name.
    Name(Domain),
}

impl Pattern {
    /// Reads `*`, `*.example` or `example`.
    pub fn parse(text: &str) -> Option<Pattern> {
        match text.strip_prefix("*.") {
            Some(name) => Domain::parse(name).ok().map(Pattern::Below),
            None if text == "*" => Some(Pattern::All),
            None => Domain::parse(text).ok().map(Pattern::Name),
        }
    }

    /// Whether it fits every name that the other fits.
    pub fn covers(&self, other: &Pattern) -> bool {
        match (self, other) {
            (Pattern::All, _) => true,
            (Pattern::Below(wide), Pattern::Below(narrow)) => narrow.is_within(wide),
            (Pattern::Below(_) | Pattern::Name(_), Pattern::Name(name)) => {
                self.fits(&Host::Name(name.clone()))
            }
            (Pattern::Below(_), Pattern::All) | (Pattern::Name(_), Pattern::All | Pattern::Below(_)) => false,
        }
    }

    /// Whether the rule is for this destination.
    pub fn fits(&self, host: &Host) -> bool {
        match (self, host) {
            (Pattern::All, _) => true,
            (Pattern::Below(name), Host::Name(domain)) => domain != name && domain.is_within(name),
            (Pattern::Name(name), Host::Name(domain)) => domain == name,
            (Pattern::Below(_) | Pattern::Name(_), Host::Literal(_)) => false,
        }
    }
}

impl fmt::Display for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Pattern::All => f.write_str("*"),
            Pattern::Below(name) => write!(f, "*.{name}"),
            Pattern::Name(name) => name.fmt(f),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn host(text: &str) -> Host {
        Host::parse(text).unwrap()
    }

    #[test]
    fn patterns_fit_their_destinations_only() {
        let rows = [
            ("*", "a.example", true),
            ("*", "[192.0.2.1]", true),
            ("*.example", "a.example", true),
            ("*.example", "b.a.example", true),
            ("*.example", "example", false),
            ("*.example", "anexample", false),
            ("*.example", "[192.0.2.1]", false),
            ("a.example", "a.example", true),
            ("A.example", "a.EXAMPLE", true),
            ("a.example", "b.a.example", false),
        ];
        for (pattern, destination, expected) in rows {
            assert_eq!(
                Pattern::parse(pattern).unwrap().fits(&host(destination)),
                expected,
                "{pattern} {destination}"
            );
        }
        for text in ["", "*.", "**", "a b", "x.*"] {
            assert_eq!(Pattern::parse(text), None, "{text}");
        }
    }
}
