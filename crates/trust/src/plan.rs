//! The plan for one host, made before it is dialled: what the channel must prove, and who asks for it.

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use mail::{Domain, Host, KeyPrint, TlsVersion};

use crate::dane::Records;
use crate::making::Origin;
use crate::shown::{TlsTrouble, WhyClear};

/// What a channel must prove before mail goes over it. Ordered by strictness.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Demand {
    /// Nothing: local policy allows clear text by name.
    None,
    /// TLS where the peer offers it; the certificate is recorded, not judged (RFC 3207 §6).
    Opportunistic,
    /// TLS, with any certificate.
    Encrypted,
    /// TLS, and the peer proven to be the host that was meant.
    Verified,
}

/// Who asks for a demand, or says something of it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Source {
    /// Nobody in particular: how this server treats every host.
    Default,
    /// The operator's policy table.
    Policy,
    /// The host's TLSA records.
    Dane,
    /// The domain's MTA-STS policy.
    Sts,
    /// The memory of peers.
    Ledger,
    /// The message itself (RFC 8689).
    Message,
}

/// What is demanded of one host.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Plan {
    pub(crate) host: Host,
    pub(crate) domain: Option<Domain>,
    /// Whether a certificate for the host's own name says anything of the domain's mail.
    pub(crate) vouched: Vouched,
    pub(crate) origin: Origin,
    /// What is demanded where nobody asks for anything.
    pub(crate) default: Demand,
    pub(crate) asked: Vec<Asked>,
    pub(crate) reasons: Vec<Reason>,
    pub(crate) certificate: Option<Box<str>>,
}

/// Whether anything but DNS without proof says that a host takes a domain's mail (RFC 9325 §7.1).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Vouched {
    /// DNSSEC, a published policy, the operator, or its own name below the domain.
    Yes,
    /// Nothing: its own certificate proves it to be itself, and no more.
    No,
}

/// One thing that is asked of a channel.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Asked {
    /// Who asks.
    pub by: Source,
    /// For what.
    pub what: Requirement,
}

/// What can be asked of a channel.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Requirement {
    /// TLS.
    Encryption,
    /// Certificates that fit the host's TLSA records.
    Dane(Arc<Records>),
    /// A chain to a trusted root for one of these names.
    Chain(Vec<Domain>),
    /// One of these keys.
    Pin(Vec<KeyPrint>),
    /// Any one proof of who the host is.
    Identity(Identity),
    /// This version of TLS or a newer one.
    Version(TlsVersion),
    /// One of these key exchange groups.
    Group(Vec<Box<str>>),
}

/// Proofs of which one is enough.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Identity {
    /// TLSA records.
    pub dane: Option<Arc<Records>>,
    /// A trusted chain for one of these names.
    pub names: Vec<Domain>,
    /// A key that was proven before.
    pub known: Vec<KeyPrint>,
}

/// What a source said of a host, whether or not it asks for anything. For people.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Reason {
    /// Who.
    pub source: Source,
    /// The least it asks for; none if it only remarks.
    pub demand: Option<Demand>,
    /// In plain words.
    pub text: Box<str>,
}

/// A host that must not be used for this message now.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Avoid {
    /// Who says so.
    pub source: Source,
    /// Why.
    pub why: WhyAvoid,
    /// What was said of it.
    pub reasons: Vec<Reason>,
}

/// Why a host must not be used.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum WhyAvoid {
    /// What it publishes could not be found out; that is not the same as nothing (RFC 7672 §2.1).
    NotFoundOut(Box<str>),
    /// The policy in force does not list it (RFC 8461 §4.1).
    NotListed(Box<str>),
    /// A proof is demanded that it cannot give.
    Unprovable(Box<str>),
}

/// How to open the conversation with a host, given what is remembered of it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Opening {
    /// STARTTLS if it is offered.
    Tls,
    /// Stay clear, for this reason.
    Clear(WhyClear),
}

/// Whether a message has met this host's trouble with TLS in an earlier attempt.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Tried {
    /// This is its first attempt.
    Never,
    /// It was put off before.
    Before,
}

impl Plan {
    /// TLS where it is offered: what nobody says anything of.
    pub fn opportunistic(host: Host) -> Plan {
        Plan {
            host,
            domain: None,
            vouched: Vouched::No,
            origin: Origin::Unproven,
            default: Demand::Opportunistic,
            asked: Vec::new(),
            reasons: Vec::new(),
            certificate: None,
        }
    }

    /// The host it is for.
    pub fn host(&self) -> &Host {
        &self.host
    }

    /// The domain whose mail the host is to take.
    pub fn domain(&self) -> Option<&Domain> {
        self.domain.as_ref()
    }

    /// How the host's name came to be known.
    pub fn origin(&self) -> Origin {
        self.origin
    }

    /// The strictest of what is demanded.
    pub fn demand(&self) -> Demand {
        let demands = self.asked.iter().map(|asked| asked.what.demand());
        demands.max().unwrap_or(self.default)
    }

    /// Who asked for the strictest first.
    pub fn source(&self) -> Source {
        let demand = self.demand();
        match self.asked.iter().find(|asked| asked.what.demand() == demand) {
            Some(asked) => asked.by,
            None if self.reasons.iter().any(|reason| reason.source == Source::Policy) => Source::Policy,
            None => Source::Default,
        }
    }

    /// All that the channel must meet.
    pub fn asked(&self) -> &[Asked] {
        &self.asked
    }

    /// What each source said, in the order in which they were heard.
    pub fn reasons(&self) -> &[Reason] {
        &self.reasons
    }

