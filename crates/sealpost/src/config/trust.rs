//! `[trust]`: what is demanded of other hosts, by name.

use std::path::PathBuf;

use mail::{KeyPrint, Pattern, TlsVersion};
use serde::{Deserialize, Serialize};
use trust::Demand;
use trust::policy::{self, Of, Proofs, Table};

use super::tls::VersionMin;
use super::units;

/// `[trust]`
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Trust {
    /// `[[trust.rule]]`: the first one that fits a destination counts. What a host publishes, and what is remembered of it,
    /// is demanded beside it: the strictest wins.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub rule: Vec<Rule>,
    /// `[[trust.certificate]]`: certificates to show to other hosts, for rules to name.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub certificate: Vec<Certificate>,
}

/// One `[[trust.rule]]`.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Rule {
    /// Its name in logs and evidence; its place in the table if left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Mail for these domains: `"a.example"`, `"*.example"` for the names below one, or `"*"`. This or `host` must stand.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[serde(with = "units::optional_pattern")]
    pub domain: Option<Pattern>,
    /// Mail over these hosts, whatever domain it is for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[serde(with = "units::optional_pattern")]
    pub host: Option<Pattern>,
    /// What the channel must be.
    pub demand: Level,
    /// What proves who the host is, where `verified` is demanded.
    #[serde(default)]
    pub proof: Proof,
    /// Names that the certificate of a chain may hold; a pattern means the host's own name where it fits. Left out: the
    /// domain, and the host's own name where DNSSEC, MTA-STS or this file vouches for it or where it lies within the domain.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[serde(with = "units::patterns")]
    pub names: Vec<Pattern>,
    /// The SHA-256 of public keys (SubjectPublicKeyInfo), in hexadecimal, for `proof = "pin"`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[serde(with = "units::pins")]
    pub pins: Vec<KeyPrint>,
    /// The least version of TLS.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version_min: Option<VersionMin>,
    /// The only key exchanges allowed, `"X25519MLKEM768"`; `"post-quantum"` means all that are.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub groups: Vec<String>,
    /// The certificate to show to the host, by its name in `[[trust.certificate]]`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub certificate: Option<String>,
}

/// What a channel must be.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Level {
    /// Clear text; TLS is not even asked for, unless something else demands it.
    None,
    /// Encrypted if the host offers it, with any certificate.
    Opportunistic,
    /// Encrypted, with any certificate.
    Encrypted,
    /// Encrypted, and the host proven to be the one that was meant.
    Verified,
}

/// What proves who a host is.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Proof {
    /// Its TLSA records, or a chain, as it likes.
    #[default]
    Any,
    /// Its TLSA records.
    Dane,
    /// A chain to a trusted root for one of the names.
    Chain,
    /// One of the pinned keys.
    Pin,
}

/// One `[[trust.certificate]]`.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Certificate {
    /// For rules to name it by.
    pub name: String,
    /// PEM file: this server's certificate first, then its issuers.
    pub chain: PathBuf,
    /// PEM file: the private key.
    pub key: PathBuf,
}

impl Trust {
    /// The table that plans are made from.
    pub fn table(&self) -> Table {
        let rules = self.rule.iter().enumerate();
        Table(rules.filter_map(|(place, rule)| rule.parsed(place)).collect())
    }

    pub(super) fn check(&self) -> Result<(), String> {
        for (place, rule) in self.rule.iter().enumerate() {
            rule.check(&self.certificate)
                .map_err(|what| format!("rule {} of [[trust.rule]]: {what}", place + 1))?;
        }
        let names = self.certificate.iter().map(|certificate| &certificate.name);
        if let Some(twice) = twice(names) {
            return Err(format!(
                "two [[trust.certificate]] entries have the name \"{twice}\""
            ));
        }
        if let Some(twice) = twice(self.rule.iter().filter_map(|rule| rule.name.as_ref())) {
            return Err(format!("two [[trust.rule]] entries have the name \"{twice}\""));
        }
        match self.table().shadowed().first() {
            Some((rule, by)) => Err(format!(
                "rule {} of [[trust.rule]] can never count: rule {} before it fits all that it fits",
                rule + 1,
                by + 1
            )),
            None => Ok(()),
        }
    }

