//! `[mta_sts]`: policies of other domains, and our own (RFC 8461).

use std::net::SocketAddr;
use std::time::Duration;

use mail::Domain;
use serde::{Deserialize, Serialize};
use trust::sts::{self, MAX_AGE_MAX, MxPattern};

use super::units;
use crate::ports::Place;

/// `[mta_sts]`
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct MtaSts {
    /// Whether policies of other domains are looked for and obeyed.
    pub enabled: bool,
    /// Longest time for fetching a policy.
    #[serde(with = "units::duration")]
    pub fetch_wait: Duration,
    /// Longest time that a message waits for a policy to be fetched. With `"0s"` none waits: until its first policy has
    /// arrived a domain counts as one without, and until a new one has, the old one counts.
    #[serde(with = "units::duration")]
    pub message_wait: Duration,
    /// How long the TXT record of a domain is not asked for again. A host that the policy does not list has it asked for
    /// at once.
    #[serde(with = "units::duration")]
    pub look_up_every: Duration,
    /// Policies fetched at the same time. Changes at a restart only.
    pub fetches_max: usize,
    /// Policies that are kept.
    pub policies_max: usize,
    /// How long a policy is refreshed that no mail has asked for.
    #[serde(with = "units::duration")]
    pub refresh_unused_for: Duration,
    /// Our own policy.
    pub own: Own,
}

/// `[mta_sts.own]`: the policy of the domains of `[local]`, and where it is served.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Own {
    /// Addresses to serve it at by HTTPS: `["[::]:443"]`. `mta-sts.DOMAIN` must lead here, and a `[[tls.certificate]]` must
    /// have that name. Changes at a restart only.
    pub listen: Vec<SocketAddr>,
    /// What other servers do about a host that does not fit the policy.
    pub mode: Mode,
    /// The hosts that take mail for these domains: names, or `"*.example.org"` for those one label below; this server's own
    /// name if none is given.
    #[serde(with = "patterns")]
    pub mx: Vec<MxPattern>,
    /// How long other servers keep the policy; at most 31557600 seconds, a year.
    #[serde(with = "units::duration")]
    pub max_age: Duration,
}

/// What other servers do about a host that does not fit our policy (RFC 8461 §5).
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Mode {
    /// They report it, and deliver.
    #[default]
    Testing,
    /// They do not deliver to it.
    Enforce,
    /// Nothing: the policy is withdrawn.
    None,
}

impl MtaSts {
    /// Where our own policy is to be served.
    pub fn places(&self) -> Vec<Place> {
        let v4 = |port| self.own.listen.iter().any(|at| at.is_ipv4() && at.port() == port);
        let place = |at: &SocketAddr| match at.is_ipv6() && at.port() != 0 && v4(at.port()) {
            true => Place::AddressV6Only(*at),
            false => Place::Address(*at),
        };
        self.own.listen.iter().map(place).collect()
    }

    pub(super) fn check(&self) -> Result<(), String> {
        if self.own.max_age > MAX_AGE_MAX {
            return Err(format!(
                "[mta_sts.own] max_age is longer than {} seconds, the most that RFC 8461 allows",
                MAX_AGE_MAX.as_secs()
            ));
        }
        if self.own.max_age.subsec_nanos() != 0 {
            return Err("[mta_sts.own] max_age must be whole seconds".to_owned());
        }
        if self.fetches_max == 0 || self.policies_max == 0 {
            return Err("[mta_sts] fetches_max and policies_max are at least 1; to look for no policies, say enabled = false".to_owned());
        }
        Ok(())
    }
}

impl Own {
    /// What is allowed and unwise, for the operator. `domains` are those whose policy it is.
    pub fn remarks(&self, domains: &[Domain]) -> Vec<String> {
        let mut remarks = Vec::new();
        if self.listen.is_empty() {
            return remarks;
        }
        // RFC 8461 §10.2: in between, whoever blocks DNS hides that there is a policy.
        if self.mode != Mode::None && self.max_age < WEEK {
            remarks.push("[mta_sts.own] max_age is less than a week: weeks protect better".to_owned());
        }
        // RFC 8461 §10.4: any host with a certificate below the domain could then take its mail.
        for pattern in &self.mx {
            if let MxPattern::Below(parent) = pattern
                && let Some(domain) = domains.iter().find(|domain| domain.is_within(parent))
            {
                remarks.push(format!(
                    "[mta_sts.own] mx = \"{pattern}\" lets every host below {parent}, web servers too, take mail for {domain}: name the hosts"
                ));
            }
        }
        remarks
    }
}

