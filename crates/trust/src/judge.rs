//! Judges what a channel showed against its plan. The only place that mints a [`Permit`].

use std::fmt;
use std::time::SystemTime;

use mail::proof::Permit;
use mail::{Channel, Domain, TlsFacts, TlsVersion};

use crate::chain::{Certificates, Path};
use crate::dane;
use crate::evidence::Evidence;
use crate::plan::{Asked, Demand, Identity, Plan, Requirement, Source, Vouched};
use crate::shown::{Observed, Shown};

/// A verdict with its evidence; neither travels alone.
#[derive(Debug)]
pub struct Judgement<C: Channel> {
    /// Send or hold.
    pub verdict: Verdict<C>,
    /// What it rests on.
    pub evidence: Evidence,
}

/// What may happen over a channel. There is no way to bounce: only a message's age does that.
#[derive(Debug)]
pub enum Verdict<C: Channel> {
    /// Mail may go.
    Send(Permit<C>),
    /// No mail may go over this channel.
    Hold(Unmet),
}

/// What was made of what the channel showed.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Judged {
    /// Enough, because of this.
    Sufficient(Basis),
    /// Not enough, for want of this.
    Insufficient(Unmet),
}

/// What a permit rests on. Ordered by strength.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Basis {
    /// Local policy allows clear text.
    ClearAllowed,
    /// The host gave no other choice and nothing demands more.
    ClearUnavoided,
    /// Encrypted; who the peer is was not proven.
    Encryption,
    /// Encrypted, with a key that the host had proven before, under a certificate that proves nothing now.
    KnownKey,
    /// Encrypted, with a chain of certificates to a trusted root for a name of the host.
    Chain,
    /// Encrypted, with a key that the operator pinned.
    Pin,
    /// Encrypted, with certificates that fit the host's TLSA records.
    Dane(dane::Match),
}

/// What was demanded and not shown.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Unmet {
    /// Who demanded it.
    pub by: Source,
    /// What was lacking.
    pub lack: Lack,
}

/// What a channel lacked.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Lack {
    /// Encryption.
    Encryption,
    /// Certificates that fit the TLSA records.
    Dane(Box<str>),
    /// A path to a trusted root.
    Path(Box<str>),
    /// The right name; these were expected.
    Name(Box<str>),
    /// A pinned key.
    Pin,
    /// Any proof of who it is, and a key known from before.
    Identity(Box<str>),
    /// A version of TLS that is new enough.
    Version(TlsVersion),
    /// An allowed group for the key exchange.
    Group(Box<str>),
}

impl Plan {
    /// Judges what the channel showed.
    pub fn judge<C: Channel>(&self, shown: &Shown<C>, now: SystemTime) -> Judgement<C> {
        let judged = self.weigh(shown.observed(), now);
        let evidence = Evidence::judged(self, shown.seen(self.host()), judged.clone(), now);
        let verdict = match judged {
            Judged::Sufficient(_) => Verdict::Send(Permit::mint(self.host().clone())),
            Judged::Insufficient(unmet) => Verdict::Hold(unmet),
        };
        Judgement { verdict, evidence }
    }

    fn weigh(&self, observed: &Observed, now: SystemTime) -> Judged {
        match observed {
            Observed::Clear(_) => match (self.asked.first(), self.demand()) {
                (Some(_), _) => Judged::Insufficient(self.unencrypted()),
                (None, Demand::None) => Judged::Sufficient(Basis::ClearAllowed),
                (None, _) => Judged::Sufficient(Basis::ClearUnavoided),
            },
            Observed::Tls(facts, certificates) => self.weigh_tls(facts, certificates, now),
        }
    }

    /// What is unmet where no encryption is to be had: told by whoever asks for the most.
    pub fn unencrypted(&self) -> Unmet {
        Unmet {
            by: self.source(),
            lack: Lack::Encryption,
        }
    }