    pub(super) fn paths(&mut self) -> impl Iterator<Item = &mut PathBuf> {
        let certificates = self.certificate.iter_mut();
        certificates.flat_map(|certificate| [&mut certificate.chain, &mut certificate.key])
    }
}

impl Rule {
    fn parsed(&self, place: usize) -> Option<policy::Rule> {
        let of = match (&self.domain, &self.host) {
            (Some(domain), _) => Of::Domain(domain.clone()),
            (None, Some(host)) => Of::Host(host.clone()),
            (None, None) => return None,
        };
        let names = self.names.clone();
        Some(policy::Rule {
            name: match &self.name {
                Some(name) => format!("\"{name}\"").into(),
                None => (place + 1).to_string().into(),
            },
            of,
            demand: match self.demand {
                Level::None => Demand::None,
                Level::Opportunistic => Demand::Opportunistic,
                Level::Encrypted => Demand::Encrypted,
                Level::Verified => Demand::Verified,
            },
            proofs: match self.proof {
                Proof::Any => Proofs::Any { names },
                Proof::Dane => Proofs::Dane,
                Proof::Chain => Proofs::Chain { names },
                Proof::Pin => Proofs::Pin(self.pins.clone()),
            },
            version_min: self.version_min.map(|version| match version {
                VersionMin::V1_2 => TlsVersion::V1_2,
                VersionMin::V1_3 => TlsVersion::V1_3,
            }),
            groups: self.groups.iter().flat_map(|group| meant(group)).collect(),
            certificate: self.certificate.as_deref().map(Box::from),
        })
    }

    /// What contradicts itself.
    fn check(&self, certificates: &[Certificate]) -> Result<(), String> {
        if self.domain.is_some() == self.host.is_some() {
            return Err("it needs either domain or host".to_owned());
        }
        if let Some((key, with)) = self.vain() {
            return Err(format!("{key} means something only with {with}"));
        }
        if self.proof == Proof::Pin && self.pins.is_empty() {
            return Err("proof = \"pin\" needs pins".to_owned());
        }
        if let Some(group) = self.groups.iter().find(|group| meant(group).is_empty()) {
            let known = crate::tls::groups().join(", ");
            return Err(format!(
                "\"{group}\" is no known key exchange; known are {known} and post-quantum"
            ));
        }
        let named = |name: &String| certificates.iter().any(|certificate| certificate.name == *name);
        match &self.certificate {
            Some(name) if !named(name) => Err(format!("no [[trust.certificate]] has the name \"{name}\"")),
            Some(_) | None => Ok(()),
        }
    }

    /// A key that says nothing beside the others, and with what it would.
    fn vain(&self) -> Option<(&'static str, &'static str)> {
        let proven = self.demand == Level::Verified;
        let encrypted = proven || self.demand == Level::Encrypted;
        let vain = [
            (
                "proof",
                self.proof != Proof::Any && !proven,
                "demand = \"verified\"",
            ),
            (
                "names",
                !self.names.is_empty() && !proven,
                "demand = \"verified\"",
            ),
            (
                "pins",
                !self.pins.is_empty() && self.proof != Proof::Pin,
                "proof = \"pin\"",
            ),
            (
                "names",
                !self.names.is_empty() && matches!(self.proof, Proof::Dane | Proof::Pin),
                "proof = \"any\" or \"chain\"",
            ),
            (
                "version_min",
                self.version_min.is_some() && !encrypted,
                "demand = \"encrypted\" or \"verified\"",
            ),
            (
                "groups",
                !self.groups.is_empty() && !encrypted,
                "demand = \"encrypted\" or \"verified\"",
            ),
            (
                "certificate",
                self.certificate.is_some() && self.demand == Level::None,
                "any demand but \"none\"",
            ),
        ];
        vain.into_iter()
            .find_map(|(key, wrong, with)| wrong.then_some((key, with)))
    }
}