    /// The name to ask for by SNI: the base of the TLSA records (RFC 7672 §8.1), else the host's own.
    pub fn server_name(&self) -> Option<&Domain> {
        let base = self.asked.iter().find_map(|asked| match &asked.what {
            Requirement::Dane(records) => Some(&records.base),
            _ => None,
        });
        base.or(self.host.name())
    }

    /// The oldest version of TLS to offer.
    pub fn version_min(&self) -> TlsVersion {
        let versions = self.asked.iter().filter_map(|asked| match &asked.what {
            Requirement::Version(version) => Some(*version),
            _ => None,
        });
        versions.max().unwrap_or(TlsVersion::V1_2)
    }

    /// The only key exchange groups to offer, if it is said.
    pub fn groups(&self) -> Option<&[Box<str>]> {
        self.asked.iter().find_map(|asked| match &asked.what {
            Requirement::Group(groups) => Some(&**groups),
            _ => None,
        })
    }

    /// The certificate to show, by its name in the configuration.
    pub fn certificate(&self) -> Option<&str> {
        self.certificate.as_deref()
    }

    /// How to open this attempt. `trouble` is what is remembered of TLS with this host; `tried` says whether this very
    /// message has met it before. Clear text after a failed handshake is never for the attempt in which it failed, nor
    /// for a message that has not tried TLS itself: the host's trouble is no reason to send other mail in clear.
    pub fn opening(
        &self,
        trouble: Option<&TlsTrouble>,
        tried: Tried,
        wait: Duration,
        now: SystemTime,
    ) -> Opening {
        match self.demand() {
            Demand::None => Opening::Clear(WhyClear::Unwanted),
            Demand::Encrypted | Demand::Verified => Opening::Tls,
            Demand::Opportunistic => match (trouble, tried) {
                (Some(trouble), Tried::Before) if trouble.at + wait <= now => {
                    Opening::Clear(WhyClear::Earlier(trouble.clone()))
                }
                (Some(_) | None, Tried::Before | Tried::Never) => Opening::Tls,
            },
        }
    }
}

impl Requirement {
    /// The demand that it amounts to.
    pub fn demand(&self) -> Demand {
        match self {
            Requirement::Encryption | Requirement::Version(_) | Requirement::Group(_) => Demand::Encrypted,
            Requirement::Dane(_) | Requirement::Chain(_) | Requirement::Pin(_) | Requirement::Identity(_) => {
                Demand::Verified
            }
        }
    }
}

impl fmt::Display for Demand {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Demand::None => "none",
            Demand::Opportunistic => "opportunistic",
            Demand::Encrypted => "encrypted",
            Demand::Verified => "verified",
        })
    }
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Source::Default => "default",
            Source::Policy => "policy",
            Source::Dane => "dane",
            Source::Sts => "mta-sts",
            Source::Ledger => "ledger",
            Source::Message => "message",
        })
    }
}

impl fmt::Display for WhyAvoid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            WhyAvoid::NotFoundOut(why) => write!(f, "what it publishes could not be found out: {why}"),
            WhyAvoid::NotListed(why) | WhyAvoid::Unprovable(why) => f.write_str(why),
        }
    }
}

#[cfg(test)]
mod tests {
    use mail::{Pattern, TlsWish};

    use super::*;
    use crate::ledger::Claim;
    use crate::making::{Inputs, Origin};
    use crate::policy::{Proofs, Rule};
    use crate::{dane, sts};

    fn host() -> Host {
        Host::parse("mx.a.example").unwrap()
    }

    fn at(seconds: u64) -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_secs(seconds)
    }

    fn trouble() -> TlsTrouble {
        TlsTrouble {
            at: at(1000),
            text: "alert 40".into(),
        }
    }

    /// A plan that a rule with this demand makes.
    fn ruled(demand: Demand) -> Plan {
        let rule = Rule {
            name: "1".into(),
            of: crate::policy::Of::Domain(Pattern::All),
            demand,
            proofs: Proofs::Any { names: Vec::new() },
            version_min: None,
            groups: Vec::new(),
            certificate: None,
        };
        let claim = Claim::default();
        let inputs = Inputs {
            host: &host(),
            domain: None,
            origin: Origin::Proven,
            wish: TlsWish::Usual,
            rule: Some(&rule),
            dane: &dane::Finding::Absent,
            sts: &sts::Finding::Absent(None),
            claim: &claim,
        };
        Plan::make(&inputs).unwrap()
    }

    #[test]
    fn clear_text_only_later_and_only_for_a_message_that_tried() {
        let wait = Duration::from_secs(600);
        let open = |demand, trouble: Option<&TlsTrouble>, tried, now| {
            ruled(demand).opening(trouble, tried, wait, at(now))
        };
        let met = trouble();
        let earlier = Opening::Clear(WhyClear::Earlier(met.clone()));
        assert_eq!(
            open(Demand::Opportunistic, None, Tried::Before, 9999),
            Opening::Tls
        );
        assert_eq!(
            open(Demand::Opportunistic, Some(&met), Tried::Before, 1599),
            Opening::Tls
        );
        assert_eq!(
            open(Demand::Opportunistic, Some(&met), Tried::Before, 1600),
            earlier
        );
        assert_eq!(
            open(Demand::Opportunistic, Some(&met), Tried::Never, 1600),
            Opening::Tls
        );
        for demand in [Demand::Encrypted, Demand::Verified] {
            assert_eq!(open(demand, Some(&met), Tried::Before, 9999), Opening::Tls);
        }
        assert_eq!(
            open(Demand::None, None, Tried::Never, 0),
            Opening::Clear(WhyClear::Unwanted)
        );
    }
}