    fn weigh_tls(&self, facts: &TlsFacts, certificates: &Certificates, now: SystemTime) -> Judged {
        // RFC 9325 §7.1: a name that DNS gave without proof is no reference, even where the certificate holds it.
        let own = self.host().name().filter(|_| self.vouched == Vouched::Yes);
        let mut best = match own.is_some_and(|name| proves(certificates, name)) {
            true => Basis::Chain,
            false => Basis::Encryption,
        };
        for Asked { by, what } in &self.asked {
            match meets(what, facts, certificates, now) {
                // RFC 7672 §2.2.1: it is the host that was named, and nobody proved that it is the domain's.
                Ok(Basis::Dane(_)) if self.vouched == Vouched::No => {}
                Ok(basis) => best = best.max(basis),
                Err(lack) => return Judged::Insufficient(Unmet { by: *by, lack }),
            }
        }
        Judged::Sufficient(best)
    }
}

fn meets(
    what: &Requirement,
    facts: &TlsFacts,
    certificates: &Certificates,
    now: SystemTime,
) -> Result<Basis, Lack> {
    match what {
        Requirement::Encryption => Ok(Basis::Encryption),
        Requirement::Dane(records) => match records.prove(certificates.presented(), now) {
            Ok(fits) => Ok(Basis::Dane(fits)),
            Err(why) => Err(Lack::Dane(why.0)),
        },
        Requirement::Chain(names) => chain(certificates, names),
        Requirement::Pin(keys) => match certificates.key() {
            Some(key) if keys.contains(&key) => Ok(Basis::Pin),
            Some(_) | None => Err(Lack::Pin),
        },
        Requirement::Identity(identity) => any(identity, certificates, now),
        Requirement::Version(least) if facts.version < *least => Err(Lack::Version(facts.version)),
        Requirement::Version(_) => Ok(Basis::Encryption),
        Requirement::Group(groups) => match &facts.group {
            Some(group) if groups.iter().any(|known| known.eq_ignore_ascii_case(group)) => {
                Ok(Basis::Encryption)
            }
            Some(group) => Err(Lack::Group(group.clone())),
            None => Err(Lack::Group("unknown".into())),
        },
    }
}

fn chain(certificates: &Certificates, names: &[Domain]) -> Result<Basis, Lack> {
    match certificates.path() {
        Path::Trusted if names.iter().any(|name| certificates.covers(name)) => Ok(Basis::Chain),
        Path::Trusted => {
            let wanted: Vec<&str> = names.iter().map(|name| name.as_str()).collect();
            Err(Lack::Name(wanted.join(" or ").into()))
        }
        Path::Flawed(_, why) => Err(Lack::Path(why.clone())),
        Path::Unchecked => Err(Lack::Path("there is nothing to check it against".into())),
    }
}

/// DANE or a chain; failing these, a key that was proven before: its certificate may have run out or be misnamed.
fn any(identity: &Identity, certificates: &Certificates, now: SystemTime) -> Result<Basis, Lack> {
    let by_dane = identity
        .dane
        .as_ref()
        .map(|records| records.prove(certificates.presented(), now));
    if let Some(Ok(fits)) = by_dane {
        return Ok(Basis::Dane(fits));
    }
    match (chain(certificates, &identity.names), certificates.key()) {
        (Ok(basis), _) => Ok(basis),
        (Err(_), Some(key)) if identity.known.contains(&key) => Ok(Basis::KnownKey),
        (Err(lack), _) => Err(Lack::Identity(lack.to_string().into())),
    }
}

fn proves(certificates: &Certificates, name: &Domain) -> bool {
    *certificates.path() == Path::Trusted && certificates.covers(name)
}

impl fmt::Display for Unmet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} (demanded by {})", self.lack, self.by)
    }
}