impl From<Mode> for sts::Mode {
    fn from(mode: Mode) -> sts::Mode {
        match mode {
            Mode::Testing => sts::Mode::Testing,
            Mode::Enforce => sts::Mode::Enforce,
            Mode::None => sts::Mode::None,
        }
    }
}

impl Default for MtaSts {
    fn default() -> MtaSts {
        MtaSts {
            enabled: true,
            fetch_wait: Duration::from_secs(60),
            message_wait: Duration::from_secs(60),
            look_up_every: Duration::from_secs(60),
            fetches_max: 16,
            policies_max: 100_000,
            refresh_unused_for: Duration::from_secs(90 * 24 * 3600),
            own: Own::default(),
        }
    }
}

impl Default for Own {
    fn default() -> Own {
        Own {
            listen: Vec::new(),
            mode: Mode::Testing,
            mx: Vec::new(),
            max_age: Duration::from_secs(30 * 24 * 3600),
        }
    }
}

mod patterns {
    use serde::{Deserialize, Deserializer, Serializer, de::Error};
    use trust::sts::MxPattern;

    pub(super) fn serialize<S: Serializer>(list: &[MxPattern], serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(list.iter().map(MxPattern::to_string))
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Vec<MxPattern>, D::Error> {
        let texts = Vec::<String>::deserialize(deserializer)?;
        let read = |text: &String| {
            text.parse().map_err(|_| {
                D::Error::custom(format_args!(
                    "\"{text}\" is no host; write one like \"mx.example.org\" or \"*.mx.example.org\""
                ))
            })
        };
        texts.iter().map(read).collect()
    }
}

const WEEK: Duration = Duration::from_secs(7 * 24 * 3600);

#[cfg(test)]
mod tests {
    use super::*;

    fn own(text: &str) -> Own {
        toml::from_str(text).unwrap()
    }

    // proves: 8461-10.2-1 8461-10.4-1
    #[test]
    fn what_is_unwise_is_said() {
        let domains = [Domain::parse("example.org").unwrap()];
        let remarks = |text: &str| {
            own(&format!("listen = [\"[::]:443\"]\n{text}"))
                .remarks(&domains)
                .join("\n")
        };
        assert_eq!(remarks(""), "");
        assert_eq!(
            remarks("mx = [\"mx.example.org\", \"*.mx.example.org\", \"*.elsewhere.example\"]"),
            ""
        );
        assert!(remarks("max_age = \"6d\"").contains("less than a week"));
        assert_eq!(remarks("max_age = \"1h\"\nmode = \"none\""), "");
        assert!(remarks("mx = [\"*.example.org\"]").contains("every host below example.org"));
        assert!(remarks("mx = [\"*.org\"]").contains("every host below org"));
        let silent = own("max_age = \"1h\"\nmx = [\"*.example.org\"]");
        assert!(silent.remarks(&domains).is_empty(), "nothing is served");
    }

    #[test]
    fn what_makes_no_sense_is_refused() {
        for (text, words) in [
            ("[own]\nmax_age = \"366d\"", "31557600"),
            ("[own]\nmax_age = \"1500ms\"", "whole seconds"),
            ("fetches_max = 0", "enabled = false"),
        ] {
            let config: MtaSts = toml::from_str(text).unwrap();
            assert!(config.check().unwrap_err().contains(words), "{text}");
        }
        for text in [
            "mx = [\"b\u{fc}cher.example\"]",
            "mx = [\"*\"]",
            "mode = \"Enforce\"",
            "max_age = 5",
        ] {
            assert!(toml::from_str::<Own>(text).is_err(), "{text}");
        }
    }

    #[test]
    fn both_families_have_their_own_place_or_share_one() {
        let places = |listen: &str| {
            let config: MtaSts = toml::from_str(&format!("own = {{ listen = {listen} }}")).unwrap();
            config.places()
        };
        let at = |text: &str| text.parse().unwrap();
        assert_eq!(places("[\"[::]:443\"]"), [Place::Address(at("[::]:443"))]);
        assert_eq!(
            places("[\"[::]:443\", \"0.0.0.0:443\"]"),
            [
                Place::AddressV6Only(at("[::]:443")),
                Place::Address(at("0.0.0.0:443"))
            ]
        );
    }
}
