//! How far a host's lock goes: which of the levels that mail servers know it reaches, judged as delivery judges.

use std::time::SystemTime;

use mail::{Domain, TlsWish};
use serde::{Deserialize, Serialize};
use trust::{Avoid, Basis, Claim, Inputs, Judged, Origin, Path, Plan, Shown, WhyClear, dane, sts};

use super::facts::{HostFacts, Shook, Showed};

/// Which levels an address reaches; the names are those of Postfix's `smtp_tls_security_level`.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Levels {
    /// Mail can be handed over, in clear at worst.
    pub may: bool,
    /// Inside TLS, whoever it is.
    pub encrypt: bool,
    /// With certificates that fit the host's TLSA records.
    pub dane: bool,
    /// With a trusted chain for the name that DNS gave, proven or not.
    pub verify: bool,
    /// With a trusted chain for a name that is itself to be trusted: the domain's own, or one that DNSSEC or MTA-STS
    /// vouches for.
    pub secure: bool,
}

/// The strictest level that is reached.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Level {
    /// Nobody there.
    None,
    /// Clear text.
    May,
    /// TLS without proof.
    Encrypt,
    /// A chain for a name without proof.
    Verify,
    /// A chain for a trusted name.
    Secure,
    /// DANE.
    Dane,
}

/// What a server that knows nothing of the host but what is published would do with it.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Would {
    /// Whether it would hand mail over.
    pub send: bool,
    /// What it would demand.
    pub demand: String,
    /// Who asks for that.
    pub source: String,
    /// On what it would rest, or what would be lacking.
    pub because: String,
}

impl Levels {
    /// The strictest of them.
    pub fn strictest(&self) -> Level {
        let all = [
            (self.dane, Level::Dane),
            (self.secure, Level::Secure),
            (self.verify, Level::Verify),
            (self.encrypt, Level::Encrypt),
            (self.may, Level::May),
        ];
        all.iter()
            .find(|(reached, _)| *reached)
            .map_or(Level::None, |(_, level)| *level)
    }

    /// What both reach: a host is as good as its worst address.
    pub fn and(self, other: Levels) -> Levels {
        Levels {
            may: self.may && other.may,
            encrypt: self.encrypt && other.encrypt,
            dane: self.dane && other.dane,
            verify: self.verify && other.verify,
            secure: self.secure && other.secure,
        }
    }
}

impl HostFacts {
    /// What an address of it reaches.
    pub fn levels(&self, domain: &Domain, showed: &Showed, now: SystemTime) -> Levels {
        match showed {
            Showed::Unreached(_) | Showed::Odd(_) => Levels::default(),
            Showed::NoKeyword(_) => Levels {
                may: true,
                ..Levels::default()
            },
            Showed::Offered(offered) => match offered.best() {
                // Its handshake failed: mail may go in clear at a later attempt.
                None => Levels {
                    may: true,
                    ..Levels::default()
                },
                Some(shook) => self.levels_of(domain, shook, now),
            },
        }
    }

    fn levels_of(&self, domain: &Domain, shook: &Shook, now: SystemTime) -> Levels {
        let certificates = &shook.certificates;
        let trusted = *certificates.path() == Path::Trusted;
        let own = self.host.name().is_some_and(|name| certificates.covers(name));
        Levels {
            may: true,
            encrypt: true,
            dane: match &self.dane {
                dane::Finding::Published(records) => records.prove(certificates.presented(), now).is_ok(),
                dane::Finding::Unasked(_) | dane::Finding::Absent | dane::Finding::Failed(_) => false,
            },
            verify: trusted && own,
            secure: trusted && (certificates.covers(domain) || own && self.is_vouched_for(domain)),
        }
    }

    /// Whether the host's name can be believed to be one of the domain's.
    pub fn is_vouched_for(&self, domain: &Domain) -> bool {
        let listed = match &self.sts {
            sts::Finding::Enforced(held) => held.listed == sts::Listed::Yes,
            sts::Finding::Absent(_) | sts::Finding::Testing(_) => false,
        };
        let within = self.host.name().is_some_and(|name| name.is_within(domain));
        listed || within || matches!(self.origin, Origin::Proven | Origin::Configured)
    }

    /// The plan that delivery would make, knowing only what is published.
    pub(super) fn plan(&self, domain: &Domain) -> Result<Plan, Avoid> {
        Plan::make(&Inputs {
            host: &self.host,
            domain: Some(domain),
            origin: self.origin,
            wish: TlsWish::Usual,
            rule: None,
            dane: &self.dane,
            sts: &self.sts,
            claim: &Claim::default(),
        })
    }

    /// What delivery would do with what an address showed, by the very plan that it makes; none where nobody answered.
    pub fn would(&self, domain: &Domain, showed: &Showed, now: SystemTime) -> Option<Would> {
        let plan = match self.plan(domain) {
            Ok(plan) => plan,
            Err(avoid) => {
                return Some(Would {
                    send: false,
                    demand: "nothing goes to this host".to_owned(),
                    source: avoid.source.to_string(),
                    because: avoid.why.to_string(),
                });
            }
        };
        let judged = match showed {
            Showed::Unreached(_) | Showed::Odd(_) => return None,
            Showed::NoKeyword(_) => {
                plan.judge(&Shown::clear(WhyClear::NotOffered), now)
                    .evidence
                    .judged
            }
            Showed::Offered(offered) => match offered.best() {
                Some(shook) => {
                    let shown = Shown::tls(shook.facts.clone(), shook.certificates.clone());
                    plan.judge(&shown, now).evidence.judged
                }
                None => Some(Judged::Insufficient(plan.unencrypted())),
            },
        };
        let (send, because) = match judged? {
            Judged::Sufficient(basis) => (true, words(basis)),
            Judged::Insufficient(unmet) => (false, unmet.to_string()),
        };
        Some(Would {
            send,
            demand: plan.demand().to_string(),
            source: plan.source().to_string(),
            because,
        })
    }
}

/// A basis in words.
pub fn words(basis: Basis) -> String {
    match basis {
        Basis::ClearAllowed => "local policy allows clear text".to_owned(),
        Basis::ClearUnavoided => "clear text, since no TLS is to be had and nothing demands it".to_owned(),
        Basis::Encryption => "encryption; who the host is, is not proven".to_owned(),
        Basis::KnownKey => "a key that the host had proven before".to_owned(),
        Basis::Chain => "a trusted certificate for its name".to_owned(),
        Basis::Pin => "a pinned key".to_owned(),
        Basis::Dane(fits) => format!(
            "its TLSA record {} {} {}",
            fits.usage, fits.selector, fits.matching
        ),
    }
}