impl fmt::Display for Lack {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Lack::Encryption => f.write_str("the channel is not encrypted"),
            Lack::Dane(why) => write!(f, "its certificates do not fit its TLSA records: {why}"),
            Lack::Path(why) => write!(f, "its certificate is not trusted: {why}"),
            Lack::Name(names) => write!(f, "its certificate is not for {names}"),
            Lack::Pin => f.write_str("its key is none of those pinned"),
            Lack::Identity(why) => write!(f, "it did not prove who it is, and its key is a new one: {why}"),
            Lack::Version(version) => write!(f, "{version} is too old"),
            Lack::Group(group) => write!(f, "the key exchange {group} is not allowed"),
        }
    }
}

impl fmt::Display for Basis {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Basis::ClearAllowed => f.write_str("clear-allowed"),
            Basis::ClearUnavoided => f.write_str("clear-unavoided"),
            Basis::Encryption => f.write_str("encryption"),
            Basis::KnownKey => f.write_str("known-key"),
            Basis::Chain => f.write_str("chain"),
            Basis::Pin => f.write_str("pin"),
            Basis::Dane(fits) => write!(f, "dane-{}-{}-{}", fits.usage, fits.selector, fits.matching),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use mail::{Clear, Host, KeyPrint, Pattern, Tls, TlsWish};

    use super::*;
    use crate::chain::{Flaw, tests::pretend};
    use crate::dane::Finding;
    use crate::ledger::Claim;
    use crate::making::{Inputs, Origin};
    use crate::policy::{Of, Proofs, Rule};
    use crate::shown::{TlsTrouble, WhyClear};
    use crate::sts;

    fn plan(demand: Demand, proofs: Proofs) -> Plan {
        let rule = Rule {
            name: "1".into(),
            of: Of::Domain(Pattern::All),
            demand,
            proofs,
            version_min: None,
            groups: Vec::new(),
            certificate: None,
        };
        let inputs = Inputs {
            host: &Host::parse("mx.a.example").unwrap(),
            domain: None,
            origin: Origin::Configured,
            wish: TlsWish::Usual,
            rule: Some(&rule),
            dane: &Finding::Absent,
            sts: &sts::Finding::Absent(None),
            claim: &Claim::default(),
        };
        Plan::make(&inputs).unwrap()
    }

    fn any() -> Proofs {
        Proofs::Any { names: Vec::new() }
    }

    fn tls(certificates: Certificates) -> Shown<Tls> {
        let facts = TlsFacts {
            version: TlsVersion::V1_3,
            cipher: "TLS_AES_256_GCM_SHA384".into(),
            group: Some("X25519MLKEM768".into()),
            chain: Vec::new(),
            subject: None,
            server_name: None,
        };
        Shown::tls(facts, certificates)
    }

    fn outcome<C: Channel + fmt::Debug>(plan: &Plan, shown: &Shown<C>) -> Result<Basis, Lack> {
        let judgement = plan.judge(shown, SystemTime::UNIX_EPOCH);
        assert_eq!(judgement.evidence.host, *plan.host());
        assert_eq!(judgement.evidence.demand, plan.demand());
        match (judgement.verdict, judgement.evidence.judged) {
            (Verdict::Send(permit), Some(Judged::Sufficient(basis))) => {
                assert_eq!(permit.host(), plan.host());
                Ok(basis)
            }
            (Verdict::Hold(unmet), Some(Judged::Insufficient(told))) => {
                assert_eq!(unmet, told);
                Err(unmet.lack)
            }
            (verdict, told) => panic!("{verdict:?} is told as {told:?}"),
        }
    }

    // Where no TLSA records stand, the certificate must be for the name of the host itself.
    // proves: 8689-4.2.1-2
    #[test]
    fn requiretls_takes_a_chain_for_the_host_s_own_name_alone() {
        let host = Host::parse("mx.a.example").unwrap();
        let plan = Plan::make(&Inputs {
            host: &host,
            domain: Some(&mail::Domain::parse("a.example").unwrap()),
            origin: Origin::Proven,
            wish: TlsWish::Required,
            rule: None,
            dane: &Finding::Absent,
            sts: &sts::Finding::Absent(None),
            claim: &Claim::default(),
        });
        let plan = plan.unwrap();
        let shown = |path, name| tls(pretend(path, &[name], 1));
        assert!(outcome(&plan, &shown(Path::Trusted, "mx.a.example")).is_ok());
        for (path, name) in [
            (Path::Trusted, "mx.b.example"),
            (Path::Trusted, "a.example"),
            (Path::Trusted, "mx.mx.a.example"),
        ] {
            assert!(outcome(&plan, &shown(path, name)).is_err(), "{name}");
        }
    }

