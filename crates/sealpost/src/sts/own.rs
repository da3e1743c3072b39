//! Our own policy: what the domains of `[local]` publish, for the policy host and for the operator's DNS.

use mail::Domain;
use trust::sts::{self, Id, MxPattern, Policy};

use crate::config::mta_sts::Own;
use crate::config::{Config, Domains};

/// What one domain publishes.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Published {
    /// The domain.
    pub domain: Domain,
    /// The name of its TXT record.
    pub record_name: String,
    /// The TXT record. It is to be changed only when the new policy is served already (RFC 8461 §8.2).
    pub record: String,
    /// The host that serves the policy.
    pub policy_host: Domain,
    /// The policy.
    pub policy: String,
}

/// What each domain whose mail stays here publishes; `me` is this server's name. Nothing where every domain is local.
pub fn published(config: &Config, me: &Domain) -> Vec<Published> {
    let policy = policy(&config.mta_sts.own, me).to_string();
    let Some(id) = id_of(&policy) else {
        return Vec::new();
    };
    let published = |domain: &Domain| {
        Some(Published {
            domain: domain.clone(),
            record_name: sts::record_name(domain),
            record: id.record(),
            policy_host: sts::policy_host(domain)?,
            policy: policy.clone(),
        })
    };
    domains(config).iter().filter_map(published).collect()
}

/// The domains that have a policy.
pub fn domains(config: &Config) -> &[Domain] {
    match &config.local.domains {
        Domains::These(list) => list,
        Domains::Every => &[],
    }
}

fn policy(own: &Own, me: &Domain) -> Policy {
    Policy {
        mode: own.mode.into(),
        mx: match own.mx.is_empty() {
            true => vec![MxPattern::Host(me.clone())],
            false => own.mx.clone(),
        },
        max_age: own.max_age,
    }
}

/// Another policy has another id, and the same one the same (RFC 8461 §3.1): the first 128 bits of its SHA-256.
fn id_of(policy: &str) -> Option<Id> {
    let digest = crate::tls::fingerprint(policy.as_bytes()).to_string();
    digest.get(..ID_DIGITS).and_then(Id::parse)
}

const ID_DIGITS: usize = 32;

#[cfg(test)]
mod tests {
    use super::*;
    use trust::sts::{Discovered, discover};

    fn config(text: &str) -> Config {
        Config::parse(
            &format!("[local]\ndomains = [\"a.example\", \"b.example\"]\n{text}"),
            "test",
        )
        .unwrap()
    }

    fn all(text: &str) -> Vec<Published> {
        published(&config(text), &Domain::parse("mx.a.example").unwrap())
    }

    // proves: 8461-3.1-1 8461-3.1-3
    #[test]
    fn each_domain_publishes_what_others_can_read() {
        let found = all(
            "[mta_sts.own]\nmode = \"enforce\"\nmx = [\"mx1.a.example\", \"*.mx.a.example\"]\nmax_age = \"14d\"\n",
        );
        assert_eq!(found.len(), 2);
        assert_eq!(found[1].record_name, "_mta-sts.b.example");
        assert_eq!(found[1].policy_host.as_str(), "mta-sts.b.example");
        assert_eq!(
            found[0].policy,
            "version: STSv1\r\nmode: enforce\r\nmx: mx1.a.example\r\nmx: *.mx.a.example\r\nmax_age: 1209600\r\n"
        );
        assert!(Policy::parse(found[0].policy.as_bytes()).is_ok());
        assert!(
            matches!(discover(&[&found[0].record]), Discovered::Published(_)),
            "{}",
            found[0].record
        );
        assert!(found[0].record_name.is_ascii() && found[0].record.is_ascii());
    }

    // proves: 8461-3.1-3
    #[test]
    fn another_policy_has_another_id() {
        let record = |text: &str| all(text)[0].record.clone();
        let texts = [
            "",
            "[mta_sts.own]\nmode = \"enforce\"\n",
            "[mta_sts.own]\nmode = \"none\"\n",
            "[mta_sts.own]\nmax_age = \"31d\"\n",
            "[mta_sts.own]\nmx = [\"mx2.a.example\"]\n",
        ];
        let ids: std::collections::BTreeSet<String> = texts.iter().map(|text| record(text)).collect();
        assert_eq!(ids.len(), texts.len());
        assert_eq!(record(""), record("[mta_sts.own]\nmx = [\"mx.a.example\"]\n"));
    }

    #[test]
    fn a_server_for_every_domain_publishes_nothing() {
        let me = Domain::parse("mx.a.example").unwrap();
        assert!(published(&Config::default_loopback(), &me).is_empty());
    }
}