/// The groups that a word means.
fn meant(word: &str) -> Vec<Box<str>> {
    let mut groups = crate::tls::groups();
    groups.retain(|group| match word {
        "post-quantum" => group.to_ascii_uppercase().contains("MLKEM"),
        _ => group.eq_ignore_ascii_case(word),
    });
    groups
}

fn twice<'a>(names: impl Iterator<Item = &'a String>) -> Option<&'a String> {
    let mut seen = std::collections::BTreeSet::new();
    names.into_iter().find(|name| !seen.insert(*name))
}

#[cfg(test)]
mod tests {
    use crate::config::Config;

    fn error_of(rules: &str) -> String {
        let parsed = Config::parse(rules, "f");
        parsed
            .map(|_| String::new())
            .unwrap_or_else(|error| error.to_string())
    }

    #[test]
    fn contradictions_and_rules_that_never_count_are_found() {
        let pin = "ab".repeat(32);
        let rows = [
            (
                "demand = \"encrypted\"",
                "rule 1 of [[trust.rule]]: it needs either domain or host",
            ),
            (
                "domain = \"*\"\nhost = \"*\"\ndemand = \"none\"",
                "it needs either domain or host",
            ),
            (
                "domain = \"*\"\ndemand = \"encrypted\"\nproof = \"dane\"",
                "proof means something only with demand",
            ),
            (
                "domain = \"*\"\ndemand = \"verified\"\nproof = \"pin\"",
                "proof = \"pin\" needs pins",
            ),
            (
                "domain = \"*\"\ndemand = \"opportunistic\"\nversion_min = \"1.3\"",
                "version_min means something only with",
            ),
            (
                "domain = \"*\"\ndemand = \"encrypted\"\ngroups = [\"rsa\"]",
                "\"rsa\" is no known key exchange; known are X25519MLKEM768",
            ),
            (
                "domain = \"*\"\ndemand = \"encrypted\"\ncertificate = \"x\"",
                "no [[trust.certificate]] has the name \"x\"",
            ),
            ("domain = \"*\"\ndemand = \"always\"", "unknown value \"always\""),
            (
                "domain = \"*.\"\ndemand = \"none\"",
                "\"*.\" is no name; write one like",
            ),
            (
                "domain = \"*\"\ndemand = \"verified\"\nproof = \"pin\"\npins = [\"abc\"]",
                "\"abc\" is no SHA-256 of a key",
            ),
            (
                "domain = \"*.a.example\"\ndemand = \"none\"\n[[trust.rule]]\ndomain = \"x.a.example\"\ndemand = \"verified\"",
                "rule 2 of [[trust.rule]] can never count: rule 1 before it fits all that it fits",
            ),
            (
                "name = \"p\"\ndomain = \"a\"\ndemand = \"none\"\n[[trust.rule]]\nname = \"p\"\ndomain = \"b\"\ndemand = \"none\"",
                "two [[trust.rule]] entries have the name \"p\"",
            ),
        ];
        for (rule, expected) in rows {
            let error = error_of(&format!("[[trust.rule]]\n{rule}\n"));
            assert!(
                error.contains(expected) && !error.contains('\n'),
                "{rule:?} gave {error:?}"
            );
        }
        let sound = format!(
            "[[trust.rule]]\ndomain = \"x.a.example\"\ndemand = \"verified\"\nproof = \"pin\"\npins = [\"{pin}\"]\n\
             [[trust.rule]]\nhost = \"*.a.example\"\ndemand = \"encrypted\"\ngroups = [\"post-quantum\"]\nversion_min = \"1.3\"\n\
             [[trust.rule]]\ndomain = \"*\"\ndemand = \"opportunistic\"\n"
        );
        let config = Config::parse(&sound, "f").unwrap();
        let table = config.trust.table();
        assert_eq!(table.0.len(), 3);
        assert!(table.0[1].groups.iter().any(|group| &**group == "X25519MLKEM768"));
        assert!(table.0[1].groups.iter().all(|group| group.contains("MLKEM")));
        let printed = toml::to_string(&config).unwrap();
        assert_eq!(Config::parse(&printed, "printed").unwrap(), config, "{printed}");
    }
}