    // proves: 3207-4.1-2 2487-5.1-2 9325-3.7-3
    #[test]
    fn every_demand_against_everything_shown() {
        use Demand::{Encrypted, None, Opportunistic, Verified};
        let earlier = TlsTrouble {
            at: SystemTime::UNIX_EPOCH + Duration::from_secs(9),
            text: "alert 40".into(),
        };
        let clear: [Shown<Clear>; 3] = [
            Shown::clear(WhyClear::NotOffered),
            Shown::clear(WhyClear::Earlier(earlier)),
            Shown::clear(WhyClear::Unwanted),
        ];
        for shown in &clear {
            assert_eq!(outcome(&plan(None, any()), shown), Ok(Basis::ClearAllowed));
            assert_eq!(
                outcome(&plan(Opportunistic, any()), shown),
                Ok(Basis::ClearUnavoided)
            );
            assert_eq!(outcome(&plan(Encrypted, any()), shown), Err(Lack::Encryption));
            assert_eq!(outcome(&plan(Verified, any()), shown), Err(Lack::Encryption));
        }
        let trusted = tls(pretend(Path::Trusted, &["mx.a.example"], 1));
        for demand in [None, Opportunistic, Encrypted, Verified] {
            assert_eq!(outcome(&plan(demand, any()), &trusted), Ok(Basis::Chain));
        }
        let flawed = Path::Flawed(Flaw::Untrusted, "self-signed".into());
        for (path, name) in [
            (flawed, "mx.a.example"),
            (Path::Unchecked, "mx.a.example"),
            (Path::Trusted, "mx.b.example"),
        ] {
            let shown = tls(pretend(path, &[name], 1));
            for demand in [None, Opportunistic, Encrypted] {
                assert_eq!(outcome(&plan(demand, any()), &shown), Ok(Basis::Encryption));
            }
            let lack = outcome(&plan(Verified, any()), &shown);
            assert!(matches!(lack, Err(Lack::Identity(_))), "{lack:?}");
        }
    }

    // proves: 9325-7.1-1
    #[test]
    fn a_host_that_dns_named_without_proof_is_never_told_as_proven() {
        let (host, domain) = (
            Host::parse("mx.a.example").unwrap(),
            Domain::parse("b.example").unwrap(),
        );
        let basis = |origin| {
            let inputs = Inputs {
                host: &host,
                domain: Some(&domain),
                origin,
                wish: TlsWish::Usual,
                rule: None,
                dane: &Finding::Unasked("the zone is not signed".into()),
                sts: &sts::Finding::Absent(None),
                claim: &Claim::default(),
            };
            let trusted = tls(pretend(Path::Trusted, &["mx.a.example"], 1));
            let judgement = Plan::make(&inputs)
                .unwrap()
                .judge(&trusted, SystemTime::UNIX_EPOCH);
            judgement.evidence.to_string()
        };
        assert!(basis(Origin::Unproven).contains(" basis=encryption "));
        assert!(basis(Origin::Proven).contains(" basis=chain "));
    }

    #[test]
    fn a_pin_is_a_key_whatever_the_certificate_says() {
        let plan = plan(Demand::Verified, Proofs::Pin(vec![KeyPrint([7; 32])]));
        assert_eq!(
            outcome(&plan, &tls(pretend(Path::Unchecked, &[], 7))),
            Ok(Basis::Pin)
        );
        let trusted = tls(pretend(Path::Trusted, &["mx.a.example"], 8));
        assert_eq!(outcome(&plan, &trusted), Err(Lack::Pin));
    }
}
